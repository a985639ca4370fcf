"""CPU and memory of the sandbox's processes, by control group (version 1 or 2) where the system permits one."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 20_000  # short, as on Lambda: a small function stalls often and briefly, not rarely and long
QUOTA_US_MIN = 1000  # the kernel's least quota; smaller shares get a longer period
BYTES_PER_MB = 1024 * 1024
WATCH_INTERVAL_S = 0.01  # between two looks at the memory where no control group looks
_serial = itertools.count()


class Limits:
    """What everything in the sandbox may use together: CPUs, and memory in MB; None is no limit.

    `notices` are sentences on what could not be set. Memory that no control group bounds has to be watched
    (`watches_memory`) by whoever knows the processes.
    """

    def __init__(self, *, cpus: float | None, memory_mb: int | None) -> None:
        self.notices: list[str] = []
        self.watches_memory = False
        self._folders: list[Path] = []
        self._kills_file: Path | None = None
        self._kills_seen = 0
        self._name = f"o2-lambda-{os.getpid()}-{next(_serial)}"
        if cpus:
            self._limit_cpus(cpus)
        if memory_mb:
            self._limit_memory(memory_mb)

    def enter(self) -> Callable[[], object] | None:
        """Return what a child has to do between fork and exec to be inside, or None without a control group."""
        files = [str(folder / "cgroup.procs") for folder in self._folders]

        def join() -> None:
            for file in files:
                handle = os.open(file, os.O_WRONLY)
                os.write(handle, b"0")  # 0: the writer itself
                os.close(handle)

        return join if files else None

    def take_kill(self) -> bool:
        """Return whether the kernel has killed for memory since the last call."""
        kills = _kills(self._kills_file)
        seen, self._kills_seen = self._kills_seen, kills
        return kills > seen

    def close(self) -> None:
        """Remove the groups; their processes are gone by then."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._folders.clear()

    def _limit_cpus(self, cpus: float) -> None:
        quota_us = max(QUOTA_US_MIN, round(cpus * PERIOD_US))
        period_us = max(PERIOD_US, round(quota_us / cpus))
        files = {"cpu.cfs_period_us": str(period_us), "cpu.cfs_quota_us": str(quota_us)}
        try:
            self._set("cpu", files, {"cpu.max": f"{quota_us} {period_us}"})
        except OSError as error:
            self.notices.append(f"no CPU quota of {cpus:g}: {_problem(error)}; running unlimited")

    def _limit_memory(self, memory_mb: int) -> None:
        size = str(memory_mb * BYTES_PER_MB)
        try:
            folder = self._set("memory", {"memory.limit_in_bytes": size}, {"memory.max": size, "memory.swap.max": "0"})
            first = folder / "memory.oom_control"
            self._kills_file = first if first.exists() else folder / "memory.events"
        except OSError as error:
            self.watches_memory = True
            text = f"no control group for {memory_mb} MB of memory: {_problem(error)}; watched"
            self.notices.append(f"{text} every {WATCH_INTERVAL_S * 1000:.0f} ms instead")

    def _set(self, controller: str, first: dict[str, str], second: dict[str, str]) -> Path:
        """Write the files of version 1 or 2 into our group of a controller; raises OSError where it is not allowed."""
        is_first = (ROOT / controller).is_dir()
        folder = (ROOT / controller if is_first else ROOT) / self._name
        if folder not in self._folders:
            folder.mkdir()
            self._folders.append(folder)
        for name, value in (first if is_first else second).items():
            (folder / name).write_text(value)
        return folder


def resident_mb(pids: list[int]) -> int:
    """Return the resident memory of processes; one that is gone has none."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // BYTES_PER_MB


def _kills(file: Path | None) -> int:
    """Return how often the kernel has killed a process of the group for memory."""
    if file is not None:
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _problem(error: OSError) -> str:
    return f"{error.strerror or error} ({error.filename})"

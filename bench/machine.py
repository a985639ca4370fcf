"""What the measurements do to the machine and say about it: page cache, CPU quotas, description."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = TypeVar("Item")

PAGE_BYTES = mmap.PAGESIZE
CGROUPS = Path("/sys/fs/cgroup")
REAL_TIME_PRIORITY = 10
# Lambda gives a function its share of a CPU in slices of this period.
PERIOD_US = 20_000
# Memory size -> vCPUs that Lambda gives: 1 for each 1769 MB.
SHARES = {"1769 MB": 1.0, "512 MB": 0.29, "128 MB": 0.07}


def describe() -> str:
    """One line: CPU, kernel, interpreter of the bench."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}, bench on Python {platform.python_version()}"


def in_turns(items: Sequence[Item], number: int) -> list[Item]:
    """The items in the order of the round of this number, each with an order of its own.

    It matters who ran before: a start after an interpreter finds colder caches than one after a C program, by 5%.
    """
    return random.Random(number).sample(items, len(items))


def run_ahead(*, enabled: bool) -> str:
    """Lets this process and its children run before everything else on the machine, where that is allowed.

    On a busy machine nothing else makes wall-clock times comparable. Returns what is in force, for the header.
    """
    policy = os.SCHED_RR if enabled else os.SCHED_OTHER
    try:
        os.sched_setscheduler(0, policy, os.sched_param(REAL_TIME_PRIORITY if enabled else 0))
    except OSError:
        return "as every other process (real time is not allowed here)"
    return "real time, round robin" if enabled else "as every other process"


def load() -> str:
    """The load average: what else the machine is doing."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def evict(path: Path) -> int:
    """Drops a file's pages from the page cache; returns how many bytes of it stayed (another process maps them)."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # a dirty page would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident_bytes(path)


def resident_bytes(path: Path) -> int:
    """How much of a file lies in the page cache, as mincore(2) says."""
    size = path.stat().st_size
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    pages = ctypes.create_string_buffer(-(-size // PAGE_BYTES))
    try:
        if libc.mincore(address, size, pages) != 0:
            raise OSError(ctypes.get_errno(), "mincore")
    finally:
        libc.munmap(address, size)
    return sum(page & 1 for page in pages.raw[: len(pages)]) * PAGE_BYTES


class Quota:
    """A CPU quota by cgroup, version 1 or 2, whichever has the controller; raises OSError where none may be made."""

    def __init__(self, cpus: float) -> None:
        quota_us = int(cpus * PERIOD_US)
        name = f"o2-bench-{os.getpid()}-{time.monotonic_ns()}"
        if (CGROUPS / "cgroup.controllers").exists():
            (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
            self.folder = CGROUPS / name
            self.folder.mkdir()
            self._set("cpu.max", f"{quota_us} {PERIOD_US}")
        else:
            self.folder = CGROUPS / "cpu" / name
            self.folder.mkdir()
            self._set("cpu.cfs_period_us", str(PERIOD_US))
            self._set("cpu.cfs_quota_us", str(quota_us))
        self.members = self.folder / "cgroup.procs"

    def _set(self, name: str, value: str) -> None:
        try:
            (self.folder / name).write_text(value)
        except OSError:
            self.folder.rmdir()
            raise

    def throttled_periods(self) -> int:
        """How often the group has used up its quota so far."""
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("nr_throttled")))

    def close(self) -> None:
        """Removes the group; its processes have ended."""
        deadline_s = time.monotonic() + 5
        while True:
            try:
                self.folder.rmdir()
            except OSError:  # the last one is still on its way out
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.01)
            else:
                return

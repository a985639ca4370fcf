"""A CPU quota for the sandbox's processes, by control group (version 1 or 2) where the system permits one."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

V1_ROOT = Path("/sys/fs/cgroup/cpu")
V2_ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 20_000  # short, as on Lambda: a small function stalls often and briefly, not rarely and long
QUOTA_US_MIN = 1000  # the kernel's least quota; smaller shares get a longer period
_serial = itertools.count()


class CpuQuota:
    """One control group. `problem` is a sentence when no quota could be set, else empty."""

    def __init__(self, cpus: float) -> None:
        self.problem = ""
        self._folder: Path | None = None
        quota_us = max(QUOTA_US_MIN, round(cpus * PERIOD_US))
        period_us = max(PERIOD_US, round(quota_us / cpus))
        name = f"o2-lambda-{os.getpid()}-{next(_serial)}"
        try:
            if (V1_ROOT / "cpu.cfs_quota_us").exists() or (V1_ROOT / "cpu.shares").exists():
                self._folder = V1_ROOT / name
                self._folder.mkdir()
                (self._folder / "cpu.cfs_period_us").write_text(str(period_us))
                (self._folder / "cpu.cfs_quota_us").write_text(str(quota_us))
            else:
                self._folder = V2_ROOT / name
                self._folder.mkdir()
                (self._folder / "cpu.max").write_text(f"{quota_us} {period_us}")
        except OSError as error:
            self.problem = f"no CPU quota of {cpus:g}: {error.strerror or error} ({self._folder}); running unlimited"
            self.close()

    def enter(self) -> Callable[[], object] | None:
        """Return what a child has to do between fork and exec to be inside, or None without a quota."""
        if self._folder is None:
            return None
        procs = str(self._folder / "cgroup.procs")

        def join() -> None:
            handle = os.open(procs, os.O_WRONLY)
            os.write(handle, b"0")  # 0: the writer itself
            os.close(handle)

        return join

    def close(self) -> None:
        """Remove the group; its processes are gone by then."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            self._folder = None

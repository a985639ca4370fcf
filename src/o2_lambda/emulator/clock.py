"""The emulator's clocks, in one place so that a fault can move the wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Monotonic and wall time in milliseconds; the wall clock may be shifted, as by a correction after a thaw."""

    def __init__(self) -> None:
        self.offset_ms = 0.0

    def mono_ms(self) -> float:
        """Return monotonic time."""
        return time.monotonic_ns() / 1e6

    def wall_ms(self) -> float:
        """Return milliseconds since the epoch, shifted by `offset_ms`."""
        return time.time_ns() / 1e6 + self.offset_ms


def iso_ms(wall_ms: float) -> str:
    """Return `wall_ms` as the telemetry API writes it: ISO-8601 with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

"""The two clocks."""

from __future__ import annotations

from time import monotonic_ns, time_ns

from o2_lambda.extension.core.model import Now


def now() -> Now:
    """The current time."""
    return Now(monotonic_ns() // 1_000_000, time_ns() // 1_000_000)

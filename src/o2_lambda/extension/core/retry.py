"""When to try again after a failure: full jitter at first, a growing pause once sending keeps failing.

One mechanism serves as backoff and as circuit breaker: every failure sets the time before which nothing is sent; from
`failures_max` failures in a row on the circuit is open, and an open circuit never holds an invocation.
"""

from __future__ import annotations

SHUTDOWN_PAUSE_MS = 50  # the last two seconds have no time for the configured pauses


class Backoff:
    """Failures in a row and the pause they ask for. Times are monotonic ms, `dice` is uniform in [0, 1)."""

    def __init__(self, *, failures_max: int, initial_ms: int, max_ms: int) -> None:
        self.failures_max = max(1, failures_max)
        self._initial_ms = initial_ms
        self._max_ms = max_ms
        self.failures = 0
        self.not_before_ms = 0

    @property
    def is_open(self) -> bool:
        """True while the upstream counts as down: probes only, and no invocation waits."""
        return self.failures >= self.failures_max

    def may_send(self, now_ms: int) -> bool:
        """Whether the pause is over."""
        return now_ms >= self.not_before_ms

    def succeed(self) -> None:
        """An answer that is not the upstream's failure."""
        self.failures = 0
        self.not_before_ms = 0

    def fail(self, now_ms: int, dice: float, *, retry_after_ms: int = 0) -> int:
        """A failed attempt. Returns the pause in ms: jittered over its whole length, once open over its upper half.

        A Retry-After is a floor, never shortened; the jitter that comes on top keeps a thousand sandboxes apart.
        """
        self.failures += 1
        longest = min(self._max_ms, self._initial_ms << min(self.failures - 1, 20))
        pause = longest * (0.5 + dice / 2) if self.is_open else longest * dice
        if retry_after_ms:
            pause = retry_after_ms + min(pause, self._initial_ms * dice)
        self.not_before_ms = now_ms + int(pause)
        return int(pause)

    def give_up(self, now_ms: int, dice: float) -> int:
        """An answer that only a person can change (credentials): open at once, with the longest pause."""
        self.failures = max(self.failures, self.failures_max - 1) + 1
        pause = int(self._max_ms * (0.5 + dice / 2))
        self.not_before_ms = now_ms + pause
        return pause

    def hurry(self, now_ms: int) -> None:
        """Shutdown: what remains of the pause is cut to `SHUTDOWN_PAUSE_MS`."""
        self.not_before_ms = min(self.not_before_ms, now_ms + SHUTDOWN_PAUSE_MS)

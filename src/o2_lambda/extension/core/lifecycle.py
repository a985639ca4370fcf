"""The extension's lifecycle as a table. What is not in the table is a bug, never weather."""

from __future__ import annotations

# PARKED   `/next` is outstanding: the sandbox may be frozen at any time
# RUNNING  an event was delivered and the next one has not been asked for: the sandbox stays awake
# DRAINING SHUTDOWN has come: deliver what is left, then exit
# DONE     time to exit
TRANSITIONS = {
    ("PARKED", "INVOKE"): "RUNNING",
    ("PARKED", "OTHER"): "RUNNING",
    ("PARKED", "SHUTDOWN"): "DRAINING",
    ("RUNNING", "LET_GO"): "PARKED",
    ("DRAINING", "DRAINED"): "DONE",
}

SHUTDOWN_MS = 2000  # what Lambda grants external extensions
RUNTIME_GRACE_MS = 600  # of it may have gone to the runtime, which is ended first
INVOCATION_MS_MAX = 900_000  # the longest time that a function can have


class Lifecycle:
    """The current state, PARKED at first: the engine comes to life when the first `/next` is under way.

    It also knows how long an event gives us. Deadlines are told on Lambda's clock, which may be ahead of ours by
    seconds, and after a freeze by hours: platform.start shows by how much, and what cannot be is not believed.
    """

    __slots__ = ("_ahead_ms", "_began_wall_ms", "_deadline_wall_ms", "_granted_ms", "state")

    def __init__(self) -> None:
        self.state = "PARKED"
        self._granted_ms = INVOCATION_MS_MAX  # the time that the last invocation was given
        self._began_wall_ms = 0  # when it came, on our clock
        self._deadline_wall_ms = 0  # until when it may run, on Lambda's
        self._ahead_ms = 0  # of our clock, Lambda's; never less than 0, where trusting ours is the safe side

    def move(self, fact: str) -> None:
        """Follows the table. Raises KeyError for a transition that must not happen."""
        self.state = TRANSITIONS[self.state, fact]

    def invocation_ms(self, deadline_wall_ms: object, wall_ms: int) -> int:
        """How long an INVOKE gives the function.

        A deadline that is too far away is replaced by the last plausible one; one that has passed makes us let go at
        once, which is safe.
        """
        self._began_wall_ms = wall_ms
        if isinstance(deadline_wall_ms, int):
            self._deadline_wall_ms = deadline_wall_ms
            left_ms = deadline_wall_ms - wall_ms - self._ahead_ms
            if left_ms <= INVOCATION_MS_MAX:
                self._granted_ms = left_ms
        return self._granted_ms

    def invocation_began(self, told_ms: int) -> int:
        """The same once platform.start has said, on Lambda's clock, when it began: ours no longer matters."""
        self._ahead_ms = max(0, told_ms - self._began_wall_ms)
        granted_ms = self._deadline_wall_ms - told_ms
        if 0 < granted_ms <= INVOCATION_MS_MAX:
            self._granted_ms = granted_ms
        return self._granted_ms

    def shutdown_ms(self, deadline_wall_ms: object, wall_ms: int) -> int:
        """How long a SHUTDOWN gives us: where the deadline cannot be, what is left of the two seconds at least.

        One that would have passed on Lambda's clock, as we know it, may be right on ours: platform.start can be late.
        """
        told_ms = deadline_wall_ms - wall_ms if isinstance(deadline_wall_ms, int) else 0
        for left_ms in (told_ms - self._ahead_ms, told_ms):
            if 0 < left_ms <= SHUTDOWN_MS:
                return left_ms
        return SHUTDOWN_MS - RUNTIME_GRACE_MS

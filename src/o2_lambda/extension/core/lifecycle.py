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
    """The current state, PARKED at first: the engine comes to life when the first `/next` is under way."""

    __slots__ = ("_granted_ms", "state")

    def __init__(self) -> None:
        self.state = "PARKED"
        self._granted_ms = INVOCATION_MS_MAX  # the time that the last invocation was given

    def move(self, fact: str) -> None:
        """Follows the table. Raises KeyError for a transition that must not happen."""
        self.state = TRANSITIONS[self.state, fact]

    def time_left_ms(self, kind: object, deadline_wall_ms: object, wall_ms: int) -> int:
        """How long an event gives us. After a freeze our wall clock may be hours off: what cannot be is not believed.

        A deadline that is too far away is replaced by the last plausible one. One that has passed makes an invocation
        let go at once, which is safe; at shutdown, where that would lose what is held, it means what is left at least.
        """
        left_ms = deadline_wall_ms - wall_ms if isinstance(deadline_wall_ms, int) else SHUTDOWN_MS
        if kind == "SHUTDOWN":
            return left_ms if 0 < left_ms <= SHUTDOWN_MS else SHUTDOWN_MS - RUNTIME_GRACE_MS
        if left_ms <= INVOCATION_MS_MAX:
            self._granted_ms = left_ms
        return self._granted_ms

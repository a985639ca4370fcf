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


class Lifecycle:
    """The current state, PARKED at first: the engine comes to life when the first `/next` is under way."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = "PARKED"

    def move(self, fact: str) -> None:
        """Follows the table. Raises KeyError for a transition that must not happen."""
        self.state = TRANSITIONS[self.state, fact]

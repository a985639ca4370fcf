"""Defects that chaos must find: each a few lines that run before the extension, and the scenario that brings it out."""

from __future__ import annotations

# name -> (scenario, Python source)
PLANTS: dict[str, tuple[str, str]] = {
    "a failed batch is dropped": (
        "two requests get 503",
        """
from o2_lambda.extension.sender import Sender
_failed = Sender._failed
def failed(self, *arguments, **options):
    self.queue.remove(self.queue.next_batch(urgent_first=False))
    _failed(self, *arguments, **options)
Sender._failed = failed
""",
    ),
    "batches are popped before they are sent": (
        "connections reset in the request",
        """
from o2_lambda.extension.sender import Sender
_consider = Sender.consider
def consider(self, actions, now, **options):
    before = self.queue.in_flight
    _consider(self, actions, now, **options)
    popped = self.queue.in_flight
    if popped is not None and popped is not before:
        self.queue.remove(popped)
        self.queue.remove = lambda batch: None if batch is popped else type(self.queue).remove(self.queue, batch)
Sender.consider = consider
""",
    ),
    "telemetry sent twice is taken twice": (
        "telemetry sent twice",
        """
from o2_lambda.extension.core.resent import Recent
Recent.is_resent = lambda self, text, connection: False
""",
    ),
    "the budget is ignored": (
        "black hole: requests are never answered",
        """
from o2_lambda.extension.core.flush import Hold
Hold.until_ms = property(lambda self: self.deadline_ms - 200)
""",
    ),
    "a status of 200 is believed": (
        "200 that stores nothing, twice",
        """
from o2_lambda.extension.core import verdict
verdict._judge_logs = lambda sent, body: verdict.Verdict(verdict.DELIVERED)
""",
    ),
    "the deadline of shutdown is ignored": (
        "OpenObserve down to the end",
        """
from o2_lambda.extension.engine import Engine
_begin = Engine._begin_shutdown
Engine._begin_shutdown = lambda self, deadline_ms, now: _begin(self, deadline_ms + 14_000, now)
""",
    ),
    "shutdown gives up at the first failure": (
        "OpenObserve down to the end",
        """
from o2_lambda.extension.sender import Sender
Sender.is_hopeless = property(lambda self: self.in_flight is None and self.backoff.failures > 0)
""",
    ),
    "clients without a descriptor are left waiting": (
        "no file descriptors left",
        """
from o2_lambda.extension.io.listener import Listener
Listener._turn_away = lambda self, listening: None
""",
    ),
}

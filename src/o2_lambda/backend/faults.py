"""Fault knobs: what the backend does wrong on purpose, changed while it runs.

`Faults` holds one standing fault, set through its attributes, and a plan of faults for the next requests. Faults that
need the bytes below HTTP (a stalled handshake, a reset inside the headers) are the proxy's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    PathPredicate: TypeAlias = Callable[[str], bool]


class Reset(Enum):
    """When the connection is reset (TCP RST)."""

    BEFORE_READING = "before_reading"  # once the headers are in
    IN_BODY = "in_body"  # after `reset_at_bytes` of the request's body
    BEFORE_ANSWER = "before_answer"  # the records are stored, the client never learns it
    IN_ANSWER = "in_answer"  # after `reset_at_bytes` of the answer's body


@dataclass
class Fault:
    """What goes wrong with one request; the default goes right."""

    # The answer is held back this long; records are stored before the wait.
    latency_ms: float = 0
    # Answered in place of the real thing, once the body is read; nothing is stored.
    status: int | None = None
    retry_after: str | None = None
    body: bytes | None = None
    # Replaces the answer's Content-Type.
    content_type: str | None = None
    # The request is read and never answered; nothing is stored.
    black_hole: bool = False
    # The answer's body dribbles, one byte per this many milliseconds.
    slow_loris_ms: float = 0
    reset: Reset | None = None
    reset_at_bytes: int = 0
    # The sending direction is closed as soon as the headers are in; over TLS the whole connection.
    half_close: bool = False
    # The first n records of the request are refused with `failed_error`, inside a 200; the rest are stored.
    failed_records: int = 0
    failed_error: str = "rejected by a fault"
    # 200 with `successful: 0, failed: 0`, the answer to schema errors; nothing is stored.
    silent_loss: bool = False
    # Bodies over this size, decompressed, get 413.
    body_bytes_max: int | None = None
    # A connection idle for this long is closed without notice.
    idle_close_ms: float | None = None


@dataclass
class _Planned:
    fault: Fault
    remaining: int | None
    matches: PathPredicate


class Faults(Fault):
    """The standing fault (attributes of Fault, assign them at will) and the plan. Safe to use from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._plan: list[_Planned] = []

    def plan(self, count: int | None, fault: Fault, *, path: str | PathPredicate = "") -> None:
        """Apply `fault` to the next `count` requests (None: to all) whose path contains, or satisfies, `path`.

        Plans are used up in the order in which they were made; a request that none matches gets the standing fault.
        """
        matches = path if callable(path) else (lambda candidate: path in candidate)
        with self._lock:
            self._plan.append(_Planned(fault, count, matches))

    def fail_next(
        self,
        count: int | None,
        status: int,
        *,
        retry_after: str | None = None,
        body: bytes | None = None,
        path: str | PathPredicate = "",
    ) -> None:
        """Answer the next `count` requests with an HTTP status."""
        self.plan(count, Fault(status=status, retry_after=retry_after, body=body), path=path)

    def reset_next(self, count: int | None, when: Reset, *, at_bytes: int = 0, path: str | PathPredicate = "") -> None:
        """Reset the connections of the next `count` requests."""
        self.plan(count, Fault(reset=when, reset_at_bytes=at_bytes), path=path)

    def reject_next(
        self, count: int | None, records: int, error: str = "rejected by a fault", *, path: str | PathPredicate = ""
    ) -> None:
        """Refuse the first `records` records of the next `count` requests, inside a 200."""
        self.plan(count, Fault(failed_records=records, failed_error=error), path=path)

    def clear(self) -> None:
        """Heal: drop the plan and the standing fault."""
        with self._lock:
            self._plan.clear()
            for member in fields(Fault):
                setattr(self, member.name, member.default)

    def take(self, path: str) -> Fault:
        """Return the fault for a request that just arrived, and use it up. A planned one inherits the latency."""
        with self._lock:
            standing = Fault(**{member.name: getattr(self, member.name) for member in fields(Fault)})
            for planned in self._plan:
                if not planned.matches(path):
                    continue
                if planned.remaining is not None:
                    planned.remaining -= 1
                    if not planned.remaining:
                        self._plan.remove(planned)
                return replace(planned.fault, latency_ms=planned.fault.latency_ms or standing.latency_ms)
            return standing

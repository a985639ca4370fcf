"""Telemetry API payloads for tests: events as Lambda writes them, and what a Splicer made of them."""

from __future__ import annotations

import json
from typing import Any

from o2_lambda.extension.core.model import Outcome
from o2_lambda.extension.core.telemetry import Parsed, Splicer

INSTANCE_ID = "0123456789abcdef"
ALL_TYPES = frozenset(("platform", "function", "extension"))
TIME = "2026-01-01T00:00:00.000Z"
TIME_US = 1_767_225_600_000_000
NOW_US = 1_800_000_000_000_000  # far from every event's own time, so that it shows where it was used
REQUEST_ID = "8286a188-ba32-4475-8077-530cd35c09a9"


def event(type_: str, record: Any, time: str = TIME) -> str:
    """One event as JSON text; a `record` of type `Raw` is set in as it stands."""
    text = record if isinstance(record, Raw) else json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return f'{{"time":"{time}","type":"{type_}","record":{text}}}'


class Raw(str):
    """JSON text of a record, correct or not."""

    __slots__ = ()


def line(text: str, time: str = TIME) -> str:
    """A function's log line."""
    return event("function", text, time)


def start(request_id: str = REQUEST_ID, **record: Any) -> str:
    return event("platform.start", {"requestId": request_id, "version": "$LATEST", **record})


def done(request_id: str = REQUEST_ID, status: str = "success") -> str:
    return event("platform.runtimeDone", {"requestId": request_id, "status": status, "metrics": {"durationMs": 1.5}})


def report(request_id: str = REQUEST_ID, status: str = "success") -> str:
    return event("platform.report", {"requestId": request_id, "status": status, "metrics": {"durationMs": 2.5}})


def payload(*events: str | bytes) -> bytes:
    """A POST's body."""
    return b"[" + b",".join(each if isinstance(each, bytes) else each.encode() for each in events) + b"]"


def lost() -> Outcome:
    """What the uplink tells of a connection that died."""
    return Outcome(error="connection reset")


class Feeder:
    """A Splicer with its clock and its connection: what a test says is what differs from the usual."""

    def __init__(self, *, fields: str = "", types: frozenset[str] = ALL_TYPES, static: str = "", **more: Any) -> None:
        self.splicer = Splicer(
            instance_id=INSTANCE_ID, static_fields=static, types=types, fields=frozenset(fields.split()), **more
        )
        self.now_ms = 1000
        self.connection = 1

    def parse(self, body: bytes) -> Parsed:
        """The parsed payload; each output is checked to be valid JSON."""
        parsed = self.splicer.feed(body, now_ms=self.now_ms, now_us=NOW_US, connection=self.connection)
        records(parsed)
        return parsed

    def feed(self, *events: str | bytes) -> list[dict[str, Any]]:
        """The records made of one payload of events."""
        return records(self.parse(payload(*events)))

    def feed_raw(self, body: bytes) -> list[dict[str, Any]]:
        """The records made of any body."""
        return records(self.parse(body))

    def expire(self) -> list[dict[str, Any]]:
        """The records of a half that is given up."""
        return records(self.splicer.expire_half(NOW_US))


def encoded(parsed: Parsed) -> bytes:
    """The body of the request that the events would make."""
    return ("[" + ",".join(parsed.events) + "]").encode("latin-1")


def records(parsed: Parsed) -> list[dict[str, Any]]:
    """The events as a server reads them: strict JSON in UTF-8."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    decoded: list[dict[str, Any]] = json.loads(encoded(parsed).decode(), parse_constant=refuse)
    assert len(decoded) == len(parsed.events)
    assert all(isinstance(record["_timestamp"], int) for record in decoded)
    return decoded


def texts(found: list[dict[str, Any]]) -> list[Any]:
    """The `record` of each."""
    return [each["record"] for each in found]

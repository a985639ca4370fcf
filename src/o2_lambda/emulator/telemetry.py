"""Telemetry subscriptions and their queues: validation, batching, splitting, dropping. Pure: time is an argument."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from o2_lambda.emulator import events
from o2_lambda.emulator.errors import ApiError
from o2_lambda.emulator.events import CATEGORIES, SCHEMA_MANAGED, SCHEMAS, Event

# name -> (least, most, default), from the Telemetry API's reference
BUFFERING_LIMITS = {
    "maxItems": (1000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1000),
}
SANDBOX_HOSTS = ("sandbox.localdomain", "sandbox")
LOOPBACK = "127.0.0.1"
QUEUE_BOUND_BATCHES = 2  # x maxBytes beyond the batch in flight; AWS does not publish its own bound
RETRY_FIRST_MS, RETRY_MOST_MS = 100.0, 1000.0  # AWS does not publish its backoff either


@dataclass(frozen=True)
class Subscription:
    """A validated `PUT /telemetry` body. `url` is set for HTTP, `port` for TCP."""

    types: tuple[str, ...]
    schema: str
    max_items: int
    max_bytes: int
    timeout_ms: int
    url: str = ""
    port: int = 0


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message, status=400)


def parse_subscription(body: bytes, *, managed: bool) -> Subscription:
    """Validate a subscription; raises ApiError (400 ValidationError) naming the field."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise _invalid(f"Invalid JSON: {error}") from None
    if not isinstance(request, dict):
        raise _invalid("Invalid JSON: expected an object")
    schema = request.get("schemaVersion", SCHEMAS[0])
    if schema not in SCHEMAS:
        raise _invalid(f"schemaVersion {schema!r} is not one of {', '.join(SCHEMAS)}")
    if managed and schema != SCHEMA_MANAGED:
        raise _invalid(f"schemaVersion must be {SCHEMA_MANAGED} on managed instances, got {schema}")
    types = request.get("types")
    if not isinstance(types, list) or not types or any(kind not in CATEGORIES for kind in types):
        raise _invalid(f"types must be a list with at least one of {', '.join(CATEGORIES)}, got {types!r}")
    buffering = request.get("buffering") or {}
    if not isinstance(buffering, dict):
        raise _invalid("buffering must be an object")
    url, port = _destination(request.get("destination"))
    return Subscription(
        types=tuple(dict.fromkeys(types)),
        schema=schema,
        max_items=_limit(buffering, "maxItems"),
        max_bytes=_limit(buffering, "maxBytes"),
        timeout_ms=_limit(buffering, "timeoutMs"),
        url=url,
        port=port,
    )


def _limit(buffering: dict[str, Any], name: str) -> int:
    least, most, default = BUFFERING_LIMITS[name]
    value = buffering.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(f"buffering.{name} must be between {least} and {most}, got {value!r}")
    return value


def _destination(destination: Any) -> tuple[str, int]:
    if not isinstance(destination, dict):
        raise _invalid("destination is required")
    protocol = destination.get("protocol")
    if protocol == "TCP":
        port = destination.get("port")
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:  # noqa: PLR2004 - TCP's range
            raise _invalid(f"Invalid destination: port must be between 1 and 65535, got {port!r}")
        return "", port
    if protocol != "HTTP":
        raise _invalid(f"Invalid destination: protocol must be HTTP or TCP, got {protocol!r}")
    return _local_url(str(destination.get("URI", ""))), 0


def _local_url(uri: str) -> str:
    """Return `uri` with its sandbox host mapped to the loopback address; the path and query stay as they are."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _invalid(f"Invalid destination: {error}") from None
    if parts.scheme != "http" or parts.hostname not in SANDBOX_HOSTS:
        raise _invalid(f"Invalid destination: URI must be http://{SANDBOX_HOSTS[0]}:PORT/PATH, got {uri!r}")
    return parts._replace(netloc=f"{LOOPBACK}:{port or 80}").geturl()


@dataclass
class Batch:
    """Bytes for one POST, and the events that are in it. A split record is in the batch that completes it."""

    body: bytes
    events: list[Event] = field(default_factory=list)


class Queue:
    """One subscriber's events: the open batch, the sealed ones, and what had to be dropped."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.dropped_records = 0
        self.dropped_bytes = 0
        self._sealed: deque[Batch] = deque()
        self._parts: list[bytes] = []
        self._events: list[Event] = []
        self._open_bytes = 0
        self._sealed_bytes = 0
        self._opened_ms = 0.0

    @property
    def held_bytes(self) -> int:
        """Bytes waiting, beyond the batch in flight."""
        return self._open_bytes + self._sealed_bytes

    @property
    def empty(self) -> bool:
        """Whether nothing waits, neither open nor sealed."""
        return not self._parts and not self._sealed

    def wants(self, event: Event) -> bool:
        """Whether the subscriber asked for this kind of event."""
        return event.category in self.subscription.types

    def add(self, event: Event, now_ms: float, split_bytes: int | None = None) -> bool:
        """Admit `event`; return False when the bound is reached and it is dropped.

        A record whose JSON value is longer than `split_bytes` (default maxBytes) is cut over two POSTs.
        """
        encoded = event.encode(self.subscription.schema)
        bound = QUEUE_BOUND_BATCHES * self.subscription.max_bytes
        if self.held_bytes and self.held_bytes + len(encoded) > bound:
            self.dropped_records += 1
            self.dropped_bytes += len(encoded)
            return False
        limit = split_bytes or self.subscription.max_bytes
        value = event.value(self.subscription.schema).encode(errors="replace")
        if len(value) > limit and self.subscription.url:  # a TCP stream has no batches to cut
            encoded = self._send_head(event, value, limit)
        elif self._open_bytes + len(encoded) > self.subscription.max_bytes:
            self.seal()
        self._append(event, encoded, now_ms)
        return True

    def _send_head(self, event: Event, value: bytes, limit: int) -> bytes:
        """Seal the head of an oversize record as AWS does, invalid JSON and all; return the rest of the event."""
        self.seal()
        envelope = event.envelope().encode()
        self._push(Batch(b"[" + envelope + value[:limit] + b"}]"))
        return envelope + value[limit:] + b"}"

    def _append(self, event: Event, encoded: bytes, now_ms: float) -> None:
        if not self._parts:
            self._opened_ms = now_ms
        self._parts.append(encoded)
        self._events.append(event)
        self._open_bytes += len(encoded)
        full = self._open_bytes >= self.subscription.max_bytes or len(self._parts) >= self.subscription.max_items
        if full:
            self.seal()

    def due_ms(self) -> float | None:
        """Return when the open batch has to go (monotonic), or None when nothing is open."""
        return self._opened_ms + self.subscription.timeout_ms if self._parts else None

    def seal(self) -> None:
        """Close the open batch, if there is one."""
        if self._parts:
            self._push(Batch(b"[" + b",".join(self._parts) + b"]", self._events))
            self._parts, self._events, self._open_bytes = [], [], 0

    def _push(self, batch: Batch) -> None:
        self._sealed.append(batch)
        self._sealed_bytes += len(batch.body)

    def take(self, now_ms: float) -> Batch | None:
        """Return the next batch to send, or None when none is sealed or due."""
        due = self.due_ms()
        if not self._sealed and due is not None and now_ms >= due:
            self.seal()
        if not self._sealed:
            return None
        batch = self._sealed.popleft()
        self._sealed_bytes -= len(batch.body)
        return batch

    def settle_drops(self, wall_ms: float, now_ms: float) -> None:
        """After a batch got through, tell once of what was dropped meanwhile."""
        if not self.dropped_records:
            return
        record = events.logs_dropped(dropped_bytes=self.dropped_bytes, dropped_records=self.dropped_records)
        event = Event(wall_ms, "platform.logsDropped", record)
        self.dropped_records = self.dropped_bytes = 0
        if self.wants(event):
            encoded = event.encode(self.subscription.schema)  # past the bound: it is small and must not be lost itself
            self._append(event, encoded, now_ms)


def retry_delay_ms(attempt: int) -> float:
    """Return the pause before the same batch is sent again, after its first, second, … attempt."""
    doublings = min(attempt - 1, 10)  # the most is reached long before
    return min(RETRY_FIRST_MS * float(2**doublings), RETRY_MOST_MS)

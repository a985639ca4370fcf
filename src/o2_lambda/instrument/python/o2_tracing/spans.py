"""Spans and what they refer to. Plain data with limits; no clock, no dice, no output."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Attributes = dict[str, Any]
    Event = tuple[int, str, Attributes, int]  # time in ns, name, attributes, attributes dropped
    Link = tuple["SpanContext", Attributes, int]  # to what, attributes, attributes dropped
    Scope = str | tuple[str, str]  # one of the tracer's own; name and version of one of the function's

# The numbers of OTLP's SpanKind and StatusCode
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
OK, ERROR = 1, 2

SAMPLED = 1  # the flag of W3C trace context


class SpanContext:
    """What identifies a span across processes. `baggage` is the W3C header that travels with it, uninterpreted."""

    __slots__ = ("baggage", "flags", "remote", "span_id", "state", "trace_id")

    def __init__(
        self, trace_id: bytes, span_id: bytes, flags: int, *, state: str = "", remote: bool = False, baggage: str = ""
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.state = state
        self.remote = remote
        self.baggage = baggage

    @property
    def sampled(self) -> bool:
        """Whether the span is to be recorded."""
        return bool(self.flags & SAMPLED)


class Limits:
    """How much a span may hold; beyond it things are dropped and counted. `value_length` 0: unlimited."""

    __slots__ = ("attributes", "event_attributes", "events", "link_attributes", "links", "value_length")

    def __init__(
        self,
        *,
        attributes: int = 128,
        events: int = 128,
        links: int = 128,
        event_attributes: int = 128,
        link_attributes: int = 128,
        value_length: int = 0,
    ) -> None:
        self.attributes = attributes
        self.events = events
        self.links = links
        self.event_attributes = event_attributes
        self.link_attributes = link_attributes
        self.value_length = value_length


class Span:
    """One operation. Times in ns since the epoch; `end_ns` is 0 until it ends. What is unsampled records nothing.

    `covers` tells that the span stands for everything below it: no spans of lower layers (a socket's below an HTTP
    client's) are started under it.
    """

    __slots__ = (
        "_limits", "_on_end", "attributes", "context", "covers", "dropped_attributes", "dropped_events",
        "dropped_links", "end_ns", "events", "kind", "links", "name", "parent", "recording", "scope", "start_ns",
        "status", "status_message",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: int,
        context: SpanContext,
        parent: SpanContext | None,
        start_ns: int,
        *,
        scope: Scope,
        limits: Limits,
        on_end: Callable[[Span], None],
    ) -> None:
        self.name = name
        self.kind = kind
        self.context = context
        self.parent = parent
        self.start_ns = start_ns
        self.end_ns = 0
        self.recording = context.sampled  # whether anything can still be added
        self.scope = scope
        self.covers = False
        self.attributes: Attributes = {}
        self.events: list[Event] = []
        self.links: list[Link] = []
        self.status = 0
        self.status_message = ""
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0
        self._limits = limits
        self._on_end = on_end

    def set(self, key: str, value: Any) -> None:
        """Sets an attribute; None is no value."""
        if not self.recording or value is None:
            return
        if len(self.attributes) >= self._limits.attributes and key not in self.attributes:
            self.dropped_attributes += 1
        else:
            self.attributes[key] = value

    def set_all(self, attributes: Attributes) -> None:
        """Sets several attributes."""
        if self.recording and len(self.attributes) + len(attributes) <= self._limits.attributes:
            self.attributes.update({key: value for key, value in attributes.items() if value is not None})
            return
        for key, value in attributes.items():
            self.set(key, value)

    def add_event(self, name: str, attributes: Attributes, time_ns: int) -> None:
        """Adds something that happened at a moment."""
        if not self.recording:
            return
        if len(self.events) >= self._limits.events:
            self.dropped_events += 1
        else:
            self.events.append((time_ns, name, *_bounded(attributes, self._limits.event_attributes)))

    def add_link(self, context: SpanContext, attributes: Attributes) -> None:
        """Adds a reference to a span of this or another trace."""
        if not self.recording:
            return
        if len(self.links) >= self._limits.links:
            self.dropped_links += 1
        else:
            self.links.append((context, *_bounded(attributes, self._limits.link_attributes)))

    def set_status(self, status: int, message: str = "") -> None:
        """The message belongs to an error only; what has been set to OK stays."""
        if self.recording and self.status != OK:
            self.status = status
            self.status_message = message if status == ERROR else ""

    def end(self, time_ns: int) -> None:
        """Ends the span, once, and hands it on when it is sampled."""
        if self.end_ns:
            return
        self.end_ns = max(time_ns, self.start_ns, 1)  # a clock set back makes no negative duration
        if self.recording:
            self.recording = False
            self._on_end(self)

    @property
    def value_length(self) -> int:
        """How many characters of a string value are kept; 0 for all."""
        return self._limits.value_length


def _bounded(attributes: Attributes, count: int) -> tuple[Attributes, int]:
    kept = {key: value for key, value in attributes.items() if value is not None}
    dropped = max(0, len(kept) - count)
    return (dict(list(kept.items())[:count]) if dropped else kept), dropped

"""Telemetry API payloads: find each event, splice our fields in front of it, stitch what Lambda has split.

An event is forwarded byte for byte: its own text is copied, never parsed and serialised again. The payload is looked at
as Latin-1 text, in which one character is one byte, so that the C scanner of `_json` can run over it and every slice
encodes back to the bytes that came in.

Rules from the platform (captured from real Lambda):
- events of one sandbox come in order, and `platform.start` opens an invocation;
- a record over `maxBytes` is cut over two POSTs: the first ends in a literal `}]`, the second repeats the envelope.
"""

from __future__ import annotations

from o2_lambda.extension.core.correlate import Spans, trace_id_of
from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, get, members, quote, scanstring, skip_space
from o2_lambda.extension.core.lines import PROGRESS_LEVELS, TAG
from o2_lambda.extension.core.payload import (
    RECORD,
    TIME,
    TIME_LENGTH,
    is_cut_in_its_record,
    is_utf8,
    readable,
    starts_events,
)
from o2_lambda.extension.core.resent import Recent
from o2_lambda.extension.core.timestamps import epoch_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STITCH_TTL_MS = 1000  # [?] how long the second half of a split record may take
RECORD_BYTES_MAX = 4 * 1024 * 1024  # of a stitched record; Lambda cuts at 1 MiB, so this is several cuts
TAIL_BYTES = 65_536  # of the payloads of an invocation: a runtime's last words are looked for there once it has failed
RESTORE_START = "platform.restoreStart"
_OWN_PROGRESS = tuple(f'"{TAG} {level}' for level in PROGRESS_LEVELS)

_FUNCTION = '","type":"function","record":"'
_SPLIT_TAIL = "}]"  # what Lambda appends to the first half of a split record


class Fact:
    """A platform event that the engine acts on: its type, request id, record (nested `Pairs`) and time in µs."""

    __slots__ = ("record", "request_id", "time_us", "type")

    def __init__(self, type_: str, record: Any, time_us: int) -> None:
        self.type = type_
        self.time_us = time_us
        self.record = record
        request_id = get(record, "requestId")
        self.request_id: str | None = readable(request_id) if isinstance(request_id, str) else None


class Parsed:
    """What one payload gave: events ready to be sent, facts, and counts of what was left out."""

    __slots__ = ("events", "excluded", "facts", "malformed", "urgent")

    def __init__(self) -> None:
        self.events: list[str] = []  # Latin-1 text of one JSON object each, fields spliced in
        self.facts: list[Fact] = []
        self.excluded: dict[str, int] = {}  # reason -> events that were never accepted
        self.malformed = 0  # of `events`: forwarded as string records
        self.urgent = False  # carries evidence of a failure: first in the shutdown drain

    def exclude(self, reason: str, count: int = 1) -> None:
        """Counts events that are not accepted, by reason."""
        self.excluded[reason] = self.excluded.get(reason, 0) + count


class Splicer:
    """Turns Telemetry API payloads into records for OpenObserve. Owns sequence, current request and split halves.

    `static_fields`: JSON members without braces, for example `"function_name":"f","region":"eu-west-1"`, may be empty.
    `fields`: which of the optional fields are wanted (see `O2_LOG_FIELDS`).
    """

    def __init__(
        self,
        *,
        instance_id: str,
        static_fields: str,
        types: frozenset[str],
        fields: frozenset[str],
        follow_start: bool = True,
    ) -> None:
        self._static = static_fields
        self._types = types
        self._fields = fields
        self.spare_id = ""  # the instance id from `renew` on
        self._event_id = self._id_prefix(instance_id)
        self._follow_start = follow_start  # False on managed instances, where requests interleave
        self._sequence = 0
        self._request_id: str | None = None
        self._trace_id: str | None = None
        self._tenant_id: str | None = None
        self._starts = 0
        self._tells_start = False  # the platform says itself where invocations begin
        self._middle = ""
        self._time: str | None = None  # the last event's time as text, and the stamp it got
        self._time_us = 0
        self._recent = Recent()
        self._spans = Spans()
        self.tail = ""  # the last of what came in since the last invocation began
        self._tail_from = 0
        self._half = ""  # a split event's text so far, without the tail that Lambda appended
        self._half_expires_ms = 0
        self._rebuild_middle()

    @property
    def half_expires_ms(self) -> int | None:
        """When the half of a split record is given up (monotonic ms), None where there is none."""
        return self._half_expires_ms if self._half else None

    @property
    def half_bytes(self) -> int:
        """Bytes held of a split record."""
        return len(self._half)

    def thaw(self, now_ms: int) -> None:
        """The sandbox woke up: the second half of a split record gets its time anew."""
        self._half_expires_ms = now_ms + STITCH_TTL_MS

    def renew(self) -> None:
        """A snapshot was restored: each sandbox that came of it numbers its events under an id of its own."""
        if self.spare_id:
            self._event_id = self._id_prefix(self.spare_id)

    def _id_prefix(self, instance_id: str) -> str:
        return f',"event_id":"{instance_id}-' if "event_id" in self._fields else ""

    def begin_invocation(self, request_id: str, trace_id: str | None) -> None:
        """The INVOKE event names the request: used for log lines only where the platform does not."""
        if not self._tells_start and self._follow_start:
            self._request_id, self._trace_id = request_id, trace_id
            self._rebuild_middle()

    def correlate(self, message: bytes) -> None:
        """A tracer's message: the lines of its invocation carry its ids. Raises ValueError for what is none."""
        if self._spans.remember(message) == self._request_id:
            self._rebuild_middle()

    def feed(self, body: bytes | bytearray, *, now_ms: int, now_us: int, connection: int) -> Parsed:
        """Splices a payload. Never raises on bad input: what cannot be understood is forwarded as a string record."""
        parsed = Parsed()
        text = str(body, "latin-1")
        if self._recent.is_resent(text, connection):
            parsed.exclude("duplicate", max(1, text.count(TIME)))
            return parsed
        index = skip_space(text, 0)
        if text[index : index + 1] != "[":
            self._malformed(parsed, text, now_us)
            return parsed
        index = skip_space(text, index + 1)
        joined = bool(self._half)
        if joined:
            text, index = self._join_half(parsed, text, index, now_us)
        checked = not joined and (body.isascii() or is_utf8(body))
        size = len(text)
        self._tail_from = 0
        while index < size and text[index] != "]":
            end = self._splice_function(parsed, text, index) if checked else 0
            if not end:
                end = self._splice_any(parsed, text, index, now_us, checked=checked)
            if not end:
                end = self._resync(parsed, text, index, now_ms, now_us)
            index = skip_space(text, end)
            if index < size and text[index] == ",":
                index = skip_space(text, index + 1)
        if index < size and skip_space(text, index + 1) < size:
            self._malformed(parsed, text[index + 1 :], now_us)
        self.tail = (self.tail + text[max(self._tail_from, size - TAIL_BYTES) :])[-TAIL_BYTES:]
        return parsed

    def synthesized(self, request_id: str, time_us: int, members: str) -> str:
        """A record of our own about an invocation, with the fields that its lines have."""
        middle = self._middle if request_id == self._request_id else self._middle_for(request_id or None, None)
        return f"{self._head(time_us)}{middle}{members}}}"

    def expire_half(self, now_us: int) -> Parsed:
        """The second half of a split record did not come: the first is forwarded as a string record."""
        parsed = Parsed()
        half, self._half = self._half, ""
        self._malformed(parsed, half, now_us)
        return parsed

    def _splice_function(self, parsed: Parsed, text: str, start: int) -> int:
        """The usual event, a function's line as a string, in as few steps as can be. 0 where it is anything else."""
        if not text.startswith(TIME, start):
            return 0
        time_end = start + len(TIME) + TIME_LENGTH
        if not text.startswith(_FUNCTION, time_end):
            return 0
        record = time_end + len(_FUNCTION) - 1
        try:
            _, end = scanstring(text, record + 1, True)
            if text[end] != "}":
                return 0
            time = text[start + len(TIME) : time_end]
            stamp = self._stamp(time)
        except SCAN_ERRORS:
            return 0
        if "function" not in self._types:
            parsed.exclude("log_type")
            return int(end) + 1
        message = f'"message":{text[record:end]},' if "message" in self._fields else ""
        parsed.events.append(f"{self._head(stamp)}{self._middle}{message}{text[start + 1 : end + 1]}")
        return int(end) + 1

    def _splice_any(self, parsed: Parsed, text: str, start: int, now_us: int, *, checked: bool) -> int:
        """Any well-formed event. 0 where it is not one."""
        try:
            found, end = members(text, start)
        except SCAN_ERRORS:
            return 0
        if not found or not (checked or is_utf8(text[start:end].encode("latin-1"))):
            self._malformed(parsed, text[start:end], now_us)
            return end
        time, type_, record, span = None, None, None, (end, end)
        for key, value_start, value_end, value in found:
            if key == "time":
                time = value
            elif key == "type":
                type_ = value
            elif key == "record":
                record, span = value, (value_start, value_end)
        if not isinstance(type_, str):
            self._malformed(parsed, text[start:end], now_us)
            return end
        stamp = self._stamp_or_now(time, now_us)
        if type_ == "platform.start":
            self.tail, self._tail_from = "", start
        if type_.startswith("platform."):
            self._platform(parsed, type_, record, stamp, text[start + 1 : end])
        else:
            self._line(parsed, type_, stamp, text, span, text[start + 1 : end])
        return end

    def _platform(self, parsed: Parsed, type_: str, record: Any, stamp: int, rest: str) -> None:
        fact = Fact(type_, record, stamp)
        parsed.facts.append(fact)
        if type_ == RESTORE_START:
            self.renew()
        is_start = type_ == "platform.start"
        if self._follow_start and (is_start or (type_ == "platform.initStart" and not self._starts)):
            self._tells_start = True  # what is printed during init belongs to no request
            self._starts += is_start
            self._request_id = fact.request_id
            self._trace_id = trace_id_of(get(record, "tracing", "value"))
            self._tenant_id = get(record, "tenantId")
            self._rebuild_middle()
        if get(record, "status") in ("failure", "error", "timeout") or type_ == "platform.logsDropped":
            parsed.urgent = True
        if "platform" not in self._types:
            parsed.exclude("log_type")
            return
        middle = self._middle
        if fact.request_id != self._request_id:  # a late report of the invocation before
            middle = self._middle_for(fact.request_id, None, get(record, "tenantId"))
        parsed.events.append(f"{self._head(stamp)}{middle}{rest}")

    def _line(self, parsed: Parsed, type_: str, stamp: int, text: str, span: tuple[int, int], rest: str) -> None:
        """A log line of the function or an extension: a string, or an object under the JSON log format."""
        if type_ not in self._types and type_ in ("function", "extension"):  # a type of the future is forwarded
            parsed.exclude("log_type")
            return
        if type_ == "extension" and text.startswith(_OWN_PROGRESS, span[0]):
            parsed.exclude("own_progress")
            return
        middle, lifted = self._middle, ""
        if text[span[0] : span[0] + 1] == '"':
            if "message" in self._fields:
                lifted = f'"message":{text[span[0] : span[1]]},'
        elif text[span[0] : span[0] + 1] == "{":
            middle, lifted = self._lift(text, span[0])
        parsed.events.append(f"{self._head(stamp)}{middle}{lifted}{rest}")

    def _lift(self, text: str, start: int) -> tuple[str, str]:
        """What a record that is an object says of itself, where a search finds it: its request, message and level."""
        texts: dict[str, str] = {}
        request_id = tenant_id = None
        try:
            found = members(text, start)[0]
        except RecursionError:  # nested as deep as could be read one call further out
            found = []
        for key, value_start, value_end, value in found:
            if not isinstance(value, str):
                continue
            if key in ("message", "level", "errorMessage"):
                texts[key] = text[value_start:value_end]
            elif key == "requestId" and value != "-":  # what Node's runtime writes outside an invocation
                request_id = value
            elif key == "tenantId":
                tenant_id = value
        lifted = ""
        message = texts.get("message") or texts.get("errorMessage")  # an uncaught exception has no message
        if message is not None and "message" in self._fields:
            lifted += f'"message":{message},'
        if "level" in texts and "level" in self._fields:
            lifted += f'"level":{texts["level"]},'
        if request_id is None or request_id == self._request_id:
            return self._middle, lifted
        return self._middle_for(readable(request_id), None, tenant_id), lifted

    def _malformed(self, parsed: Parsed, piece: str, now_us: int) -> None:
        parsed.malformed += 1
        head = f"{self._head(now_us)}{self._middle}"
        parsed.events.append(f'{head}"type":"malformed","record":{quote(readable(piece))}}}')

    def _resync(self, parsed: Parsed, text: str, start: int, now_ms: int, now_us: int) -> int:
        """The event at `start` is broken: it alone is given up, or kept where it may be half of a split record."""
        candidate = text.find("," + TIME, start + 1)
        while candidate >= 0:
            if starts_events(text, candidate + 1):
                self._malformed(parsed, text[start:candidate], now_us)
                return candidate
            candidate = text.find("," + TIME, candidate + 1)
        piece = text[start:]
        if piece.endswith(_SPLIT_TAIL) and len(piece) <= RECORD_BYTES_MAX and is_cut_in_its_record(piece):
            self._half = piece[: -len(_SPLIT_TAIL)]
            self._half_expires_ms = now_ms + STITCH_TTL_MS
        else:
            self._malformed(parsed, piece.removesuffix("]"), now_us)
        return len(text)

    def _join_half(self, parsed: Parsed, text: str, index: int, now_us: int) -> tuple[str, int]:
        """Joins the half of a split record with this payload, where it starts with the same envelope."""
        half, self._half = self._half, ""
        envelope = half[: half.index(RECORD) + len(RECORD)]
        if text.startswith(envelope, index):
            return half + text[index + len(envelope) :], 0
        self._malformed(parsed, half, now_us)
        return text, index

    def _head(self, stamp: int) -> str:
        self._sequence += 1
        if self._event_id:
            return f'{{"_timestamp":{stamp}{self._event_id}{self._sequence:08x}"'
        return f'{{"_timestamp":{stamp}'

    def _stamp(self, time: str) -> int:
        """Microseconds of an event. Lambda gives milliseconds: lines of one millisecond count on, to keep order."""
        if time == self._time:
            if self._time_us % 1000 != 999:  # noqa: PLR2004 - never into the next millisecond
                self._time_us += 1
            return self._time_us
        self._time_us = epoch_us(time)
        self._time = time
        return self._time_us

    def _stamp_or_now(self, time: Any, now_us: int) -> int:
        try:
            return self._stamp(time if isinstance(time, str) else "")
        except (ValueError, IndexError):
            return now_us

    def _rebuild_middle(self) -> None:
        self._middle = self._middle_for(self._request_id, self._trace_id, self._tenant_id)

    def _middle_for(self, request_id: str | None, trace_id: str | None, tenant_id: Any = None) -> str:
        parts = [""]
        if request_id is not None:
            parts.append(f'"requestId":{quote(request_id)}')
        span = self._spans.of(request_id)
        if span is not None:
            trace_id = span[0]
        if trace_id is not None and "trace_id" in self._fields:
            parts.append(f'"trace_id":{quote(trace_id)}')
        if span is not None and "span_id" in self._fields:
            parts.append(f'"span_id":"{span[1]}"')
        if isinstance(tenant_id, str) and "tenant_id" in self._fields:
            parts.append(f'"tenant_id":{quote(readable(tenant_id))}')
        if self._static:
            parts.append(self._static)
        if "cold_start" in self._fields and self._follow_start:
            parts.append('"cold_start":' + ("true" if self._starts <= 1 else "false"))
        return ",".join(parts) + ","

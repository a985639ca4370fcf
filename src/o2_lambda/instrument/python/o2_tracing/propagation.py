"""Trace context in headers: W3C trace context and baggage, B3 (one header or several), X-Ray."""

from __future__ import annotations

from .spans import SAMPLED, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

HEX = "0123456789abcdef"
TRACE_DIGITS, SPAN_DIGITS = 32, 16
STATE_CHARS_MAX = 512  # W3C asks to carry at least so many
BAGGAGE_CHARS_MAX = 8192  # W3C's limit
XRAY_HEADER = "x-amzn-trace-id"
HEADERS = (
    "traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags",
    XRAY_HEADER,
)  # fmt: skip


def pick(headers: Any) -> dict[str, str]:
    """The headers that matter here, by their lower-case names, out of whatever an event holds as headers."""
    found = {}
    if isinstance(headers, dict):
        for name, value in headers.items():
            if isinstance(name, str) and name.lower() in HEADERS:
                first = value[0] if isinstance(value, list) and value else value
                if isinstance(first, str):
                    found[name.lower()] = first
    return found


def extract(headers: Mapping[str, str], propagators: tuple[str, ...]) -> SpanContext | None:
    """The remote parent in `headers` (lower-case names), by the first of `propagators` that finds one."""
    if not headers:
        return None
    for name in propagators:
        reader = _READERS.get(name)
        context = reader(headers) if reader else None
        if context is not None:
            context.baggage = baggage(headers, propagators)
            return context
    return None


def baggage(headers: Mapping[str, str], propagators: tuple[str, ...]) -> str:
    """The baggage in `headers`, which may come without a trace."""
    return _clean(headers.get("baggage", ""), BAGGAGE_CHARS_MAX) if headers and "baggage" in propagators else ""


def inject(context: SpanContext, propagators: tuple[str, ...], put: Callable[[str, str], None]) -> None:
    """Calls `put(name, value)` for each header that tells the other side about `context`."""
    trace_id, span_id = context.trace_id.hex(), context.span_id.hex()
    sampled = "1" if context.sampled else "0"
    for name in propagators:
        if name == "tracecontext":
            put("traceparent", f"00-{trace_id}-{span_id}-{context.flags & 0xFF:02x}")
            if context.state:
                put("tracestate", context.state)
        elif name == "baggage" and context.baggage:
            put("baggage", context.baggage)
        elif name == "b3":
            put("b3", f"{trace_id}-{span_id}-{sampled}")
        elif name == "b3multi":
            put("X-B3-TraceId", trace_id)
            put("X-B3-SpanId", span_id)
            put("X-B3-Sampled", sampled)
        elif name == "xray":
            put("X-Amzn-Trace-Id", format_xray(context))


def format_xray(context: SpanContext) -> str:
    """The X-Ray header for `context`."""
    trace_id = context.trace_id.hex()
    sampled = "1" if context.sampled else "0"
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={context.span_id.hex()};Sampled={sampled}"


def parse_xray(value: str) -> SpanContext | None:
    """The context in an X-Ray header, sampled whatever the header says: X-Ray's sampling is about X-Ray.

    Lambda and its callers set `Sampled=0` wherever active tracing is off, which is no wish to have no traces. A header
    without a parent (API Gateway's, by default) names a trace, but no span to be a child of: None.
    """
    root = parent = ""
    for part in value.split(";"):
        name, _, content = part.strip().partition("=")
        if name == "Root":
            root = content
        elif name == "Parent":
            parent = content
    return _context(root[2:].replace("-", "", 1), parent, SAMPLED) if root.startswith("1-") else None


def _context(trace_id: str, span_id: str, flags: int, state: str = "") -> SpanContext | None:
    if len(trace_id) != TRACE_DIGITS or len(span_id) != SPAN_DIGITS:
        return None
    try:
        trace, span = bytes.fromhex(trace_id), bytes.fromhex(span_id)
    except ValueError:
        return None
    if trace.hex() != trace_id or span.hex() != span_id:  # capitals, spaces
        return None
    if not any(trace) or not any(span):
        return None
    return SpanContext(trace, span, flags, state=state, remote=True)


def _clean(value: str, length: int) -> str:
    """The value where it may become a header again: a line break in it would break the function's own request."""
    value = value.strip()
    return value if len(value) <= length and value.isascii() and value.isprintable() else ""


def _tracecontext(headers: Mapping[str, str]) -> SpanContext | None:
    parts = headers.get("traceparent", "").strip().split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0].strip(HEX) or parts[0] == "ff":
        return None
    if (parts[0] == "00" and len(parts) != 4) or len(parts[3]) != 2 or parts[3].strip(HEX):
        return None
    state = _clean(headers.get("tracestate", ""), STATE_CHARS_MAX)
    return _context(parts[1], parts[2], int(parts[3], 16), state)


def _b3(headers: Mapping[str, str]) -> SpanContext | None:
    parts = headers.get("b3", "").strip().lower().split("-")
    if len(parts) < 2:
        return _b3_multi(headers)
    return _b3_context(parts[0], parts[1], parts[2] if len(parts) > 2 else "")


def _b3_multi(headers: Mapping[str, str]) -> SpanContext | None:
    sampled = "1" if headers.get("x-b3-flags") == "1" else headers.get("x-b3-sampled", "")
    return _b3_context(headers.get("x-b3-traceid", "").lower(), headers.get("x-b3-spanid", "").lower(), sampled)


def _b3_context(trace_id: str, span_id: str, sampled: str) -> SpanContext | None:
    # Without a decision the receiver decides: sampled, as everywhere here where nobody said no.
    no = sampled in ("0", "false")
    return _context(trace_id.rjust(TRACE_DIGITS, "0") if trace_id else "", span_id, 0 if no else SAMPLED)


def _xray(headers: Mapping[str, str]) -> SpanContext | None:
    value = headers.get(XRAY_HEADER)
    return parse_xray(value) if value else None


_READERS = {"tracecontext": _tracecontext, "b3": _b3, "b3multi": _b3_multi, "xray": _xray}

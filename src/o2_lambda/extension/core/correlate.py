"""Which trace a log line belongs to: told by the tracer in the function, else by a sampled X-Ray header.

At the start of an invocation the tracer posts `<requestId> <trace id> <span id>` to the OTLP receiver. Lambda holds log
lines back for 25 ms at least, so the message is here before the first of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/v1/invocation"
MESSAGE_BYTES_MAX = 256  # a UUID and two ids in hex take 86
INVOCATIONS_MAX = 64  # remembered: managed instances run that many side by side
_TRACE_ID_HEX, _SPAN_ID_HEX = 32, 16


class Spans:
    """The spans of the last invocations. Pairs, no dict: the request ids come from outside."""

    def __init__(self) -> None:
        self._known: list[tuple[str, str, str]] = []  # request id, trace id, span id

    def remember(self, message: bytes) -> str:
        """Takes a tracer's message; returns the request id. Raises ValueError for what is none."""
        request_id, trace_id, span_id = parse(message)
        self._known = [known for known in self._known if known[0] != request_id][1 - INVOCATIONS_MAX :]
        self._known.append((request_id, trace_id, span_id))
        return request_id

    def of(self, request_id: str | None) -> tuple[str, str] | None:
        """Trace id and span id of a request."""
        for known, trace_id, span_id in reversed(self._known):
            if known == request_id:
                return trace_id, span_id
        return None


def parse(message: bytes) -> tuple[str, str, str]:
    """Request id, trace id and span id. Raises ValueError."""
    words = message.split(b" ") if len(message) <= MESSAGE_BYTES_MAX else []
    if len(words) != 3 or not words[0]:  # noqa: PLR2004 - the three
        raise ValueError("expected: <requestId> <traceId> <spanId>")
    request_id, trace_id, span_id = words
    if not (_is_id(trace_id, _TRACE_ID_HEX) and _is_id(span_id, _SPAN_ID_HEX) and request_id.isascii()):
        raise ValueError("traceId must be 32 hex digits and spanId 16, neither all zero")
    return request_id.decode(), trace_id.decode(), span_id.decode()


def _is_id(word: bytes, length: int) -> bool:
    """Whether this is an id of W3C Trace Context: lower-case hex, not all zero."""
    return len(word) == length and not word.strip(b"0123456789abcdef") and word.strip(b"0") != b""


def trace_id_of(header: Any) -> str | None:
    """The W3C trace id (32 hex digits) of a sampled X-Ray header `Root=1-5759e988-bd86…;Parent=…;Sampled=1`, else None.

    With active tracing off the header says `Sampled=0` and its trace exists nowhere: it would only mislead.
    """
    if not isinstance(header, str) or "Sampled=1" not in header:
        return None
    root = header.partition("Root=1-")[2].partition(";")[0].replace("-", "")
    return root if len(root) == _TRACE_ID_HEX else None

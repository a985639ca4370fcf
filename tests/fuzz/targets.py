"""Everything that reads bytes of strangers, as functions of bytes. Each states what must hold whatever the bytes are.

A target returns nothing; it raises what the invariant forbids. Nothing but the named refusals may come out of the code,
what comes out must be well-formed, and what is held must stay within its bound.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from o2_lambda.extension.core import correlate, otlp, verdict
from o2_lambda.extension.core.batch import LOGS
from o2_lambda.extension.core.http1 import CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HttpError, Parser
from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, loads
from o2_lambda.extension.core.secret import header_of
from o2_lambda.extension.core.telemetry import RECORD_BYTES_MAX, Splicer
from o2_lambda.extension.core.url import ConfigError, parse_url
from o2_lambda.extension.io.listener import OTLP_RAW_BYTES_MAX, _gunzip

if TYPE_CHECKING:
    from collections.abc import Callable

BODY_BYTES_MAX = 65_536
# A refusal answers one of these: clean 4xx and 5xx of RFC 9110.
REFUSALS = {400, 404, 405, 413, 415, 431, 501, 502, 505}
INSTANCE_ID = "0123456789abcdef"
TYPES = frozenset(("platform", "function", "extension"))
FIELDS = frozenset(("event_id", "trace_id", "span_id", "message", "level", "cold_start"))


def _clean(refusal: HttpError) -> None:
    assert refusal.status in REFUSALS


def _messages(data: bytes, *, response: bool) -> None:
    """The first byte says in pieces of how many bytes the rest arrives."""
    size = (data[0] or 256) if data else 1
    parser = Parser(body_bytes_max=BODY_BYTES_MAX, response=response)
    try:
        for start in range(1, len(data), size):
            for message in parser.feed(data[start : start + size]):
                assert len(message.body) <= BODY_BYTES_MAX
            assert parser.bytes_held <= max(HEAD_BYTES_MAX, BODY_BYTES_MAX + CHUNK_LINE_BYTES_MAX + 2) + size
        parser.end()
    except HttpError as refusal:
        _clean(refusal)


def http_request(data: bytes) -> None:
    """A client of the listeners: whole messages within the limits, or an HttpError."""
    _messages(data, response=False)


def http_response(data: bytes) -> None:
    """A server's answer: the same."""
    _messages(data, response=True)


def telemetry(data: bytes) -> None:
    """Payloads, NUL between them: what comes out is one JSON array in UTF-8, and half a record stays bounded."""
    splicer = Splicer(instance_id=INSTANCE_ID, static_fields='"region":"us-east-1"', types=TYPES, fields=FIELDS)
    events = []
    for connection, body in enumerate(data.split(b"\0")):
        events += splicer.feed(body, now_ms=1000, now_us=1_800_000_000_000_000, connection=connection).events
        assert splicer.half_bytes <= RECORD_BYTES_MAX
    if splicer.half_expires_ms is not None:
        events += splicer.expire_half(1_800_000_000_000_000).events
    records = json.loads(("[" + ",".join(events) + "]").encode("latin-1").decode())
    assert len(records) == len(events)
    assert all(type(record["_timestamp"]) is int for record in records)
    assert len({record["event_id"] for record in records}) == len(records)


def otlp_request(data: bytes) -> None:
    """An export request, protobuf or JSON by its first byte: counted and taken apart, or an OtlpError."""
    signal = ("traces", "metrics", "otlp_logs")[data[0] % 3] if data else "traces"
    content_type = otlp.JSON if data[:1] >= b"\x80" else otlp.PROTOBUF
    body = data[1:]
    with contextlib.suppress(otlp.OtlpError):
        count = otlp.count(signal, content_type, body)
        assert 0 <= count <= len(body)
        if content_type == otlp.PROTOBUF:
            blocks = otlp.resource_blocks(body)
            assert sum(map(len, blocks)) <= len(body)
        else:
            before, after = otlp.json_frame(signal)
            json.loads(before + otlp.json_array(signal, body) + after)


def gzip_body(data: bytes) -> None:
    """A compressed export: unpacked within the bound, or an HttpError."""
    try:
        assert len(_gunzip(data)) <= OTLP_RAW_BYTES_MAX
    except HttpError as refusal:
        _clean(refusal)


def upstream_answer(data: bytes) -> None:
    """OpenObserve's answer, or what stands in its place: always a verdict, which never claims more than was sent."""
    status = 100 + data[0] * 2 if data else 200
    retry_after, _, body = data[1:].partition(b"\n")
    for stream in (LOGS, ("traces", otlp.PROTOBUF)):
        ruling = verdict.judge(stream, 10, status, body, retry_after, 1_800_000_000)
        assert 0 <= ruling.rejected <= 10
        assert 0 <= ruling.retry_after_ms <= verdict.RETRY_AFTER_MS_MAX
        assert ruling.kind != verdict.DELIVERED or 200 <= status < 300


def lifecycle_event(data: bytes) -> None:
    """JSON of the Extensions API: nested pairs, or one of the scanner's errors."""
    with contextlib.suppress(*SCAN_ERRORS):
        loads(str(data, "utf-8"))


def settings(data: bytes) -> None:
    """A URL of the environment, a secret's text, a tracer's message: read, or refused with a reason."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        parse_url("O2_ENDPOINT", text)
    header, problem = header_of(text, "key")
    assert bool(header) != bool(problem)
    assert header.isprintable()
    with contextlib.suppress(ValueError):
        correlate.parse(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        http_request,
        http_response,
        telemetry,
        otlp_request,
        gzip_body,
        upstream_answer,
        lifecycle_event,
        settings,
    )
}

"""Trace ids on log lines: what a tracer tells comes before what Lambda's header says."""

from __future__ import annotations

import pytest

from o2_lambda.extension.core.correlate import INVOCATIONS_MAX, MESSAGE_BYTES_MAX, Spans, parse, trace_id_of
from tests.unit import events
from tests.unit.events import REQUEST_ID, Feeder

TRACE_ID, SPAN_ID = "97076d97bfad6352039cb5369c5552df", "00f067aa0ba902b7"
MESSAGE = f"{REQUEST_ID} {TRACE_ID} {SPAN_ID}".encode()
FIELDS = "trace_id span_id"
SAMPLED = {
    "type": "X-Amzn-Trace-Id",
    "value": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
}


def test_lines_of_the_invocation_carry_the_tracers_ids() -> None:
    """The message may come before or after platform.start; its ids win over the header's."""
    for first in (True, False):
        feeder = Feeder(fields=FIELDS)
        if first:
            feeder.splicer.correlate(MESSAGE)
        (start,) = feeder.feed(events.start(tracing=SAMPLED))
        if not first:
            assert start["trace_id"] == "5759e988bd862e3fe1be46a994272793"
            assert "span_id" not in start
            feeder.splicer.correlate(MESSAGE)
        line, done = feeder.feed(events.line("x"), events.done())
        for record in (line, done):
            assert (record["trace_id"], record["span_id"]) == (TRACE_ID, SPAN_ID)


def test_another_invocation_has_no_part_in_it() -> None:
    """The ids end with their request; its late report still has them."""
    feeder = Feeder(fields=FIELDS)
    feeder.splicer.correlate(MESSAGE)
    feeder.feed(events.start())
    records = feeder.feed(events.start("another"), events.line("x"), events.report())
    assert [record.get("trace_id") for record in records] == [None, None, TRACE_ID]


def test_json_lines_find_their_own_request() -> None:
    """On managed instances requests interleave: the record's own request id decides."""
    feeder = Feeder(fields=FIELDS, follow_start=False)
    feeder.splicer.correlate(MESSAGE)
    mine, other = feeder.feed(
        events.event("function", {"requestId": REQUEST_ID, "message": "x"}),
        events.event("function", {"requestId": "another", "message": "x"}),
    )
    assert mine["span_id"] == SPAN_ID
    assert "span_id" not in other


def test_fields_can_be_switched_off() -> None:
    """O2_LOG_FIELDS without trace_id and span_id."""
    feeder = Feeder()
    feeder.splicer.correlate(MESSAGE)
    (start,) = feeder.feed(events.start())
    assert not {"trace_id", "span_id"} & set(start)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"one two",
        MESSAGE + b" four",
        MESSAGE.replace(b" ", b"  "),
        MESSAGE.upper(),
        f" {TRACE_ID} {SPAN_ID}".encode(),
        f"id {TRACE_ID[1:]} {SPAN_ID}".encode(),
        f"id {TRACE_ID} {SPAN_ID}0".encode(),
        f"id {'0' * 32} {SPAN_ID}".encode(),
        f"id {TRACE_ID} {'0' * 16}".encode(),
        f"\u00e4 {TRACE_ID} {SPAN_ID}".encode(),
        b"r" * MESSAGE_BYTES_MAX + MESSAGE,
    ],
)
def test_what_is_no_such_message_is_refused(message: bytes) -> None:
    """Nothing that a stranger in the sandbox posts can end up in a record."""
    with pytest.raises(ValueError, match=r"expected|traceId"):
        parse(message)


def test_memory_is_bounded() -> None:
    """The oldest invocations are forgotten; one that tells again is kept once."""
    spans = Spans()
    for number in range(INVOCATIONS_MAX + 10):
        spans.remember(f"r{number} {TRACE_ID} {SPAN_ID}".encode())
        spans.remember(f"r{number} {TRACE_ID} {'1' * 16}".encode())
    assert len(spans._known) == INVOCATIONS_MAX
    assert spans.of("r9") is None
    assert spans.of("r10") == (TRACE_ID, "1" * 16)
    assert spans.of(None) is None


@pytest.mark.parametrize(
    "header", [None, "", "Root=1-5759e988-bd86;Sampled=1", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"]
)
def test_unsampled_headers_name_no_trace(header: str | None) -> None:
    """With active tracing off the trace of the header exists nowhere."""
    assert trace_id_of(header) is None

"""The tracer's message at the start of an invocation: small, pipelined with exports, and on the log lines after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.otlp_requests import PATHS, PROTOBUF, export_request
from tests.integration.rig import with_otlp
from tests.integration.test_otlp import END, UPSTREAM, connected, flushed
from tests.integration.wire import read_answer

if TYPE_CHECKING:
    from tests.integration.rig import Arena

TRACE_ID, SPAN_ID = "97076d97bfad6352039cb5369c5552df", "00f067aa0ba902b7"


def test_log_lines_carry_the_ids_of_the_tracer(arena: Arena) -> None:
    """What is printed after the message has its trace and span; a message that is none gets 400 and changes nothing."""
    rig = arena.rig(**END, **with_otlp())
    request_id = rig.begin()
    answer = rig.export("/v1/invocation", f"{request_id} {TRACE_ID} {SPAN_ID}".encode(), "text/plain")
    assert (answer.status, answer.body) == (200, b"")
    assert rig.export("/v1/invocation", b"nonsense", "text/plain").status == 400
    rig.log("a line")
    rig.done()
    rig.await_next()
    (record,) = [record for record in rig.sink.records if record["type"] == "function"]
    assert (record["requestId"], record["trace_id"], record["span_id"]) == (request_id, TRACE_ID, SPAN_ID)


def test_an_export_and_the_next_message_may_share_a_packet(arena: Arena) -> None:
    """Each request is read with its own Content-Type, however they arrive."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request("traces").SerializeToString()
    message = f"id {TRACE_ID} {SPAN_ID}".encode()
    with connected(rig) as client:
        client.send(
            b"".join(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
                for path, kind, content in (
                    (PATHS["traces"], PROTOBUF, body),
                    ("/v1/invocation", "text/plain", message),
                    (PATHS["traces"], PROTOBUF, body),
                    ("/v1/invocation", "text/plain", message),
                )
            )
        )
        answers = [read_answer(client.stream) for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    flushed(rig)
    assert rig.sink.exports == [(UPSTREAM["traces"], body * 2)]
    assert rig.sink.requests[0].headers["content-type"] == PROTOBUF

"""What users of the reference met: its robustness. Each test would have failed there, as `plants.py` proves."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.integration.rig import QUICK, with_otlp
from tests.integration.stub_lambda import StubLambda, refusal
from tests.integration.stub_sink import stored
from tests.integration.wire import response

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig, Settings

END: Settings = {"O2_FLUSH_STRATEGY": "end"}
LISTENING = "0A"  # of /proc/net/tcp


def span_request(name: str = "work", *, filling: int = 0) -> bytes:
    """An export request with one span."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.name, span.trace_id, span.span_id = name, b"\x01" * 16, b"\x02" * 8
    if filling:
        span.attributes.add(key="filling").value.bytes_value = os.urandom(filling)
    return request.SerializeToString()


def listening_addresses(rig: Rig) -> set[str]:
    """The IPv4 addresses, in hex of the kernel's order, that the process listens on."""
    inodes = set()
    for link in Path(f"/proc/{rig.process.pid}/fd").iterdir():
        found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        if found:
            inodes.add(found[1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == LISTENING and row[9] in inodes}


def test_it_listens_on_the_loopback_only(arena: Arena) -> None:
    """It bound 0.0.0.0:8080. Users saw: a clash with the Lambda Web Adapter, and a finding of their security scan."""
    rig = arena.rig(**with_otlp())
    assert listening_addresses(rig) == {"0100007F"}


def test_a_taken_port_is_survived(arena: Arena) -> None:
    """A taken port was a panic. Users saw: their function did not start beside another extension."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        rig = arena.rig(**END, O2_TELEMETRY_PORT=port, O2_OTLP_PORT=port)
        rig.invocation("a")
        assert rig.sink.lines() == ["a"]
        ending = rig.end()
    assert ending.status == 0
    assert len([line for line in ending.lines if "cannot be bound" in line]) == 2


def test_a_configuration_error_does_not_end_the_process(arena: Arena) -> None:
    """Any configuration error ended the process. Users saw: a typo in a variable took their function down."""
    rig = arena.rig(O2_ENDPOINT="api.example")
    rig.process.await_line("Configuration error: O2_ENDPOINT")
    rig.lambda_.invoke("r-1")
    rig.lambda_.await_next(2)
    rig.lambda_.shutdown()
    assert rig.process.await_end().status == 0


def test_an_api_error_does_not_end_the_process(arena: Arena) -> None:
    """Any API error ended the process. Users saw: a hiccup of Lambda's own API took their function down."""
    lambda_ = arena.stack.enter_context(StubLambda(arena.patience_s))
    lambda_.scripts["register"] = [refusal(500, "ServiceError")]
    lambda_.scripts["telemetry"] = [refusal(500, "ServiceError")]
    rig = arena.rig(lambda_=lambda_)
    rig.lambda_.deliver_bytes(refusal(500, "ServiceError"))
    rig.lambda_.await_next(2)
    rig.lambda_.invoke("r-1")
    rig.lambda_.await_next(3)
    rig.lambda_.shutdown()
    assert rig.process.await_end().status == 0


def test_managed_instances_register_without_invoke(arena: Arena) -> None:
    """It always registered for INVOKE. Users saw: no function on managed instances would start with it."""
    rig = arena.rig(AWS_LAMBDA_INITIALIZATION_TYPE="lambda-managed-instances")
    [request] = rig.lambda_.calls("/register")
    assert json.loads(request.body) == {"events": ["SHUTDOWN"]}
    assert rig.lambda_.subscription["schemaVersion"] == "2025-01-29"
    assert rig.end().status == 0


def test_a_refused_invoke_is_registered_without(arena: Arena) -> None:
    """The same where only the refusal tells what kind of environment it is."""
    lambda_ = arena.stack.enter_context(StubLambda(arena.patience_s))
    lambda_.scripts["register"] = [refusal(403, "Extension.InvalidEventType", "INVOKE: ErrorInvalidEventType")]
    rig = arena.rig(lambda_=lambda_)
    assert json.loads(rig.lambda_.calls("/register")[-1].body) == {"events": ["SHUTDOWN"]}


def test_a_proxy_in_the_environment_is_none_of_its_business(arena: Arena) -> None:
    """HTTP_PROXY broke `/next`. Users saw: functions with a proxy for their own calls did not start."""
    proxy = "http://127.0.0.1:9"
    names: Settings = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), proxy)
    rig = arena.rig(**END, **names)
    rig.invocation("a")
    assert rig.sink.lines() == ["a"]


def test_one_connection_serves_many_requests(arena: Arena) -> None:
    """A new client was made for every flush. Users saw: a TLS handshake in each invocation's duration."""
    rig = arena.rig(**END)
    for number in range(4):
        rig.invocation(f"line {number}")
    assert len(rig.sink.requests) == 4
    assert len({request.connection for request in rig.sink.requests}) == 1


def test_the_answer_is_read(arena: Arena) -> None:
    """The answer's body was never read. Users saw: records refused by OpenObserve were missing, and nothing told so."""
    rig = arena.rig(**END)
    rig.sink.plan = [stored(3, 1, "Too old data")]
    rig.invocation("a", "b")
    assert "refused 1 of 4 logs: Too old data" in rig.process.await_line("OpenObserve refused")
    ending = rig.end()
    assert ending.logs["rejected"] == {"Too old data": 1}


def test_pauses_have_jitter(arena: Arena) -> None:
    """All sandboxes retried at the same moments. Users saw: an OpenObserve that came up went down again at once."""
    pauses = set()
    for _ in range(4):
        rig = arena.rig(**END, O2_MAX_RETRIES="1", O2_INITIAL_RETRY_DELAY_MS="900000", O2_MAX_RETRY_DELAY_MS="900000")
        rig.sink.always = 503
        rig.invocation("a")
        pauses.add(rig.process.await_line("next attempt in").rpartition(" in ")[2])
    assert len(pauses) > 1, "four processes with the same pause to a tenth of a second, out of 450 s"


def test_refused_credentials_do_not_lose_the_logs(arena: Arena) -> None:
    """401 dropped every batch. Users saw: the logs of the time in which they replaced a token were gone."""
    rig = arena.rig(**END, **QUICK)
    rig.sink.plan = [401, 401]
    rig.invocation("a")
    rig.begin()
    rig.log("b")
    rig.sink.await_lines(1)
    rig.done()
    rig.await_next()
    ending = rig.end()
    assert rig.sink.lines() == ["a", "b"]
    assert ending.logs["delivered"] == ending.logs["received"]


def test_it_never_posts_to_itself(arena: Arena) -> None:
    """The upstream was taken from OTEL_EXPORTER_OTLP_ENDPOINT, which on the SDK's side is the extension.

    Users saw: the function hung while spans went round in circles.
    """
    settings = with_otlp()
    url = f"http://localhost:{settings['O2_OTLP_PORT']}"
    rig = arena.rig(**END, **settings, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    rig.begin()
    assert rig.export("/v1/traces", span_request()).status == 200
    rig.done()
    rig.await_next()
    assert rig.sink.exports == [("/api/default/v1/traces", span_request())]
    assert rig.end().ledger["traces"]["received"] == 1


def test_a_compressed_export_is_unpacked(arena: Arena) -> None:
    """The incoming Content-Encoding was ignored, the body compressed again.

    Users saw: no traces at all with gzip.
    """
    rig = arena.rig(**END, **with_otlp())
    rig.begin()
    answer = rig.export("/v1/traces", gzip.compress(span_request()), Content_Encoding="gzip")
    assert answer.status == 200
    rig.done()
    rig.await_next()
    assert rig.sink.exports == [("/api/default/v1/traces", span_request())]


def test_a_protobuf_client_gets_a_protobuf_answer(arena: Arena) -> None:
    """`{}` in JSON was answered to protobuf. Users saw: the SDK's decoding errors in their function's log."""
    rig = arena.rig(**with_otlp())
    answer = rig.export("/v1/traces", span_request())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.body == ExportTraceServiceResponse().SerializeToString()


def test_a_full_buffer_is_answered_so_that_the_sdk_tries_again(arena: Arena) -> None:
    """A failure was answered 500, which SDKs do not repeat. Users saw: spans lost that the SDK would have kept."""
    rig = arena.rig(**END, **with_otlp(), O2_MAX_BUFFER_SIZE_MB="1")
    rig.sink.always = 503
    for _ in range(3):
        answer = rig.export("/v1/traces", span_request(filling=400_000))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1


def test_an_answer_without_json_is_no_success(arena: Arena) -> None:
    """Any 200 was a success. Users saw: logs that went to some proxy's welcome page."""
    rig = arena.rig(**END, **QUICK)
    rig.sink.plan = [response(200, b"<html></html>")]
    rig.invocation("a")
    assert rig.end().logs["held"] == 0
    assert rig.sink.lines() == ["a"]

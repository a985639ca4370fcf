"""The OTLP receiver: raw sockets and a real SDK on one side, what arrives upstream on the other."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.otlp_requests import (
    JSON,
    LEDGER_NAMES,
    PATHS,
    PROTOBUF,
    REQUEST_TYPES,
    as_json,
    export_request,
)
from tests.integration.rig import CREDENTIALS, QUICK, with_otlp
from tests.integration.stage import assert_ended_well, ledger, printed
from tests.integration.wire import PATIENCE_S, Answer, eventually, free_port, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from tests.integration.rig import Arena, Rig, Settings
    from tests.integration.stage import Stage

END: Settings = {"O2_FLUSH_STRATEGY": "end"}
SIGNALS = tuple(PATHS)
ELSEWHERE = "http://other.example"
UPSTREAM = {signal: f"/api/default{path}" for signal, path in PATHS.items()}


class Client:
    """A keep-alive connection to the receiver, byte by byte."""

    def __init__(self, rig: Rig) -> None:
        self.sock = socket.create_connection(("127.0.0.1", rig.otlp_port), timeout=PATIENCE_S)
        self.stream: BinaryIO = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def post(self, path: str, body: bytes, content_type: str = PROTOBUF, extra: str = "") -> Answer:
        """Sends a request and reads its answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n{extra}"
        self.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return read_answer(self.stream)

    def is_closed(self) -> bool:
        """Whether the receiver has ended the connection."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def connected(rig: Rig) -> Iterator[Client]:
    """A client for a while."""
    client = Client(rig)
    try:
        yield client
    finally:
        client.stream.close()
        client.sock.close()


def flushed(rig: Rig) -> dict[str, Any]:
    """Ends the extension; returns its ledger."""
    ending = rig.end()
    assert ending.status == 0
    return ending.ledger


@pytest.mark.smoke
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_protobuf_arrives_as_it_was_sent(arena: Arena, signal: str, packed: bool) -> None:
    """Spans, data points and log records: the upstream body is the client's, byte for byte, and is counted."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request(signal, count=3).SerializeToString()
    sent_body, extra = (gzip.compress(body), "Content-Encoding: gzip\r\n") if packed else (body, "")
    with connected(rig) as client:
        answer = client.post(PATHS[signal], sent_body, extra=extra)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", PROTOBUF)
    counts = flushed(rig)[LEDGER_NAMES[signal]]
    assert rig.sink.exports == [(UPSTREAM[signal], body)]
    assert (counts["received"], counts["delivered"]) == (3, 3)
    assert rig.sink.requests[0].headers["content-type"] == PROTOBUF


@pytest.mark.parametrize("signal", SIGNALS)
def test_json_arrives_with_the_same_content(arena: Arena, signal: str) -> None:
    """JSON in, JSON up: the same request once decoded; the answer is JSON as well."""
    rig = arena.rig(**END, **with_otlp())
    body = as_json(export_request(signal, count=2))
    with connected(rig) as client:
        answer = client.post(PATHS[signal], body, "application/json; charset=utf-8")
    assert answer.status == 200
    assert answer.headers["content-type"] == JSON
    assert json.loads(answer.body) == {"partialSuccess": {}}
    assert flushed(rig)[LEDGER_NAMES[signal]]["delivered"] == 2
    [(target, upstream)] = rig.sink.exports
    assert target == UPSTREAM[signal]
    assert json.loads(upstream) == json.loads(body)


@pytest.mark.smoke
def test_exports_are_merged_upstream(arena: Arena) -> None:
    """Twenty exports of one invocation are one request per signal and encoding, with everything in order."""
    rig = arena.rig(**END, **with_otlp())
    rig.begin()
    with connected(rig) as client:
        for number in range(10):
            client.post(PATHS["traces"], export_request("traces", f"p{number}").SerializeToString())
            client.post(PATHS["traces"], as_json(export_request("traces", f"j{number}")), JSON)
    rig.done()
    rig.await_next()
    exports = [body for target, body in rig.sink.exports if target == UPSTREAM["traces"]]
    assert len(exports) <= 4, "20 exports in a few requests"
    flushed(rig)
    names = []
    for _target, body in rig.sink.exports:
        if body[:1] == b"{":
            names += [
                span["name"] for each in json.loads(body)["resourceSpans"] for span in each["scopeSpans"][0]["spans"]
            ]
        else:
            request = ExportTraceServiceRequest.FromString(body)
            names += [span.name for each in request.resource_spans for span in each.scope_spans[0].spans]
    assert [name for name in names if name[0] == "p"] == [f"p{number}" for number in range(10)]
    assert [name for name in names if name[0] == "j"] == [f"j{number}" for number in range(10)]


def test_chunked_bodies_in_any_pieces(arena: Arena) -> None:
    """Node's exporter sends chunks; a chunk may come in pieces, extensions and trailers are allowed."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request("traces").SerializeToString()
    head = b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%s\r\n%x;a=b\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])
    with connected(rig) as client:
        client.send(head)
        for byte in chunks:
            client.send(bytes((byte,)))
        assert read_answer(client.stream).status == 200
        client.send(head + chunks)
        assert read_answer(client.stream).status == 200
    flushed(rig)
    assert b"".join(upstream for _target, upstream in rig.sink.exports) == body * 2


def test_one_connection_takes_many_requests(arena: Arena) -> None:
    """Keep-alive, and requests sent without waiting for answers; HTTP/1.0 and `close` end the connection."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request("metrics").SerializeToString()
    head = f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n"
    with connected(rig) as client:
        client.send((head.encode() + b"\r\n" + body) * 3)
        assert [read_answer(client.stream).status for _ in range(3)] == [200] * 3
        client.send(head.encode() + b"Connection: close\r\n\r\n" + body)
        assert read_answer(client.stream).headers["connection"] == "close"
        assert client.is_closed()
    with connected(rig) as client:
        client.send(head.replace("HTTP/1.1", "HTTP/1.0").encode() + b"\r\n" + body)
        assert read_answer(client.stream).status == 200
        assert client.is_closed()
    assert flushed(rig)["metrics"]["delivered"] == 5


def test_expect_100_continue_is_answered(arena: Arena) -> None:
    """.NET and curl wait for leave to send the body."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request("traces").SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n"
    with connected(rig) as client:
        client.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert client.stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert client.stream.readline() == b"\r\n"
        client.send(body)
        assert read_answer(client.stream).status == 200
    assert flushed(rig)["traces"]["delivered"] == 1


def test_an_empty_export_is_a_success(arena: Arena) -> None:
    """A request without items is answered 200 and causes no request upstream."""
    rig = arena.rig(**END, **with_otlp())
    with connected(rig) as client:
        assert client.post("/v1/traces", b"").status == 200
        assert client.post("/v1/logs", b"{}", JSON).status == 200
        assert client.post("/v1/logs", b'{"resourceLogs":[]}', JSON).status == 200
    flushed(rig)
    assert rig.sink.exports == []


# What is sent, its Content-Encoding, the status. As names, because a gzip stream tells the time it was made.
REFUSED = {
    "broken protobuf": (b"\x0a\xff\xff\xff", "", 400),
    "broken JSON": (b"{", "", 400),
    "no gzip": (b"plain", "gzip", 400),
    "cut gzip": (gzip.compress(b"x" * 100)[:-9], "gzip", 400),
    "gzip bomb": (gzip.compress(bytes(17 << 20)), "gzip", 413),
    "zstd": (b"x", "zstd", 415),
}


def assert_status_body(answer: Answer, content_type: str) -> None:
    """The body is a google.rpc.Status with a message, in the encoding of the request."""
    assert answer.headers["content-type"] == content_type
    if content_type == JSON:
        message = json.loads(answer.body)["message"]
    else:  # field 2 of google.rpc.Status, as `body` of a google.protobuf message with the same number
        index = answer.body.index(b"\x12")
        assert answer.body[index + 1] == len(answer.body) - index - 2
        message = answer.body[index + 2 :].decode()
    assert message


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_the_clients_encoding(arena: Arena, content_type: str, name: str) -> None:
    """400, 413 and 415 say why; the client must not send the same again, and the receiver serves others on."""
    body, encoding, status = REFUSED[name]
    extra = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    rig = arena.rig(**END, **with_otlp())
    with connected(rig) as client:
        answer = client.post("/v1/traces", body, content_type, extra)
        assert answer.status == status
        assert_status_body(answer, content_type)
    assert rig.export("/v1/traces", export_request("traces").SerializeToString()).status == 200
    assert flushed(rig)["traces"]["received"] == 1


def test_wrong_paths_and_methods_and_types_are_told(arena: Arena) -> None:
    """404 names the paths, 405 has Allow, 415 names the types."""
    rig = arena.rig(**END, **with_otlp())
    with connected(rig) as client:
        answer = client.post("/v1/profiles", b"x")
        assert answer.status == 404
        assert b"/v1/traces" in answer.body
    with connected(rig) as client:
        client.send(b"GET /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_answer(client.stream)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    with connected(rig) as client:
        answer = client.post("/v1/traces", b"x", "text/plain")
        assert answer.status == 415
        assert PROTOBUF.encode() in answer.body
    with connected(rig) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, by mistake\r\n\r\n")
        assert read_answer(client.stream).status == 400


def test_a_target_may_be_an_absolute_url(arena: Arena) -> None:
    """HTTP asks every server to take one, though only clients of proxies send it."""
    rig = arena.rig(**END, **with_otlp())
    body = export_request("traces").SerializeToString()
    for target in (f"http://localhost:{rig.otlp_port}/v1/traces", "HTTP://localhost/v1/traces?x=y"):
        assert rig.export(target, body).status == 200
    assert rig.export("http://localhost/v1/profiles", body).status == 404
    assert flushed(rig)["traces"]["delivered"] == 2


def test_a_body_over_the_limit_is_refused(arena: Arena) -> None:
    """413 arrives although the client is still sending, as a status in its own encoding."""
    rig = arena.rig(**END, **with_otlp())
    answer = rig.export("/v1/traces", bytes(5 << 20))
    assert answer.status == 413
    assert_status_body(answer, PROTOBUF)
    assert rig.export("/v1/traces", export_request("traces").SerializeToString()).status == 200


def test_a_full_buffer_asks_to_come_back(arena: Arena) -> None:
    """503 with Retry-After, in the client's encoding; once there is room the same request is taken."""
    rig = arena.rig(**END, **QUICK, **with_otlp(), O2_MAX_BUFFER_SIZE_MB="1", O2_MAX_RETRIES="1")
    rig.sink.always = 503
    rig.begin()
    rig.log("kept")
    for _ in range(2):
        assert rig.export("/v1/traces", big_request(os.urandom(400_000)).SerializeToString()).status == 200
    request = big_request(os.urandom(400_000))
    bodies = ((request.SerializeToString(), PROTOBUF), (as_json(request), JSON))
    for body, content_type in bodies:
        with connected(rig) as client:
            answer = client.post("/v1/traces", body, content_type)
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert_status_body(answer, content_type)
    rig.sink.always = None
    for body, content_type in bodies:
        eventually(partial(is_taken, rig, body, content_type), "room in the buffer")
    rig.done()
    rig.await_next()
    accounts = flushed(rig)
    assert accounts["logs"]["dropped"] == accounts["traces"]["dropped"] == {}


def big_request(content: bytes) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="x").attributes.add(
        key="k"
    ).value.bytes_value = content
    return request


def is_taken(rig: Rig, body: bytes, content_type: str) -> bool:
    return rig.export("/v1/traces", body, content_type).status == 200


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_a_request_larger_than_the_buffer_is_taken_where_it_shrinks(arena: Arena, content_type: str) -> None:
    """To ask its client to come back would be of no use, however often it did."""
    rig = arena.rig(**END, **with_otlp(), O2_MAX_BUFFER_SIZE_MB="1")
    request = big_request(bytes(2 << 20))
    body = request.SerializeToString() if content_type == PROTOBUF else as_json(request)
    rig.begin()
    assert is_taken(rig, body, content_type)
    rig.done()
    rig.await_next()
    assert flushed(rig)["traces"]["delivered"] == 1


def test_a_taken_port_costs_otlp_and_nothing_else(stage: Stage) -> None:
    """Another collector has the port: one WARN line, logs arrive, the function is unharmed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with stage.function(settings={"O2_OTLP_PORT": port}) as function:
            assert function.invoke().outcome == "success"
            function.shutdown()
            assert_ended_well(function)
            lines = [line for line in printed(function) if f"port {port}" in line]
    assert len(lines) == 1
    assert " WARN OTLP receiver is off: " in lines[0]
    assert stage.stored("function")


def test_localhost_reaches_it_over_both_families(arena: Arena) -> None:
    """`localhost` may be ::1 first: the receiver listens there too, where there is IPv6."""
    rig = arena.rig(**END, **with_otlp())
    try:
        client = socket.create_connection(("::1", rig.otlp_port), timeout=PATIENCE_S)
    except OSError as error:
        if error.errno in (97, 99):
            pytest.skip("this machine has no IPv6 loopback")
        raise
    body = export_request("traces").SerializeToString()
    with client, client.makefile("rb") as stream:
        head = f"POST /v1/traces HTTP/1.1\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert read_answer(stream).status == 200


SDK_CODE = """\
import os, time
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry._logs import SeverityNumber

base = "http://localhost:" + os.environ["O2_OTLP_PORT"]
resource = Resource.create({"service.name": "shop"})
tracers = TracerProvider(resource=resource)
tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(base + "/v1/traces", compression=Compression.Gzip)))
reader = PeriodicExportingMetricReader(OTLPMetricExporter(base + "/v1/metrics"), 3_600_000)
meters = MeterProvider(resource=resource, metric_readers=[reader])
loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(base + "/v1/logs")))
tracer, counter = tracers.get_tracer("t"), meters.get_meter("m").create_counter("orders")
logger = loggers.get_logger("l")


def handler(event, context):
    with tracer.start_as_current_span("handler") as span:
        span.set_attribute("order", event["name"])
        with tracer.start_as_current_span("inner"):
            counter.add(2)
        logger.emit(body="an order: " + event["name"], severity_number=SeverityNumber.WARN, severity_text="WARN")
        ids = format(span.get_span_context().trace_id, "032x"), format(span.get_span_context().span_id, "016x")
    meters.force_flush()
    return ids
"""


@pytest.mark.smoke
@pytest.mark.xdist_group("serial")
def test_a_real_sdk_in_a_real_function(stage: Stage) -> None:
    """OpenTelemetry's own SDK, all three signals: at the freeze everything is at the backend, with the ids it made."""
    stage.code = SDK_CODE
    settings = {**END, **with_otlp(), "O2_STREAM": "app"}
    with stage.function(settings=settings, timeout_ms=20_000) as function:
        ids: dict[str, Any] = {}
        for name in ("first", "second"):
            result = function.invoke(json.dumps({"name": name}).encode())
            assert result.outcome == "success", function.output
            ids[name] = result.json()
            assert len(stage.backend.rows("traces", "default")) == 2 * len(ids), "sent before the freeze"
        function.shutdown()
        assert_ended_well(function)
        accounts = ledger(function)
    spans = stage.backend.rows("traces", "default")
    for name, (trace_id, span_id) in ids.items():
        mine = {row["operation_name"]: row for row in spans if row["trace_id"] == trace_id}
        assert mine["handler"]["span_id"] == span_id
        assert mine["handler"]["order"] == name
        assert mine["handler"]["service_name"] == "shop"
        assert set(mine) == {"handler", "inner"}
    [*_, last] = stage.backend.rows("metrics", "orders")
    assert last["value"] == 4
    records = [row for row in stage.backend.rows("logs", "app") if row.get("severity") == "WARN"]
    assert [row["body"] for row in records] == ["an order: first", "an order: second"]
    for signal in LEDGER_NAMES.values():
        assert accounts[signal]["received"] == accounts[signal]["delivered"] > 0


def test_signals_go_where_the_sdks_settings_say(arena: Arena) -> None:
    """OTEL_EXPORTER_OTLP_ENDPOINT names another server: exports go there with its headers, logs stay here."""
    other = arena.sink()
    rig = arena.rig(
        **END,
        **with_otlp(),
        **arena.elsewhere(other),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{ELSEWHERE}/base",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=k-1,organization=theirs",
    )
    rig.begin()
    rig.log("a line")
    for signal in SIGNALS:
        rig.export(PATHS[signal], export_request(signal).SerializeToString())
    rig.done()
    rig.await_next()
    flushed(rig)
    assert sorted(target for target, _body in other.exports) == ["/base/v1/logs", "/base/v1/metrics", "/base/v1/traces"]
    assert {request.headers["api-key"] for request in other.requests} == {"k-1"}
    assert not [request for request in other.requests if "organization" in request.headers]
    assert rig.sink.lines() == ["a line"]
    assert rig.sink.exports == []


def test_one_signal_goes_elsewhere(arena: Arena) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is the whole URL of one signal; the others stay."""
    other = arena.sink()
    url = f"{ELSEWHERE}/v1/traces"
    rig = arena.rig(**END, **with_otlp(), **arena.elsewhere(other), OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=url)
    for signal in SIGNALS:
        rig.export(PATHS[signal], export_request(signal).SerializeToString())
    flushed(rig)
    assert [target for target, _body in other.exports] == ["/v1/traces"]
    assert sorted(target for target, _body in rig.sink.exports) == [UPSTREAM["logs"], UPSTREAM["metrics"]]


def test_credentials_never_reach_another_server(arena: Arena) -> None:
    """O2_AUTHORIZATION_HEADER goes to O2_ENDPOINT's origin alone."""
    other = arena.sink()
    rig = arena.rig(**END, **with_otlp(), **arena.elsewhere(other), OTEL_EXPORTER_OTLP_ENDPOINT=ELSEWHERE)
    rig.begin()
    rig.log("a line")
    for signal in SIGNALS:
        rig.export(PATHS[signal], export_request(signal).SerializeToString())
    rig.done()
    rig.await_next()
    flushed(rig)
    assert len(other.requests) >= 3
    assert {request.headers["authorization"] for request in rig.sink.requests} == {CREDENTIALS}
    for request in other.requests:
        assert "authorization" not in request.headers
        assert CREDENTIALS.partition(" ")[2].encode() not in request.head + request.body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "sandbox.localdomain", "sandbox", "[::1]"])
def test_a_local_endpoint_is_the_extension_itself(arena: Arena, host: str) -> None:
    """What the SDK calls its endpoint is us: upstream is OpenObserve, and nothing goes round in circles."""
    settings = with_otlp()
    port = settings["O2_OTLP_PORT"]
    rig = arena.rig(
        **END,
        **settings,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{host}:{port}",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://{host}:{port}/v1/traces",
    )
    rig.export("/v1/traces", export_request("traces").SerializeToString())
    assert flushed(rig)["traces"]["received"] == 1
    assert [target for target, _body in rig.sink.exports] == [UPSTREAM["traces"]]


def test_an_endpoint_that_is_the_receiver_is_refused(arena: Arena) -> None:
    """O2_ENDPOINT set to our own receiver is a mistake that one line tells."""
    settings = with_otlp()
    rig = arena.rig(**settings, O2_ENDPOINT=f"http://localhost:{settings['O2_OTLP_PORT']}")
    assert "O2_ENDPOINT is the extension's own OTLP receiver" in rig.process.await_line("Configuration error")


def test_the_endpoint_of_openobserve_itself(arena: Arena) -> None:
    """Users of the reference set the SDK's endpoint to OpenObserve's URL: the credentials go with it, once."""
    sink = arena.sink()
    rig = arena.rig(
        sink=sink,
        **END,
        **with_otlp(),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{sink.url}/api/default",
        OTEL_EXPORTER_OTLP_HEADERS=f"Authorization={CREDENTIALS.replace(' ', '%20')}",
    )
    rig.export("/v1/traces", export_request("traces").SerializeToString())
    flushed(rig)
    [request] = [request for request in sink.requests if "/v1/" in request.target]
    assert request.target == UPSTREAM["traces"]
    assert request.headers["authorization"] == CREDENTIALS
    assert request.head.lower().count(b"authorization:") == 1


def test_stream_names_go_along(arena: Arena) -> None:
    """O2_TRACES_STREAM for spans, O2_STREAM for log records, nothing for metrics."""
    rig = arena.rig(**END, **with_otlp(), O2_STREAM="app", O2_TRACES_STREAM="app_traces")
    for signal in SIGNALS:
        rig.export(PATHS[signal], export_request(signal).SerializeToString())
    flushed(rig)
    names = {
        request.target: request.headers.get("stream-name") for request in rig.sink.requests if "/v1/" in request.target
    }
    assert names == {UPSTREAM["traces"]: "app_traces", UPSTREAM["logs"]: "app", UPSTREAM["metrics"]: None}


def test_partial_success_upstream_is_counted(stage: Stage) -> None:
    """OpenObserve takes the request and refuses two of its spans: they are rejected, under its reason."""
    stage.backend.faults.reject_next(1, 2, "planned refusal", path="/v1/traces")
    settings = {**END, **with_otlp()}
    stage.code = "def handler(event, context):\n    pass\n"
    with stage.function(settings=settings) as function:
        body = export_request("traces", count=5).SerializeToString()
        with socket.create_connection(("127.0.0.1", int(settings["O2_OTLP_PORT"])), timeout=PATIENCE_S) as client:
            head = f"POST /v1/traces HTTP/1.1\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)  # frozen: it is read at the thaw
            function.invoke()
            with client.makefile("rb") as stream:
                assert read_answer(stream).status == 200
        function.shutdown()
        assert_ended_well(function)
        account = ledger(function)["traces"]
    assert account["rejected"] == {"planned refusal": 2}
    assert account["delivered"] == 3 == len(stage.backend.rows("traces", "default"))


def test_one_clients_bad_payload_does_not_cost_the_others(arena: Arena) -> None:
    """Upstream answers 400 to the merged request: it is taken apart, and only what is bad is dropped."""

    def refuse_bad(request: Any, client: socket.socket) -> None:
        if b"bad" in gzip.decompress(request.body):
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        else:
            rig.sink.store(request, client)

    rig = arena.rig(**END, **QUICK, **with_otlp())
    rig.sink.always = refuse_bad
    rig.begin()
    for name in ("a", "b", "bad", "c"):
        rig.export("/v1/traces", export_request("traces", name).SerializeToString())
    rig.done()
    rig.await_next()
    account = flushed(rig)["traces"]
    assert (account["received"], account["delivered"], account["dropped"]) == (4, 3, {"status_400": 1})


def test_a_client_that_stalls_harms_nobody(arena: Arena) -> None:
    """Half a request and silence: invocations are not held for it, other clients are served."""
    rig = arena.rig(**END, **with_otlp())
    with connected(rig) as stalled:
        stalled.send(
            b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n\r\nhalf"
        )
        began_s = time.monotonic()
        rig.invocation("a")
        assert time.monotonic() - began_s < 2
        assert rig.export("/v1/traces", export_request("traces").SerializeToString()).status == 200
        rig.invocation("b")
        assert flushed(rig)["traces"]["delivered"] == 1


def test_many_connections_at_once(arena: Arena) -> None:
    """A hundred clients that stay connected: the newest is served, Lambda's own connection never suffers."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    clients = [socket.create_connection(("127.0.0.1", rig.otlp_port), timeout=PATIENCE_S) for _ in range(100)]
    try:
        assert rig.export("/v1/traces", export_request("traces").SerializeToString()).status == 200
        rig.invocation("after")
        assert rig.sink.lines() == ["before", "after"]
    finally:
        for client in clients:
            client.close()
    assert rig.end().status == 0


def test_no_receiver_where_none_is_wanted(arena: Arena) -> None:
    """O2_OTLP_PORT=0: nothing listens, nothing is said."""
    port = free_port()
    rig = arena.rig(O2_OTLP_PORT="0")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    rig.invocation("a")
    assert not [line for line in rig.end().lines if "OTLP" in line]


def test_decoded_content_survives_the_json_way(arena: Arena) -> None:
    """What the official classes read from the upstream JSON equals what was sent."""
    rig = arena.rig(**END, **with_otlp())
    request = export_request("metrics", count=3)
    rig.export("/v1/metrics", as_json(request), JSON)
    flushed(rig)
    [(_target, body)] = rig.sink.exports
    assert json_format.ParseDict(json.loads(body), REQUEST_TYPES["metrics"]()) == request

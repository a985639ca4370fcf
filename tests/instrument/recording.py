"""Runs one function twice, traced by us and by OpenTelemetry's own instrumentation, and keeps the spans of both."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from o2_lambda.emulator import LambdaConfig
from tests.instrument.conftest import CLIENTS, FUNCTIONS, PYTHON, WRAPPER
from tests.instrument.nodes import read_body
from tests.instrument.running import Function
from tests.instrument.test_protobuf import decode_attributes

if TYPE_CHECKING:
    from collections.abc import Callable

OFFICIAL, OURS = "official", "ours"
PATIENCE_S = 30
ENVIRONMENT = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",  # the conventions that ours follow
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class Recorded(NamedTuple):
    """A span as the receiver got it."""

    name: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    events: list[dict[str, Any]]
    parent: str  # the name of the parent span, "" for none
    links: int
    scope: str
    resource: dict[str, Any]
    start_ns: int


class Sink:
    """An OTLP receiver that keeps what it gets, decoded by OpenTelemetry's own package."""

    def __init__(self) -> None:
        self._spans: list[tuple[Any, str, dict[str, Any]]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = read_body(self)
                exported = body if self.path == "/v1/traces" else b""
                for group in ExportTraceServiceRequest.FromString(exported).resource_spans:
                    resource = decode_attributes(group.resource.attributes)
                    sink._spans += [
                        (span, part.scope.name, resource) for part in group.scope_spans for span in part.spans
                    ]
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_arguments: None  # type: ignore[method-assign] # a client that went away
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request_id: str) -> list[Recorded]:
        """All spans that have come, by start, as soon as that invocation's is among them."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(_invocation(span) == request_id for span, *_rest in self._spans):
            assert time.monotonic() < deadline, f"no span of {request_id}"
            time.sleep(0.01)
        spans, self._spans = self._spans, []
        names = {span.span_id: span.name for span, *_rest in spans}
        return sorted((_recorded(names, *span) for span in spans), key=lambda span: span.start_ns)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _invocation(span: Any) -> Any:
    attributes = decode_attributes(span.attributes)
    return attributes.get("faas.invocation_id", attributes.get("faas.execution"))  # the older name


def _recorded(names: dict[bytes, str], span: Any, scope: str, resource: dict[str, Any]) -> Recorded:
    return Recorded(
        span.name,
        KINDS[span.kind],
        span.status.code == span.status.STATUS_CODE_ERROR,
        decode_attributes(span.attributes),
        [{"name": event.name, **decode_attributes(event.attributes)} for event in span.events],
        names.get(span.parent_span_id, "elsewhere") if span.parent_span_id else "",
        len(span.links),
        scope,
        resource,
        span.start_time_unix_nano,
    )


def python(by: str, url: str) -> Function:
    """The function of `stores` in Python, whose spans go to `url`."""
    environment = {
        "PYTHONPATH": str(CLIENTS),
        **ENVIRONMENT,
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        **({"AWS_LAMBDA_EXEC_WRAPPER": str(WRAPPER)} if by == OURS else {"ORIG_HANDLER": "stores.handler"}),
    }
    config = LambdaConfig(
        [PYTHON, "-m", "awslambdaric"],
        handler="stores.handler" if by == OURS else "official.handler",
        task_root=FUNCTIONS,
        environment=environment,
        function_name="shop",
        timeout_ms=60_000,
        memory_mb=512,
    )
    return Function(config)


def record(
    by: str, events: dict[str, Any], start: Callable[[str, str], Function] = python
) -> dict[str, list[Recorded]]:
    """Scene -> its spans, all in one process of the function, one invocation after the other."""
    sink = Sink()
    found = {}
    try:
        with start(by, sink.url) as function:
            for scene, event in events.items():
                result = function.running.invoke(json.dumps(event).encode())
                assert result.error_type is None, (by, scene, result.payload, function.lines())
                found[scene] = sink.take(result.request_id)
    finally:
        sink.close()
    return found

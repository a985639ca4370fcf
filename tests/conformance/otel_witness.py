"""An OTLP server that keeps what it is sent, request by request: the witness of what an SDK really sends.

It passes for an OpenObserve server as well, so that the extension delivers to it in its usual way.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from types import TracebackType

    from google.protobuf.message import Message

REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
LEVELS = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}


@dataclass(frozen=True)
class Sent:
    """One request as it came in; the body's transfer and content encodings are undone."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def signal(self) -> str:
        return self.path.rpartition("/")[2]

    def document(self) -> dict[str, Any]:
        """The export request as JSON: as it was sent, or translated from protobuf."""
        if self.headers["content-type"] == "application/json":
            document: dict[str, Any] = json.loads(self.body)
            return document
        message = REQUESTS[self.signal]()
        message.ParseFromString(self.body)
        return MessageToDict(message)

    def items(self) -> Counter[str]:
        """Every span, metric or log record with all that belongs to it: its resource, its scope, their schema URLs."""
        resources, scopes, items = LEVELS[self.signal]
        found: Counter[str] = Counter()
        for resource in self.document()[resources]:
            for scope in resource[scopes]:
                around = [_without(resource, scopes), _without(scope, items)]
                found.update(json.dumps([*around, item], sort_keys=True) for item in scope[items])
        return found


def _without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


class Witness:
    """The server; `url("direct")` and `url("relayed")` are bases that tell apart who sent what."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, base: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{base}"

    def sent(self, base: str) -> list[Sent]:
        """The requests that came to one base."""
        return [request for request in self.requests if request.path.startswith(f"/{base}/")]

    def items(self, base: str) -> Counter[str]:
        """All items that came to one base."""
        return sum((request.items() for request in self.sent(base)), Counter())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                chunked = "transfer-encoding" in headers
                body = self._chunked() if chunked else self.rfile.read(int(headers["content-length"]))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = b"{}" if headers["content-type"] == "application/json" else b""
                if self.path.endswith("/_json"):  # the extension's own logs, which are not what is witnessed
                    status = {"name": "default", "successful": len(json.loads(body)), "failed": 0}
                    answer = json.dumps({"code": 200, "status": [status]}).encode()
                else:
                    requests.append(Sent(self.path, headers, body))
                self.send_response(200)
                self.send_header("Content-Type", headers["content-type"])
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def _chunked(self) -> bytes:
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler

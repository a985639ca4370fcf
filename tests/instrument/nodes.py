"""Node.js functions without an extension: runtime client, wrapper, and a receiver that decodes what it gets."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from o2_lambda.emulator import LambdaConfig
from o2_lambda.emulator.config import ON_DEMAND
from tests.instrument.running import Function
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

TESTS = Path(__file__).parents[1]
MODULES = Path(__file__).parent / "node" / "node_modules"
CLIENT = TESTS / "conformance" / "node" / "node_modules" / "aws-lambda-ric"
OLDER_CLIENT = MODULES / "aws-lambda-ric-3"
ADDON = "rapid-client.node"
# Lambda's own runtimes start the older client so; its command takes the handler as an argument.
OLDER_START = """
import { run } from './dist/index.mjs';
await run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
"""


def unavailable() -> str:
    """Why Node.js functions cannot run here; "" where they can."""
    if shutil.which("node") is None:
        return "Node.js is not installed"
    missing = [str(path.name) for path in (CLIENT / ADDON, MODULES / ".complete") if not path.exists()]
    return f"{', '.join(missing)} missing: run `make node`" if missing else ""


@cache
def interpreters() -> dict[str, str]:
    """Major version -> node: the one on PATH, and those that the tests' packages bring."""
    found = {}
    brought = [str(path) for path in MODULES.glob("node[0-9]*/bin/node")]
    for candidate in filter(None, [*brought, shutil.which("node")]):
        try:
            done = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False, timeout=30)
        except OSError:
            continue  # for another architecture
        match = re.match(r"v(\d+)\.", done.stdout)
        if match is not None:
            found[match[1]] = candidate
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


class Span:
    """A span as it was received."""

    def __init__(self, message: Any, scope: Any, resource: dict[str, Any]) -> None:
        self.name = message.name
        self.kind = message.kind
        self.trace_id = message.trace_id.hex()
        self.span_id = message.span_id.hex()
        self.parent_id = message.parent_span_id.hex()
        self.attributes = decode_pairs(message.attributes)
        self.status = (message.status.code, message.status.message)
        self.events = [(event.name, decode_pairs(event.attributes)) for event in message.events]
        self.links = [(link.trace_id.hex(), decode_pairs(link.attributes)) for link in message.links]
        self.scope = scope.name
        self.scope_version = scope.version
        self.resource = resource
        self.message = message


def decode(value: AnyValue) -> Any:
    """An AnyValue as Python's own type."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [decode(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return decode_pairs(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


def decode_pairs(pairs: Any) -> dict[str, Any]:
    """KeyValue messages as a dictionary."""
    return {pair.key: decode(pair.value) for pair in pairs}


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """The body of a request that may be chunked, as OpenTelemetry's exporters for Node.js send."""
    if request.headers.get("transfer-encoding") != "chunked":
        return request.rfile.read(int(request.headers["content-length"]))
    body = b""
    while size := int(request.rfile.readline(), 16):
        body += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return body


class Receiver:
    """Takes OTLP in, and keeps every other request that is sent to it; answers 200."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._spans: list[Span] = []
        self.messages: list[tuple[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self.path, read_body(self))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Nothing on stderr."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_arguments: object) -> None:
                """A function that has been stopped resets its connection."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, path: str, body: bytes) -> None:
        with self._arrived:
            if path == "/v1/traces":
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    resource = decode_pairs(group.resource.attributes)
                    for scope in group.scope_spans:
                        self._spans += [Span(item, scope.scope, resource) for item in scope.spans]
            else:
                self.messages.append((path, body.decode()))
            self._arrived.notify_all()

    def spans(self, count: int) -> list[Span]:
        """The spans by start, once there are so many."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._spans) >= count, timeout=10)
            return sorted(self._spans, key=lambda span: span.message.start_time_unix_nano)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()


class NodeFunction(Function):
    """One function; `files` are its sources, `wrapper` None runs it without tracing."""

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, str],
        *,
        wrapper: Path | None,
        handler: str = "index.handler",
        port: int = 0,
        node: str = "",
        older: bool = False,
        initialization: str = ON_DEMAND,
        **environment: str,
    ) -> None:
        task = folder / "task"
        if not task.exists():
            task.mkdir()
            (task / "node_modules").symlink_to(MODULES)
        for name, source in files.items():
            (task / name).parent.mkdir(parents=True, exist_ok=True)
            (task / name).write_text(source)
        variables = {"O2_OTLP_PORT": str(port or free_port()), **environment}
        if wrapper is not None:
            variables["AWS_LAMBDA_EXEC_WRAPPER"] = str(wrapper)
        node = node or str(shutil.which("node"))
        version = Path(node).parent.parent.name.removeprefix("node") if "node_modules" in node else "20"
        config = LambdaConfig(
            [node, _older_client(folder) if older else CLIENT / "index.mjs"],
            handler=handler,
            task_root=task,
            environment=variables,
            function_name="shop",
            timeout_ms=30_000,
            memory_mb=512,
            execution_env=f"AWS_Lambda_nodejs{version}.x",
            pass_handler=False,
            initialization_type=initialization,
        )
        super().__init__(config)


def _older_client(folder: Path) -> Path:
    """The older client with the newer one's native part, which serves both."""
    client = folder / "client"
    if not client.exists():
        shutil.copytree(OLDER_CLIENT / "dist", client / "dist")
        shutil.copy(CLIENT / ADDON, client / "dist")
        (client / "start.mjs").write_text(OLDER_START)
    return client / "start.mjs"

"""Fixtures: functions under the emulator with wrapper, extension and backend, and a server for them to call."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import o2_lambda
from o2_lambda.backend import BackendServer
from o2_lambda.emulator import LambdaConfig
from o2_lambda.layer.source import write_extension
from tests.instrument import running, servers
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = Path(__file__).parent / "functions"
CLIENTS = Path(__file__).resolve().parents[2] / ".cache" / "clients"  # by `make clients`
WRAPPER = Path(o2_lambda.__file__).parent / "instrument" / "otel-instrument"

# Another interpreter for the functions: one with awslambdaric, requests, aiohttp, httpx, boto3, an OpenTelemetry SDK.
PYTHON = os.environ.get("O2_TEST_PYTHON", sys.executable)

Row = dict[str, Any]


class Target:
    """A server that functions call: answers 200 `{}`, or 404 below /missing, and keeps headers and bodies.

    A form, which is how SNS is called, gets XML.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.headers: dict[str, str] = {}  # of answers, beside those that are needed
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                target.requests.append((self.path, headers, body))
                missing = self.path.startswith("/missing")
                answer = b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist"}' if missing else b"{}"
                if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
                    answer = (
                        b"<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>"
                    )
                self.send_response(404 if missing else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                for name, value in target.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET  # noqa: N815 - the library's name

            def log_message(self, *_arguments: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_arguments: None  # type: ignore[method-assign] # a client that went away
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def target() -> Iterator[Target]:
    server = Target()
    yield server
    server.close()


@pytest.fixture
def backend() -> Iterator[BackendServer]:
    with BackendServer() as server:
        yield server


class Function(running.Function):
    """One function; `traced` is whether the wrapper starts it, `source` replaces the module of its handler."""

    def __init__(
        self, folder: Path, backend: BackendServer, handler: str, *, traced: bool, source: str, **environment: str
    ) -> None:
        task = folder / "task"
        shutil.copytree(FUNCTIONS, task, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        if source:
            (task / handler.partition(".")[0]).with_suffix(".py").write_text(source)
        variables = {
            "O2_ENDPOINT": backend.url,
            "O2_ORGANIZATION_ID": "default",
            "O2_AUTHORIZATION_HEADER": backend.authorization_header,
            "O2_OTLP_PORT": str(free_port()),
            **({"AWS_LAMBDA_EXEC_WRAPPER": str(WRAPPER)} if traced else {}),
            **environment,
        }
        config = LambdaConfig(
            [PYTHON, "-m", "awslambdaric"],
            handler=handler,
            task_root=task,
            extensions=[write_extension(folder)],
            environment=variables,
            function_name="shop",
            timeout_ms=30_000,
            memory_mb=512,
        )
        super().__init__(config)


@pytest.fixture
def start(tmp_path: Path, backend: BackendServer) -> Any:
    """Builds functions; use them in a with statement."""

    def start(handler: str = "shop.handler", *, traced: bool = True, source: str = "", **environment: str) -> Function:
        return Function(tmp_path, backend, handler, traced=traced, source=source, **environment)

    return start


@pytest.fixture
def spans(backend: BackendServer) -> Any:
    """The spans at the backend, by start."""

    def spans() -> list[Row]:
        return sorted(backend.rows("traces", "default"), key=lambda row: row["start_time"])

    return spans


@pytest.fixture(scope="session")
def stores() -> Iterator[Any]:
    """Starts a database's server, by the name of its client for Node.js, at its first use; the event with its port."""
    ports: dict[str, int] = {}
    starts = {
        "pg": ("postgresql", servers.postgresql_server),
        "mysql2": ("mysql", servers.mysql_server),
        "ioredis": ("redis", servers.redis_server),
        "redis": ("redis", servers.redis_server),
        "mongodb": ("mongodb", _mongodb),
    }
    with ExitStack() as stack:

        def event(client: str) -> dict[str, int]:
            name, start = starts[client]
            if name not in ports:
                ports[name] = stack.enter_context(start())
            return {name: ports[name]}

        yield event


def _mongodb() -> Any:
    if not CLIENTS.exists():
        pytest.skip("no clients here: run `make clients`")
    return servers.mongodb_server(PYTHON, FUNCTIONS / "mongodb.py", {**os.environ, "PYTHONPATH": str(CLIENTS)})

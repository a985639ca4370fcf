"""An OpenObserve reduced to what the extension talks to, which keeps every byte and answers as the test says."""

from __future__ import annotations

import gzip
import json
import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.integration.wire import PATIENCE_S, Request, Server, response

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    Plan: TypeAlias = Callable[[Request, socket.socket], None] | int | bytes


def decoded(request: Request) -> bytes:
    """A request's body, unpacked once."""
    return gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body


def stored(successful: int, failed: int = 0, error: str = "") -> bytes:
    """OpenObserve's answer to `_json`."""
    status = {"name": "default", "successful": successful, "failed": failed}
    if error:
        status["error"] = error
    return response(200, json.dumps({"code": 200, "status": [status]}).encode(), Content_Type="application/json")


class StubSink(Server):
    """Stores what is posted. `plan` says what to do with the next requests: a status, an answer, a function."""

    def __init__(self, patience_s: float = PATIENCE_S, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []  # ingestion only
        self.probes: list[Request] = []  # everything else
        self.records: list[dict[str, Any]] = []  # of `_json`, stored
        self.texts: list[bytes] = []  # the arrays they came in
        self.exports: list[tuple[str, bytes]] = []  # OTLP: (target, body unpacked)
        self.plan: list[Any] = []  # of Plan; Any because lists are invariant
        self.always: Plan | None = None  # once the plan is used up
        self.latency_s = 0.0
        self.body_bytes_max = 200 << 20
        self.open = threading.Event()  # cleared: a black hole
        self.open.set()
        super().__init__(patience_s, tls)

    def __exit__(self, *_exception: object) -> None:
        self.open.set()
        super().__exit__()

    @property
    def url(self) -> str:
        """What to put in O2_ENDPOINT."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def lines(self, kind: str = "function") -> list[str]:
        """The stored records of a type, as text without the line's end."""
        return [str(record["record"]).removesuffix("\n") for record in list(self.records) if record.get("type") == kind]

    def await_lines(self, count: int, kind: str = "function") -> None:
        """Waits until so many records of a type are stored."""
        self.wait(lambda: len(self.lines(kind)) >= count, f"{count} {kind} records")

    def await_requests(self, count: int) -> None:
        """Waits until so many ingestion requests have come."""
        self.wait(lambda: len(self.requests) >= count, f"{count} requests")

    def handle(self, request: Request, client: socket.socket) -> None:
        is_ingestion = request.method == "POST"
        with self.changed:
            (self.requests if is_ingestion else self.probes).append(request)
            plan = self.plan.pop(0) if is_ingestion and self.plan else self.always if is_ingestion else None
            self.changed.notify_all()
        if not self.open.wait(60):
            return
        if self.latency_s:
            time.sleep(self.latency_s)
        if callable(plan):
            plan(request, client)
        elif isinstance(plan, bytes):
            client.sendall(plan)
        elif plan is not None:
            client.sendall(response(plan, f"planned {plan}".encode()))
        elif is_ingestion:
            self.store(request, client)
        else:
            client.sendall(response(200, b'{"status":"ok"}'))

    def store(self, request: Request, client: socket.socket) -> None:
        """Does what OpenObserve does."""
        body = decoded(request)
        if len(body) > self.body_bytes_max:
            client.sendall(response(413, b"too large"))
            return
        with self.changed:
            if "/v1/" in request.target:
                self.exports.append((request.target, body))
                answer = response(200, Content_Type="application/x-protobuf")
            else:
                records = json.loads(body)
                self.records += records
                self.texts.append(body)
                answer = stored(len(records))
            self.changed.notify_all()
        client.sendall(answer)

"""A plain HTTP client with the backend's credentials, on one keep-alive connection."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from o2_lambda.backend import BackendServer

PROTOBUF = "application/x-protobuf"


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def counts(self) -> tuple[int, int]:
        """(successful, failed) of a `_json` answer."""
        status = self.json["status"][0]
        return status["successful"], status["failed"]


class Client:
    def __init__(self, backend: BackendServer) -> None:
        self._backend = backend
        self._connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send one request; a header given as "" is left out."""
        merged = {"Authorization": self._backend.authorization_header} | (headers or {})
        self._connection.request(method, path, body, {name: value for name, value in merged.items() if value})
        response = self._connection.getresponse()
        answer = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: bytes | object, headers: dict[str, str] | None = None) -> Answer:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, encoded, headers)

    def ingest(self, records: bytes | object, stream: str = "default", **headers: str) -> Answer:
        return self.post(f"/api/default/{stream}/_json", records, headers)

    def search(self, sql: str, stream_type: str = "logs", *, start: int = 0, **members: Any) -> Answer:
        hour_us = 3_600_000_000
        time_range = {"start_time": now_us() - hour_us, "end_time": now_us() + hour_us}
        query = {"sql": sql, "from": start, **time_range, **members}
        return self.post(f"/api/default/_search?type={stream_type}", {"query": query})


def raw_request(backend: BackendServer, path: str, body: bytes, *, method: str = "POST") -> bytes:
    """Return the bytes of a whole request, for tests that hold the socket themselves."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: backend\r\nAuthorization: {backend.authorization_header}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything up to FIN; a reset raises ConnectionResetError."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def read_to_reset(connection: socket.socket) -> bytes:
    """Return everything up to RST; fails when FIN comes instead."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        return b"".join(parts)
    raise AssertionError("closed with FIN, not reset")

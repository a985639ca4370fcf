"""What the stubs share: a threaded HTTP server whose every answer is bytes, and waiting for what it sees."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

PATIENCE_S = 15.0  # for what must happen; the machine may be busy
BODY_BYTES_MAX = 64 * 1024 * 1024
_PORTS = range(12_000, 32_000)
_ports = itertools.islice(itertools.cycle(_PORTS), os.getpid() % 200 * 100, None)  # workers start apart


class NeverHappenedError(AssertionError):
    """What a test waited for did not come."""


@dataclass(frozen=True)
class Request:
    """One request as it came. `at_s` is monotonic, `connection` counts from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at_s: float
    head: bytes


@dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer's bytes; header names are written with underscores."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_head(stream: BinaryIO) -> tuple[bytes, dict[str, str]]:
    """The start line and the headers, names in lower case. The start line is empty at the end of the stream."""
    start = stream.readline()
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return start, headers


def read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    """A body with a Content-Length; nothing where there is none."""
    length = int(headers.get("content-length", "0"))
    if length > BODY_BYTES_MAX:
        raise ValueError(f"a body of {length} bytes")
    return stream.read(length)


def read_answer(stream: BinaryIO) -> Answer:
    """The next answer. Raises NeverHappenedError where the connection ends instead."""
    start, headers = read_head(stream)
    while start.startswith(b"HTTP/1.1 1"):
        start, headers = read_head(stream)
    if not start:
        raise NeverHappenedError("the connection ended without an answer")
    return Answer(int(start.split()[1]), headers, read_body(stream, headers))


def free_port() -> int:
    """A port that nobody uses, outside the range from which the kernel serves requests for any port."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def eventually(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits for a condition of things that cannot call back."""
    end_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end_s:
            raise NeverHappenedError(what)
        time.sleep(0.01)


class Server:
    """Accepts, reads requests and hands each to `handle` in a thread of its connection."""

    def __init__(self, patience_s: float = PATIENCE_S, tls: ssl.SSLContext | None = None) -> None:
        self.patience_s = patience_s
        self.port = 0
        self.connections = 0
        self.handshakes: list[ssl.SSLSocket] = []  # of a server with TLS: the finished ones
        self.changed = threading.Condition()
        self._tls = tls
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.down()

    def handle(self, request: Request, client: socket.socket) -> None:
        """Answers one request, or leaves it."""
        raise NotImplementedError

    def up(self) -> None:
        """Listens; again on the same port after `down`."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def down(self) -> None:
        """Refuses connections from here on and drops those that are open."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop_connections()
        with self.changed:
            self.changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def drop_connections(self) -> None:
        """Ends every open connection."""
        with self.changed:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Waits until `condition` holds; looks whenever something has come."""
        with self.changed:
            if not self.changed.wait_for(condition, self.patience_s):
                raise NeverHappenedError(what)

    def never(self, condition: Callable[[], object], *, for_s: float, what: str) -> None:
        """Asserts that `condition` does not come to hold within a time."""
        with self.changed:
            assert not self.changed.wait_for(condition, for_s), what

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                number = self.connections
                self._clients.add(client)
                self.changed.notify_all()
            self._spawn(self._serve, client, number)

    def _serve(self, client: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(client, number)
        finally:
            with self.changed:
                self._clients.discard(client)
            client.close()

    def _converse(self, client: socket.socket, number: int) -> None:
        speaker: socket.socket = client
        if self._tls is not None:
            secured = self._tls.wrap_socket(client, server_side=True)
            with self.changed:
                self._clients.discard(client)
                self._clients.add(secured)
                self.handshakes.append(secured)
                self.changed.notify_all()
            speaker = secured
        try:
            with speaker.makefile("rb") as stream:
                self._read_requests(stream, speaker, number)
        finally:
            with self.changed:
                self._clients.discard(speaker)
            speaker.close()

    def _read_requests(self, stream: BinaryIO, speaker: socket.socket, number: int) -> None:
        while True:
            start, headers = read_head(stream)
            if not start:
                return
            method, target, _version = start.decode("latin-1").split()
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            body = read_body(stream, headers)
            request = Request(method, target, headers, body, number, time.monotonic(), start + fields.encode("latin-1"))
            self.handle(request, speaker)
            if headers.get("connection", "").lower() == "close":
                return

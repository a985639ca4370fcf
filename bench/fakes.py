"""The smallest Lambda and the smallest OpenObserve that an extension can run against: threads, sockets, no framework.

They cost next to nothing, so that what is measured is the extension.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import queue
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Answer = tuple[int, dict[str, str], bytes]


POST_TIMEOUT_S = 30  # an extension that does not answer ends the bench, not the day


def read_message(stream: IO[bytes]) -> tuple[str, dict[str, str], bytes] | None:
    """One HTTP message with a Content-Length from a binary stream; None at its end."""
    start = stream.readline()
    if not start:
        return None
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return start.decode("latin-1").strip(), headers, body


class Server:
    """A threaded socket server; `handle` answers one request with (status, headers, body) or None to hang up."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)
        self._tls = tls
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            self._clients.append(client)
            stream = client.makefile("rb")
            while (message := read_message(stream)) is not None:
                answer = self.handle(*message)
                if answer is None:
                    break
                status, headers, body = answer
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                client.sendall(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except OSError:
            pass
        finally:
            client.close()

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """Answers a request."""
        raise NotImplementedError

    def close(self) -> None:
        """Refuses connections from here on and drops those that are open; a second time does nothing."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


@dataclass
class Moments:
    """When the extension did what (seconds of `time.monotonic`)."""

    register: float = 0.0
    subscribe: float = 0.0
    next: list[float] = field(default_factory=list)


class FakeLambda(Server):
    """Extensions API and Telemetry API for one extension; events are queued by `invoke` and `shutdown`."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.destination = 0, ""
        self.next_called = threading.Semaphore(0)
        self._events: queue.Queue[dict] = queue.Queue()
        self._post: socket.socket | None = None
        super().__init__()

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:  # noqa: ARG002 - as the base says
        """Answers the two APIs; `/next` when there is an event."""
        now = time.monotonic()
        if "/register" in start:
            self.moments.register = now
            answer = {
                "functionName": "bench",
                "functionVersion": "$LATEST",
                "handler": "h",
                "accountId": "123456789012",
            }
            return 200, {"Lambda-Extension-Identifier": "id"}, json.dumps(answer).encode()
        if "/telemetry" in start:
            self.moments.subscribe = now
            uri = json.loads(body)["destination"]["URI"]
            match = re.match(r"http://[^:/]+:(\d+)(/.*)", uri)
            self.destination = int(match[1]), match[2]
            return 200, {}, b'"OK"'
        self.moments.next.append(now)
        self.next_called.release()
        event = self._events.get()
        return 200, {"Content-Type": "application/json"}, json.dumps(event).encode()

    def invoke(self, request_id: str, timeout_ms: int = 3000) -> None:
        """Queues an INVOKE event."""
        deadline = int(time.time() * 1000) + timeout_ms
        arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
        event = {"eventType": "INVOKE", "deadlineMs": deadline, "requestId": request_id, "invokedFunctionArn": arn}
        self._events.put(event)

    def shutdown(self, reason: str = "spindown", timeout_ms: int = 2000) -> None:
        """Queues a SHUTDOWN event."""
        deadline = int(time.time() * 1000) + timeout_ms
        self._events.put({"eventType": "SHUTDOWN", "deadlineMs": deadline, "shutdownReason": reason})

    def post(self, body: bytes) -> None:
        """Sends a telemetry batch as Lambda does and waits for the answer."""
        port, path = self.destination
        if self._post is None:
            self._post = socket.create_connection(("127.0.0.1", port), timeout=POST_TIMEOUT_S)
            self._post.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {path} HTTP/1.1\r\nHost: sandbox:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._post.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self._post.recv(65536)
            if not data:
                raise ConnectionError("the extension closed the telemetry connection")
            answer += data
        if b" 200 " not in answer[:16]:
            raise ConnectionError(answer.decode("latin-1"))


class Sink(Server):
    """Answers `_json` as OpenObserve does, after `latency_ms`; `plan` holds statuses for the next requests."""

    def __init__(self, latency_ms: float = 0, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.latency_ms = latency_ms
        self.plan: list[int] = []
        self.lines = 0
        self.requests = 0
        self.bytes_in = 0
        self.bodies: list[list] | None = None
        super().__init__(port, tls)

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:
        """Counts and confirms, unless something else is planned."""
        self.requests += 1
        self.bytes_in += len(body)
        if self.latency_ms:
            time.sleep(self.latency_ms / 1000)
        status = self.plan.pop(0) if self.plan else 200
        if status != 200:
            return status, {}, b"planned failure"
        if "/v1/" in start:
            return 200, {"Content-Type": "application/x-protobuf"}, b""
        raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        count = raw.count(b'"_timestamp":')
        if self.bodies is not None:
            self.bodies.append(json.loads(raw))
        self.lines += count
        return (
            200,
            {},
            json.dumps({"code": 200, "status": [{"name": "default", "successful": count, "failed": 0}]}).encode(),
        )


def stamp(offset_ms: int = 0) -> str:
    """The time in Lambda's form."""
    now = time.time() + offset_ms / 1000
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}Z"


def event(type_: str, record: Any) -> str:
    """One telemetry event as Lambda writes it."""
    return f'{{"time":"{stamp()}","type":"{type_}","record":{json.dumps(record)}}}'


def batch(*events: str) -> bytes:
    """A telemetry payload."""
    return ("[" + ",".join(events) + "]").encode()

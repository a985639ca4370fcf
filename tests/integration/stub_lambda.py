"""The Extensions and Telemetry API for one extension, with every byte and moment in the test's hand.

The emulator is the faithful Lambda; this is for what a faithful one cannot be made to do: answers in one segment,
refusals, connections that break at a chosen moment, telemetry of any bytes.
"""

from __future__ import annotations

import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

from tests.integration.wire import PATIENCE_S, Answer, NeverHappenedError, Request, Server, read_answer, response

if TYPE_CHECKING:
    from typing import BinaryIO

REGISTRATION = {
    "functionName": "orders",
    "functionVersion": "7",
    "handler": "app.handler",
    "accountId": "123456789012",
}
HANG_UP = b""  # as a scripted answer: the connection ends instead


def stamp(offset_ms: int = 0) -> str:
    """The time in Lambda's form."""
    now_s = time.time() + offset_ms / 1000
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(now_s)) + f"{int(now_s * 1000) % 1000:03d}Z"


def event(kind: str, record: object) -> str:
    """One telemetry event as Lambda writes it."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    return f'{{"time":"{stamp()}","type":"{kind}","record":{text}}}'


def refusal(status: int, kind: str, message: str = "refused") -> bytes:
    """An error of the API."""
    return response(status, json.dumps({"errorMessage": message, "errorType": kind}).encode())


class StubLambda(Server):
    """`invoke` and `shutdown` are delivered to the parked `/next`; `post` sends telemetry as Lambda does."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.requests: list[Request] = []
        self.scripts: dict[str, list[bytes]] = {"register": [], "telemetry": [], "next": [], "error": []}
        self.withhold_subscription = False  # its answer goes out in one segment with the first event
        self.destination = ("", 0, "")
        self._withheld = b""
        self._parked: socket.socket | None = None
        self._spoken_to: socket.socket | None = None
        self._events: list[bytes] = []
        self._telemetry: socket.socket | None = None
        self._answers: BinaryIO | None = None
        super().__init__(patience_s)

    def __exit__(self, *_exception: object) -> None:
        self.hang_up_telemetry()
        super().__exit__()

    # What the extension asked for

    def calls(self, word: str) -> list[Request]:
        """The requests so far whose path contains `word`."""
        return [request for request in self.requests if word in request.target]

    @property
    def nexts(self) -> int:
        """How often `/next` was called so far."""
        return len(self.calls("/event/next"))

    @property
    def subscription(self) -> dict[str, Any]:
        """The body of the last subscription."""
        found: dict[str, Any] = json.loads(self.calls("/telemetry")[-1].body)
        return found

    def await_next(self, count: int) -> None:
        """Waits for the `count`-th call of `/next`."""
        self.wait(lambda: self.nexts >= count, f"/next number {count}")

    # Events

    def invoke(self, request_id: str, timeout_ms: int = 3000, tracing: str = "") -> None:
        """Delivers INVOKE now, or when `/next` is called."""
        invocation = {
            "eventType": "INVOKE",
            "deadlineMs": int(time.time() * 1000) + timeout_ms,
            "requestId": request_id,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:orders",
        }
        if tracing:
            invocation["tracing"] = {"type": "X-Amzn-Trace-Id", "value": tracing}
        self.deliver(invocation)

    def shutdown(self, reason: str = "spindown", timeout_ms: int = 2000) -> None:
        """Delivers SHUTDOWN."""
        deadline_ms = int(time.time() * 1000) + timeout_ms
        self.deliver({"eventType": "SHUTDOWN", "deadlineMs": deadline_ms, "shutdownReason": reason})

    def deliver(self, content: dict[str, object]) -> None:
        """Delivers any event."""
        self.deliver_bytes(response(200, json.dumps(content).encode(), Content_Type="application/json"))

    def deliver_bytes(self, answer: bytes) -> None:
        """Delivers any answer to `/next`."""
        with self.changed:
            self._events.append(answer)
            self._match()

    def go_on(self, rest: bytes) -> None:
        """Delivers the rest of an answer that was delivered in part."""
        assert self._spoken_to is not None
        self._spoken_to.sendall(rest)

    def _match(self) -> None:
        if self._parked is not None and self._events:
            self._spoken_to = parked = self._parked
            self._parked = None
            withheld, self._withheld = self._withheld, b""
            parked.sendall(withheld + self._events.pop(0))

    def break_connection(self) -> None:
        """Ends the connection, with a `/next` parked on it or not."""
        with self.changed:
            self._parked = None
        self.drop_connections()

    # Requests

    def handle(self, request: Request, client: socket.socket) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            if "/register" in request.target:
                default = response(200, json.dumps(REGISTRATION).encode(), Lambda_Extension_Identifier="the-id")
                self._say(client, "register", default)
            elif "/telemetry" in request.target:
                self._subscribe(request, client)
            elif "/error" in request.target:
                self._say(client, "error", response(202, b'{"status":"OK"}'))
            elif self.scripts["next"]:
                self._say(client, "next", b"")
            else:
                self._parked = client
                self._match()

    def _subscribe(self, request: Request, client: socket.socket) -> None:
        uri = json.loads(request.body)["destination"]["URI"]
        found = re.fullmatch(r"http://([^:/]+):(\d+)(/.*)", uri)
        assert found is not None, uri
        self.destination = found[1], int(found[2]), found[3]
        if self.withhold_subscription:
            self._withheld = response(200, b'"OK"')
        else:
            self._say(client, "telemetry", response(200, b'"OK"'))

    def _say(self, client: socket.socket, what: str, default: bytes) -> None:
        answer = self.scripts[what].pop(0) if self.scripts[what] else default
        if answer == HANG_UP:
            client.shutdown(socket.SHUT_RDWR)
        else:
            client.sendall(answer)

    # Telemetry

    def post(self, *events: str) -> None:
        """Sends a batch and waits for its 200, on one kept connection."""
        self.post_bytes(("[" + ",".join(events) + "]").encode())

    def post_bytes(self, body: bytes) -> None:
        """Sends a payload of any bytes and waits for its 200."""
        answer = self.exchange(body)
        assert answer.status == 200, answer

    def exchange(self, body: bytes, *, path: str = "", method: str = "POST") -> Answer:
        """Sends a payload, by default to the subscribed path; returns the answer."""
        _host, port, subscribed = self.destination
        if self._telemetry is None or self._answers is None:
            self._telemetry = socket.create_connection(("127.0.0.1", port), timeout=self.patience_s)
            self._telemetry.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._answers = self._telemetry.makefile("rb")
        head = f"{method} {path or subscribed} HTTP/1.1\r\nHost: sandbox.localdomain:{port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            self._telemetry.sendall(head.encode() + body)
            return read_answer(self._answers)
        except OSError as error:
            raise NeverHappenedError(f"no answer to telemetry: {error}") from error

    def hang_up_telemetry(self) -> None:
        """Ends the telemetry connection; the next post opens another, as Lambda does after a failure."""
        for half in (self._answers, self._telemetry):
            if half is not None:
                half.close()
        self._answers = self._telemetry = None

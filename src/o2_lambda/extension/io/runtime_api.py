"""The Lambda Extensions and Telemetry API over one connection. Part of the boot tier: built-in modules only."""

from __future__ import annotations

from _socket import AF_INET, IPPROTO_TCP, SOCK_CLOEXEC, SOCK_STREAM, TCP_NODELAY, socket

from o2_lambda.extension.core.http1 import HttpError, Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.http1 import Message

_EXTENSION = "/2020-01-01/extension"
_TELEMETRY = "/2022-07-01/telemetry"
RESPONSE_BYTES_MAX = 1024 * 1024  # the Extensions API's bodies stay under 1 MiB
_RECEIVE_BYTES = 65536


class RuntimeApi:
    """A keep-alive connection to `AWS_LAMBDA_RUNTIME_API` ("host:port"). Raises OSError where the API is not there."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._target = (host, int(port))
        self.socket: socket | None = None
        self.extension_id = ""
        self.is_shut_down = False  # SHUTDOWN has come: there is no further event
        self.awaits_event = False  # a `/next` is on the wire and has not been answered
        self._parser = Parser(body_bytes_max=RESPONSE_BYTES_MAX, response=True)
        self._received: list[Message] = []  # answers read but not asked for yet: an event can follow the subscription's

    def connect(self) -> None:
        """Opens the connection anew; what was outstanding on the old one is lost."""
        if self.socket is not None:
            self.socket.close()
        sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
        sock.connect(self._target)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.socket = sock
        self._received.clear()
        self._parser = Parser(body_bytes_max=RESPONSE_BYTES_MAX, response=True)

    @property
    def has_event(self) -> bool:
        """An event has been read already: nothing will become readable for it."""
        return bool(self._received)

    @property
    def local_host(self) -> str:
        """The address that this connection comes from."""
        return str(self._connected().getsockname()[0])

    def register(self, name: str, *, managed: bool) -> Message:
        """Registers under the base name of our file; on 200 the connection carries our id from here on."""
        events = '["SHUTDOWN"]' if managed else '["INVOKE","SHUTDOWN"]'
        fields = f"Lambda-Extension-Name: {name}\r\nLambda-Extension-Accept-Feature: accountId\r\n"
        answer = self._call("POST", f"{_EXTENSION}/register", fields, f'{{"events":{events}}}')
        if answer.status == 200:  # noqa: PLR2004 - OK
            self.extension_id = (answer.header(b"lambda-extension-identifier") or b"").decode("latin-1")
        return answer

    def subscribe_and_poll(self, subscription: str) -> Message:
        """Subscribes to telemetry and asks for the first event, in one write; returns the subscription's answer."""
        subscribe = self._request("PUT", _TELEMETRY, self._identity(), subscription)
        self._connected().sendall(subscribe + self._next_request())
        self.awaits_event = True
        return self._receive()

    def poll_next(self) -> None:
        """Asks for the next event; the answer may take for ever."""
        self._connected().sendall(self._next_request())
        self.awaits_event = True

    def report_init_error(self, error_type: str) -> None:
        """Tells Lambda that the extension cannot start: the function's init fails."""
        fields = f"{self._identity()}Lambda-Extension-Function-Error-Type: {error_type}\r\n"
        self._call("POST", f"{_EXTENSION}/init/error", fields, "{}")

    def receive_event(self) -> Message | None:
        """The event, once it is complete. Blocks only if the socket does.

        Raises ConnectionError where the connection is gone, BlockingIOError where nothing was there.
        """
        if not self._received:
            self._read()
        if not self._received:
            return None
        self.awaits_event = False
        event = self._received.pop(0)
        self.is_shut_down = self.is_shut_down or b'"SHUTDOWN"' in event.body
        return event

    def _identity(self) -> str:
        return f"Lambda-Extension-Identifier: {self.extension_id}\r\n"

    def _call(self, method: str, path: str, fields: str, body: str) -> Message:
        self._connected().sendall(self._request(method, path, fields, body))
        return self._receive()

    def _next_request(self) -> bytes:
        return self._request("GET", f"{_EXTENSION}/event/next", self._identity(), "")

    def _request(self, method: str, path: str, fields: str, body: str) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\n{fields}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{head}\r\n{body}".encode("latin-1")

    def _receive(self) -> Message:
        while not self._received:
            self._read()
        return self._received.pop(0)

    def _read(self) -> None:
        data = self._connected().recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the Extensions API closed the connection")
        try:
            self._received += self._parser.feed(data)
        except HttpError as error:
            raise ConnectionError(f"the Extensions API sent no HTTP: {error.reason}") from None

    def _connected(self) -> socket:
        if self.socket is None:
            raise ConnectionError("not connected")
        return self.socket

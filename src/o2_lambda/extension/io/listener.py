"""The two local HTTP servers, for telemetry and for OTLP: non-blocking sockets that the loop drives."""

from __future__ import annotations

import zlib
from _socket import SHUT_WR
from errno import EMFILE, ENFILE
from posix import close, dup

from o2_lambda.extension.core import correlate, otlp
from o2_lambda.extension.core.http1 import HttpError, Parser
from o2_lambda.extension.core.jsonscan import quote
from o2_lambda.extension.core.otlp import JSON, PROTOBUF, OtlpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from o2_lambda.extension.core.http1 import Message
    from o2_lambda.extension.core.model import Now
    from o2_lambda.extension.engine import Engine

CONNECTIONS_MAX = 64  # each may hold a body; Lambda and an SDK use one or two
TELEMETRY_BODY_BYTES_MAX = 8 * 1024 * 1024  # Lambda sends up to twice maxBytes (1 MiB) plus metadata
OTLP_BODY_BYTES_MAX = 4 * 1024 * 1024  # as it comes in
OTLP_RAW_BYTES_MAX = 16 * 1024 * 1024  # unpacked
GZIP_MEMBERS_MAX = 64  # one is usual; each costs a copy of what follows
STALL_MS_MAX = 10_000  # a message that stands still for so long is given up
HANG_UP_MS_MAX = 1000  # a client that was refused has so long to read the answer
DISCARDED_BYTES_MAX = 64 * 1024 * 1024  # and may go on sending so much meanwhile
PATIENCE_MS = 250  # a message that stands still for so long no longer holds an invocation
RETRY_AFTER_S = 1
INVALID_ARGUMENT, UNAVAILABLE = 3, 14  # google.rpc.Code
_RECEIVE_BYTES = 256 * 1024
_GZIP_WINDOW_BITS = 31
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Connection:
    """One client. `number` is unique for the life of the process."""

    __slots__ = (
        "active_ms",
        "closing",
        "content_type",
        "discarded",
        "hanging_up",
        "is_lambda",
        "is_telemetry",
        "number",
        "out",
        "parser",
        "sock",
    )

    def __init__(self, sock: socket, number: int, now: Now, *, is_telemetry: bool) -> None:
        self.sock = sock
        self.number = number
        self.is_telemetry = is_telemetry
        self.is_lambda = False  # it has sent telemetry, to a path that nobody else knows
        self.active_ms = now.ms
        self.closing = False
        self.hanging_up = False  # refused: what still comes is discarded until the client has read the answer
        self.discarded = 0
        self.content_type = ""  # of the request that came last: what a refusal is written in
        self.out = b""
        self.parser: Parser

    def is_receiving(self, now: Now) -> bool:
        """In the middle of a message that is worth waiting for."""
        return not self.hanging_up and not self.parser.is_idle and now.ms - self.active_ms < PATIENCE_MS

    def is_stalled(self, now: Now) -> bool:
        """Silent for too long in a message, over unread answers, after a refusal, or in the place of Lambda."""
        if self.hanging_up:
            return now.ms - self.active_ms > HANG_UP_MS_MAX
        claims_to_be_lambda = self.is_telemetry and not self.is_lambda
        is_awaited = self.out != b"" or not self.parser.is_idle or claims_to_be_lambda
        return is_awaited and now.ms - self.active_ms > STALL_MS_MAX


class Listener:
    """Accepts clients, parses their requests, answers, and gives the payloads to the engine."""

    def __init__(self, engine: Engine, telemetry_path: str) -> None:
        self._engine = engine
        self._telemetry_path = telemetry_path.encode()
        self._numbers = 0
        self._spare_fd = _spare_fd()
        self.connections: dict[int, Connection] = {}

    def accept(self, listening: socket, now: Now, *, is_telemetry: bool) -> Connection | None:
        """The client that waits; None where it is gone, or where there is no room for another."""
        try:
            fd, _address = listening._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept wraps
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):
                self._turn_away(listening)
            return None
        sock = type(listening)(fileno=fd)
        sock.setblocking(False)
        if len(self.connections) >= CONNECTIONS_MAX and not self._make_room(is_telemetry=is_telemetry):
            sock.close()
            return None
        self._numbers += 1
        connection = Connection(sock, self._numbers, now, is_telemetry=is_telemetry)
        if is_telemetry:
            connection.parser = Parser(body_bytes_max=TELEMETRY_BODY_BYTES_MAX, admit=self._admit_telemetry)
        else:
            connection.parser = Parser(
                body_bytes_max=OTLP_BODY_BYTES_MAX, admit=lambda message: self._admit_otlp(connection, message)
            )
        self.connections[fd] = connection
        return connection

    def readable(self, connection: Connection, now: Now) -> None:
        """Takes in what has come and answers what is complete."""
        try:
            data = connection.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            connection.closing, connection.out = True, b""
            return
        connection.active_ms = now.ms
        if connection.hanging_up:
            connection.discarded += len(data)
            connection.closing = connection.discarded > DISCARDED_BYTES_MAX
            return
        self._engine.ledger.bytes_in += len(data)
        try:
            messages = connection.parser.feed(data)
        except HttpError:
            messages = []  # told below
        for message in messages:
            if not message.keep_alive:
                connection.closing = True
            self._take(connection, message, now)
        if connection.parser.error is not None:
            self._refuse(connection, connection.parser.error)

    def _take(self, connection: Connection, message: Message, now: Now) -> None:
        if connection.is_telemetry:
            connection.is_lambda = True
            # Answer first: Lambda waits for it, and nothing that is wrong with the content is its fault.
            self._answer(connection, 200, b"", "")
            self._engine.telemetry(message.body, connection.number, now)
        elif _path(message) == correlate.PATH:
            self._correlate(connection, message)
        else:
            self._export(connection, message)

    def writable(self, connection: Connection) -> None:
        """Sends what is left of an answer."""
        try:
            connection.out = connection.out[connection.sock.send(connection.out) :]
            if connection.hanging_up and not connection.out:
                connection.sock.shutdown(SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            connection.closing, connection.out = True, b""

    def close(self, connection: Connection) -> None:
        """Drops a client."""
        self.connections.pop(connection.sock.fileno(), None)
        connection.sock.close()

    def receiving(self, now: Now) -> tuple[bool, int]:
        """(whether a message is on its way in, bytes held of those that cannot be refused).

        A client's body that will find no room makes none either: it is refused with 503 when it is complete.
        """
        busy, held = False, 0
        for connection in self.connections.values():
            held += connection.parser.bytes_held if connection.is_telemetry else 0
            busy = busy or connection.is_receiving(now)
        return busy, held

    def stalled(self, now: Now) -> list[Connection]:
        """Clients that have been silent for too long where more was due."""
        return [connection for connection in self.connections.values() if connection.is_stalled(now)]

    def _turn_away(self, listening: socket) -> None:
        """Hangs up on the client that waits: without a descriptor for it, it would wait for ever, and we would spin."""
        if self._spare_fd >= 0:
            close(self._spare_fd)
        try:
            fd, _address = listening._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept wraps
            close(fd)
        except OSError:
            pass  # gone by itself, or somebody else took the descriptor
        self._spare_fd = _spare_fd()

    def _make_room(self, *, is_telemetry: bool) -> bool:
        """Drops the OTLP client that has been idle for longest; any that is not Lambda where Lambda may be coming."""
        others = [
            each
            for each in self.connections.values()
            if not each.is_lambda and (is_telemetry or (each.parser.is_idle and not each.is_telemetry))
        ]
        if not others:
            return False
        self.close(min(others, key=lambda each: (not each.parser.is_idle, each.active_ms)))
        return True

    def _admit_telemetry(self, message: Message) -> None:
        if message.start[1] != self._telemetry_path:
            raise HttpError(404, "not found")
        if message.start[0] != b"POST":
            raise HttpError(405, "use POST")

    def _admit_otlp(self, connection: Connection, message: Message) -> None:
        connection.content_type = _content_type(message)
        path = _path(message)
        if path not in otlp.SIGNALS and path != correlate.PATH:
            raise HttpError(404, f"unknown path; the receiver takes {', '.join(otlp.SIGNALS)}")
        if message.start[0] != b"POST":
            raise HttpError(405, "use POST")
        if path == correlate.PATH:
            return
        if connection.content_type not in (PROTOBUF, JSON):
            raise HttpError(415, f"Content-Type must be {PROTOBUF} or {JSON}")
        if (message.header(b"content-encoding") or b"identity").lower() not in (b"gzip", b"identity"):
            raise HttpError(415, "Content-Encoding must be gzip")
        if (message.header(b"expect") or b"").lower() == b"100-continue":
            connection.out += b"HTTP/1.1 100 Continue\r\n\r\n"
            self.writable(connection)

    def _correlate(self, connection: Connection, message: Message) -> None:
        try:
            self._engine.correlate(bytes(message.body))
        except ValueError as error:
            self._answer(connection, 400, f"{error}\n".encode(), "text/plain")
        else:
            self._answer(connection, 200, b"", "")

    def _export(self, connection: Connection, message: Message) -> None:
        content_type = _content_type(message)  # `connection.content_type` may be of the request behind it
        signal = otlp.SIGNALS[_path(message)]
        try:
            body = bytes(message.body)
            if (message.header(b"content-encoding") or b"").lower() == b"gzip":
                body = _gunzip(body)
            status = self._engine.export(signal, content_type, body)
        except OtlpError as error:
            self._answer(connection, 400, _status_body(content_type, INVALID_ARGUMENT, str(error)), content_type)
        except HttpError as error:
            self._answer(
                connection, error.status, _status_body(content_type, INVALID_ARGUMENT, error.reason), content_type
            )
        else:
            if status == 200:  # noqa: PLR2004 - OK
                # An empty export response: zero bytes of protobuf, or its JSON form.
                success = b'{"partialSuccess":{}}' if content_type == JSON else b""
                self._answer(connection, 200, success, content_type)
            else:
                full = _status_body(content_type, UNAVAILABLE, "the buffer is full; try again")
                self._answer(connection, status, full, content_type, f"Retry-After: {RETRY_AFTER_S}\r\n")

    def _refuse(self, connection: Connection, error: HttpError) -> None:
        """Answers bytes that are no request here, and hangs up: where the next one would start is unknown.

        Closing over unread bytes would reset the connection, and the answer would be lost with it: the rest is read and
        discarded for a while.
        """
        connection.hanging_up = True
        if connection.is_telemetry and error.status == 413:  # noqa: PLR2004 - too large
            # Any other answer would make Lambda send the same again, for ever.
            self._engine.telemetry_lost("body_too_large")
            self._answer(connection, 200, b"", "")
            return
        extra = "Allow: POST\r\n" if error.status == 405 else ""  # noqa: PLR2004 - RFC 9110 15.5.6
        if connection.content_type in (PROTOBUF, JSON):
            body = _status_body(connection.content_type, INVALID_ARGUMENT, error.reason)
            self._answer(connection, error.status, body, connection.content_type, extra)
        else:
            self._answer(connection, error.status, f"{error.reason}\n".encode(), "text/plain", extra)

    def _answer(self, connection: Connection, status: int, body: bytes, content_type: str, extra: str = "") -> None:
        if content_type:
            extra += f"Content-Type: {content_type}\r\n"
        if connection.closing or connection.hanging_up:
            extra += "Connection: close\r\n"
        head = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        connection.out += head.encode("latin-1") + body
        self.writable(connection)


def _spare_fd() -> int:
    """A descriptor that is held for the day when there are no others; -1 where that is today."""
    try:
        return dup(2)
    except OSError:
        return -1


def _path(message: Message) -> str:
    """The path of the request's target, which may be an absolute URL (RFC 9112 3.2.2)."""
    target = message.start[1].partition(b"?")[0]
    if target[:7].lower() == b"http://":
        target = b"/" + target[7:].partition(b"/")[2]
    return target.decode("latin-1")


def _content_type(message: Message) -> str:
    return (message.header(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")


def _gunzip(body: bytes) -> bytes:
    """Unpacks within `OTLP_RAW_BYTES_MAX`. Raises HttpError 400 or 413."""
    unpacked = b""
    members = 0
    while body:
        members += 1
        if members > GZIP_MEMBERS_MAX:
            raise HttpError(400, f"over {GZIP_MEMBERS_MAX} gzip members")
        stream = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            unpacked += stream.decompress(body, OTLP_RAW_BYTES_MAX + 1 - len(unpacked))
        except zlib.error:
            raise HttpError(400, "the body is not gzip") from None
        if len(unpacked) > OTLP_RAW_BYTES_MAX:
            raise HttpError(413, f"body over {OTLP_RAW_BYTES_MAX} bytes when unpacked")
        if not stream.eof:
            raise HttpError(400, "the gzip stream is cut")
        body = stream.unused_data
    return unpacked


def _status_body(content_type: str, code: int, message: str) -> bytes:
    """A google.rpc.Status in the request's own encoding, as OTLP/HTTP asks for."""
    if content_type == JSON:
        return f'{{"code":{code},"message":{quote(message)}}}'.encode()
    text = message.encode()[:127]  # a one-byte length
    return b"\x08" + bytes((code,)) + b"\x12" + bytes((len(text),)) + text

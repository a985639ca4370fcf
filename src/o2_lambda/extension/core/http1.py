"""HTTP/1.1 framing for both sides: requests that arrive at the listeners, responses of the Lambda API and the upstream.

A parser is fed bytes in any fragmentation and yields whole messages. Anything that is not a well-formed message within
the limits raises `HttpError`, never any other exception. Framing follows RFC 9112; where the RFC lets a server be
lenient about conflicting lengths, this parser refuses (request smuggling).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES_MAX = 16 * 1024  # start line and headers; Apache and nginx allow 8 KiB a line, clients here send under 2 KiB
CHUNK_LINE_BYTES_MAX = 1024  # a chunk's size line or a trailer line
DIGITS_MAX = 15  # of a Content-Length or a chunk size: 10^15 is far beyond every body limit

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_CONTROL = frozenset(range(32)) - {9} | {127}


class HttpError(Exception):
    """The peer's bytes cannot be a message here; `status` is what a server answers before it closes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class Message:
    """One request or response: `start` is the start line's three parts, header names are lower-case bytes."""

    __slots__ = ("body", "chunked", "fields", "keep_alive", "length", "start")

    def __init__(self, start: tuple[bytes, bytes, bytes], fields: list[tuple[bytes, bytes]]) -> None:
        self.start = start
        self.fields = fields
        self.body: bytes | bytearray = b""
        self.length: int | None = None
        self.chunked = False
        self.keep_alive = True

    def header(self, name: bytes) -> bytes | None:
        """The first header of that lower-case name, without surrounding white space."""
        for key, value in self.fields:
            if key == name:
                return value
        return None

    @property
    def status(self) -> int:
        """A response's status code."""
        return int(self.start[1])


def parse_head(head: bytes, *, response: bool) -> Message:
    """A start line and headers (without the blank line) as a `Message` with its framing decided."""
    if response:  # RFC 9112 5.2: for a user agent a folded line is one line
        head = head.replace(b"\r\n ", b"   ").replace(b"\r\n\t", b"   ")
    lines = head.split(b"\r\n")
    start = _parse_start(lines[0], response=response)
    fields = [_parse_field(line) for line in lines[1:]]
    message = Message(start, fields)
    version = start[0] if response else start[2]
    connection = b",".join(value for name, value in fields if name == b"connection").lower()
    message.keep_alive = b"close" not in connection if version == b"HTTP/1.1" else b"keep-alive" in connection
    _decide_framing(message)
    if message.chunked and version != b"HTTP/1.1":
        message.keep_alive = False  # RFC 9112 6.1: faulty framing, nothing after it can be trusted
    return message


def _parse_start(line: bytes, *, response: bool) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ", 2)
    if response:
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1]) != 3 or not parts[1].isdigit():  # noqa: PLR2004 - "HTTP/1.1 200"
            raise HttpError(502, "malformed status line")
        return parts[0], parts[1], parts[2] if len(parts) == 3 else b""  # noqa: PLR2004 - the reason phrase is optional
    if len(parts) != 3 or not parts[0] or not parts[1] or not _TOKEN.issuperset(parts[0]):  # noqa: PLR2004 - method, target, version
        raise HttpError(400, "malformed request line")
    if not _CONTROL.isdisjoint(parts[1]):
        raise HttpError(400, "control character in the request target")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are understood")
    return parts[0], parts[1], parts[2]


def _parse_field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not _TOKEN.issuperset(name):
        raise HttpError(400, "malformed header line")
    value = value.strip(b" \t")
    if not _CONTROL.isdisjoint(value):
        raise HttpError(400, "control character in a header")
    return name.lower(), value


def _decide_framing(message: Message) -> None:
    for key, value in message.fields:
        if key == b"content-length":
            if not value.isdigit() or len(value) > DIGITS_MAX:
                raise HttpError(400, "malformed Content-Length")
            if message.length not in (None, int(value)):
                raise HttpError(400, "conflicting Content-Length")
            message.length = int(value)
        elif key == b"transfer-encoding":
            if value.lower() != b"chunked" or message.chunked:
                raise HttpError(501, "unknown Transfer-Encoding")
            message.chunked = True
    if message.chunked and message.length is not None:
        raise HttpError(400, "both Content-Length and Transfer-Encoding")


class Parser:
    """Bytes in, whole messages out.

    `admit` is called with each request's head before its body is read and may raise `HttpError` to refuse it.
    `body_bytes_max` bounds what is kept of one body, whatever the peer declares.
    """

    def __init__(
        self,
        *,
        body_bytes_max: int,
        response: bool = False,
        admit: Callable[[Message], None] | None = None,
    ) -> None:
        self._body_bytes_max = body_bytes_max
        self._response = response
        self._admit = admit
        self._buffer = bytearray()
        self._message: Message | None = None
        self._body = bytearray()
        self.error: HttpError | None = None  # what follows the messages that `feed` returned last is none
        self._chunk_left = -1  # bytes left of the current chunk with its CRLF; -1: a size line comes; -2: trailers

    @property
    def bytes_held(self) -> int:
        """Bytes kept of a message that is not complete yet."""
        return len(self._buffer) + len(self._body)

    @property
    def is_idle(self) -> bool:
        """True between messages."""
        return self._message is None and not self._buffer

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`, in order.

        Raises `HttpError` where no message came first; else it waits in `error`, and the next call raises it. The
        parser is unusable afterwards.
        """
        if self.error is not None:
            raise self.error
        self._buffer += data
        done: list[Message] = []
        try:
            while (message := self._next()) is not None:
                done.append(message)
        except HttpError as error:
            self.error = error
            if not done:
                raise
        return done

    def _next(self) -> Message | None:
        while self._message is None:  # more than once where an interim 1xx response is skipped
            if not self._read_head():
                return None
        message = self._message
        if not self._read_body(message):
            return None
        self._message = None
        return message

    def end(self) -> Message | None:
        """The peer closed: a response without a length is complete now. Raises `HttpError` on a cut message."""
        if self.error is not None:
            raise self.error
        message, self._message = self._message, None
        if message is None:
            if self._buffer:
                raise HttpError(400, "closed within a head")
            return None
        if not self._response or message.chunked or message.length is not None:
            raise HttpError(400, "closed within a body")
        message.body = self._buffer
        message.keep_alive = False
        return message

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer[:2] == b"\r\n":  # RFC 9112 2.2: a server ignores empty lines before the request line
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        if end < 0:
            if len(buffer) >= HEAD_BYTES_MAX:
                raise HttpError(431, f"head over {HEAD_BYTES_MAX} bytes")
            return False
        message = parse_head(bytes(buffer[:end]), response=self._response)
        del buffer[: end + 4]
        if self._response:
            if message.start[1][:1] == b"1":
                return True
            if message.start[1] in (b"204", b"304"):
                message.length, message.chunked = 0, False
        elif message.length is None and not message.chunked:
            message.length = 0
        if self._admit is not None:
            self._admit(message)
        if message.length is not None and message.length > self._body_bytes_max:
            raise HttpError(413, f"body over {self._body_bytes_max} bytes")
        self._message = message
        self._body = bytearray()
        self._chunk_left = -1
        return True

    def _read_body(self, message: Message) -> bool:
        if message.chunked:
            return self._read_chunks(message)
        buffer = self._buffer
        if message.length is None:
            if len(buffer) > self._body_bytes_max:
                raise HttpError(413, f"body over {self._body_bytes_max} bytes")
            return False
        if len(buffer) < message.length:
            return False
        if len(buffer) == message.length:  # the usual case: hand the bytes over instead of copying them
            message.body, self._buffer = buffer, bytearray()
        else:
            message.body = buffer[: message.length]
            del buffer[: message.length]
        return True

    def _read_chunks(self, message: Message) -> bool:
        buffer = self._buffer
        position = 0
        try:
            while True:
                if self._chunk_left < 0:
                    end = buffer.find(b"\r\n", position, position + CHUNK_LINE_BYTES_MAX)
                    if end < 0:
                        if len(buffer) - position >= CHUNK_LINE_BYTES_MAX:
                            raise HttpError(400, "chunk line too long")
                        return False
                    line = bytes(buffer[position:end])
                    position = end + 2
                    if self._chunk_left == -2:  # noqa: PLR2004 - within trailers, which are dropped
                        if not line:
                            message.body, self._body = self._body, bytearray()
                            return True
                        _parse_field(line)
                        continue
                    size = self._chunk_size(line)
                    self._chunk_left = size + 2 if size else -2
                    continue
                if len(buffer) - position < self._chunk_left:
                    return False
                stop = position + self._chunk_left - 2
                if buffer[stop : stop + 2] != b"\r\n":
                    raise HttpError(400, "chunk without its end")
                self._body += buffer[position:stop]
                position = stop + 2
                self._chunk_left = -1
        finally:
            del buffer[:position]

    def _chunk_size(self, line: bytes) -> int:
        if not _CONTROL.isdisjoint(line):
            raise HttpError(400, "control character in a chunk's size line")
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > DIGITS_MAX or not _HEX.issuperset(digits):
            raise HttpError(400, "malformed chunk size")
        size = int(digits, 16)
        if len(self._body) + size > self._body_bytes_max:
            raise HttpError(413, f"body over {self._body_bytes_max} bytes")
        return size

"""Sends encoded spans to the OTLP receiver on this machine, without ever holding the function.

A request is written and not waited for; its answer is read, if it is there, before the next one. When the receiver
cannot be reached, refuses or does not answer, exports are skipped: once, then 2, 4 … times, while the spans wait in a
bounded queue. The first attempt after that is a small one, and waits for next to nothing.

The extension is also told which invocation a trace belongs to, so that it can mark the log lines. A receiver that does
not understand this is told once.
"""

from __future__ import annotations

import _socket
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .spans import Scope

    Queued = tuple[Scope, bytes]  # and the encoded span

CONNECT_LIMIT_S = 0.25  # loopback answers in microseconds, or the machine is starved
RECONNECT_LIMIT_S = 0.0005  # after a failure: who has waited once shall not wait again
SEND_LIMIT_S = 0.1  # only a receiver that has stopped reading fills the socket's buffer; after a failure not at all
QUEUE_SPANS_MAX = 2048  # the SDKs' default
QUEUE_BYTES_MAX = 1 << 20  # of the function's own memory
BATCH_SPANS_MAX = 512  # the SDKs' default; a queue this long is sent at once
PROBE_SPANS_MAX = 32  # the attempt that may fail again encodes little
UNANSWERED_MAX = 8  # requests under way; what comes then waits in the queue for an answer
ANSWER_LIMIT_MS = 1000  # without one after the last of them, or after the one that probes: the receiver hangs
SKIP_MAX = 256
ANNOUNCE_PATH = "/v1/invocation"
ANNOUNCEMENT = -1  # in the list of what is in flight: no spans, and nothing is lost without an answer
ANSWER_BYTES_MAX = 16 * 1024  # of answers not parsed yet; one is some 100 bytes
READ_BYTES = 4096
POLLIN, POLLRDHUP = 0x1, 0x2000  # Linux's


class Exporter:
    """A queue and one keep-alive connection. `encode` makes a request body; `clock_ms` is monotonic."""

    def __init__(
        self,
        address: tuple[str, int, str],
        encode: Callable[[list[Queued]], bytes],
        clock_ms: Callable[[], int],
        report: Callable[[str], None],
        *,
        announces: bool = False,
    ) -> None:
        host, port, path = address
        self._address = (host, port)
        self._head = _head(path, f"{host}:{port}", "application/x-protobuf")
        self._announcement_head = _head(ANNOUNCE_PATH, "localhost", "text/plain")
        self._announces = announces
        self._encode = encode
        self._clock_ms = clock_ms
        self._report = report
        self._queue: list[Queued] = []
        self._queue_bytes = 0
        self._lock = allocate_lock()
        self._batch_spans_max = BATCH_SPANS_MAX
        self.dropped = self._told = 0
        self._refused = False  # by a status that no later attempt would change
        self._socket: _socket.socket | None = None
        self._news: Any = None  # tells what has happened on that socket
        self._answers = b""
        self._in_flight: list[int] = []  # spans in each request that has no answer, in order; or ANNOUNCEMENT
        self._sent_ms = 0
        self._failures = 0  # in a row
        self._skip = 0

    def add(self, scope: Scope, span: bytes) -> None:
        """Queues an encoded span; drops and counts it when the queue is full."""
        if len(self._queue) >= QUEUE_SPANS_MAX or self._queue_bytes + len(span) > QUEUE_BYTES_MAX:
            self.dropped += 1
            return
        self._queue.append((scope, span))
        self._queue_bytes += len(span)
        if len(self._queue) >= self._batch_spans_max and not self._failures:
            self.flush()

    def flush(self) -> None:
        """Sends what is queued, unless exports are being skipped or another thread is at it."""
        if not self._queue or not self._lock.acquire(False):  # noqa: FBT003 - a C function
            return
        try:
            if self._skip:
                self._skip -= 1
            else:
                self._flush()
        finally:
            self._lock.release()

    def announce(self, request_id: str, trace_id: bytes, span_id: bytes) -> None:
        """Tells the extension the trace of the invocation that begins, while exports work."""
        if not self._announces or self._failures or not self._lock.acquire(False):  # noqa: FBT003 - a C function
            return
        try:
            if len(self._in_flight) < UNANSWERED_MAX:
                body = f"{request_id} {trace_id.hex()} {span_id.hex()}".encode("ascii", "replace")
                self._request(self._announcement_head, body, ANNOUNCEMENT)
        except OSError as error:
            self._fail(str(error))
        finally:
            self._lock.release()

    def close(self) -> None:
        """Sends what is left and closes the connection: at the exit of the process, not later.

        Python 3.9 crashes when a socket is left for the end of the interpreter to close.
        """
        self.flush()
        self._disconnect()

    def after_fork(self, *, is_invoked: bool = False) -> None:
        """In the child: the connection and what is queued belong to the parent.

        A child that was made during an invocation sees no end of it, and may be gone at any time: it sends each span.
        """
        self._batch_spans_max = 1 if is_invoked else BATCH_SPANS_MAX
        self._disconnect()
        self._queue = []
        self._queue_bytes = 0
        self._lock = allocate_lock()

    def _flush(self) -> None:
        try:
            self._read_answers()
            while self._queue:
                if len(self._in_flight) >= (1 if self._failures else UNANSWERED_MAX):
                    if self._clock_ms() - self._sent_ms > ANSWER_LIMIT_MS:
                        raise OSError("no answer")
                    return
                self._send(PROBE_SPANS_MAX if self._failures else BATCH_SPANS_MAX)
        except OSError as error:
            self._fail(str(error))

    def _send(self, count: int) -> None:
        if self._socket is None:
            self._connect()
        batch = self._queue[:count]
        body = self._encode(batch)
        del self._queue[: len(batch)]
        self._queue_bytes = sum([len(span) for _scope, span in self._queue])  # exact, whatever other threads have added
        self._request(self._head, body, len(batch))

    def _request(self, head: bytes, body: bytes, spans: int) -> None:
        connection = self._socket or self._connect()
        self._sent_ms = self._clock_ms()
        self._in_flight.append(spans)
        request = head + b"%d\r\n\r\n" % len(body) + body
        try:
            sent = connection.send(request, _socket.MSG_NOSIGNAL)  # the function may have changed SIGPIPE
        except BlockingIOError:
            sent = 0
        if sent < len(request):
            if self._failures:
                raise OSError("it does not read")
            connection.settimeout(SEND_LIMIT_S)
            connection.sendall(request[sent:], _socket.MSG_NOSIGNAL)
            connection.settimeout(0)

    def _connect(self) -> _socket.socket:
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(RECONNECT_LIMIT_S if self._failures else CONNECT_LIMIT_S)
            connection.connect(self._address)
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            connection.settimeout(0)
        except OSError:
            connection.close()
            raise
        self._socket, self._news = connection, _watch(connection)
        return connection

    def _read_answers(self) -> None:
        """Takes in the answers that have come. Raises OSError when one refuses, or none can come any more."""
        if self._socket is None:
            return
        news = self._news.poll(0)  # the exception of a read that finds nothing takes longer than all else here
        more = bool(news)
        while more:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._parse_answers()
                lost = any(spans != ANNOUNCEMENT for spans in self._in_flight)
                self._disconnect()
                if lost:
                    raise OSError("connection closed without an answer")
                return
            self._answers += data
            more = len(data) == READ_BYTES or news[0][1] != POLLIN  # the end of the connection is behind
            if len(self._answers) > ANSWER_BYTES_MAX:
                self._parse_answers()
        self._parse_answers()

    def _parse_answers(self) -> None:
        while True:
            end = self._answers.find(b"\r\n\r\n")
            if end < 0:
                if len(self._answers) > ANSWER_BYTES_MAX:
                    raise OSError("the answer is not HTTP")
                return
            head = self._answers[:end].lower()
            at = head.find(b"content-length:")
            length = head[at + 15 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b"0"
            total = end + 4 + (int(length) if length.isdigit() else 0)
            if len(self._answers) < total:
                return
            self._answers = self._answers[total:]
            self._answered(head[9:12])

    def _answered(self, status: bytes) -> None:
        spans = self._in_flight.pop(0) if self._in_flight else 0
        if spans == ANNOUNCEMENT:
            self._announces = status == b"200"
            return
        if status[:1] == b"2":
            if self._failures or self.dropped > self._told:
                self._recovered()
            return
        self.dropped += spans
        if status == b"429" or status[:1] == b"5":
            raise OSError(f"status {status.decode('latin-1')}")
        if not self._refused:
            self._refused = True
            self._report(f"{self._place()} refuses traces (status {status.decode('latin-1')})")

    def _recovered(self) -> None:
        told, self._told = self._told, self.dropped
        failed, self._failures = self._failures, 0
        lost = f"{self.dropped - told} spans were dropped"
        again = f"traces reach {self._place()} again; {lost}"
        self._report(again if failed else f"{lost}: they did not fit into the queue, or were refused")

    def _fail(self, reason: str) -> None:
        self.dropped += sum([spans for spans in self._in_flight if spans != ANNOUNCEMENT])
        self._disconnect()
        self._failures += 1
        self._skip = min(1 << (self._failures - 1), SKIP_MAX)
        if self._failures == 1:
            self._report(f"traces do not reach {self._place()} ({reason}): the function goes on, export is tried again")

    def _place(self) -> str:
        host, port = self._address
        return f"{host}:{port}"

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._answers = b""
        self._in_flight = []
        self._sent_ms = 0


class _Unknown:
    """In the place of a poll: there may always be something new."""

    def poll(self, _timeout_ms: int) -> list[tuple[int, int]]:
        """What makes the reader look for itself."""
        return [(0, POLLIN | POLLRDHUP)]


def _watch(connection: _socket.socket) -> Any:
    """What tells whether there is something to be read."""
    import select  # most functions have loaded it; the others shall start without it

    poll: Any = getattr(select, "poll", None)
    if type(poll).__name__ != "builtin_function_or_method":  # gevent's lets other work run, eventlet leaves none
        return _Unknown()
    news = poll()
    news.register(connection.fileno(), POLLIN | POLLRDHUP)
    return news


def _head(path: str, host: str, content_type: str) -> bytes:
    """The head of a request, up to the number of its body's bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: ".encode()

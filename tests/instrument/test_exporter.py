"""The exporter against real sockets: it sends, it never waits, and it loses nothing without counting it."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from o2_lambda.instrument.python.o2_tracing import exporter as module
from o2_lambda.instrument.python.o2_tracing.exporter import Exporter

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
PATIENCE_S = 10


class Scene:
    """An exporter, a listening socket for it, and a clock that the test turns."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.accepted: list[socket.socket] = []
        self.lines: list[str] = []
        self.now_ms = 0
        self.exporter = Exporter(
            ("127.0.0.1", listener.getsockname()[1], "/v1/traces"),
            lambda spans: b"".join(span for _scope, span in spans),
            lambda: self.now_ms,
            self.lines.append,
        )

    def accept(self) -> socket.socket:
        connection, _address = self.listener.accept()
        connection.settimeout(PATIENCE_S)
        self.accepted.append(connection)
        return connection

    def export(self, span: bytes) -> None:
        self.exporter.add("scope", span)
        self.exporter.flush()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        built = Scene(listener)
        yield built
        built.exporter.close()
        for connection in built.accepted:
            connection.close()


def receive(connection: socket.socket) -> bytes:
    """The body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return body


def answer(connection: socket.socket, exporter: Exporter, data: bytes = OK) -> None:
    """Answers, and waits until the exporter's side has it."""
    connection.sendall(data)
    assert exporter._socket is not None
    with socket.socket(fileno=socket.dup(exporter._socket.fileno())) as peek:
        peek.settimeout(PATIENCE_S)
        peek.recv(1, socket.MSG_PEEK)


def test_spans_go_over_one_connection(scene: Scene) -> None:
    """Each flush is a request; the answers are taken in later; the connection stays."""
    scene.export(b"one")
    connection = scene.accept()
    assert receive(connection) == b"one"
    answer(connection, scene.exporter)
    scene.export(b"two")
    assert receive(connection) == b"two"
    assert scene.lines == []


def test_an_answer_in_pieces_is_one_answer(scene: Scene) -> None:
    """Fragmentation is no failure, and neither are several answers at once."""
    scene.export(b"one")
    connection = scene.accept()
    for cut in range(len(OK)):
        answer(connection, scene.exporter, OK[cut : cut + 1])
        scene.exporter._read_answers()
    assert scene.exporter._in_flight == []
    scene.export(b"two")
    scene.export(b"three")
    answer(connection, scene.exporter, OK + OK)
    scene.exporter._read_answers()
    assert scene.exporter._in_flight == []


def test_nobody_listening_costs_nothing_and_loses_nothing(scene: Scene) -> None:
    """Refused: one line, then fewer and fewer attempts; when the receiver is back, the spans that waited arrive."""
    port = scene.listener.getsockname()[1]
    scene.listener.close()
    attempts = []
    for number in range(1, 21):
        before = scene.exporter._failures
        scene.export(b"%02d" % number)
        attempts += [number] * (scene.exporter._failures - before)
    assert attempts == [1, 3, 6, 11, 20]
    assert len(scene.lines) == 1
    assert "Connection refused" in scene.lines[0]
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(PATIENCE_S)
        scene.listener = listener
        while not scene.exporter._in_flight:
            scene.exporter.flush()
        connection = scene.accept()
        assert receive(connection) == b"".join(b"%02d" % number for number in range(1, 21))
    assert scene.exporter.dropped == 0


def test_the_first_attempt_after_a_failure_is_small(scene: Scene) -> None:
    """It may fail again, and encoding thousands of spans would be for nothing; the rest follows the answer."""
    for _ in range(100):
        scene.exporter.add("scope", b"x")
    scene.exporter._failures = 1
    scene.exporter.flush()
    connection = scene.accept()
    assert receive(connection) == b"x" * module.PROBE_SPANS_MAX
    scene.exporter.flush()
    assert len(scene.exporter._queue) == 100 - module.PROBE_SPANS_MAX
    answer(connection, scene.exporter)
    scene.exporter.flush()
    assert receive(connection) == b"x" * (100 - module.PROBE_SPANS_MAX)


def test_a_probe_without_an_answer_fails_in_time(scene: Scene) -> None:
    """A receiver that accepts and stays silent is given up again."""
    scene.exporter._failures = 1
    scene.export(b"probe")
    scene.now_ms = module.ANSWER_LIMIT_MS + 1
    scene.export(b"more")
    assert scene.exporter._failures == 2
    assert scene.exporter.dropped == 1


def test_a_receiver_that_never_answers_is_left_alone(scene: Scene) -> None:
    """After a few requests; none of them waits for it."""
    began = time.monotonic()
    for number in range(50):
        scene.export(b"%02d" % number)
        scene.now_ms += 100
    assert time.monotonic() - began < 5
    assert scene.exporter._failures >= 1
    assert scene.exporter.dropped + len(scene.exporter._queue) + sum(scene.exporter._in_flight) == 50
    assert "no answer" in scene.lines[0]


def test_a_receiver_without_a_processor_is_waited_for(scene: Scene) -> None:
    """Short invocations can be over by the dozen before the extension has its turn: their spans go when it has."""
    for number in range(3 * module.UNANSWERED_MAX):
        scene.export(b"%02d" % number)
    connection = scene.accept()
    received = b""
    while not received.endswith(b"%02d" % (module.UNANSWERED_MAX - 1)):
        received += connection.recv(65536)
    answer(connection, scene.exporter, OK * module.UNANSWERED_MAX)
    scene.export(b"last")
    late = b"".join(b"%02d" % number for number in range(module.UNANSWERED_MAX, 3 * module.UNANSWERED_MAX))
    assert receive(connection) == late + b"last"
    assert (scene.exporter.dropped, scene.lines) == (0, [])


def test_a_receiver_that_stops_reading_holds_a_flush_for_a_moment_only(scene: Scene) -> None:
    """The socket's buffer fills up; the request is given up after the limit and exports are skipped."""
    began = time.monotonic()
    for _ in range(module.UNANSWERED_MAX):
        scene.exporter.add("scope", b"x" * (module.QUEUE_BYTES_MAX - 1))
        scene.exporter.flush()
    assert time.monotonic() - began < module.SEND_LIMIT_S + 5
    assert scene.exporter._failures == 1


@pytest.mark.parametrize(("status", "fails"), [(b"503", True), (b"429", True), (b"500", True), (b"400", False)])
def test_refusals_count(scene: Scene, status: bytes, fails: bool) -> None:
    """What is retryable opens the breaker; a bad request is counted and the next one goes out."""
    scene.export(b"one")
    connection = scene.accept()
    receive(connection)
    answer(connection, scene.exporter, b"HTTP/1.1 " + status + b" X\r\nContent-Length: 2\r\n\r\nno")
    scene.export(b"two")
    assert (scene.exporter._failures == 1) is fails
    assert scene.exporter.dropped == 1
    (line,) = scene.lines
    assert f"status {status.decode()}" in line


def test_a_connection_closed_while_idle_is_replaced(scene: Scene) -> None:
    """As after a freeze: no failure, no loss."""
    scene.export(b"one")
    connection = scene.accept()
    receive(connection)
    answer(connection, scene.exporter)
    connection.close()
    deadline = time.monotonic() + PATIENCE_S
    while scene.exporter._socket is not None and time.monotonic() < deadline:
        scene.exporter._read_answers()
    scene.export(b"two")
    assert receive(scene.accept()) == b"two"
    assert (scene.lines, scene.exporter.dropped) == ([], 0)


def test_the_queue_is_bounded_in_spans_and_bytes(scene: Scene) -> None:
    """What does not fit is dropped and counted."""
    scene.exporter._failures = 1  # no flush on the way
    for _ in range(module.QUEUE_SPANS_MAX + 5):
        scene.exporter.add("scope", b"x")
    assert (len(scene.exporter._queue), scene.exporter.dropped) == (module.QUEUE_SPANS_MAX, 5)
    scene.exporter.after_fork()
    scene.exporter.add("scope", b"x" * module.QUEUE_BYTES_MAX)
    scene.exporter.add("scope", b"x")
    assert (len(scene.exporter._queue), scene.exporter.dropped) == (1, 6)


def test_many_spans_are_sent_before_the_invocation_ends(scene: Scene) -> None:
    """A full batch does not wait for the handler to return."""
    for _ in range(module.BATCH_SPANS_MAX):
        scene.exporter.add("scope", b"x")
    assert receive(scene.accept()) == b"x" * module.BATCH_SPANS_MAX


def test_closing_sends_what_is_left(scene: Scene) -> None:
    """Then the connection ends."""
    scene.exporter.add("scope", b"last")
    scene.exporter.close()
    connection = scene.accept()
    assert receive(connection) == b"last"
    assert connection.recv(1) == b""


def test_a_child_process_starts_anew(scene: Scene) -> None:
    """It neither sends the parent's spans nor writes into the parent's connection."""
    scene.export(b"one")
    scene.exporter.add("scope", b"queued")
    scene.exporter.after_fork()
    scene.export(b"child")
    assert receive(scene.accept()) == b"one"
    assert receive(scene.accept()) == b"child"


REQUEST_ID, TRACE, SPAN = "8476a536-e9f4-11e8-9739-2dfe598c3fcd", b"\x4b" * 16, b"\x0f" * 8
ACKNOWLEDGED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def announcing(scene: Scene) -> Scene:
    """An exporter that talks to the extension."""
    scene.exporter._announces = True
    return scene


def test_the_extension_is_told_of_an_invocation(announcing: Scene) -> None:
    """One request on the connection of the exports, which does not wait for its answer."""
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    announcing.export(b"span")
    connection = announcing.accept()
    expected = f"{REQUEST_ID} {TRACE.hex()} {SPAN.hex()}"
    head = "POST /v1/invocation HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: "
    told = f"{head}{len(expected)}\r\n\r\n{expected}".encode()
    data = b""
    while len(data) < len(told):
        data += connection.recv(len(told) - len(data))
    assert data == told
    assert receive(connection) == b"span"
    answer(connection, announcing.exporter, ACKNOWLEDGED + OK)
    announcing.exporter._read_answers()
    assert announcing.exporter._in_flight == []
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    assert receive(connection) == expected.encode()


@pytest.mark.parametrize("status", [b"404 Not Found", b"503 Service Unavailable", b"204 No Content"])
def test_a_receiver_that_does_not_know_invocations_is_told_once(announcing: Scene, status: bytes) -> None:
    """Its answer is no failure of the exports, and no span is lost by it."""
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    connection = announcing.accept()
    receive(connection)
    answer(connection, announcing.exporter, b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    for span in (b"one", b"two"):
        announcing.export(span)
        assert receive(connection) == span
        announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    assert (announcing.exporter._failures, announcing.exporter.dropped, announcing.lines) == (0, 0, [])


def test_where_exports_fail_nothing_is_announced(announcing: Scene) -> None:
    """Neither does an announcement without an answer count as a lost span."""
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    announcing.accept().close()
    deadline = time.monotonic() + PATIENCE_S
    while not announcing.exporter._failures and time.monotonic() < deadline:
        announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    assert announcing.exporter.dropped == 0
    assert len(announcing.lines) == 1
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    assert announcing.exporter._socket is None


def test_a_connection_closed_meanwhile_is_replaced(announcing: Scene) -> None:
    """The receiver has answered all and closed: what is announced then may be lost, no span is, and nothing failed."""
    announcing.export(b"one")
    connection = announcing.accept()
    receive(connection)
    answer(connection, announcing.exporter)
    connection.shutdown(socket.SHUT_WR)
    announcing.exporter.announce(REQUEST_ID, TRACE, SPAN)
    receive(connection)
    connection.close()
    announcing.export(b"two")
    assert receive(announcing.accept()) == b"two"
    assert (announcing.exporter._failures, announcing.exporter.dropped, announcing.lines) == (0, 0, [])


def test_a_foreign_collector_is_not_told(scene: Scene) -> None:
    """Only the extension knows what to do with it."""
    scene.exporter.announce(REQUEST_ID, TRACE, SPAN)
    assert scene.exporter._socket is None


def test_after_a_failure_connecting_does_not_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that swallows connections costs one wait, the first."""
    limits: list[float] = []

    class Deaf:
        def __init__(self, *_arguments: object) -> None:
            pass

        def settimeout(self, limit_s: float) -> None:
            limits.append(limit_s)

        def connect(self, _address: object) -> None:
            raise TimeoutError("timed out")

        def close(self) -> None:
            pass

    monkeypatch.setattr(module._socket, "socket", Deaf)
    for _ in range(12):
        scene.export(b"x")
    assert limits == [module.CONNECT_LIMIT_S, *[module.RECONNECT_LIMIT_S] * 3]


def test_after_a_failure_sending_does_not_wait(scene: Scene) -> None:
    """A probe that does not fit into the socket's buffer has failed at once."""
    scene.exporter._failures = 1
    waited: list[float] = []
    for _ in range(8):
        scene.exporter.add("scope", b"x" * (module.QUEUE_BYTES_MAX - 1))
        scene.exporter._skip = 0
        scene.exporter._in_flight = []
        before = time.monotonic()
        scene.exporter.flush()
        waited.append(time.monotonic() - before)
    assert scene.exporter._failures > 1
    assert min(waited) < module.SEND_LIMIT_S


def test_what_was_lost_is_told_when_the_receiver_is_back(scene: Scene) -> None:
    """With the number of spans."""
    scene.exporter._failures = 1
    scene.exporter.dropped = 7
    scene.export(b"probe")
    connection = scene.accept()
    receive(connection)
    answer(connection, scene.exporter)
    scene.export(b"next")
    (line,) = scene.lines
    assert line.startswith("traces reach 127.0.0.1:")
    assert line.endswith(" again; 7 spans were dropped")


def test_what_did_not_fit_is_told_as_well(scene: Scene) -> None:
    """Once, though the receiver was there all the time."""
    scene.exporter.add("scope", b"x" * (module.QUEUE_BYTES_MAX + 1))
    for number in range(3):
        scene.export(b"%d" % number)
        connection = scene.accepted[0] if scene.accepted else scene.accept()
        receive(connection)
        answer(connection, scene.exporter)
    scene.exporter._read_answers()
    (line,) = scene.lines
    assert line.startswith("1 spans were dropped")


def test_the_queues_size_is_exact_whatever_threads_do(scene: Scene) -> None:
    """A count that another thread's span has upset is right again after the next request."""
    scene.exporter.add("scope", b"span")
    scene.exporter._queue_bytes += 1000
    scene.exporter.flush()
    assert scene.exporter._queue_bytes == 0

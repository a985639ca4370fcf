"""Each fault, as a raw client sees it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import Fault, Faults, Reset

from .client import Client, connect, raw_request, read_to_end, read_to_reset

if TYPE_CHECKING:
    import socket

    from o2_lambda.backend import BackendServer

JSON_PATH = "/api/default/default/_json"
RECORDS = json.dumps([{"a": i} for i in range(5)]).encode()


def send(backend: BackendServer, body: bytes = RECORDS) -> socket.socket:
    connection = connect(backend.port)
    connection.sendall(raw_request(backend, JSON_PATH, body))
    return connection


def test_latency_delays_the_answer_not_the_record(backend: BackendServer, client: Client) -> None:
    """A client that gives up has its records stored all the same: its retry duplicates."""
    backend.faults.latency_ms = 300
    with send(backend) as connection:
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    started = time.monotonic()
    assert client.ingest(RECORDS).counts == (5, 0)
    assert time.monotonic() - started >= 0.3
    assert backend.count("logs", "default") == 10


def test_planned_statuses_come_first_then_all_is_well(backend: BackendServer, client: Client) -> None:
    """The next n requests fail with status, Retry-After and body; nothing of them is stored."""
    backend.faults.fail_next(2, 503, retry_after="7", body=b"memtable full")
    backend.faults.fail_next(1, 429)
    first = client.ingest(RECORDS)
    assert (first.status, first.headers["retry-after"], first.body) == (503, "7", b"memtable full")
    assert client.ingest(RECORDS).status == 503
    refused = client.ingest(RECORDS)
    assert (refused.status, "retry-after" in refused.headers) == (429, False)
    assert client.ingest(RECORDS).counts == (5, 0)
    assert backend.count("logs", "default") == 5
    assert [request.status for request in backend.requests] == [503, 503, 429, 200]


def test_faults_choose_by_path(backend: BackendServer, client: Client) -> None:
    """A plan for one path leaves the others alone, by substring or predicate."""
    backend.faults.fail_next(None, 500, path="/v1/traces")
    backend.faults.fail_next(None, 502, path=lambda path: path.endswith("/_multi"))
    assert client.ingest(RECORDS).status == 200
    assert [client.post("/api/default/v1/traces", b"").status for _ in range(3)] == [500] * 3
    assert client.post("/api/default/s/_multi", b"{}").status == 502
    backend.faults.clear()
    assert client.post("/api/default/s/_multi", b"{}").status == 200


def test_standing_status_and_large_bodies(backend: BackendServer, client: Client) -> None:
    """A standing status answers everything, after the whole body was read."""
    backend.faults.status = 500
    assert client.ingest(b"x" * 300_000).status == 500
    assert client.get("/healthz").status == 500
    assert backend.requests[0].body_bytes == 300_000


def test_black_hole_never_answers(backend: BackendServer) -> None:
    """The body is taken, no answer comes; stopping the backend ends it."""
    backend.faults.black_hole = True
    with send(backend) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        started = time.monotonic()
        backend.stop()
        assert time.monotonic() - started < 5
        assert read_to_end(connection) == b""
    assert (backend.requests[0].status, backend.requests[0].body_bytes) == (None, len(RECORDS))
    assert backend.streams() == []


def test_slow_loris_dribbles_the_body(backend: BackendServer) -> None:
    """The body comes byte by byte, whole in the end."""
    backend.faults.slow_loris_ms = 2
    started = time.monotonic()
    with send(backend) as connection:
        received = b""
        pieces = 0
        while not received.endswith(b"}]}"):
            received += connection.recv(1000)
            pieces += 1
    body = received.partition(b"\r\n\r\n")[2]
    assert json.loads(body)["status"][0]["successful"] == 5
    assert time.monotonic() - started >= 0.002 * len(body)
    assert pieces > 5


@pytest.mark.parametrize("when", list(Reset))
def test_resets(backend: BackendServer, when: Reset) -> None:
    """RST at each moment; records are stored only if the request was read."""
    backend.faults.reset_next(1, when, at_bytes=10)
    with connect(backend.port) as connection:
        request = raw_request(backend, JSON_PATH, RECORDS)
        connection.sendall(request if when is not Reset.IN_BODY else request[:-5])
        received = read_to_reset(connection)
    assert len(received.partition(b"\r\n\r\n")[2]) == (10 if when is Reset.IN_ANSWER else 0)
    stored = 5 if when in {Reset.BEFORE_ANSWER, Reset.IN_ANSWER} else 0
    assert backend.count("logs", "default") == stored
    with Client(backend) as client:
        assert client.ingest(RECORDS).counts == (5, 0)


def test_half_close(backend: BackendServer) -> None:
    """FIN instead of an answer, while the client may go on sending."""
    backend.faults.plan(1, Fault(half_close=True))
    with connect(backend.port) as connection:
        request = raw_request(backend, JSON_PATH, b"x" * 1000)
        connection.sendall(request[:-500])
        assert read_to_end(connection) == b""
        connection.sendall(request[-500:])


def test_wrong_content_type(backend: BackendServer, client: Client) -> None:
    """The answer is right, its label is not."""
    backend.faults.content_type = "text/html; charset=utf-8"
    answer = client.ingest(RECORDS)
    assert (answer.headers["content-type"], answer.counts) == ("text/html; charset=utf-8", (5, 0))


def test_partial_failure_inside_a_200(backend: BackendServer, client: Client) -> None:
    """The first n records are refused with the given error, the others stored."""
    backend.faults.reject_next(1, 2, "schema conflict")
    answer = client.ingest(RECORDS)
    assert answer.json["status"] == [{"name": "default", "successful": 3, "failed": 2, "error": "schema conflict"}]
    assert [row["a"] for row in backend.rows("logs", "default")] == [2, 3, 4]
    backend.faults.reject_next(1, 99)
    assert client.ingest(RECORDS).counts == (0, 5)


def test_partial_failure_of_spans(backend: BackendServer, client: Client) -> None:
    """The same for OTLP, as a partial success."""
    from .otlp_material import now_ns, trace_request

    backend.faults.reject_next(1, 1, "no room")
    body = trace_request(now_ns()).SerializeToString() * 2
    answer = client.post("/api/default/v1/traces", body, {"Content-Type": "application/x-protobuf"})
    assert (answer.status, b"no room" in answer.body) == (200, True)
    assert backend.count("traces", "default") == 1


def test_silent_loss(backend: BackendServer, client: Client) -> None:
    """200 with 0 and 0, and nothing stored."""
    backend.faults.silent_loss = True
    answer = client.ingest(RECORDS)
    assert (answer.status, answer.counts) == (200, (0, 0))
    assert backend.streams() == []


def test_body_limit(backend: BackendServer, client: Client) -> None:
    """413 above the given size, as a proxy in front would."""
    backend.faults.body_bytes_max = len(RECORDS) - 1
    assert client.ingest(RECORDS).status == 413
    assert client.ingest(b"[]").status == 200


def test_idle_connections_are_closed(backend: BackendServer) -> None:
    """After a pause the connection is gone, without a word before."""
    backend.faults.idle_close_ms = 50
    with send(backend) as connection:
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in answer.lower()


def test_plan_inherits_the_standing_latency() -> None:
    """A planned fault replaces the standing one, but for a latency that it does not set."""
    faults = Faults()
    faults.latency_ms, faults.status = 20, 500
    faults.plan(1, Fault(silent_loss=True))
    faults.plan(1, Fault(latency_ms=5))
    assert faults.take("/") == Fault(silent_loss=True, latency_ms=20)
    assert faults.take("/") == Fault(latency_ms=5)
    assert faults.take("/") == Fault(status=500, latency_ms=20)


def test_journal_tells_connections_sizes_and_times(backend: BackendServer, client: Client) -> None:
    """Requests on one connection share its number; headers are kept but not shown."""
    client.ingest(RECORDS)
    client.ingest(b"[]")
    with Client(backend) as other:
        other.get("/healthz?x=1")
    first, second, third = backend.requests
    assert (first.connection, second.connection, third.connection) == (1, 1, 2)
    assert backend.connections_accepted == 2
    assert (first.method, first.path, first.status, first.records) == ("POST", JSON_PATH, 200, 5)
    assert (first.body_bytes, first.decoded_bytes) == (len(RECORDS), len(RECORDS))
    assert third.path == "/healthz?x=1"
    assert first.t_monotonic <= (first.t_answered or 0) <= second.t_monotonic
    assert first.headers["authorization"] == backend.authorization_header
    assert "Basic" not in repr(first)
    backend.clear_requests()
    assert backend.requests == []


def test_broken_requests_do_not_reach_the_application(backend: BackendServer) -> None:
    """What is not HTTP gets 400 and leaves no trace."""
    with connect(backend.port) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 400")
    assert backend.requests == []

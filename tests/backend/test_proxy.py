"""The TCP fault proxy in front of the backend."""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend.proxy import FaultProxy, ProxyFaults
from tests.integration.wire import eventually

from .client import connect, raw_request, read_to_end, read_to_reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from o2_lambda.backend import BackendServer

PATH = "/api/default/default/_json"
RECORDS = json.dumps([{"a": 1}]).encode()


@pytest.fixture
def proxy(backend: BackendServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", backend.port) as running:
        yield running


@pytest.fixture
def request_bytes(backend: BackendServer) -> bytes:
    return raw_request(backend, PATH, RECORDS).replace(b"Host:", b"Connection: close\r\nHost:")


def test_bytes_pass_both_ways(backend: BackendServer, proxy: FaultProxy, request_bytes: bytes) -> None:
    """Without a fault nobody notices the proxy."""
    for _ in range(3):
        with connect(proxy.port) as connection:
            connection.sendall(request_bytes)
            assert b'"successful":1' in read_to_end(connection)
    assert proxy.connections_accepted == backend.connections_accepted == 3


def test_large_bodies_pass(backend: BackendServer, proxy: FaultProxy) -> None:
    """More than any buffer holds, unchanged."""
    body = json.dumps([{"a": "x" * 1000}] * 3000).encode()
    with connect(proxy.port) as connection:
        connection.sendall(raw_request(backend, PATH, body))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert backend.requests[0].body_bytes == len(body)


def test_stall_reads_and_answers_nothing(backend: BackendServer, proxy: FaultProxy, request_bytes: bytes) -> None:
    """Accepted and then silence: a TLS handshake would hang here."""
    proxy.faults.stall = True
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert (proxy.connections_accepted, backend.connections_accepted) == (1, 0)


def test_reset_on_accept(proxy: FaultProxy) -> None:
    """RST before a byte is read."""
    proxy.faults.reset_on_accept = True
    with pytest.raises(ConnectionResetError), connect(proxy.port) as connection:
        connection.recv(1)


@pytest.mark.parametrize("position", [1, 20, 150])
def test_reset_at_a_byte_of_the_answer(proxy: FaultProxy, request_bytes: bytes, position: int) -> None:
    """Exactly so many bytes of the answer come, wherever that is."""
    proxy.faults.reset_after_answer_bytes = position
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert len(read_to_reset(connection)) == position


def test_position_beyond_the_end_never_strikes(proxy: FaultProxy, request_bytes: bytes) -> None:
    """A short answer passes whole."""
    proxy.faults.reset_after_answer_bytes = 10_000
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert read_to_end(connection).endswith(b"}]}")


def test_reset_at_a_byte_of_the_request(backend: BackendServer, proxy: FaultProxy, request_bytes: bytes) -> None:
    """The server sees the request's beginning only and stores nothing."""
    proxy.faults.reset_after_request_bytes = len(request_bytes) - 1
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert read_to_reset(connection) == b""
    assert backend.streams() == []


@pytest.mark.parametrize("waits", [True, False])
def test_clients_that_give_up_are_counted(
    backend: BackendServer, proxy: FaultProxy, request_bytes: bytes, *, waits: bool
) -> None:
    """Who hangs up on an answer that is still to come has abandoned its request; who has read it has not."""
    backend.faults.black_hole = not waits
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        if waits:
            read_to_end(connection)
        else:
            eventually(lambda: backend.requests, "the request's arrival")
    if waits:
        eventually(lambda: not proxy._tunnels, "the connection's end")
        assert proxy.requests_abandoned == 0
    else:
        eventually(lambda: proxy.requests_abandoned == 1, "an abandoned request")


def test_half_close_after_a_part_of_the_answer(proxy: FaultProxy, request_bytes: bytes) -> None:
    """FIN in the middle of the answer."""
    proxy.faults.half_close_after_answer_bytes = 12
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert read_to_end(connection) == b"HTTP/1.1 200"


def test_dribble_and_latency(proxy: FaultProxy, request_bytes: bytes) -> None:
    """The status line too comes byte by byte; latency is added on top."""
    proxy.faults.dribble_ms, proxy.faults.latency_ms = 1, 1
    started = time.monotonic()
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert len(connection.recv(1000)) < 20
        answer = read_to_end(connection)
    assert answer.endswith(b"}]}")
    assert time.monotonic() - started >= 0.002 * len(answer)


def test_reset_all_connections(backend: BackendServer, proxy: FaultProxy) -> None:
    """Open connections die at once; the next one works."""
    backend.faults.black_hole = True
    with connect(proxy.port) as one, connect(proxy.port) as other:
        for connection in (one, other):
            connection.sendall(raw_request(backend, PATH, RECORDS))
        while len(backend.requests) < 2:
            time.sleep(0.01)
        proxy.reset_all_connections()
        for connection in (one, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    backend.faults.clear()
    with connect(proxy.port) as connection:
        connection.sendall(raw_request(backend, PATH, RECORDS))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
def test_forgotten_connections_are_dead_without_a_word(proxy: FaultProxy, request_bytes: bytes) -> None:
    """Nothing that the client sends is acknowledged, and nothing tells it so; new connections are not concerned."""
    with connect(proxy.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
        while not proxy.connections_accepted:
            time.sleep(0.01)
        proxy.forget_all_connections()
        connection.sendall(request_bytes)
        connection.settimeout(10)
        with pytest.raises(TimeoutError):  # ETIMEDOUT: what was sent was never acknowledged
            connection.recv(1)
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        assert b'"successful":1' in read_to_end(connection)


@pytest.mark.parametrize("off", [-3, 7])
def test_a_wrong_content_length(proxy: FaultProxy, request_bytes: bytes, off: int) -> None:
    """The answer says more or fewer bytes than it has."""
    proxy.faults.content_length_off = off
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    declared = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    assert int(declared.partition(b":")[2]) == len(body) + off


def test_pause_and_resume(proxy: FaultProxy, request_bytes: bytes) -> None:
    """A paused proxy accepts nobody; connections that waited are served afterwards."""
    proxy.pause()
    proxy.pause()
    with connect(proxy.port) as connection:
        connection.sendall(request_bytes)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert proxy.connections_accepted == 0
        proxy.resume()
        connection.settimeout(10)
        assert read_to_end(connection).startswith(b"HTTP/1.1 200")
    assert proxy.connections_accepted == 1


def test_upstream_that_is_down_means_reset(backend: BackendServer) -> None:
    """Nobody behind the proxy: the client is reset."""
    backend.stop()
    with (
        FaultProxy("127.0.0.1", backend.port, ProxyFaults()) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy.port) as connection,
    ):
        connection.recv(1)

"""Life of the server: start, stop, again; TLS; what cannot start."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda.backend import BackendConfig, BackendError, BackendServer, CountingStore

from .client import Client, connect, raw_request, read_to_end

if TYPE_CHECKING:
    from pathlib import Path


def test_backend_goes_down_and_comes_back(backend: BackendServer) -> None:
    """The port refuses while it is down; port, data and faults are the same afterwards."""
    port = backend.port
    with Client(backend) as client:
        assert client.ingest([{"a": 1}]).counts == (1, 0)
        backend.stop()
        backend.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(port)
    assert backend.count("logs", "default") == 1
    backend.start()
    backend.start()
    assert backend.port == port
    with Client(backend) as client:
        assert client.ingest([{"a": 2}]).counts == (1, 0)
    assert backend.count("logs", "default") == 2


def test_answers_do_not_wait_for_acknowledgements(backend: BackendServer) -> None:
    """Without TCP_NODELAY every answer would take 40 ms."""
    with Client(backend) as client:
        started = time.monotonic()
        for _ in range(50):
            assert client.get("/healthz").status == 200
        assert time.monotonic() - started < 1.5


def test_stop_closes_idle_connections(backend: BackendServer) -> None:
    """A keep-alive connection sees FIN when the backend goes."""
    with connect(backend.port) as connection:
        connection.sendall(raw_request(backend, "/healthz", b"", method="GET"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        backend.stop()
        assert read_to_end(connection) in {b"", b'{"status":"ok"}'}


def test_request_in_progress_may_finish(backend: BackendServer) -> None:
    """Stopping waits for an answer that is on its way."""
    backend.faults.latency_ms = 300
    with connect(backend.port) as connection:
        connection.sendall(raw_request(backend, "/api/default/s/_json", b'[{"a":1}]'))
        while not backend.requests:
            threading.Event().wait(0.01)
        backend.stop()
        assert b'"successful":1' in read_to_end(connection)


def test_taken_port_is_one_clear_line() -> None:
    """The message names address, reason and the option to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackendError) as refused:
            BackendServer(BackendConfig(port=port)).start()
    assert str(refused.value) == (
        f"cannot listen on 127.0.0.1:{port} (Address already in use); choose another with --port"
    )


def test_database_that_cannot_be_opened(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(BackendError, match="cannot open the database"):
        BackendServer(BackendConfig(database=tmp_path / "missing" / "o2.duckdb"))


def test_database_file_outlives_the_backend(tmp_path: Path) -> None:
    """Rows on disk are there for the next backend."""
    config = BackendConfig(database=tmp_path / "o2.duckdb")
    with BackendServer(config) as backend, Client(backend) as client:
        client.ingest([{"_timestamp": 0, "a": 1}])
    with BackendServer(config) as backend:
        assert [row["a"] for row in backend.rows("logs", "default")] == [1]


def test_counting_store_keeps_no_rows() -> None:
    """For load benches: decoded, checked, counted, forgotten."""
    with BackendServer(BackendConfig(store=CountingStore())) as backend, Client(backend) as client:
        assert client.ingest([{"a": 1}, 5]).counts == (1, 1)
        assert backend.count("logs", "default") == 1
        assert client.search("select 1").json["code"] == 20008


def test_two_backends_live_side_by_side() -> None:
    """Each has its own port, data, faults and journal."""
    with BackendServer() as one, BackendServer() as other, Client(one) as client:
        one.faults.fail_next(1, 503)
        assert client.ingest([{"a": 1}]).status == 503
        assert client.ingest([{"a": 1}]).status == 200
        assert (one.count("logs", "default"), other.count("logs", "default")) == (1, 0)
        assert (len(one.requests), len(other.requests)) == (2, 0)


def test_ipv6_address_in_the_url() -> None:
    """The URL brackets an IPv6 host."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert BackendServer(BackendConfig(host="::1")).url == "http://[::1]:0"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[trustme.CA, Path, Path]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return authority, chain, key


def test_tls_with_a_given_certificate(certificate: tuple[trustme.CA, Path, Path]) -> None:
    """A client that trusts the authority gets in; one that does not is not answered."""
    authority, chain, key = certificate
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with BackendServer(BackendConfig(certificate=chain, private_key=key)) as backend:
        assert backend.url.startswith("https://127.0.0.1:")
        request = raw_request(backend, "/api/default/_license", b"", method="GET")
        with trusting.wrap_socket(connect(backend.port), server_hostname="127.0.0.1") as connection:
            connection.sendall(request)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(backend.port) as raw, pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")


def test_certificate_that_is_none(tmp_path: Path) -> None:
    """The message names the file; the port is not taken meanwhile."""
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    with pytest.raises(BackendError, match="cannot use the certificate"):
        BackendServer(BackendConfig(certificate=nonsense, private_key=nonsense)).start()

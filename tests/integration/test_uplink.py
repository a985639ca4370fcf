"""The uplink and servers that HTTP allows and nobody expects: each request ends in time, with the answer that came."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from o2_lambda.extension.config import load
from o2_lambda.extension.core.batch import LOGS, Batch
from o2_lambda.extension.core.model import AWS, UPSTREAM, Request
from o2_lambda.extension.core.url import parse_url
from o2_lambda.extension.io.dial import Resolver
from o2_lambda.extension.io.uplink import Uplink
from tests.integration.connect_proxy import ForwardProxy
from tests.integration.secured import server_context, write_authority
from tests.integration.wire import PATIENCE_S, Server, response
from tests.integration.wire import Request as Seen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    Act = Callable[[Seen, socket.socket], None]

SETTINGS = {"O2_ORGANIZATION_ID": "acme", "O2_AUTHORIZATION_HEADER": "Basic cm9vdDpwYXNz"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"


class Odd(Server):
    """A server that does `act` with each request."""

    def __init__(self, act: Act, tls: ssl.SSLContext | None = None) -> None:
        self.act = act
        super().__init__(tls=tls)

    def handle(self, request: Seen, client: socket.socket) -> None:
        self.act(request, client)


class Opened(Uplink):
    """An uplink that ends with its test; `came` is set when an outcome waits."""

    def __init__(self, **settings: str) -> None:
        self.came = threading.Event()
        super().__init__(load({**SETTINGS, **settings}), "1", self.came.set)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._forget_all()


def request(url: str, *, body: bytes = b"x", timeout_ms: int = 5000, route: str = UPSTREAM) -> Request:
    return Request(Batch(LOGS, body, 1, len(body)), parse_url("url", url), [], timeout_ms, route=route)


def answered(bytes_: bytes) -> Act:
    return lambda _request, client: client.sendall(bytes_)


@pytest.mark.parametrize(("begin", "more"), [(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), (CHUNKED, b"Trailer: x\r\n")])
def test_an_answer_that_never_ends_ends_with_the_request(begin: bytes, more: bytes) -> None:
    """Interim answers and trailers have no number: they must not hold the only thread beyond its time."""
    enough = threading.Event()

    def act(_request: Seen, client: socket.socket) -> None:
        client.sendall(begin)
        while not enough.is_set():
            client.sendall(more * 100)

    with Odd(act) as server, Opened() as sender:
        stop = threading.Timer(PATIENCE_S, enough.set)
        stop.start()
        outcome = sender.exchange(request(f"http://127.0.0.1:{server.port}", timeout_ms=300))
        in_time = not enough.is_set()
        stop.cancel()
        enough.set()
        assert in_time
        assert outcome.error.endswith("timed out")


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n   "])
def test_a_folded_header_is_one_line(fold: bytes) -> None:
    """Of an old server: to refuse its answers would send the same batch for ever."""
    act = answered(b"HTTP/1.1 429 Busy\r\nX-Policy: a," + fold + b"b\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok")
    with Odd(act) as server, Opened() as sender:
        outcome = sender.exchange(request(f"http://127.0.0.1:{server.port}"))
    assert (outcome.status, outcome.retry_after, outcome.body) == (429, b"7", b"ok")


@contextlib.contextmanager
def port_of(serve: Callable[[socket.socket], None]):  # type: ignore[no-untyped-def] # noqa: ANN201 - a generator's
    """A raw server with a small window, for one client."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def accept() -> None:
            client, _address = listener.accept()
            with client, contextlib.suppress(OSError):
                serve(client)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_refusal_of_a_server_that_reads_no_further_is_read() -> None:
    """It need not close: what it said while we were sending is there, and says more than that we could not send."""
    done = threading.Event()

    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(response(413))
        done.wait(PATIENCE_S)

    with port_of(serve) as port, Opened() as sender:
        outcome = sender.exchange(request(f"http://127.0.0.1:{port}", body=bytes(16 << 20), timeout_ms=1000))
        done.set()
        assert not sender._connections  # what comes next must not be taken for the rest of the body
    assert outcome.status == 413


def test_an_address_that_never_answers_leaves_time_for_the_next() -> None:
    """A balancer has one in each zone: the zone that is gone must not take the others with it, at every attempt."""
    with socket.socket() as hole, contextlib.ExitStack() as stack, Odd(answered(response(200))) as server:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _ in range(3):  # more than its backlog takes: the kernel drops what comes then
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(hole.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            for address in (hole.getsockname(), ("127.0.0.1", server.port))
        ]
        with Opened() as sender:
            sender._resolver = Resolver(lambda *_question: found)
            assert sender.exchange(request("http://balancer.test", timeout_ms=1000)).status == 200


def test_one_server_for_openobserve_and_for_aws_has_a_connection_for_each(tmp_path: Path) -> None:
    """A gateway may stand for both; whom each way trusts is its own."""
    authority = trustme.CA()
    ca_cert = write_authority(authority, tmp_path)
    with Odd(answered(response(200)), server_context(authority)) as server, Opened(O2_CA_CERT=ca_cert) as sender:
        for route in (UPSTREAM, AWS, UPSTREAM, AWS):
            assert sender.exchange(request(f"https://127.0.0.1:{server.port}", route=route)).status == 200
        assert server.connections == 2


def test_a_proxy_is_asked_for_an_ipv6_address_in_brackets() -> None:
    """Without them the port would be its last group."""
    with ForwardProxy() as proxy:
        proxy.refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n"
        with Opened(O2_PROXY=f"http://127.0.0.1:{proxy.port}") as sender:
            sender.exchange(request("https://[2001:db8::1]/x"))
        assert proxy.requests[0].target == "[2001:db8::1]:443"
        assert proxy.requests[0].headers["host"] == "[2001:db8::1]:443"


def test_any_2xx_of_a_proxy_opens_the_tunnel(tmp_path: Path) -> None:
    """RFC 9110 9.3.6 asks for no particular one."""
    authority = trustme.CA()
    with Odd(answered(response(200)), server_context(authority)) as server, ForwardProxy() as proxy:
        proxy.established = b"HTTP/1.1 204 Go on\r\n\r\n"
        settings = {"O2_CA_CERT": write_authority(authority, tmp_path), "O2_PROXY": f"http://127.0.0.1:{proxy.port}"}
        with Opened(**settings) as sender:
            assert sender.exchange(request(f"https://127.0.0.1:{server.port}")).status == 200


def test_a_request_that_a_restore_cuts_is_made_anew_with_fresh_connections() -> None:
    """Out of a snapshot nothing of before is used, by the request that is under way neither."""
    asked = threading.Event()
    other = Forgotten()

    def act(request: Seen, client: socket.socket) -> None:
        if request.body == b"first" or server.connections > 1:
            client.sendall(response(200))
        else:
            asked.set()

    with Odd(act) as server, Opened() as sender:
        sender.start()
        url = f"http://127.0.0.1:{server.port}"
        assert sender.exchange(request(url, body=b"first")).status == 200
        sender._connections[UPSTREAM, "http", "other", 1] = other  # type: ignore[assignment]
        sender.submit(request(url, body=b"second"))
        assert asked.wait(PATIENCE_S)
        sender.renew()
        sender.abort()
        assert sender.came.wait(PATIENCE_S)
        outcome = sender.collect()
        assert outcome is not None
        assert outcome.status == 200
        assert other.is_closed


class Forgotten:
    """A connection of before the snapshot."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True

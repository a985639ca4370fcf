"""The way to the backend: certificates, resumption, proxies."""

from __future__ import annotations

import datetime as dt
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest
import trustme

from o2_lambda.backend import BackendConfig, BackendServer
from o2_lambda.backend.proxy import FaultProxy, ProxyFaults
from tests.integration.connect_proxy import ForwardProxy
from tests.integration.otlp_requests import export_request
from tests.integration.rig import CREDENTIALS, QUICK, with_otlp
from tests.integration.secured import server_context, write_authority
from tests.integration.stage import Stage, assert_ended_well, ledger
from tests.integration.wire import free_port, response

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.rig import Arena, Rig, Settings

END: Settings = {"O2_FLUSH_STRATEGY": "end"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system knows."""
    return trustme.CA()


def secured(arena: Arena, authority: trustme.CA, *names: str, **settings: str) -> Rig:
    """An extension that knows the authority, and a backend whose certificate it signed."""
    sink = arena.sink(server_context(authority, *names))
    return arena.rig(sink=sink, **{**END, "O2_CA_CERT": write_authority(authority, arena.folder), **settings})


@pytest.mark.smoke
def test_an_https_backend(tmp_path: Path, authority: trustme.CA) -> None:
    """O2_CA_CERT names the authority: everything arrives over TLS, under the emulator and its freezes."""
    certificate = authority.issue_cert("127.0.0.1")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    certificate.private_key_pem.write_to_path(str(key))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(chain), append=True)
    with BackendServer(BackendConfig(certificate=chain, private_key=key)) as backend:
        stage = Stage(tmp_path, backend)
        settings = {**END, "O2_CA_CERT": write_authority(authority, tmp_path)}
        with stage.function(settings=settings) as function:
            for number in range(3):
                assert function.invoke().outcome == "success"
                assert len(stage.stored("platform.runtimeDone")) == number + 1
            function.shutdown()
            assert_ended_well(function)
            logs = ledger(function)["logs"]
        assert logs["received"] == logs["delivered"] == backend.count("logs", "default")
        assert backend.connections_accepted == 1


def test_a_folder_of_certificates(arena: Arena, authority: trustme.CA) -> None:
    """O2_CA_CERT may be a folder as `openssl rehash` makes it."""
    folder = arena.folder / "authorities"
    folder.mkdir()
    path = write_authority(authority, folder)
    command = ["openssl", "x509", "-hash", "-noout", "-in", path]
    hashed = subprocess.run(command, capture_output=True, text=True, check=True)
    (folder / f"{hashed.stdout.strip()}.0").symlink_to(path)
    rig = secured(arena, authority, O2_CA_CERT=str(folder))
    rig.invocation("a")
    assert rig.sink.lines() == ["a"]


def assert_held_and_told(rig: Rig, text: str) -> None:
    """Nothing is sent, one line says why, invocations go on, and at the end what is held is told."""
    warning = rig.invocations_until("WARN OpenObserve cannot be reached")
    assert "certificate" in warning
    assert text in warning
    ending = rig.end()
    assert ending.status == 0
    assert ending.logs["held"] == ending.logs["received"] > 0
    assert not rig.sink.requests, "no byte of a request before the certificate is known to be good"
    assert any("Final flush incomplete" in line for line in ending.lines)


def test_an_unknown_authority(arena: Arena) -> None:
    """The certificate is refused; the line names O2_CA_CERT, which is what helps."""
    rig = arena.rig(sink=arena.sink(server_context(trustme.CA())), **END, **QUICK)
    assert_held_and_told(rig, "O2_CA_CERT")
    assert len(rig.process.matching("WARN OpenObserve cannot be reached")) == 1


def test_a_certificate_for_another_name(arena: Arena, authority: trustme.CA) -> None:
    """A good certificate of somebody else is refused."""
    assert_held_and_told(secured(arena, authority, "other.example", **QUICK), "certificate refused")


def test_an_expired_certificate(arena: Arena, authority: trustme.CA) -> None:
    """A certificate that was good yesterday is refused."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    long_ago = yesterday - dt.timedelta(days=30)
    context = server_context(authority, not_after=yesterday, not_before=long_ago)
    rig = arena.rig(sink=arena.sink(context), **END, **QUICK, O2_CA_CERT=write_authority(authority, arena.folder))
    assert_held_and_told(rig, "expired")


def issued(authority: trustme.CA, folder: Path, key: list[str], digest: str = "sha256") -> ssl.SSLContext:
    """The context of a server that is lax itself, whose certificate has a key and a signature of that kind."""
    write_authority(authority, folder)
    authority.private_key_pem.write_to_path(str(folder / "ca.key"))
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    request = [
        "openssl",
        "req",
        "-newkey",
        *key,
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "request",
        "-subj",
        "/CN=sink",
    ]
    sign = ["openssl", "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "cert.pem"]
    for command in (request, [*sign, "-extfile", "names", "-days", "1", f"-{digest}"]):
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(("key", "digest"), [("rsa:1024", "sha256"), ("rsa:2048", "sha1")])
def test_a_weak_certificate(arena: Arena, authority: trustme.CA, key: str, digest: str) -> None:
    """One whose key or signature can be forged with an effort that somebody may make is refused."""
    sink = arena.sink(issued(authority, arena.folder, [key], digest))
    rig = arena.rig(sink=sink, **END, **QUICK, O2_CA_CERT=str(arena.folder / "ca.pem"))
    assert_held_and_told(rig, "too weak")


@pytest.mark.parametrize("key", ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519"])
def test_kinds_of_keys(arena: Arena, authority: trustme.CA, key: str) -> None:
    """Whatever a server is likely to have."""
    sink = arena.sink(issued(authority, arena.folder, key.split()))
    rig = arena.rig(sink=sink, **END, O2_CA_CERT=str(arena.folder / "ca.pem"))
    rig.invocation("a")
    assert rig.sink.lines() == ["a"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(arena: Arena, authority: trustme.CA, version: ssl.TLSVersion) -> None:
    """A connection that the server gave up costs a short handshake: the second is a resumption."""
    context = server_context(authority)
    context.maximum_version = version
    rig = arena.rig(sink=arena.sink(context), **END, O2_CA_CERT=write_authority(authority, arena.folder))
    for number in range(3):
        rig.invocation(f"line {number}")
        rig.sink.await_lines(number + 1)
        reused = [tls.session_reused for tls in rig.sink.handshakes if tls.fileno() >= 0]
        rig.sink.drop_connections()
        if number:
            assert reused[-1], "a full handshake"
        else:
            assert not reused[-1]
    assert rig.end().logs["held"] == 0


def test_one_handshake_serves_many_invocations(arena: Arena, authority: trustme.CA) -> None:
    """Kept alive over TLS, too: tickets and records of the session do not look like a dead connection."""
    rig = secured(arena, authority, **with_otlp())
    for number in range(5):
        rig.begin()
        rig.log(f"line {number}")
        rig.export("/v1/traces", export_request("traces").SerializeToString())
        rig.done()
        rig.await_next()
    assert rig.end().logs["held"] == 0
    assert rig.sink.connections == 1


def test_a_handshake_that_stalls(arena: Arena) -> None:
    """A server that takes the connection and says nothing: the budget bounds the wait, the data is held."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        rig = arena.rig(**END, O2_ENDPOINT=url, O2_FLUSH_BUDGET_MS="200", O2_REQUEST_TIMEOUT_MS="400")
        for number in range(4):
            rig.invocation(f"line {number}", timeout_ms=3000)
        ending = rig.end()
    assert ending.status == 0
    assert ending.logs["held"] == ending.logs["received"]
    assert ending.ledger["hold_ms_max"] < 1000


def test_a_handshake_that_stalls_is_given_up_long_before_the_request(arena: Arena, authority: trustme.CA) -> None:
    """Connecting has a bound of its own, whatever O2_REQUEST_TIMEOUT_MS allows; then it is tried anew."""
    patch = "from o2_lambda.extension.io import uplink\nuplink.CONNECT_S_MAX = 0.3"
    sink = arena.sink(server_context(authority))
    settings = {**END, **QUICK, "O2_CA_CERT": write_authority(authority, arena.folder)}
    with FaultProxy("127.0.0.1", sink.port, ProxyFaults(stall=True)) as proxy:
        settings |= {"O2_ENDPOINT": f"https://127.0.0.1:{proxy.port}", "O2_REQUEST_TIMEOUT_MS": "900000"}
        rig = arena.rig(sink=sink, patch=patch, **settings)
        rig.invocation("a")
        rig.process.await_line("timed out")
        proxy.faults = ProxyFaults()
        rig.begin()
        sink.await_lines(1)
        rig.done()
        rig.await_next()
        assert rig.end().logs["held"] == 0


def test_a_server_without_tls(arena: Arena, backend: BackendServer) -> None:
    """https:// to a plain port is a failure with a reason, not a hang."""
    rig = arena.rig(**END, **QUICK, O2_ENDPOINT=backend.url.replace("http:", "https:"))
    rig.invocations_until("OpenObserve cannot be reached")
    assert rig.end().status == 0


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "garbage"])
def test_an_unusable_ca_file(arena: Arena, content: str | None) -> None:
    """One Configuration error that names O2_CA_CERT; the function is unharmed."""
    path = arena.folder / "authority.pem"
    if content is not None:
        path.write_text(content)
    rig = arena.rig(O2_CA_CERT=str(path))
    assert f"O2_CA_CERT '{path}'" in rig.process.await_line("Configuration error: ")
    rig.lambda_.invoke("r-1")
    rig.lambda_.await_next(2)
    rig.lambda_.shutdown()
    assert rig.process.await_end().status == 0


def test_a_tunnel_through_a_proxy(arena: Arena, authority: trustme.CA) -> None:
    """O2_PROXY: CONNECT once, TLS to OpenObserve inside, verified; the credentials are for OpenObserve's eyes only."""
    with ForwardProxy() as proxy:
        rig = secured(arena, authority, O2_PROXY=f"http://127.0.0.1:{proxy.port}")
        rig.invocation("a")
        rig.invocation("b")
        assert rig.sink.lines() == ["a", "b"]
        assert [request.method for request in proxy.requests] == ["CONNECT"]
        assert proxy.requests[0].target == f"127.0.0.1:{rig.sink.port}"
        assert CREDENTIALS.encode() not in proxy.requests[0].head
        assert rig.end().status == 0


def test_a_proxy_that_wants_a_password(arena: Arena, authority: trustme.CA) -> None:
    """User and password of O2_PROXY go to the proxy, percent-decoded; they are never printed."""
    with ForwardProxy(user="me", password="p@ss/word") as proxy:
        rig = secured(arena, authority, O2_PROXY=f"http://me:p%40ss%2Fword@127.0.0.1:{proxy.port}")
        rig.invocation("a")
        assert rig.sink.lines() == ["a"]
        ending = rig.end()
    assert "p@ss" not in "".join(ending.lines)
    assert "p%40ss" not in "".join(ending.lines)


def test_a_proxy_for_plain_http(arena: Arena) -> None:
    """An http:// endpoint goes through the proxy as an absolute URL."""
    with ForwardProxy() as proxy:
        rig = arena.rig(**END, O2_PROXY=f"http://127.0.0.1:{proxy.port}")
        rig.invocation("a")
        assert rig.sink.lines() == ["a"]
        assert proxy.requests[0].target == f"{rig.sink.url}/api/default/default/_json"
        assert rig.end().logs["held"] == 0


def test_a_proxy_that_refuses(arena: Arena, authority: trustme.CA) -> None:
    """The proxy's own words are told, and that it was O2_PROXY; the data is held."""
    with ForwardProxy() as proxy:
        proxy.refusal = response(403, b"not here")
        rig = secured(arena, authority, **QUICK, O2_PROXY=f"http://127.0.0.1:{proxy.port}")
        for number in range(4):
            rig.invocation(f"line {number}")
        assert "O2_PROXY refused the tunnel: 403" in rig.process.await_line("O2_PROXY")
        ending = rig.end()
    assert ending.status == 0
    assert ending.logs["held"] == ending.logs["received"]


def test_a_proxy_that_is_not_there(arena: Arena) -> None:
    """The line names the proxy's address, not OpenObserve's."""
    port = free_port()
    rig = arena.rig(**END, **QUICK, O2_PROXY=f"http://127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in rig.invocations_until("OpenObserve cannot be reached")
    assert not rig.sink.requests


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxies_of_the_environment_are_for_the_function(arena: Arena, authority: trustme.CA, scheme: str) -> None:
    """HTTP_PROXY, HTTPS_PROXY and their like change nothing: neither for Lambda's API nor for OpenObserve."""
    with ForwardProxy() as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        settings = {**END, **dict.fromkeys(names, url), "O2_CA_CERT": write_authority(authority, arena.folder)}
        sink = arena.sink(server_context(authority) if scheme == "https" else None)
        rig = arena.rig(sink=sink, **settings)
        rig.invocation("a")
        assert sink.lines() == ["a"]
        assert proxy.requests == []
        assert proxy.connections == 0

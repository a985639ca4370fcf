"""Somebody in the sandbox means harm: the function's logs arrive all the same, and nothing grows without bound."""

from __future__ import annotations

import gzip
import os
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.otlp_requests import JSON, PATHS, PROTOBUF, export_request
from tests.integration.rig import with_otlp
from tests.integration.test_otlp import END, Client, connected, flushed
from tests.integration.wire import PATIENCE_S, eventually

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig

FLOOD = int(os.environ.get("O2_TEST_FLOOD", "3000"))  # `make hostile` takes 100,000
GIGABYTE = 1 << 30
GROWTH_KB_MAX = 6 * 1024  # kernel and allocator noise; one of the bodies below would be many times that
CONTENT = f"Host: localhost\r\nContent-Type: {PROTOBUF}\r\n"


def memory_kb(rig: Rig, what: str = "VmRSS") -> int:
    """Of the extension's process: VmRSS, or VmHWM for its peak."""
    status = Path(f"/proc/{rig.process.pid}/status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)[1])  # type: ignore[index] # always there


def descriptors(rig: Rig) -> int:
    return len(list(Path(f"/proc/{rig.process.pid}/fd").iterdir()))


def reset_peak(rig: Rig) -> None:
    """VmHWM counts from here on."""
    Path(f"/proc/{rig.process.pid}/clear_refs").write_text("5")


def test_connections_without_number(arena: Arena) -> None:
    """Opened and dropped, half a request or none: no memory, no descriptor and no log line is lost to them."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    port = int(rig.lambda_.destination[1])
    open_before = descriptors(rig)
    before_kb = memory_kb(rig)
    for number in range(FLOOD):
        with socket.create_connection(("127.0.0.1", (rig.otlp_port, port)[number % 2]), timeout=PATIENCE_S) as client:
            if number % 3 == 1:
                client.send(b"POST /v1/traces HTTP/1.1\r\nContent-Le")
            elif number % 3 == 2:
                client.send(os.urandom(64))
    rig.invocation("after")
    assert rig.sink.lines() == ["before", "after"]
    assert memory_kb(rig) - before_kb < GROWTH_KB_MAX
    assert descriptors(rig) <= open_before + 64
    assert rig.end().ledger["logs"]["held"] == 0


@pytest.mark.parametrize("framing", [f"Content-Length: {GIGABYTE}", "Transfer-Encoding: chunked"])
def test_a_gigabyte_is_refused_before_it_comes(arena: Arena, framing: str) -> None:
    """What a client declares is believed only to refuse it."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    before_kb = memory_kb(rig)
    with connected(rig) as client:
        client.send(f"POST /v1/traces HTTP/1.1\r\n{CONTENT}{framing}\r\n\r\n".encode())
        client.send(f"{GIGABYTE:x}\r\n".encode())
        assert client.stream.readline().split()[1] == b"413"
    assert memory_kb(rig) - before_kb < GROWTH_KB_MAX
    rig.invocation("after")
    assert flushed(rig)["logs"]["held"] == 0


def test_a_compression_bomb_is_refused_within_its_bound(arena: Arena) -> None:
    """100 MB of zeros in 100 kB: no more than the bound is ever unpacked, and a second one adds nothing."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    reset_peak(rig)
    before_kb = memory_kb(rig)
    bomb = gzip.compress(b"\0" * 100_000_000, 1)
    with connected(rig) as client:
        for _ in range(4):
            answer = client.post(PATHS["traces"], bomb, extra="Content-Encoding: gzip\r\n")
            assert answer.status == 413
    peak_kb = memory_kb(rig, "VmHWM") - before_kb
    assert peak_kb < 48 * 1024  # 16 MiB, while it grows twice; four that were kept would be 64
    rig.invocation("after")
    assert "traces" not in flushed(rig)


COSTLY = {
    "gzip members": (PROTOBUF, gzip.compress(b"", mtime=0) * 200_000),
    "protobuf fields": (PROTOBUF, gzip.compress(b"\x0a\x00" * (8 << 20), 1)),
    "JSON values": (JSON, gzip.compress(b'{"resourceSpans":[' + b"[]," * (5 << 20) + b"[]]}", 1)),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_body_that_would_cost_much_is_refused(arena: Arena, name: str) -> None:
    """Within every bound on its bytes it would take half a minute, or hundreds of megabytes."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    reset_peak(rig)
    before_kb = memory_kb(rig)
    content_type, body = COSTLY[name]
    begin_s = time.monotonic()
    answer = rig.export("/v1/traces", body, content_type, Content_Encoding="gzip")
    assert answer.status == 400
    assert time.monotonic() - begin_s < PATIENCE_S / 2
    assert memory_kb(rig, "VmHWM") - before_kb < 64 * 1024  # 16 MiB and copies of it
    rig.invocation("after")
    assert "traces" not in flushed(rig)


def test_answers_that_nobody_reads_do_not_pile_up(arena: Arena) -> None:
    """Who sends and never reads is not read from: the kernel's buffers are all that it can fill."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    before_kb = memory_kb(rig)
    flood = f"POST /v1/traces HTTP/1.1\r\nContent-Type: {JSON}\r\nContent-Length: 2\r\n\r\n{{}}".encode() * 1000
    sent = 0
    with connected(rig) as client:
        client.sock.settimeout(1)
        try:
            while sent < 64 << 20:
                sent += client.sock.send(flood)
        except TimeoutError:
            pass
        assert sent < 64 << 20
        assert memory_kb(rig) - before_kb < GROWTH_KB_MAX
        rig.invocation("beside")
    rig.invocation("after")
    assert flushed(rig)["logs"]["held"] == 0


SMUGGLED = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 100\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length : 0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        b"X: y\nContent-Length: 0\r\n\r\n",
        b"Content-Length: 0\r\n X: folded\r\n\r\n",
    ],
)
def test_a_request_hidden_behind_another_is_not_taken(arena: Arena, framing: bytes) -> None:
    """Where two readers could disagree on where a request ends, it is refused and nothing after it is read."""
    rig = arena.rig(**END, **with_otlp())
    hidden = export_request("traces").SerializeToString()
    with connected(rig) as client:
        client.send(SMUGGLED + framing + SMUGGLED + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
        status = int(client.stream.readline().split()[1])
        assert status in (400, 501)
        rest = client.stream.read()
        assert rest.count(b"HTTP/1.1") == 0
    assert "traces" not in flushed(rig)
    assert rig.sink.exports == []


def test_clients_that_trickle_hold_nobody_up(arena: Arena) -> None:
    """As many as are let in, a byte at a time: Lambda's telemetry passes, and no invocation is held for them."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    head = f"POST /v1/traces HTTP/1.1\r\n{CONTENT}Content-Length: 1000\r\n\r\n".encode()
    with ExitStack() as stack:
        clients: list[Client] = []
        for _ in range(60):
            client = Client(rig)
            stack.callback(client.sock.close)
            stack.callback(client.stream.close)
            client.send(head)
            clients.append(client)
        time.sleep(0.3)  # a message that stands still for a quarter of a second no longer counts as coming
        began_s = time.monotonic()
        rig.invocation("beside")
        assert time.monotonic() - began_s < 5
        for client in clients:
            client.send(b"x")
        assert rig.sink.lines() == ["before", "beside"]
    assert rig.end().status == 0


@pytest.mark.parametrize("words", [b"", b"POST /v1/traces HTTP/1.1\r\nContent-Le"])
@pytest.mark.parametrize("place", ["telemetry", "otlp"])
def test_as_many_clients_as_are_let_in_do_not_lock_lambda_out(arena: Arena, place: str, words: bytes) -> None:
    """Silent, or in the middle of a request: one of them makes room where Lambda comes anew."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    rig.lambda_.hang_up_telemetry()
    port = rig.otlp_port if place == "otlp" else int(rig.lambda_.destination[1])
    enough = descriptors(rig) + 62
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)).send(words)
        eventually(lambda: descriptors(rig) >= enough, "as many as are let in")
        rig.invocation("after")
        assert rig.sink.lines() == ["before", "after"]
    assert rig.end().status == 0


def test_who_never_says_that_it_is_lambda_is_hung_up_on(arena: Arena) -> None:
    """Else as many as are let in would keep SDKs out for good."""
    rig = arena.rig(patch="from o2_lambda.extension.io import listener\nlistener.STALL_MS_MAX = 100", **END)
    rig.invocation("before")
    with socket.create_connection(("127.0.0.1", int(rig.lambda_.destination[1])), timeout=PATIENCE_S) as client:
        assert client.recv(1) == b""
    rig.invocation("after")
    assert rig.sink.lines() == ["before", "after"]
    assert rig.end().status == 0


def test_nobody_else_can_post_telemetry(arena: Arena) -> None:
    """The path is 128 bits of chance; what is guessed is refused and recorded nowhere."""
    rig = arena.rig(**END)
    _host, port, path = rig.lambda_.destination
    assert re.fullmatch("/[0-9a-f]{32}", path)
    for guess in ("/", path[:-1], path + "0", path.upper() if path.upper() != path else "/0", f"{path}/..", f"/{path}"):
        with socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE_S) as client:
            client.sendall(f"POST {guess} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]".encode())
            assert client.recv(100).split()[1] == b"404"
    assert rig.end().logs.get("received", 0) == 0

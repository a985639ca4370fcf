"""What users of the reference met: its buffer. Each test would have failed there, as `plants.py` proves."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.rig import QUICK, with_otlp
from tests.integration.stub_sink import decoded
from tests.integration.wire import read_answer

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig, Settings

END: Settings = {"O2_FLUSH_STRATEGY": "end"}


def noise(size: int, seed: int = 1) -> str:
    """Text that hardly compresses."""
    return "".join(
        random.Random(seed).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=size)
    )


def memory_mb(rig: Rig) -> float:
    """Resident memory of the process at its peak."""
    status = Path(f"/proc/{rig.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_the_batch_size_is_honoured(arena: Arena) -> None:
    """O2_BATCH_SIZE was never read. Users saw: no difference, whatever they set."""
    rig = arena.rig(**END, O2_BATCH_SIZE="10")
    rig.invocation(*(f"line {number}" for number in range(25)))
    counts = [decoded(request).count(b'"_timestamp":') for request in rig.sink.requests]
    assert sum(counts) == 25 + 2
    assert max(counts) == 10


def test_the_flush_interval_is_honoured(arena: Arena) -> None:
    """O2_FLUSH_INTERVAL_MS was never read. Users saw: lines every five seconds, whatever they set."""
    rig = arena.rig(O2_FLUSH_STRATEGY="periodic", O2_FLUSH_INTERVAL_MS="50")
    rig.begin()
    for number in range(1, 6):
        rig.log(f"line {number}")
        rig.sink.await_lines(number)
    times = [request.at_s for request in rig.sink.requests]
    assert times[-1] - times[0] < 4, "five intervals of 50 ms"


def test_the_buffer_is_bounded(arena: Arena) -> None:
    """O2_MAX_BUFFER_SIZE_MB bounded one request; the queue behind it grew without end.

    Users saw: functions killed for memory during an outage of OpenObserve.
    """
    rig = arena.rig(**END, **QUICK, O2_MAX_BUFFER_SIZE_MB="1", O2_FLUSH_BUDGET_MS="0")
    rig.sink.always = 503
    for number in range(8):
        rig.invocation(*(noise(400_000, seed=number * 2 + half) for half in range(2)))
    rig.process.await_line("Log buffer full, dropping oldest batch")
    rig.sink.always = None
    ending = rig.end()
    logs = ending.logs
    assert logs["dropped"]["buffer_full"] > 0
    assert logs["received"] == logs["delivered"] + sum(logs["dropped"].values()) + logs["held"]
    assert sum(len(line) for line in rig.sink.lines()) < 2 << 20
    assert rig.sink.lines("platform.report"), "the oldest are dropped, the newest kept"


def test_a_huge_body_is_refused(arena: Arena) -> None:
    """There was no limit for a body. Users saw: one large payload took the sandbox's memory."""
    rig = arena.rig(**END, **with_otlp())
    rig.invocation("before")
    host, port, path = rig.lambda_.destination
    with socket.create_connection(("127.0.0.1", port), timeout=arena.patience_s) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {1 << 30}\r\n\r\n[".encode())
        with client.makefile("rb") as stream:
            assert read_answer(stream).status == 200, "any other answer would make Lambda send it again"
    answer = rig.export("/v1/traces", bytes(5 << 20))
    assert answer.status == 413
    rig.invocation("after")
    assert rig.sink.lines() == ["before", "after"]
    assert memory_mb(rig) < 60
    assert rig.end().logs["dropped"] == {"body_too_large": 1}


def test_an_event_too_large_for_the_backend_does_not_block_the_queue(arena: Arena) -> None:
    """An event over the maximum stayed at the head of the queue for ever. Users saw: no line after it, ever again."""
    rig = arena.rig(**END, **QUICK)
    rig.sink.body_bytes_max = 100_000
    rig.invocation("first", noise(300_000), "second")
    rig.invocation("third")
    assert rig.sink.lines() == ["first", "second", "third"]
    ending = rig.end()
    assert ending.logs["dropped"] == {"status_413": 1}
    assert any("OpenObserve cannot take 1 logs" in line for line in ending.lines)

"""What an extension does over its life: each scenario starts a fresh process and returns its figures."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from fakes import Sink
from life import Life

if TYPE_CHECKING:
    from starts import Candidate

SETTLED_S = 0.5  # everything that starts by itself has been done


def cycle(candidate: Candidate) -> dict[str, float]:
    """From runtimeDone to /next in end mode, 10 lines an invocation, sink 0 and 50 ms away."""
    figures: dict[str, float] = {}
    for latency_ms in (0, 50):
        with Life(candidate, latency_ms=latency_ms, O2_FLUSH_STRATEGY="end") as life:
            holds = [life.invoke(10) for _ in range(30)]
            figures[f"hold_{latency_ms}_ms"] = statistics.median(holds)
            figures[f"hold_{latency_ms}_max_ms"] = max(holds)
            figures[f"frozen_without_{latency_ms}"] = 30 * 12 - life.sink.lines
            life.shutdown()
            figures[f"lost_{latency_ms}"] = 30 * 12 - life.sink.lines
    return figures


def warm(candidate: Candidate) -> dict[str, float]:
    """20 invocations of 2000 lines against a sink 20 ms away."""
    with Life(candidate, latency_ms=20, O2_FLUSH_STRATEGY="end") as life:
        holds = [life.invoke(2000) for _ in range(20)]
        life.shutdown()
        return {
            "hold_ms": statistics.median(holds),
            "lost": 40_040 - life.sink.lines,
            "requests": life.sink.requests,
        }


def memory(candidate: Candidate) -> dict[str, float]:
    """Memory at rest, after an invocation, holding 100,000 lines of 200 B as every request fails, after sending."""
    with Life(
        candidate,
        O2_FLUSH_STRATEGY="end",
        O2_FLUSH_BUDGET_MS="500",
        O2_INITIAL_RETRY_DELAY_MS="50",
        O2_MAX_RETRY_DELAY_MS="200",
    ) as life:
        time.sleep(SETTLED_S)
        figures = {"rss_idle_mb": life.memory_mb()}
        life.invoke(10)
        figures["rss_after_invoke_mb"] = life.memory_mb()
        life.sink.plan = [503] * 10_000
        life.reset_peak()
        life.invoke(100_000)
        figures |= {"rss_peak_mb": life.memory_mb("VmHWM"), "rss_holding_mb": life.memory_mb()}
        pushed = 100_000 + 10 + 2 * 2
        life.sink.plan = []
        for _ in range(50):  # the first of them finds out that the backend is back
            time.sleep(0.2)
            life.invoke(10)
            pushed += 10 + 2
            if life.sink.lines == pushed:
                break
        time.sleep(SETTLED_S)
        figures["rss_after_sending_mb"] = life.memory_mb()
        _, status, _ = life.shutdown()
        return figures | {"lost": pushed - life.sink.lines, "exit": status}


def bulk(candidate: Candidate) -> dict[str, float]:
    """100,000 lines of 200 B in one invocation: loss, CPU per line, peak memory, memory afterwards."""
    return _bulk(candidate, tls=False)


def bulk_tls(candidate: Candidate) -> dict[str, float]:
    """The same over TLS."""
    return _bulk(candidate, tls=True)


def _bulk(candidate: Candidate, *, tls: bool) -> dict[str, float]:
    with Life(candidate, tls=tls, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="20000") as life:
        life.invoke(10)
        life.reset_peak()
        before_ms = life.cpu_ms()
        hold_ms = life.invoke(100_000)
        figures = {
            "cpu_per_line_us": (life.cpu_ms() - before_ms) / 100,
            "hold_ms": hold_ms,
            "rss_peak_mb": life.memory_mb("VmHWM"),
        }
        time.sleep(SETTLED_S)
        figures["rss_after_mb"] = life.memory_mb()
        life.shutdown()
        return figures | {"lost": 100_014 - life.sink.lines, "bytes_per_line": life.sink.bytes_in / 100_000}


def outage(candidate: Candidate) -> dict[str, float]:
    """The backend refuses connections for 10 s, then is back: longest hold, loss."""
    with Life(candidate, O2_FLUSH_STRATEGY="end") as life:
        port = life.sink.port
        life.sink.close()
        holds, began, sent = [], time.monotonic(), 0
        while time.monotonic() - began < 10:
            holds.append(life.invoke(50))
            sent += 52
            time.sleep(0.2)
        life.sink = Sink(port=port)
        back_at = time.monotonic()
        while life.sink.lines < sent and time.monotonic() - back_at < 40:
            life.invoke(1)
            sent += 3
            time.sleep(0.2)
        recovered_ms = (time.monotonic() - back_at) * 1000
        _, status, _ = life.shutdown()
        return {
            "hold_max_ms": max(holds),
            "hold_median_ms": statistics.median(holds),
            "recovered_ms": recovered_ms,
            "lost": sent - life.sink.lines,
            "exit": status,
        }


def errors(candidate: Candidate) -> dict[str, float]:
    """The first 8 requests are answered 500; 1000 lines."""
    with Life(candidate, O2_FLUSH_STRATEGY="end") as life:
        life.sink.plan = [500] * 8
        holds = [life.invoke(100) for _ in range(10)]
        took_ms, status, _ = life.shutdown()
        return {
            "hold_max_ms": max(holds),
            "lost": 10 * 102 - life.sink.lines,
            "shutdown_ms": took_ms,
            "exit": status,
        }


def backlog(candidate: Candidate) -> dict[str, float]:
    """SHUTDOWN with 20,000 lines held and a sink 50 ms away."""
    with Life(candidate, latency_ms=50, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="0") as life:
        life.sink.plan = [503] * 3
        life.invoke(20_000)
        took_ms, status, _ = life.shutdown()
        return {
            "shutdown_ms": took_ms,
            "lost": 20_002 - life.sink.lines,
            "requests": life.sink.requests,
            "exit": status,
        }

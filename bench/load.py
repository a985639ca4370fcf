"""Load: many lines a second for minutes, large records in bursts, and more than the backend can take.

    make load [ARGS="[--seconds N] [--executable FILE] [sustained|records|overload ...]"]

Telemetry is posted on a schedule, as Lambda does: one batch in flight, and behind it a queue of twice `maxBytes`. What
would not fit into that queue is what Lambda would drop (`platform.logsDropped`); it is counted as `dropped_by_lambda`.
Exit status 1 where a line is unaccounted for, or where one is lost although the backend keeps up.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import machine
from extension import unpack_layer
from fakes import batch, event
from life import Life, log_lines
from starts import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_PER_S = 20_000
LINES_PER_POST = 500
QUEUE_BYTES = 2 * 1024 * 1024  # what Lambda holds behind the batch in flight [?]
RECORD_BYTES = 1_000_000
Figures = dict[str, float]


class Schedule:
    """Posts batches at fixed times; what Lambda's queue could not hold is left out and counted."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.posted = self.dropped = 0
        self.answer_ms: list[float] = []

    def run(self, bodies: list[bytes], lines: int, interval_s: float, rounds: int) -> None:
        """`rounds` batches of `lines` lines each, one every `interval_s`."""
        begin_s = time.monotonic()
        for number in range(rounds):
            due_s = begin_s + number * interval_s
            late_s = time.monotonic() - due_s
            body = bodies[number % len(bodies)]
            if late_s < 0:
                time.sleep(-late_s)
            elif late_s / interval_s * len(body) > QUEUE_BYTES:
                self.dropped += lines
                continue
            sent_s = time.monotonic()
            self.life.lambda_.post(body)
            self.answer_ms.append((time.monotonic() - sent_s) * 1000)
            self.posted += lines

    def figures(self) -> Figures:
        """How fast the telemetry was answered."""
        ordered = sorted(self.answer_ms)
        return {
            "lines": self.posted,
            "dropped_by_lambda": self.dropped,
            "answer_median_ms": ordered[len(ordered) // 2],
            "answer_p99_ms": ordered[int(len(ordered) * 0.99)],
            "answer_max_ms": ordered[-1],
        }


def sustained(candidate: Candidate, seconds: int) -> Figures:
    """20,000 lines of 200 B a second in one long invocation, backend 20 ms away over TLS."""
    return _stream(candidate, seconds, latency_ms=20)


def overload(candidate: Candidate, seconds: int) -> Figures:
    """The same while every answer takes 3 s: less goes out than comes in, the oldest is dropped, and counted."""
    return _stream(candidate, min(seconds, 60), latency_ms=3000, O2_BATCH_SIZE="5000", O2_MAX_BUFFER_SIZE_MB="2")


def _stream(candidate: Candidate, seconds: int, *, latency_ms: float, **settings: str) -> Figures:
    bodies = [log_lines(str(uuid.uuid4()), LINES_PER_POST, 200, start * LINES_PER_POST) for start in range(40)]
    with Life(candidate, tls=True, latency_ms=latency_ms, O2_FLUSH_STRATEGY="end", **settings) as life:
        schedule = Schedule(life)
        request_id = _begin(life, seconds + 60)
        before_ms = life.cpu_ms()
        schedule.run(bodies, LINES_PER_POST, LINES_PER_POST / LINES_PER_S, seconds * LINES_PER_S // LINES_PER_POST)
        figures = schedule.figures() | {"cpu_per_line_us": (life.cpu_ms() - before_ms) * 1000 / schedule.posted}
        return figures | _end(life, request_id, schedule.posted)


def records(candidate: Candidate, seconds: int) -> Figures:
    """Ten records of 1 MB at once in each invocation, backend 20 ms away over TLS."""
    text = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(RECORD_BYTES // 8))
    body = batch(event("function", f"{text}\n"))
    with Life(candidate, tls=True, latency_ms=20, O2_FLUSH_STRATEGY="end", O2_MAX_BUFFER_SIZE_MB="30") as life:
        invocations = max(1, seconds // 15)
        posted, request_id = 0, ""
        for number in range(invocations):
            request_id = _begin(life, 60)
            for _ in range(10):
                life.lambda_.post(body)
            posted += 10
            if number < invocations - 1:
                life.lambda_.post(_done(request_id))
                life.await_next()
                posted += 2
        return {"lines": posted} | _end(life, request_id, posted)


def _begin(life: Life, timeout_s: int) -> str:
    request_id = str(uuid.uuid4())
    life.lambda_.invoke(request_id, timeout_ms=timeout_s * 1000)
    life.lambda_.post(batch(event("platform.start", {"requestId": request_id, "version": "$LATEST"})))
    return request_id


def _done(request_id: str) -> bytes:
    return batch(event("platform.runtimeDone", {"requestId": request_id, "status": "success"}))


def _end(life: Life, request_id: str, posted: int) -> Figures:
    """Ends the invocation and the sandbox; the account of every line."""
    began_s = time.monotonic()
    life.lambda_.post(_done(request_id))
    life.await_next()
    held_ms = (time.monotonic() - began_s) * 1000
    peak_mb = life.memory_mb("VmHWM")
    _took_ms, status, ledger = life.shutdown()
    logs = ledger["logs"]
    dropped = sum(logs["dropped"].values())
    return {
        "hold_ms": held_ms,
        "received": logs["received"],
        "delivered": logs["delivered"],
        "dropped": dropped,
        "held": logs["held"],
        "at_backend": life.sink.lines,
        "unaccounted": posted + 2 - logs["delivered"] - dropped - logs["held"],
        "peak_mb": peak_mb,
        "exit": status,
    }


SCENARIOS: dict[str, Callable[[Candidate, int], Figures]] = {
    "sustained": sustained,
    "records": records,
    "overload": overload,
}


def main() -> None:
    """Runs the scenarios one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--executable", type=Path, help="by default that of the layer in target/")
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    options = parser.parse_args()
    print(machine.describe())
    print("command: python", " ".join(sys.argv), flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        path = options.executable.resolve() if options.executable else unpack_layer(Path(folder))
        for name in options.scenario or SCENARIOS:
            figures = SCENARIOS[name](Candidate(path.name, path), options.seconds)
            print(name, json.dumps({key: round(value, 2) for key, value in figures.items()}), flush=True)
            lost = figures["dropped"] + figures["held"] if name != "overload" else 0
            failed = failed or bool(
                lost or figures["unaccounted"] or figures.get("dropped_by_lambda") or figures["exit"]
            )
    raise SystemExit(failed)


if __name__ == "__main__":
    main()

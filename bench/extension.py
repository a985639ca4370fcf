"""Measures an extension executable against a minimal Lambda and a minimal OpenObserve, scenario by scenario.

    python bench/extension.py [--executable PATH] [--runs N] [--json FILE] [SCENARIO ...]

Each run starts a fresh process. Printed are medians over the runs with minimum and maximum; the machine and the
command come first. Without --executable the extension is run from source by this interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from fakes import FakeLambda, Sink, batch, event, stamp
from o2_lambda.layer.source import write_extension

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CREDENTIALS = "Basic YmVuY2g6YmVuY2g="


class Run:
    """One process of the extension between a fake Lambda and a sink."""

    def __init__(self, executable: Path, *, latency_ms: float = 0, **settings: str) -> None:
        self.sink = Sink(latency_ms)
        self.lambda_ = FakeLambda()
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.lambda_.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_REGION": "us-east-1",
            "O2_ENDPOINT": f"http://127.0.0.1:{self.sink.port}",
            "O2_ORGANIZATION_ID": "default",
            "O2_AUTHORIZATION_HEADER": CREDENTIALS,
            "O2_OTLP_PORT": "0",
            **settings,
        }
        self.spawned = time.monotonic()
        self.process = subprocess.Popen([executable], env=environment, stdout=subprocess.PIPE, text=True)
        if not self.lambda_.next_called.acquire(timeout=10):
            raise TimeoutError("the extension never asked for the first event")

    def proc(self, name: str) -> str:
        """A file of the process under /proc."""
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def cpu_ms(self) -> float:
        """User and system time so far, to the nanosecond where the kernel offers it."""
        nanoseconds = self.proc("schedstat").split()[0]
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        total = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        return max(total, int(nanoseconds)) / 1e6

    def memory_mb(self, field: str) -> float:
        """VmRSS or VmHWM."""
        line = next(line for line in self.proc("status").splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    def reset_peak(self) -> None:
        """Lets VmHWM start anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def invoke(self, lines: int, *, width: int = 200, per_post: int = 1000) -> float:
        """One invocation that logs so many lines; returns ms from runtimeDone to the next `/next`."""
        request_id = str(uuid.uuid4())
        self.lambda_.invoke(request_id, timeout_ms=60_000)
        self.lambda_.post(batch(event("platform.start", {"requestId": request_id, "version": "$LATEST"})))
        for start in range(0, lines, per_post):
            self.lambda_.post(log_lines(request_id, min(per_post, lines - start), width, start))
        done = batch(event("platform.runtimeDone", {"requestId": request_id, "status": "success"}))
        began = time.monotonic()
        self.lambda_.post(done)
        if not self.lambda_.next_called.acquire(timeout=70):
            raise TimeoutError("the extension holds /next")
        return (self.lambda_.moments.next[-1] - began) * 1000

    def shutdown(self) -> tuple[float, int, dict]:
        """(ms until the exit, exit status, ledger)."""
        began = time.monotonic()
        self.lambda_.shutdown()
        output, _ = self.process.communicate(timeout=10)
        took_ms = (time.monotonic() - began) * 1000
        line = next((line for line in output.splitlines() if line.startswith('{"ledger"')), '{"ledger":{}}')
        self.lambda_.close()
        self.sink.close()
        return took_ms, self.process.returncode, json.loads(line)["ledger"]


def log_lines(request_id: str, count: int, width: int, start: int) -> bytes:
    """A telemetry payload of `count` lines that look like logs and differ from each other."""
    now = stamp()
    lines = []
    for number in range(start, start + count):
        words = f"item {number} took {number * 7919 % 1000} ms user={number * 2654435761 % 2**32:x}"
        text = f"[INFO]\\t{now}\\t{request_id}\\t{words}"
        lines.append(f'{{"time":"{now}","type":"function","record":"{text.ljust(width, ".")}\\n"}}')
    return ("[" + ",".join(lines) + "]").encode()


def start(executable: Path) -> dict[str, float]:
    """Spawn to register and to the first /next; CPU until then; memory at rest."""
    run = Run(executable)
    cpu_ms = run.cpu_ms()
    moments = run.lambda_.moments
    time.sleep(0.3)
    figures = {
        "register_ms": (moments.register - run.spawned) * 1000,
        "next_ms": (moments.next[0] - run.spawned) * 1000,
        "cpu_until_next_ms": cpu_ms,
        "rss_idle_mb": run.memory_mb("VmRSS"),
    }
    run.shutdown()
    return figures


def cycle(executable: Path) -> dict[str, float]:
    """From runtimeDone to /next in end mode, 10 lines an invocation, sink 0 and 50 ms away."""
    figures = {}
    for latency_ms in (0, 50):
        run = Run(executable, latency_ms=latency_ms, O2_FLUSH_STRATEGY="end")
        holds = [run.invoke(10) for _ in range(30)]
        figures[f"hold_{latency_ms}_ms"] = statistics.median(holds)
        figures[f"hold_{latency_ms}_max_ms"] = max(holds)
        expected = run.sink.lines
        _, _, ledger = run.shutdown()
        figures[f"lost_{latency_ms}"] = ledger["logs"]["received"] - run.sink.lines
        figures[f"frozen_without_{latency_ms}"] = 30 * 12 - expected
    return figures


def warm(executable: Path) -> dict[str, float]:
    """20 invocations of 2000 lines against a sink 20 ms away."""
    run = Run(executable, latency_ms=20, O2_FLUSH_STRATEGY="end")
    holds = [run.invoke(2000) for _ in range(20)]
    *_rest, ledger = run.shutdown()
    return {
        "lines": run.sink.lines,
        "lost": 40_040 - run.sink.lines,
        "hold_ms": statistics.median(holds),
        "requests": run.sink.requests,
        "held": ledger["logs"]["held"],
    }


def bulk(executable: Path) -> dict[str, float]:
    """100,000 lines of 200 B in one invocation: loss, CPU per line, peak memory, memory afterwards."""
    run = Run(executable, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="20000")
    run.invoke(10)
    run.reset_peak()
    before_ms = run.cpu_ms()
    hold_ms = run.invoke(100_000)
    cpu_ms = run.cpu_ms() - before_ms
    figures = {
        "cpu_per_line_us": cpu_ms / 100,
        "rss_peak_mb": run.memory_mb("VmHWM"),
        "rss_after_mb": run.memory_mb("VmRSS"),
        "hold_ms": hold_ms,
    }
    run.shutdown()
    return figures | {"lost": 100_014 - run.sink.lines, "bytes_per_line": run.sink.bytes_in / 100_000}


def held(executable: Path) -> dict[str, float]:
    """100,000 lines held because every request fails: peak memory, then all is delivered."""
    run = Run(
        executable,
        O2_FLUSH_STRATEGY="end",
        O2_FLUSH_BUDGET_MS="500",
        O2_INITIAL_RETRY_DELAY_MS="50",
        O2_MAX_RETRY_DELAY_MS="200",
    )
    run.sink.plan = [503] * 10_000
    run.invoke(10)
    run.reset_peak()
    run.invoke(100_000)
    figures = {"rss_peak_mb": run.memory_mb("VmHWM"), "rss_holding_mb": run.memory_mb("VmRSS")}
    run.sink.plan = []
    time.sleep(0.3)
    run.invoke(10)
    _, status, ledger = run.shutdown()
    return figures | {
        "lost": 100_000 + 3 * 10 - 10 + 6 - run.sink.lines,
        "dropped": sum(ledger["logs"]["dropped"].values()),
        "exit": status,
    }


def outage(executable: Path) -> dict[str, float]:
    """The backend refuses connections for 10 s, then is back: longest hold, loss."""
    run = Run(executable, O2_FLUSH_STRATEGY="end")
    port = run.sink.port
    run.sink.close()
    holds, began, sent = [], time.monotonic(), 0
    while time.monotonic() - began < 10:
        holds.append(run.invoke(50))
        sent += 52
        time.sleep(0.2)
    back = Sink(port=port)
    back_at = time.monotonic()
    while back.lines < sent and time.monotonic() - back_at < 40:
        run.invoke(1)
        sent += 3
        time.sleep(0.2)
    recovered_ms = (time.monotonic() - back_at) * 1000
    run.sink = back
    _, status, ledger = run.shutdown()
    return {
        "lost": ledger["logs"]["received"] - back.lines,
        "hold_max_ms": max(holds),
        "hold_median_ms": statistics.median(holds),
        "recovered_ms": recovered_ms,
        "exit": status,
    }


def errors(executable: Path) -> dict[str, float]:
    """The first 8 requests are answered 500; 1000 lines."""
    run = Run(executable, O2_FLUSH_STRATEGY="end")
    run.sink.plan = [500] * 8
    holds = [run.invoke(100) for _ in range(10)]
    took_ms, status, ledger = run.shutdown()
    return {
        "lost": ledger["logs"]["received"] - run.sink.lines,
        "hold_max_ms": max(holds),
        "shutdown_ms": took_ms,
        "exit": status,
    }


def backlog(executable: Path) -> dict[str, float]:
    """SHUTDOWN with 20,000 lines held and a sink 50 ms away."""
    run = Run(executable, latency_ms=50, O2_FLUSH_STRATEGY="end", O2_FLUSH_BUDGET_MS="0")
    run.sink.plan = [503] * 3
    run.invoke(20_000)
    took_ms, status, ledger = run.shutdown()
    return {
        "lost": ledger["logs"]["received"] - run.sink.lines,
        "shutdown_ms": took_ms,
        "exit": status,
        "requests": run.sink.requests,
    }


SCENARIOS = {scenario.__name__: scenario for scenario in (start, cycle, warm, bulk, held, outage, errors, backlog)}


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], default=[])
    parser.add_argument("--executable", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    threading.excepthook = lambda _arguments: None  # a fake's thread ends with its socket
    with tempfile.TemporaryDirectory() as folder:
        executable = arguments.executable or write_extension(Path(folder))
        print(machine())
        print("command: python", " ".join(sys.argv))
        results = {}
        for name in arguments.scenarios or SCENARIOS:
            runs = [SCENARIOS[name](executable) for _ in range(arguments.runs)]
            results[name] = runs
            print(f"\n{name}: {SCENARIOS[name].__doc__}")
            for figure in runs[0]:
                values = [run[figure] for run in runs]
                print(f"  {figure:<22} {statistics.median(values):10.2f}   ({min(values):.2f} to {max(values):.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()

"""Measures what tracing costs a Python function: the real runtime client, bare and with the exec wrapper, in turns.

    python bench/python_tracing.py [--python PATH] [--runs N] [--invocations N] [--json FILE]

Each run starts a fresh runtime process against a minimal Runtime API and a receiver that takes the traces: `bare`
without the wrapper, `ours` with it, `refused` with nobody at the receiver's port, `hung` with a receiver that never
reads. Printed are medians with minimum and maximum, and each variant against `bare`. CPU time counts from the spawn,
the wrapper's shell included, to the first `/next`. PATH is an interpreter that has `awslambdaric`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from fakes import Answer, Server

WRAPPER = Path(__file__).resolve().parent.parent / "src/o2_lambda/instrument/otel-instrument"
VARIANTS = ("bare", "ours", "refused", "hung")
FUNCTION = "def handler(event, context):\n    return {'statusCode': 200}\n"
PATIENCE_S = 20
WARM_UP = 3  # invocations that are measured apart: the first ones


class RuntimeApi(Server):
    """The Runtime API for one function: `/next` waits for an event, the answer ends the invocation."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)
        self.on_first_next = lambda: None
        self._events: queue.Queue[str] = queue.Queue()
        self._asked = False
        super().__init__()

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:  # noqa: ARG002 - as the base says
        """Answers the runtime client."""
        if start.startswith("POST"):
            if "/error" in start:
                raise RuntimeError(body.decode())
            self.answered.release()
            return 202, {}, b""
        if not self._asked:
            self._asked = True
            self.on_first_next()
        self.waiting.release()
        request_id = self._events.get()
        fields = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
            "Content-Type": "application/json",
        }
        return 200, fields, b"{}"

    def invoke(self, number: int) -> float:
        """One invocation; ms from the event to the next `/next`, so that work after the answer counts, too."""
        began = time.perf_counter()
        self._events.put(f"00000000-0000-4000-8000-{number:012d}")
        for event in (self.answered, self.waiting):
            if not event.acquire(timeout=PATIENCE_S):
                raise TimeoutError("the function does not answer")
        return (time.perf_counter() - began) * 1000


class Receiver(Server):
    """Takes traces."""

    requests = 0

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:  # noqa: ARG002 - as the base says
        """Confirms."""
        self.requests += 1
        return 200, {"Content-Type": "application/x-protobuf"}, b""


class Run:
    """One runtime process."""

    def __init__(self, variant: str, interpreter: str, task: Path) -> None:
        self.api = RuntimeApi()
        self.receiver = Receiver()
        self.deaf = socket.create_server(("127.0.0.1", 0))  # accepts in the kernel, nobody reads
        port = {"hung": self.deaf.getsockname()[1], "refused": closed_port()}.get(variant, self.receiver.port)
        command = [interpreter, "-m", "awslambdaric", "app.handler"]
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_REGION": "us-east-1",
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": "app.handler",
            "O2_OTLP_PORT": str(port),
            "PATH": os.environ["PATH"],
        }
        self.cpu_ms = self.rss_mb = 0.0
        self.api.on_first_next = self._measure
        with tempfile.TemporaryFile() as self.log:
            self.process = subprocess.Popen(
                [*([] if variant == "bare" else [WRAPPER]), *command],
                env=environment, cwd=task, stdout=self.log, stderr=self.log,
            )  # fmt: skip
            if not self.api.waiting.acquire(timeout=PATIENCE_S):
                self.log.seek(0)
                raise TimeoutError(f"{variant}: no /next\n{self.log.read().decode()}")

    def _measure(self) -> None:
        process = Path(f"/proc/{self.process.pid}")
        tasks = (process / "task").iterdir()
        self.cpu_ms = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
        status = (process / "status").read_text().splitlines()
        self.rss_mb = int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024

    def close(self) -> None:
        """Ends the process and the servers."""
        self.process.kill()
        self.process.wait()
        self.api.close()
        self.receiver.close()
        self.deaf.close()


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compile_tracer(interpreter: str) -> None:
    """As in the layer: .pyc files are there."""
    subprocess.run([interpreter, "-m", "compileall", "-q", str(WRAPPER.parent / "python")], check=True)


def measure(interpreter: str, runs: int, invocations: int) -> dict[str, dict[str, list[float]]]:
    """Variant -> figure -> a value for each run."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder)
        (task / "app.py").write_text(FUNCTION)
        for number in range(runs + 1):
            started = {name: Run(name, interpreter, task) for name in VARIANTS[number % 2 :] + VARIANTS[: number % 2]}
            warm: dict[str, list[float]] = {name: [] for name in VARIANTS}
            first = {name: run.api.invoke(0) for name, run in started.items()}
            for turn in range(1, invocations + 1):
                for name, run in started.items():
                    warm[name].append(run.api.invoke(turn))
            for name, run in started.items():
                figures = {
                    "CPU to first /next, ms": run.cpu_ms,
                    "RSS at first /next, MB": run.rss_mb,
                    "first invocation, ms": first[name],
                    "warm invocation, ms": statistics.median(warm[name][WARM_UP:]),
                    "slowest warm invocation, ms": max(warm[name]),
                }
                if number:  # the first round fills the caches
                    for figure, value in figures.items():
                        found[name].setdefault(figure, []).append(value)
                if name == "ours" and run.receiver.requests < invocations:
                    raise RuntimeError(f"{run.receiver.requests} exports for {invocations + 1} invocations")
                run.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--invocations", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.python = os.path.abspath(options.python)  # noqa: PTH100 - a virtual environment's link must stay one
    compile_tracer(options.python)
    version = subprocess.run([options.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, {platform.machine()}, {os.cpu_count()} CPUs, {options.runs} runs, {' '.join(sys.argv)}")
    found = measure(options.python, options.runs, options.invocations)
    for figure, bare in found["bare"].items():
        print(f"\n{figure}")
        base = statistics.median(bare)
        for name in VARIANTS:
            values = found[name][figure]
            middle = statistics.median(values)
            print(
                f"  {name:<8} {middle:8.2f}  ({min(values):.2f} to {max(values):.2f})"
                f"  {middle - base:+7.2f}  x{middle / base:.3f}"
            )
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

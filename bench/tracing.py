"""Measures what tracing costs a Python function: bare, with our wrapper, with the official layer's packages, in turns.

    python bench/tracing.py [--python PATH ...] [--functions NAME ...] [--runs N] [--invocations N] [--json FILE]

Each run starts a fresh process of the real runtime client against a minimal Runtime API and a receiver that takes the
traces. `ours` is the wrapper out of the layer zip; `official` is made of pinned packages as the community's layer is
(tracing_setup.py); `refused` and `hung` are the two with nobody at the receiver's port, or a receiver that never reads.
Printed are medians with their ranges, and the difference to `bare`. CPU time counts from the spawn to the first
`/next`, the wrapper's own processes included. Each function's packages are installed into .cache, byte code included.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self, TypeAlias

import machine
from fakes import Answer, Server
from starts import cpu_ms, memory_mb, stopped
from tracing_setup import FUNCTION_PACKAGES, OFFICIAL_PACKAGES, installed, unpacked_layer

VARIANTS = ("bare", "ours", "official", "ours, refused", "official, refused", "ours, hung", "official, hung")
FUNCTIONS = {
    "trivial": "def handler(event, context):\n    return {'statusCode': 200}\n",
    "requests": (
        "import os, requests\nsession = requests.Session()\n"
        "def handler(event, context):\n    return session.get(os.environ['SERVICE'] + '/things').json()\n"
    ),
    "aws": (
        "import os, boto3\ntable = boto3.client('dynamodb', endpoint_url=os.environ['SERVICE'])\n"
        "def handler(event, context):\n    return table.list_tables()['TableNames']\n"
    ),
}
PATIENCE_S = 40
WARM_UP = 3  # invocations that are measured apart: the first ones
INVOCATIONS_OF_SLOW = 3  # with a receiver that does not answer, the official one takes seconds for each
Figures: TypeAlias = dict[str, float]


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
    """Takes traces, and is the service that functions call."""

    requests = 0

    def handle(self, start: str, headers: dict[str, str], body: bytes) -> Answer:  # noqa: ARG002 - as the base says
        """Confirms; the service's answer is DynamoDB's to ListTables, and good for anybody else."""
        if "/v1/traces" in start:
            self.requests += 1
            return 200, {"Content-Type": "application/x-protobuf"}, b""
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, b'{"TableNames":[]}'


class Run:
    """One runtime process. Use it with `with`."""

    def __init__(self, variant: str, interpreter: str, task: Path, layer: Path) -> None:
        self.api = RuntimeApi()
        self.receiver = Receiver()
        self.deaf = socket.create_server(("127.0.0.1", 0))  # accepts in the kernel, nobody reads
        tracer, _, fault = variant.partition(", ")
        port = {"hung": self.deaf.getsockname()[1], "refused": closed_port()}.get(fault, self.receiver.port)
        packages = [installed(interpreter, "function", FUNCTION_PACKAGES)]
        command = [interpreter, "-m", "awslambdaric", "app.handler"]
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": "app.handler",
            "SERVICE": f"http://127.0.0.1:{self.receiver.port}",
            "PATH": os.environ["PATH"],
        }
        if tracer == "ours":
            environment["O2_OTLP_PORT"] = str(port)
            command = [str(layer / "otel-instrument"), *command]
        elif tracer == "official":
            packages.append(installed(interpreter, "official", OFFICIAL_PACKAGES))
            environment |= {
                "ORIG_HANDLER": "app.handler",
                "_HANDLER": "otel_wrapper.lambda_handler",
                "OTEL_SERVICE_NAME": "bench",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            }
            command = [interpreter, str(packages[1] / "bin/opentelemetry-instrument"), *command[:-1]]
            command.append("otel_wrapper.lambda_handler")
        environment["PYTHONPATH"] = ":".join(map(str, [task, *packages]))
        self.start: Figures = {}
        self.api.on_first_next = self._measure
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(command, env=environment, cwd=task, stdout=self.log, stderr=self.log)
        if not self.api.waiting.acquire(timeout=PATIENCE_S):
            self.log.seek(0)
            raise TimeoutError(f"{variant}: no /next\n{self.log.read().decode()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()
        for server in (self.api, self.receiver, self.deaf):
            server.close()

    def _measure(self) -> None:
        with stopped(self.process.pid):
            self.start["CPU to first /next, ms"] = cpu_ms(self.process.pid)
            self.start["RSS at first /next, MB"] = memory_mb(self.process.pid, "VmRSS")


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_run(variant: str, interpreter: str, task: Path, layer: Path, invocations: int) -> Figures:
    """A life of one function."""
    slow = variant.startswith("official, ")
    with Run(variant, interpreter, task, layer) as run:
        first = run.api.invoke(0)
        warm = [run.api.invoke(turn) for turn in range(1, (INVOCATIONS_OF_SLOW if slow else invocations) + 1)]
        if variant in {"ours", "official"} and run.receiver.requests < invocations:
            run.log.seek(0)
            exports = f"{run.receiver.requests} exports for {invocations + 1} invocations"
            raise RuntimeError(f"{variant}: {exports}\n{run.log.read().decode()}")
        return run.start | {
            "first invocation, ms": first,
            "warm invocation, ms": statistics.median(warm if slow else warm[WARM_UP:]),
            "slowest warm invocation, ms": max(warm),
        }


def measure(
    interpreter: str, function: str, layer: Path, options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Variant -> figure -> a value for each run; a round before them fills the caches."""
    variants = VARIANTS if function == "trivial" else VARIANTS[:3]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder)
        (task / "app.py").write_text(FUNCTIONS[function])
        for number in range(-1, options.runs):
            turn = number % len(variants)
            for variant in variants[turn:] + variants[:turn]:
                if variant.startswith("official, ") and number > 1:
                    continue  # seconds for each invocation: two runs tell enough
                figures = one_run(variant, interpreter, task, layer, options.invocations)
                if number >= 0:
                    for figure, value in figures.items():
                        found[variant].setdefault(figure, []).append(value)
    return found


def print_function(title: str, found: dict[str, dict[str, list[float]]]) -> None:
    """A table for each figure."""
    for figure, bare in found["bare"].items():
        print(f"\n{title}: {figure}")
        base = statistics.median(bare)
        for name, figures in found.items():
            values = figures.get(figure, [])
            if values:
                middle = statistics.median(values)
                span = f"({min(values):.2f}..{max(values):.2f})"
                print(f"  {name:<18} {middle:9.2f}  {span:<22} {middle - base:+9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters, of no environment")
    parser.add_argument("--functions", nargs="+", choices=[*FUNCTIONS], default=[*FUNCTIONS])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--invocations", type=int, default=60)
    parser.add_argument("--json", type=Path, default=Path("target/bench/tracing.json"), help="raw data (%(default)s)")
    options = parser.parse_args()
    threading.excepthook = lambda _arguments: None  # a fake's thread ends with its socket
    header = {"machine": machine.describe(), "load_before": machine.load(), "command": " ".join(sys.argv)}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        layer = unpacked_layer(Path(folder))
        for interpreter in options.python:
            for kind, packages in (("function", FUNCTION_PACKAGES), ("official", OFFICIAL_PACKAGES)):
                installed(interpreter, kind, packages)
        header["scheduling"] = machine.run_ahead(enabled=True)
        for name, value in header.items():
            print(f"{name}: {value}")
        for interpreter in options.python:
            version = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True).stdout.strip()
            for function in options.functions:
                title = f"{version}, {function}"
                results[title] = measure(interpreter, function, layer, options)
                print_function(title, results[title])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(header | {"load_after": machine.load(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

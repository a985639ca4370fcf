"""Measures what tracing costs a function: bare, with our wrapper, with the official layer's packages, in turns.

    python bench/tracing.py [--python PATH ...] [--node PATH ...] [--java FOLDER ...]
        [--functions NAME ...] [--runs N] [--invocations N]

Each run starts a fresh process of the real runtime client against a minimal Runtime API and a receiver that takes the
traces. `ours` is the wrapper out of the layer zip; `official` is made of pinned packages as the community's layer is
(tracing_python.py, tracing_node.py, tracing_java.py). `refused`, `hung` and `unreachable` are the two with nobody at
the receiver's port, with connections that nobody reads, and with a port that leaves connections without an answer.
Printed are medians with their ranges, and what is more than `bare`: the median of the differences between neighbouring
runs, which what else the machine does hits alike, and the difference of minima. CPU time counts from the spawn to the
first `/next`, the wrapper's own processes included. Packages are installed into .cache, once.
"""

from __future__ import annotations

import argparse
import contextlib
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
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, TypeAlias

import machine
from fakes import Answer, Server
from o2_lambda.layer.build import build, project_root
from starts import cpu_ms, memory_mb, stopped
from tracing_java import Java
from tracing_node import Node
from tracing_python import Python

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = ("refused", "hung", "unreachable")
VARIANTS = ("bare", "ours", "official", *(f"{tracer}, {fault}" for fault in FAULTS for tracer in ("ours", "official")))
FUNCTIONS = ("trivial", "http", "aws")
PATIENCE_S = 40
WARM_UP = 3  # invocations that are measured apart: the first ones
INVOCATIONS_OF_SLOW = 1  # with a receiver that does not answer, the official one takes up to 30 s for each
Figures: TypeAlias = dict[str, float]


class Runtime(Protocol):
    """A language's runtime."""

    title: str
    handler: str
    variant: str  # of the layer

    def install(self) -> None:
        """Makes everything ready that the others need."""

    def write(self, function: str, task: Path) -> None:
        """Puts a function into its folder."""

    def start(self, task: Path, official: str) -> tuple[list[str], dict[str, str]]:
        """Command and variables of a process; `official` is the endpoint of the official tracer, "" for none."""


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


class Fault:
    """A port where no receiver answers."""

    def __init__(self, kind: str) -> None:
        backlog = 0 if kind == "unreachable" else 128
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=backlog)]
        self.port = self._sockets[0].getsockname()[1]
        if kind == "refused":
            self.close()
        if kind == "unreachable":  # the kernel lets further connections wait once the queue is full
            for _ in range(2):
                waiting = socket.socket()
                waiting.setblocking(False)  # noqa: FBT003 - as the library has it
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(("127.0.0.1", self.port))
                self._sockets.append(waiting)

    def close(self) -> None:
        """Gives the port back."""
        for each in self._sockets:
            each.close()


class Run:
    """One runtime process. Use it with `with`."""

    def __init__(self, variant: str, runtime: Runtime, task: Path, layer: Path) -> None:
        self.api = RuntimeApi()
        self.receiver = Receiver()
        tracer, _, fault = variant.partition(", ")
        self.fault = Fault(fault) if fault else None
        port = self.fault.port if self.fault else self.receiver.port
        endpoint = f"http://127.0.0.1:{port}" if tracer == "official" else ""
        command, variables = runtime.start(task, endpoint)
        if tracer == "ours":
            command = [str(layer / "otel-instrument"), *command]
            variables["O2_OTLP_PORT"] = str(port)
        environment = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": runtime.handler,
            "SERVICE": f"http://127.0.0.1:{self.receiver.port}",
            "PATH": os.environ["PATH"],
        }
        self.start: Figures = {}
        self.api.on_first_next = self._measure
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            command, env=environment | variables, cwd=task, stdout=self.log, stderr=self.log
        )
        if not self.api.waiting.acquire(timeout=PATIENCE_S):
            raise TimeoutError(f"{variant}: no /next\n{self.output()}")

    def output(self) -> str:
        """What the process has printed."""
        self.log.seek(0)
        return self.log.read().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()
        for server in (self.api, self.receiver, self.fault):
            if server is not None:
                server.close()

    def _measure(self) -> None:
        with stopped(self.process.pid):
            self.start["CPU to first /next, ms"] = cpu_ms(self.process.pid)
            self.start["RSS at first /next, MB"] = memory_mb(self.process.pid, "VmRSS")


def one_run(variant: str, runtime: Runtime, task: Path, layer: Path, invocations: int) -> Figures:
    """A life of one function."""
    slow = variant.startswith("official, ")
    with Run(variant, runtime, task, layer) as run:
        first = run.api.invoke(0)
        with stopped(run.process.pid):
            run.start["CPU to the second /next, ms"] = cpu_ms(run.process.pid)
        warm = [run.api.invoke(turn) for turn in range(1, (INVOCATIONS_OF_SLOW if slow else invocations) + 1)]
        if variant == "ours" and run.receiver.requests < invocations:
            exports = f"{run.receiver.requests} exports for {invocations + 1} invocations"
            raise RuntimeError(f"{variant}: {exports}\n{run.output()}")
        return run.start | {
            "first invocation, ms": first,
            "warm invocation, ms": statistics.median(warm if slow else warm[WARM_UP:]),
            "fastest warm invocation, ms": min(warm),
            "slowest warm invocation, ms": max(warm),
            "exports per invocation": run.receiver.requests / (len(warm) + 1),
        }


def measure(
    runtime: Runtime, function: str, layer: Path, options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Variant -> figure -> a value for each run; a round before them fills the caches."""
    variants = VARIANTS if function == "trivial" else VARIANTS[:3]
    variants = tuple(name for name in variants if name.partition(",")[0] not in options.without)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants}
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder)
        runtime.write(function, task)
        for number in range(-1, options.runs):
            for variant in machine.in_turns(variants, number):
                if variant.startswith("official, ") and number != 0:
                    continue  # one run tells enough
                figures = one_run(variant, runtime, task, layer, options.invocations)
                if number >= 0:
                    for figure, value in figures.items():
                        found[variant].setdefault(figure, []).append(value)
    return found


def print_function(title: str, found: dict[str, dict[str, list[float]]]) -> None:
    """A table for each figure: median, range, and what is more than `bare`: median of paired differences, minimum."""
    for figure, bare in found["bare"].items():
        print(f"\n{title}: {figure}")
        for name, figures in found.items():
            values = figures.get(figure, [])
            if values:
                middle = statistics.median(values)
                span = f"({min(values):.2f}..{max(values):.2f})"
                paired = (value - beside for value, beside in zip(values, bare, strict=False))  # faults: one run
                more = statistics.median(paired), min(values) - min(bare)
                print(f"  {name:<21} {middle:9.2f}  {span:<22} {more[0]:+9.2f} {more[1]:+9.2f}")


def unpacked_layer(folder: Path, variant: str) -> Path:
    """Builds a variant of the layer and unpacks it; the wrapper may be run."""
    arch = "x86_64" if platform.machine() == "x86_64" else "arm64"
    (path,) = build([arch], [variant], folder, project_root() / ".cache" / "layer")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    (folder / "otel-instrument").chmod(0o755)
    return folder


def made(option: str, kind: Callable[[str], Runtime], names: list[str]) -> list[Runtime]:
    """The runtimes that an option names."""
    runtimes = []
    for name in names:
        try:
            runtimes.append(kind(str(Path(name).absolute()) if "/" in name else name))  # it is run in other folders
        except (OSError, subprocess.CalledProcessError) as error:
            complain(f"{option} {name}: it does not run ({error}); name one that does")
        except ValueError as error:
            complain(f"{option} {name}: {error}; name one that is")
    return runtimes


def complain(line: str) -> NoReturn:
    """What is wrong with the command line, and the end."""
    print(f"bench/tracing.py: {line}", file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="*", default=[], help="interpreters, of no virtual environment")
    parser.add_argument(
        "--node", nargs="*", default=[], help="node executables, or major versions that `make node` brings"
    )
    parser.add_argument("--java", nargs="*", default=[], help="folders with bin/java; the trivial function alone")
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=FUNCTIONS)
    parser.add_argument("--without", nargs="+", choices=("ours", "official"), default=(), help="tracers to leave out")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--invocations", type=int, default=60)
    parser.add_argument("--json", type=Path, default=Path("target/bench/tracing.json"), help="raw data (%(default)s)")
    options = parser.parse_args()
    threading.excepthook = lambda _arguments: None  # a fake's thread ends with its socket
    header = {"machine": machine.describe(), "load_before": machine.load(), "command": " ".join(sys.argv)}
    runtimes = [
        *made("--python", Python, options.python),
        *made("--node", Node, options.node),
        *made("--java", Java, options.java),
    ]
    if not runtimes:
        complain("no runtime is named; name one at least, as in --python python3.11 or --node 22")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        layers = {name: unpacked_layer(Path(folder, name), name) for name in {each.variant for each in runtimes}}
        for runtime in runtimes:
            runtime.install()
        header["scheduling"] = machine.run_ahead(enabled=True)
        for name, value in header.items():
            print(f"{name}: {value}")
        for runtime in runtimes:
            for function in options.functions:
                title = f"{runtime.title}, {function}"
                results[title] = measure(runtime, function, layers[runtime.variant], options)
                print_function(title, results[title])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(header | {"load_after": machine.load(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

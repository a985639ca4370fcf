"""`o2-lambda demo`: a function, the extension and a backend on this machine, and what arrives."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from o2_lambda.backend import BackendConfig, BackendError, BackendServer
from o2_lambda.backend.config import DEFAULT_PORT
from o2_lambda.cli.demo_report import SAMPLE_NAME, Findings, collect, show
from o2_lambda.cli.local import read_event
from o2_lambda.emulator import ConfigError, EmulatorError, LambdaConfig, LocalLambda
from o2_lambda.emulator.runtimes import resolve
from o2_lambda.extension.boot import OTLP_PORT
from o2_lambda.layer.source import write_extension

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from o2_lambda.emulator import InvokeResult

SAMPLE = Path(__file__).parent / "sample"
SAMPLE_EVENTS = ({"order": 1}, {"order": 2}, {"order": 3, "fail": True}, {"order": 4})
TIMEOUT_MS = 30_000
MEMORY_MB = 512


@click.command(short_help="See logs and traces of a function, all on this machine.")
@click.argument("handler", required=False)
@click.option(
    "--task-root", type=click.Path(path_type=Path), default=Path(), help="Folder of HANDLER's code.  [default: .]"
)
@click.option("--runtime", default="python", show_default=True, metavar="python|node|COMMAND")
@click.option("--event", "event_file", type=click.Path(path_type=Path), help="JSON file with the event for HANDLER.")
@click.option("--invocations", type=click.IntRange(min=1), help="How many times to invoke.  [default: 4]")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Port of the backend.  [default: {DEFAULT_PORT} if free]")
@click.option("--keep", is_flag=True, help="Leave the backend up afterwards and print its URL.")
def demo(
    *,
    handler: str | None,
    task_root: Path,
    runtime: str,
    event_file: Path | None,
    invocations: int | None,
    port: int | None,
    keep: bool,
) -> None:
    """Run a sample function, or HANDLER (such as app.handler), with the extension against a local backend.

    Needs neither AWS nor the network. The exit status is 0 when everything that was sent has arrived.
    """
    console = Console(highlight=False)
    try:
        events = list(_events(handler, event_file, invocations))
        backend = BackendServer(BackendConfig(port=_free_port(DEFAULT_PORT) if port is None else port))
        with backend, console.status("Starting the backend …") as status, tempfile.TemporaryDirectory() as folder:
            config = _function(handler, task_root, runtime, backend, write_extension(Path(folder)))
            status.update("Starting the function and the extension …")
            findings = _run(config, events, status)
            status.stop()
            collect(findings, backend)
            show(findings, console)
            if keep:
                _serve(backend, console)
    except (ConfigError, EmulatorError, BackendError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if findings.complete else 1)


def _run(config: LambdaConfig, events: list[bytes], status: Status) -> Findings:
    findings = Findings(config.function_name)
    with LocalLambda(config) as function:
        findings.init = function.init_result
        if findings.init is not None and findings.init.status != "success":
            lines = "\n".join(line.line.rstrip() for line in function.output if line.source == "function")
            raise EmulatorError(f"the function does not start ({findings.init.error_type})\n{lines}")
        for number, event in enumerate(events, 1):
            status.update(f"Invoking {number} of {len(events)} …")
            result: InvokeResult = function.invoke(event)
            findings.results.append(result)
        status.update("Shutting down …")
        findings.shutdown = function.shutdown()
        findings.output = list(function.output)
    return findings


def _function(
    handler: str | None, task_root: Path, runtime: str, backend: BackendServer, extension: Path
) -> LambdaConfig:
    root = SAMPLE if handler is None else task_root
    if not root.is_dir():
        raise ConfigError(f"the task root {root} is not a folder")
    found = resolve(runtime, handler or "app.handler", root.resolve())
    otlp_port = _free_port(OTLP_PORT)
    name = SAMPLE_NAME if handler is None else handler.replace(".", "-")
    return LambdaConfig(
        found.command,
        handler=handler or "app.handler",
        task_root=root,
        extensions=[extension],
        function_name=name,
        memory_mb=MEMORY_MB,
        timeout_ms=TIMEOUT_MS,
        execution_env=found.execution_env,
        environment={
            "O2_ENDPOINT": backend.url,
            "O2_ORGANIZATION_ID": backend.config.organization,
            "O2_AUTHORIZATION_HEADER": backend.authorization_header,
            "O2_OTLP_PORT": str(otlp_port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp_port}",
            "OTEL_SERVICE_NAME": name,
        },
    )


def _events(handler: str | None, event_file: Path | None, invocations: int | None) -> Iterator[bytes]:
    if handler is None:
        count = invocations or len(SAMPLE_EVENTS)
        for number in range(count):
            yield json.dumps(SAMPLE_EVENTS[number % len(SAMPLE_EVENTS)]).encode()
        return
    yield from [read_event(event_file)] * (invocations or len(SAMPLE_EVENTS))


def _free_port(preferred: int) -> int:
    """The preferred port where it is free, any other where it is not."""
    for port in (preferred, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("no free port on 127.0.0.1")


def _serve(backend: BackendServer, console: Console) -> None:
    console.print(f"\nThe backend stays up at [bold]{backend.url}[/], Ctrl-C ends it. Search it with:")
    body = {"query": {"sql": 'SELECT * FROM "default"', "start_time": 0, "end_time": 2**53, "from": 0, "size": 10}}
    console.print(
        f"  curl -u '{backend.config.user}:{backend.config.secret}' "
        f"'{backend.url}/api/{backend.config.organization}/_search?type=logs' -d '{json.dumps(body)}'",
        markup=False,
        soft_wrap=True,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    os.write(1, b"\n")

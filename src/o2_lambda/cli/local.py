"""`o2-lambda local`: run a function under the local Lambda emulator."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from o2_lambda.cli.local_report import JsonReport, Report, TextReport
from o2_lambda.emulator import ConfigError, Emulator, EmulatorError, Faults, LambdaConfig
from o2_lambda.emulator import execute as execute_durably
from o2_lambda.emulator.config import INITIALIZATION_TYPES, LOG_FORMATS, MEMORY_MB_PER_CPU, is_executable
from o2_lambda.emulator.function_url import BUFFERED, INVOKE_MODES
from o2_lambda.emulator.runtimes import resolve

FAILED = 1

if TYPE_CHECKING:
    from collections.abc import Awaitable


@dataclass(frozen=True)
class Plan:
    """What to do with the function: which event, how often, how far apart, for whom, and on which ports to answer."""

    event: bytes
    invocations: int
    every_ms: float
    port: int | None
    url_port: int | None
    invoke_mode: str
    tenants: tuple[str | None, ...]


@click.group()
def local() -> None:
    """Run a function under the local Lambda emulator."""


@local.command()
@click.argument("handler")
@click.option(
    "--runtime",
    default="python",
    show_default=True,
    metavar="python|node|java|COMMAND",
    help="Runtime client, or any command that speaks the Lambda Runtime API.",
)
@click.option(
    "--task-root", type=click.Path(path_type=Path), default=Path(), help="Folder of the function's code.  [default: .]"
)
@click.option(
    "--extensions",
    "extensions_dir",
    type=click.Path(path_type=Path),
    help="Folder of extensions, like /opt/extensions.",
)
@click.option(
    "--event",
    "event_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="JSON file with the event; - is standard input.",
)
@click.option(
    "--invocations", type=click.IntRange(min=1), help="How many times to invoke.  [default: 1, or 0 with --port]"
)
@click.option(
    "--every",
    "every_ms",
    type=click.FloatRange(min=0),
    default=0,
    metavar="MS",
    help="From one invocation's start to the next.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001, max=900),
    default=3,
    show_default=True,
    metavar="SECONDS",
    help="The function's timeout.",
)
@click.option(
    "--memory",
    "memory_mb",
    type=click.IntRange(128, 32768),
    metavar="MB",
    help="Memory size, enforced: a runtime that goes over it is killed (Runtime.OutOfMemory), and the CPU is limited as"
    " Lambda does, where it may be.  [default: 128, nothing limited]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    is_flag=False,
    flag_value=9000,
    help="Answer Lambda's Invoke API on this port (without a number 9000) until Ctrl-C.",
)
@click.option(
    "--function-url",
    "url_port",
    type=click.IntRange(0, 65535),
    is_flag=False,
    flag_value=9001,
    help="Answer any HTTP request on this port (without a number 9001) as the function's URL, until Ctrl-C.",
)
@click.option("--invoke-mode", type=click.Choice(INVOKE_MODES), default=BUFFERED, show_default=True, help="Of the URL.")
@click.option(
    "--env", "pairs", multiple=True, metavar="NAME=VALUE", help="Environment variable of the function; repeatable."
)
@click.option("--env-file", type=click.Path(path_type=Path), help="File of NAME=VALUE lines.")
@click.option("--function-name", default="my-function", show_default=True)
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--log-format", type=click.Choice(LOG_FORMATS), default="Text", show_default=True)
@click.option(
    "--initialization-type", type=click.Choice(INITIALIZATION_TYPES), default=INITIALIZATION_TYPES[0], show_default=True
)
@click.option(
    "--snapshot-age",
    "snapshot_age_s",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="SnapStart: how long the snapshot lies before it is restored.",
)
@click.option(
    "--durable", is_flag=True, help="Durable function: each invocation is an execution, replayed while PENDING."
)
@click.option(
    "--tenant", "tenants", multiple=True, metavar="ID", help="Tenant to invoke for; repeated, they take turns."
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Managed instances: invocations side by side.",
)
@click.option("--freeze/--no-freeze", default=True, show_default=True, help="Stop all processes between invocations.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KNOB=N",
    help="Commit a fault N times (-1: always), such as drop_posts=1; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line instead of text.")
def run(  # noqa: PLR0913 - one parameter per option
    *, handler: str, runtime: str, task_root: Path, extensions_dir: Path | None, event_file: Path | None,
    invocations: int | None, every_ms: float, timeout_s: float, memory_mb: int | None, port: int | None,
    pairs: tuple[str, ...], env_file: Path | None, function_name: str, region: str, log_format: str,
    initialization_type: str, snapshot_age_s: float, max_concurrency: int, freeze: bool, faults: tuple[str, ...],
    as_json: bool, durable: bool, tenants: tuple[str, ...], url_port: int | None, invoke_mode: str,
) -> None:  # fmt: skip
    """Run HANDLER (such as app.handler) in a local Lambda, with extensions, telemetry, freeze and shutdown.

    The exit status is 0 when every invocation succeeded, 1 when one did not or the function could not start.
    """
    report: Report = JsonReport() if as_json else TextReport()
    try:
        found = resolve(runtime, handler, _folder(task_root))
        config = LambdaConfig(
            found.command,
            handler=handler,
            task_root=task_root,
            extensions_dir=extensions_dir,
            function_name=function_name,
            memory_mb=memory_mb or 128,
            timeout_ms=round(timeout_s * 1000),
            region=region,
            environment=read_environment(pairs, env_file),
            log_format=log_format,
            initialization_type=initialization_type,
            durable=durable,
            snapshot_age_ms=snapshot_age_s * 1000,
            max_concurrency=max_concurrency,
            execution_env=found.execution_env,
            freeze=freeze,
            cpu_quota=memory_mb / MEMORY_MB_PER_CPU if memory_mb else None,
            enforce_memory=memory_mb is not None,
            faults=read_faults(faults),
        )
        check_extensions(config)
        serving = port is not None or url_port is not None
        count = invocations if invocations is not None else 0 if serving else 1
        plan = Plan(read_event(event_file), count, every_ms, port, url_port, invoke_mode, tenants or (None,))
        sys.exit(asyncio.run(execute(config, plan, report)))
    except (ConfigError, EmulatorError) as error:
        raise click.ClickException(str(error)) from None


async def execute(config: LambdaConfig, plan: Plan, report: Report) -> int:
    """Start the function, invoke it as planned, shut it down; return the exit status."""
    emulator = Emulator(config)
    emulator.record.on_output.append(report.output)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for notice in emulator.limits.notices:
        report.notice(notice)
    async with emulator:
        init = emulator.init_result
        if init is not None:
            report.init(init)
            if init.status != "success":
                return FAILED
        if plan.port is not None:
            address = await _serve(emulator.serve(plan.port), plan.port, "--port")
            report.notice(f"answering on http://{address}/2015-03-31/functions/{config.function_name}/invocations")
        if plan.url_port is not None:
            server = emulator.serve_url(plan.url_port, invoke_mode=plan.invoke_mode)
            address = await _serve(server, plan.url_port, "--function-url")
            report.notice(f"the function's URL is http://{address}/")
        failures = await _invoke_all(emulator, plan, report, stop)
        if (plan.port is not None or plan.url_port is not None) and not plan.invocations:
            await stop.wait()
        report.shutdown(await emulator.shutdown())
        report.summary()
    return FAILED if failures else 0


async def _serve(server: Awaitable[str], port: int, option: str) -> str:
    try:
        return await server
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used: {error.strerror or error}; choose another with {option}"
        ) from None


async def _invoke_all(emulator: Emulator, plan: Plan, report: Report, stop: asyncio.Event) -> int:
    failures = 0
    loop = asyncio.get_running_loop()
    for number in range(plan.invocations):
        started_s = loop.time()
        if emulator.config.durable:
            results = (await execute_durably(emulator, plan.event)).invocations
        else:
            results = [await emulator.invoke(plan.event, tenant_id=plan.tenants[number % len(plan.tenants)])]
        for result in results:
            report.invocation(result)
            failures += result.outcome != "success"
        if number + 1 < plan.invocations:
            left_s = max(0.0, started_s + plan.every_ms / 1000 - loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), left_s)
        if stop.is_set():
            break
    return failures


def check_extensions(config: LambdaConfig) -> None:
    """Raise ConfigError for an extension that cannot be started, before anything is."""
    for file in config.extension_files():
        if not is_executable(file):
            raise ConfigError(f"the extension {file} is not executable: chmod +x {file}")


def read_event(path: Path | None) -> bytes:
    """Return the event's bytes, checked to be JSON; raises ConfigError naming the file."""
    if path is None:
        return b"{}"
    try:
        payload = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the event file {path} cannot be read: {error.strerror}") from None
    try:
        json.loads(payload)
    except ValueError as error:
        raise ConfigError(f"the event file {path} is not JSON: {error}") from None
    return payload


def read_environment(pairs: tuple[str, ...], file: Path | None) -> dict[str, str]:
    """Return the function's variables: those of the file, overridden by those of the command line."""
    lines: list[tuple[str, str]] = [("--env", pair) for pair in pairs]
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the environment file {file} cannot be read: {error}") from None
        stripped = [line.strip().removeprefix("export ") for line in text.splitlines()]
        lines = [(str(file), line) for line in stripped if line and not line.startswith("#")] + lines
    environment = {}
    for source, line in lines:
        name, equals, value = line.partition("=")
        if not equals or not name:
            raise ConfigError(f"{source}: {line!r} is not NAME=VALUE")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" and source != "--env"
        environment[name.strip()] = value[1:-1] if quoted else value
    return environment


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"the task root {path} is not a folder")
    return path.resolve()


def read_faults(settings: tuple[str, ...]) -> Faults:
    """Return the faults asked for as KNOB=N; raises ConfigError naming the knobs there are."""
    faults = Faults()
    knobs = [knob.name for knob in fields(Faults) if knob.name != "kills"]
    for setting in settings:
        name, _, number = setting.partition("=")
        if name not in knobs:
            raise ConfigError(f"--fault {name}: there is no such knob; choose from {', '.join(knobs)}")
        try:
            setattr(faults, name, int(number))
        except ValueError:
            raise ConfigError(f"--fault {setting}: {number!r} is not a number") from None
    return faults

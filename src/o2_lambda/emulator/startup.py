"""The init phase: extensions, barrier A, runtime, barrier B, and what is reported of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from o2_lambda.emulator import events, state
from o2_lambda.emulator.config import is_executable
from o2_lambda.emulator.environment import extension_environment, runtime_environment
from o2_lambda.emulator.errors import Fatal
from o2_lambda.emulator.events import EXTENSION, FUNCTION
from o2_lambda.emulator.sandbox import RUNTIME, PhaseTimeout, Sandbox

if TYPE_CHECKING:
    from o2_lambda.emulator.state import Extension

EXEC_WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"  # a program that gets the runtime's command line, on AWS's managed runtimes


async def start_up(sandbox: Sandbox, phase: str, deadline_ms: float) -> None:
    """Start everything and wait for both barriers; raises Fatal or PhaseTimeout after reporting it.

    `phase` is `init`, `snap-start` where a snapshot is taken of it, or `invoke` for a suppressed init; `deadline_ms` is
    monotonic.
    """
    sandbox.phase = phase
    started_ms = sandbox.clock.mono_ms()
    sandbox.emit("platform.initStart", init_start(sandbox))
    try:
        await _start_extensions(sandbox)
        await sandbox.until(sandbox.registry.all_external_registered, deadline_ms)
        await _start_runtime(sandbox)
        await sandbox.until(lambda: sandbox.runtime_seen, deadline_ms)
        await sandbox.until(sandbox.registry.all_ready, deadline_ms)
    except (Fatal, PhaseTimeout) as problem:
        error_type = problem.error_type if isinstance(problem, Fatal) else None
        status = "error" if error_type else "timeout"
        if RUNTIME in sandbox.processes and not sandbox.runtime_seen:
            sandbox.emit_init_runtime_done(status, error_type)
        _report(sandbox, status, error_type, sandbox.clock.mono_ms() - started_ms)
        raise
    _report(sandbox, "success", None, sandbox.clock.mono_ms() - started_ms)


def init_start(sandbox: Sandbox) -> events.Record:
    """Return `platform.initStart`."""
    config = sandbox.config
    return events.init_start(
        initialization_type=config.initialization_type,
        phase=sandbox.phase,
        runtime_version=config.version_label,
        runtime_arn=f"arn:aws:lambda:{config.region}::runtime:local",
        function=config.function_name,
        version=config.function_version,
        instance_id=sandbox.instance_id,
        memory_mb=config.memory_mb,
    )


def _report(sandbox: Sandbox, status: str, error_type: str | None, duration_ms: float) -> None:
    sandbox.registry.closed = True
    sandbox.dispatcher.close_subscriptions()
    for extension in sandbox.registry.extensions.values():
        record = events.extension(
            name=extension.name, state=extension.state, events=extension.events, error_type=extension.error_type
        )
        sandbox.emit("platform.extension", record)
    report = events.init_report(
        initialization_type=sandbox.config.initialization_type,
        phase=sandbox.phase,
        status=status,
        error_type=error_type,
        duration_ms=duration_ms,
    )
    sandbox.emit("platform.initReport", report)


async def _start_extensions(sandbox: Sandbox) -> None:
    config = sandbox.config
    if len(sandbox.files) > state.EXTENSIONS_MAX:
        limit = f"Extension limit ({state.EXTENSIONS_MAX}) reached"
        raise _launch_failed(sandbox, sandbox.files[-1].name, "Extension.TooManyExtensions", limit)
    offset_s = config.faults.monotonic_offset_ms // 1000
    clocks = ["unshare", "--time", "--monotonic", str(offset_s), "--boottime", str(offset_s)] if offset_s else []
    for file in sandbox.files:
        if not is_executable(file):
            message = f"{file} is not executable: chmod +x {file}"
            raise _launch_failed(sandbox, file.name, "Extension.LaunchError", message)
        process = sandbox.new_process(file.name, EXTENSION)
        try:
            await sandbox.launch(process, [*clocks, str(file)], extension_environment(config, sandbox.api), file.parent)
        except OSError as error:
            message = f"{file} cannot be started: {error.strerror or error}"
            raise _launch_failed(sandbox, file.name, "Extension.LaunchError", message) from None
        sandbox.entered(sandbox.registry.extensions[file.name])


def _launch_failed(sandbox: Sandbox, name: str, error_type: str, message: str) -> Fatal:
    extension: Extension = sandbox.registry.extensions[name]
    extension.try_move(state.LAUNCH_FAILED)
    extension.error_type = error_type
    fatal = Fatal(error_type, message)
    sandbox.latch(fatal)
    return fatal


async def _start_runtime(sandbox: Sandbox) -> None:
    config = sandbox.config
    process = sandbox.new_process(RUNTIME, FUNCTION, framed=config.log_fd and not config.managed)
    environment = runtime_environment(config, sandbox.api, log_stream=sandbox.instance_id, log_fd=process.log_fd)
    command = [str(part) for part in config.runtime_command]
    if config.environment.get(EXEC_WRAPPER):
        command.insert(0, config.environment[EXEC_WRAPPER])
    if config.pass_handler and config.handler:
        command.append(config.handler)
    try:
        await sandbox.launch(process, command, environment, config.task_root)
    except OSError as error:
        message = f"cannot start {command[0]}: {error.strerror or error}"
        sandbox.latch(Fatal("Runtime.InvalidEntrypoint", message))

"""The shutdown sequence, shared by shutdown and reset: who is told, who is killed, and when."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

from o2_lambda.emulator import state
from o2_lambda.emulator.sandbox import RUNTIME, Sandbox

EXTERNAL_LIMIT_MS = 2000  # everything, when there are external extensions
INTERNAL_LIMIT_MS = 500  # everything, when there are only internal ones
# How long the platform waits for telemetry to arrive before it sends SHUTDOWN is not published.
FLUSH_LIMIT_MS = 100


@dataclass(frozen=True)
class ProcessEnd:
    """How one process ended: its exit code (negative for a signal), how long it took, and whether it was killed."""

    returncode: int | None
    took_ms: float
    killed: bool


@dataclass(frozen=True)
class ShutdownResult:
    """How a shutdown went: the reason given, how long it took, each extension's end, the runtime's end."""

    reason: str
    took_ms: float
    extensions: dict[str, ProcessEnd]
    runtime: ProcessEnd | None


async def tear_down(sandbox: Sandbox, reason: str) -> ShutdownResult:
    """End `sandbox`: runtime first, then SHUTDOWN to subscribers, SIGKILL for all at the limit. `/tmp` is kept."""
    clock, timeline = sandbox.clock, sandbox.timeline
    sandbox.stopping = True
    started_ms = clock.mono_ms()
    timeline.note("shutdown.start", reason=reason)
    sandbox.thaw()
    ends: dict[str, ProcessEnd] = {}

    async def watch(name: str) -> None:
        process = sandbox.processes[name]
        await process.exited.wait()
        ends[name] = ProcessEnd(process.returncode, clock.mono_ms() - started_ms, process.killed)
        await sandbox.dispatcher.unsubscribe(name)

    watches = [asyncio.create_task(watch(name)) for name in sandbox.processes]
    extensions = [name for name in sandbox.processes if name != RUNTIME]
    await _stop_runtime(sandbox, started_ms, external=bool(extensions))
    if extensions:
        deadline_ms = started_ms + EXTERNAL_LIMIT_MS
        await sandbox.dispatcher.flush(min(FLUSH_LIMIT_MS, deadline_ms - clock.mono_ms()))
        wall_deadline_ms = clock.wall_ms() + deadline_ms - clock.mono_ms()
        event = {"eventType": state.SHUTDOWN, "deadlineMs": int(wall_deadline_ms), "shutdownReason": reason}
        sandbox.begin_shutdown(event)
        for name in extensions:
            if not sandbox.registry.extensions[name].wants(state.SHUTDOWN):
                sandbox.processes[name].kill()
        for name in extensions:
            if not await sandbox.processes[name].wait(deadline_ms - clock.mono_ms()):
                timeline.note("shutdown.deadline", name=name)
        for name in extensions:
            sandbox.processes[name].kill()
    await asyncio.gather(*watches)
    await sandbox.dispatcher.close()
    sandbox.release_all()
    took_ms = clock.mono_ms() - started_ms
    timeline.note("shutdown.end", reason=reason, took_ms=took_ms)
    return ShutdownResult(reason, took_ms, {name: ends[name] for name in extensions}, ends.get(RUNTIME))


async def _stop_runtime(sandbox: Sandbox, started_ms: float, *, external: bool) -> None:
    """SIGTERM and SIGKILL to the runtime's group; without any extension SIGKILL at once."""
    runtime = sandbox.processes.get(RUNTIME)
    if runtime is None:
        return
    if sandbox.registry.extensions and not runtime.exited.is_set():
        grace_ms = sandbox.config.sigterm_grace_ms if external else INTERNAL_LIMIT_MS
        sandbox.timeline.note("sigterm", name=RUNTIME)
        runtime.signal(signal.SIGTERM)
        await runtime.wait(started_ms + grace_ms - sandbox.clock.mono_ms())
    runtime.kill()
    await runtime.exited.wait()

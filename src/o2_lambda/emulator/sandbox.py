"""One execution environment: its processes, its extensions' states, its telemetry, its freeze.

It knows nothing about HTTP: the APIs call `register`, `next_event`, `runtime_next` and the like, and wait for what
those return. Its first phase is in `startup`, its last in `teardown`.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator import events, state
from o2_lambda.emulator.dispatcher import Dispatcher
from o2_lambda.emulator.errors import ApiError, Fatal
from o2_lambda.emulator.events import EXTENSION, FUNCTION, Event
from o2_lambda.emulator.limits import WATCH_INTERVAL_S, resident_mb
from o2_lambda.emulator.process import Process
from o2_lambda.emulator.state import Extension, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from o2_lambda.emulator.clock import Clock
    from o2_lambda.emulator.config import LambdaConfig
    from o2_lambda.emulator.invocation import Invocation
    from o2_lambda.emulator.limits import Limits
    from o2_lambda.emulator.timeline import Timeline

RUNTIME = "runtime"
OUT_OF_MEMORY = "Runtime.OutOfMemory"


class PhaseTimeout(Exception):  # noqa: N818 - an outcome, not a defect
    """A phase did not end before its deadline."""


@dataclass
class Hooks:
    """What to call while everything is stopped: right after a freeze, right before a thaw."""

    on_freeze: list[Callable[[], object]] = field(default_factory=list)
    on_thaw: list[Callable[[], object]] = field(default_factory=list)


class Sandbox:
    """An environment from its first process to its last."""

    def __init__(
        self, config: LambdaConfig, clock: Clock, timeline: Timeline, *, api: str, limits: Limits, hooks: Hooks
    ) -> None:
        self._hooks = hooks
        self.config = config
        self.api = api  # `host:port` of the Runtime API
        self.clock = clock
        self.timeline = timeline
        self.limits = limits
        self.files = config.extension_files()
        self.registry = Registry((file.name for file in self.files), managed=config.managed)
        self.dispatcher = Dispatcher(clock, config.faults, timeline)
        self.processes: dict[str, Process] = {}  # extensions by name, and RUNTIME
        self.fatal: Fatal | None = None
        self.stopping = False
        self.frozen = False
        self.runtime_idle: deque[asyncio.Future[Invocation]] = deque()
        self._pending: deque[Invocation] = deque()
        self.active: dict[str, Invocation] = {}
        self.runtime_seen = False
        self.tenant_id: str | None = None  # whom it serves: no other tenant ever gets into it
        self.awaits_restore = config.snap_start
        self._restoring: asyncio.Future[None] | None = None  # the runtime's parked `restore/next`
        self.renew_instance_id()
        self._parked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._shutdown_event: dict[str, Any] | None = None
        self._told: set[str] = set()  # who has been given the SHUTDOWN event
        self._change = asyncio.Event()
        self.phase = "init"  # or "invoke", for a suppressed init
        self._peak_mb = 0
        self._over_memory = False
        self._background: set[asyncio.Task[None]] = set()

    def renew_instance_id(self) -> None:
        """Take a fresh instance id, which is the log stream's name."""
        today = time.strftime("%Y/%m/%d", time.gmtime(self.clock.wall_ms() / 1000))
        self.instance_id = f"{today}/[{self.config.function_version}]{secrets.token_hex(16)}"

    # What goes out as telemetry

    def emit(self, kind: str, record: events.Record) -> None:
        """Emit a platform event now."""
        self.timeline.note("event", type=kind, record=record)
        self.dispatcher.emit(Event(self.clock.wall_ms(), kind, record))

    def emit_init_runtime_done(self, status: str, error_type: str | None) -> None:
        """Emit `platform.initRuntimeDone`."""
        record = events.init_runtime_done(
            initialization_type=self.config.initialization_type, phase=self.phase, status=status, error_type=error_type
        )
        self.emit("platform.initRuntimeDone", record)

    def _wrote(self, category: str, source: str, line: str) -> None:
        self.timeline.wrote(source, line)
        json_log = self.config.log_format == "JSON" and category == FUNCTION
        self.dispatcher.emit(Event(self.clock.wall_ms(), category, text=line, json_log=json_log))
        if category == FUNCTION:
            for invocation in self.active.values():
                invocation.log(line if line.endswith("\n") else line + "\n")

    # Waiting

    def changed(self) -> None:
        """Something a phase may wait for has happened."""
        self._change.set()

    async def until(self, ready: Callable[[], bool], deadline_ms: float) -> None:
        """Wait for `ready`; raises Fatal once one is latched, PhaseTimeout at `deadline_ms` (monotonic)."""
        while True:
            if self.fatal:
                raise self.fatal
            if ready():
                return
            self._change.clear()
            left_ms = deadline_ms - self.clock.mono_ms()
            if left_ms <= 0:
                raise PhaseTimeout
            try:
                async with asyncio.timeout(left_ms / 1000):
                    await self._change.wait()
            except TimeoutError:
                continue

    def latch(self, fatal: Fatal) -> None:
        """Record the first fatal error; later ones are its consequences."""
        if self.fatal is None and not self.stopping:
            self.fatal = fatal
            self.timeline.note("fatal", error_type=fatal.error_type, message=fatal.message)
        self.changed()

    # Processes

    def new_process(self, name: str, category: str, *, framed: bool = False) -> Process:
        """Return a process whose output goes out as telemetry of `category`."""
        source = FUNCTION if category == FUNCTION else f"{EXTENSION}:{name}"
        return Process(name, emit=lambda line: self._wrote(category, source, line), framed=framed)

    async def launch(self, process: Process, command: list[str], env: dict[str, str], folder: Path) -> None:
        """Start `process` in `folder`; raises OSError when it cannot be executed."""
        process.started_ms = self.timeline.note("spawn", name=process.name, command=command).t_ms
        self.processes[process.name] = process
        enter = self.limits.enter()
        await process.start(command, environment=env, folder=folder, before_exec=enter, on_exit=self._exited)
        if process.name == RUNTIME and self.limits.watches_memory:
            self._in_background(self._watch_memory(process))

    def _exited(self, process: Process) -> None:
        code = process.returncode
        self.timeline.note("exit", name=process.name, returncode=code, killed=process.killed)
        how = (
            f"signal: {signal.Signals(-code).name}"
            if code and code < 0
            else f"exit status {code}"
            if code
            else "exit code 0"
        )
        if process.name == RUNTIME and code == -signal.SIGKILL and (self._over_memory or self.limits.take_kill()):
            self._over_memory = True
            self.latch(Fatal(OUT_OF_MEMORY, "Runtime exited with error: signal: killed", status="error"))
        elif process.name == RUNTIME:
            message = f"Runtime exited with error: {how}" if code else "Runtime exited without providing a reason"
            self.latch(Fatal("Runtime.ExitError", message))
        else:
            self.registry.extensions[process.name].try_move(state.KILL if process.killed else state.EXIT)
            self.latch(Fatal("Extension.Crash", how))
        self.changed()

    def drain_output(self) -> None:
        """Record what processes have written so far, before the effects of the call that follows it."""
        for process in self.processes.values():
            process.drain()

    def memory_used_mb(self) -> int:
        """Return the most memory that all processes have used so far; what is over the limit was never given."""
        peak_mb = sum(process.peak_memory_kb() for process in self.processes.values()) // 1024
        self._peak_mb = max(self._peak_mb, peak_mb)
        return self.config.memory_mb if self._over_memory else self._peak_mb

    async def _watch_memory(self, runtime: Process) -> None:
        """Kill the runtime when the sandbox's processes together exceed the memory size."""
        while not runtime.exited.is_set():
            if resident_mb([process.pid for process in self.processes.values()]) > self.config.memory_mb:
                self._over_memory = True
                runtime.signal(signal.SIGKILL)
                return
            await asyncio.sleep(WATCH_INTERVAL_S)

    # Freeze

    def freeze(self) -> None:
        """Stop every process and the delivery of telemetry."""
        if not self.config.freeze or self.frozen:
            return
        self.frozen = True
        self.dispatcher.pause()
        for process in self.processes.values():
            process.signal(signal.SIGSTOP)
        self.timeline.note("freeze")
        for hook in self._hooks.on_freeze:
            hook()

    def thaw(self) -> None:
        """Let everything go on."""
        if not self.frozen:
            return
        self.frozen = False
        for hook in self._hooks.on_thaw:
            hook()
        for process in self.processes.values():
            process.signal(signal.SIGCONT)
        self.dispatcher.resume()
        self.timeline.note("thaw")

    # What extensions call

    def entered(self, extension: Extension) -> None:
        """An extension changed its state: tell who waits, and commit the kill that was asked for."""
        self.changed()
        self.timeline.note("extension.state", name=extension.name, state=extension.state)
        kill = self.config.faults.take_kill(extension.name, extension.state)
        if kill:
            self._in_background(self._kill_later(extension.name, kill.after_ms, kill.signal))

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _kill_later(self, name: str, after_ms: float, number: int) -> None:
        await asyncio.sleep(after_ms / 1000)
        process = self.processes.get(name)
        if process:
            self.timeline.note("fault.kill", name=name, signal=number)
            process.signal(number)

    async def next_event(self, extension: Extension) -> dict[str, Any]:
        """Park an extension until there is an event for it; raises ApiError when it may not wait now."""
        extension.move(state.NEXT)
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._parked[extension.name] = waiting
        self.entered(extension)
        if self._shutdown_event is not None:
            self._deliver_shutdown(extension)
        return await waiting

    def report_error(self, extension: Extension, verb: str, error_type: str) -> None:
        """`init/error` or `exit/error`: fatal for the environment."""
        repeated = (extension.state, verb) in {
            (state.INIT_ERROR, state.REPORT_INIT_ERROR),
            (state.EXIT_ERROR, state.REPORT_EXIT_ERROR),
        }
        extension.move(verb)
        if not repeated:
            extension.error_type = error_type
            kind = "Extension.InitError" if verb == state.REPORT_INIT_ERROR else "Extension.ExitError"
            self.entered(extension)
            self.latch(Fatal(kind, error_type))

    def release_extensions(self, invocation: Invocation) -> None:
        """Answer the parked INVOKE subscribers."""
        event = events.drop_none(
            eventType=state.INVOKE,
            deadlineMs=int(invocation.deadline_wall_ms),
            requestId=invocation.request_id,
            invokedFunctionArn=invocation.arn,
            tracing=events.drop_none(type=events.TRACE_HEADER, value=invocation.trace_id)
            if invocation.trace_id
            else None,
        )
        for extension in list(self.registry.extensions.values()):
            if extension.wants(state.INVOKE) and extension.state == state.READY:
                self._deliver(extension, event)

    def _deliver(self, extension: Extension, event: dict[str, Any]) -> None:
        waiting = self._parked.pop(extension.name, None)
        if waiting is not None and not waiting.done():
            extension.move(state.DELIVER)
            self.entered(extension)
            waiting.set_result(event)

    # What the runtime calls

    async def runtime_next(self) -> Invocation:
        """Park the runtime until there is an invocation; its first call ends its init."""
        self.drain_output()
        if not self.config.managed:
            served = [invocation for invocation in self.active.values() if invocation.delivered]
            if any(invocation.last_byte_ms is None for invocation in served):
                raise ApiError("InvalidStateTransition", "Transition from Running to Ready is not allowed")
            for invocation in served:
                self.runtime_done(invocation)
        self._runtime_arrived()
        if self._pending:
            return self._pending.popleft()
        waiting: asyncio.Future[Invocation] = asyncio.get_running_loop().create_future()
        self.runtime_idle.append(waiting)
        self.changed()
        return await waiting

    def _runtime_arrived(self) -> None:
        """The runtime's first call that waits for something ends its init."""
        if not self.runtime_seen:
            self.runtime_seen = True
            self.registry.closed = True
            self.emit_init_runtime_done("success", None)

    async def restore_next(self) -> None:
        """Park a runtime that has after-restore hooks until the snapshot is restored."""
        self.drain_output()
        self._runtime_arrived()
        self.changed()
        if self.awaits_restore:
            self._restoring = asyncio.get_running_loop().create_future()
            await self._restoring

    def answer_restore(self) -> None:
        """Let the runtime run its after-restore hooks."""
        if self._restoring is not None and not self._restoring.done():
            self._restoring.set_result(None)

    def offer(self, invocation: Invocation) -> None:
        """Hand `invocation` to a runtime worker that waits, or to the first that comes to wait."""
        invocation.delivered = True
        if self.runtime_idle:
            self.runtime_idle.popleft().set_result(invocation)
        else:
            self._pending.append(invocation)

    def runtime_done(self, invocation: Invocation) -> None:
        """The runtime is through with `invocation`, one way or another: emit `platform.runtimeDone` once."""
        if invocation.runtime_done_ms is not None:
            return
        invocation.runtime_done_ms = self.clock.mono_ms()
        if self.config.managed or self.config.faults.take("missing_runtime_done"):
            return
        record = events.runtime_done(
            request_id=invocation.request_id, status=invocation.outcome, error_type=invocation.told_error,
            spans=invocation.spans(), duration_ms=invocation.runtime_done_ms - invocation.started_ms,
            produced_bytes=invocation.produced_bytes, trace=events.tracing(invocation.trace_id, invocation.span_id),
            tenant_id=invocation.tenant_id,
        )  # fmt: skip
        self.emit("platform.runtimeDone", record)

    # Shutdown

    def begin_shutdown(self, event: dict[str, Any]) -> None:
        """Hand the SHUTDOWN event to its subscribers: now to those who wait, to the others when they ask."""
        self._shutdown_event = event
        for extension in list(self.registry.extensions.values()):
            if extension.state == state.READY:
                self._deliver_shutdown(extension)

    def _deliver_shutdown(self, extension: Extension) -> None:
        if extension.wants(state.SHUTDOWN) and extension.name not in self._told:
            self._told.add(extension.name)
            assert self._shutdown_event is not None  # set before anybody is told
            self._deliver(extension, self._shutdown_event)

    def release_all(self) -> None:
        """Let go of every parked call; its process is gone."""
        gone = ApiError("InvalidStateTransition", "the environment is gone")
        waits: list[asyncio.Future[Any]] = [*self._parked.values(), *self.runtime_idle]
        waits += [self._restoring] if self._restoring else []
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(gone)
        for task in self._background:
            task.cancel()

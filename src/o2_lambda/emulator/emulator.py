"""The emulator: one function's life from its first environment to its end, as a Python API."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from o2_lambda.emulator import state
from o2_lambda.emulator.clock import Clock
from o2_lambda.emulator.config import ON_DEMAND
from o2_lambda.emulator.credentials_api import CredentialsApi
from o2_lambda.emulator.durable_api import DurableApi
from o2_lambda.emulator.errors import ApiError, EmulatorError, Fatal
from o2_lambda.emulator.extensions_api import ExtensionsApi
from o2_lambda.emulator.function_url import BUFFERED, RESPONSE_STREAM
from o2_lambda.emulator.invocation import Invocation, InvokeResult, new_trace_id
from o2_lambda.emulator.invoke_api import InvokeApi
from o2_lambda.emulator.limits import Limits
from o2_lambda.emulator.reporting import Reporter
from o2_lambda.emulator.runtime_api import RuntimeApi
from o2_lambda.emulator.sandbox import Hooks, PhaseTimeout, Sandbox
from o2_lambda.emulator.server import Server
from o2_lambda.emulator.snapstart import restore
from o2_lambda.emulator.startup import start_up
from o2_lambda.emulator.teardown import ShutdownResult, tear_down
from o2_lambda.emulator.timeline import Observed, Timeline
from o2_lambda.emulator.url_server import FunctionUrl

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiohttp import web

    from o2_lambda.emulator.checkpoints import Checkpoints
    from o2_lambda.emulator.config import LambdaConfig
    from o2_lambda.emulator.relay import Relay

TIMED_OUT = "Sandbox.Timedout"


@dataclass(frozen=True)
class InitResult:
    """How an init phase went: status success, error or timeout; phase `init` or, suppressed, `invoke`."""

    status: str
    error_type: str | None
    duration_ms: float
    phase: str
    message: str = ""


class Emulator(Observed):
    """A local Lambda for one function. Use as an async context manager.

    Entering starts the servers and, unless `config.eager_init` is false, the environment. A failing init raises
    nothing: see `init_result`; the first `invoke` then initialises again within its own timeout, as on AWS.
    """

    def __init__(self, config: LambdaConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.record = Timeline(self.clock)
        self.state = state.IDLE
        self.init_result: InitResult | None = None
        self.last_shutdown: ShutdownResult | None = None  # of a reset, too
        self.relays: list[Relay] = []
        self.executions: dict[str, Checkpoints] = {}  # durable ones that have begun, by ARN
        self.hooks = Hooks(on_freeze=[self._reset_relays], on_thaw=[self._jump])
        self.limits = Limits(cpus=config.cpu_quota, memory_mb=config.memory_mb if config.enforce_memory else None)
        self._sandbox: Sandbox | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reporter = Reporter(config, self.clock, self.record)
        extensions_api = ExtensionsApi(self._current)
        credentials = CredentialsApi(config, self.clock.wall_ms)
        routes = [*extensions_api.routes(), *RuntimeApi(self._current).routes(), *credentials.routes()]
        if config.durable:
            routes += DurableApi(self.executions, self.clock.wall_ms).routes()
        self._server = Server(routes, self.record, "api", extensions_api.caller)
        self._served: list[Server] = []

    # Facts for tests and diagnosis; timeline, output, telemetry_sent and deliveries come from Observed

    @property
    def on_freeze(self) -> list[Callable[[], object]]:
        """Called without arguments when everything has been stopped."""
        return self.hooks.on_freeze

    @property
    def on_thaw(self) -> list[Callable[[], object]]:
        """Called without arguments right before everything goes on."""
        return self.hooks.on_thaw

    @property
    def runtime_api(self) -> str:
        """`host:port` of the Runtime and Extensions API."""
        return self._server.address

    def pid(self, name: str) -> int:
        """Return the process id of an extension, or of `"runtime"`, in the current environment."""
        return self._current().processes[name].pid

    # Life

    async def __aenter__(self) -> Self:
        """Start the servers and the environment."""
        await self._server.start("127.0.0.1", 0)
        if self.config.eager_init:
            await self.init()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Shut down, if nobody did, and close everything; after an error without waiting for invocations."""
        try:
            if error is not None:
                await self._cancel_tasks()
            if self.state != state.TERMINATED:
                await self.shutdown()
        finally:
            await self._cancel_tasks()
            if self._sandbox:
                for process in self._sandbox.processes.values():
                    process.kill()
            await self._server.close()
            for served in self._served:
                await served.close()
            self.limits.close()

    async def init(self) -> InitResult:
        """Run the init phase; a failure resets and is returned, not raised."""
        async with self._lock:
            return await self._init()

    def begin_invoke(
        self,
        payload: bytes = b"{}",
        *,
        client_context: str | None = None,
        cognito_identity: str | None = None,
        trace_id: str | None = None,
        tenant_id: str | None = None,
        qualifier: str | None = None,
    ) -> Invocation:
        """Start an invocation. Its `response` is there as soon as the runtime posts it, `done` after the phase.

        `trace_id` "" means none; None makes one up. Raises EmulatorError after the shutdown.
        """
        if self.state in (state.ENV_SHUTDOWN, state.TERMINATED):
            raise EmulatorError("the emulator has been shut down: create a new one to invoke again")
        if trace_id is None:
            trace_id = new_trace_id(sampled=self.config.tracing_active)
        arn = self.config.function_arn + (f":{qualifier}" if qualifier else "")
        invocation = Invocation(
            payload, arn, trace_id or None, client_context, cognito_identity, tenant_id,
        )  # fmt: skip
        perform = self._perform_managed if self.config.managed else self._perform
        task = asyncio.create_task(perform(invocation))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._finished(ended, invocation))
        return invocation

    async def invoke(self, payload: bytes = b"{}", **options: str | None) -> InvokeResult:
        """Invoke and wait for the end of the phase; `options` are those of `begin_invoke`."""
        return await asyncio.shield(self.begin_invoke(payload, **options).done)

    async def serve(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Answer Lambda's Invoke API over HTTP; return `host:port`. Raises OSError when the port is taken."""
        return await self._serve(InvokeApi(self).routes(), "invoke", port, host)

    async def serve_url(self, port: int = 0, host: str = "127.0.0.1", *, invoke_mode: str = BUFFERED) -> str:
        """Answer any HTTP request as the function's URL does; return `host:port`. Raises OSError as `serve`."""
        return await self._serve(
            FunctionUrl(self, streaming=invoke_mode == RESPONSE_STREAM).routes(), "url", port, host
        )

    async def _serve(self, routes: list[web.RouteDef], kind: str, port: int, host: str) -> str:
        server = Server(routes, self.record, kind, lambda _request: None)
        self._served.append(server)
        await server.start(host, port)
        return server.address

    async def shutdown(self, reason: str = "spindown") -> ShutdownResult:
        """End the environment as AWS does; the emulator cannot be used afterwards."""
        async with self._lock:
            if self.state == state.TERMINATED and self.last_shutdown:
                return self.last_shutdown
            self._enter(state.ENV_SHUTDOWN)
            result = ShutdownResult(reason, 0.0, {}, None)
            if self._sandbox:
                self._reporter.emit_late(self._sandbox)
                result = await tear_down(self._sandbox, reason)
            self._sandbox = None
            self._enter(state.TERMINATED)
            self.last_shutdown = result
            return result

    # Phases

    def _enter(self, target: str) -> None:
        if target not in state.ENVIRONMENT_TRANSITIONS[self.state]:
            raise EmulatorError(f"the environment cannot go from {self.state} to {target}")
        self.state = target
        self.record.note("state", state=target)

    def _current(self) -> Sandbox:
        if self._sandbox is None:
            raise ApiError("InvalidStateTransition", "there is no environment at the moment")
        return self._sandbox

    def _new_sandbox(self) -> Sandbox:
        self._sandbox = Sandbox(
            self.config, self.clock, self.record, api=self._server.address, limits=self.limits, hooks=self.hooks
        )
        return self._sandbox

    async def _init(self) -> InitResult:
        self._enter(state.INIT)
        sandbox = self._new_sandbox()
        phase = "snap-start" if self.config.snap_start else "init"
        result = await self._initialize(sandbox, phase, self.clock.mono_ms() + self.config.init_limit_ms)
        if result.status == "success":
            if self.config.initialization_type == ON_DEMAND:  # else it was ahead of, and is no part of, an invocation
                self._reporter.init_ms = result.duration_ms
            self._enter(state.ENV_READY)
            sandbox.freeze()
            if self.config.managed:
                self._background(self._guard(sandbox))
        else:
            await self._reset(sandbox, "timeout" if result.status == "timeout" else "failure")
        return result

    async def _initialize(self, sandbox: Sandbox, phase: str, deadline_ms: float) -> InitResult:
        started_ms = self.clock.mono_ms()
        status, error_type, message = "success", None, ""
        try:
            await start_up(sandbox, phase, deadline_ms)
        except Fatal as fatal:
            status, error_type, message = "error", fatal.error_type, fatal.message
        except PhaseTimeout:
            status = "timeout"
        self.init_result = InitResult(status, error_type, self.clock.mono_ms() - started_ms, phase, message)
        return self.init_result

    async def _reset(self, sandbox: Sandbox, reason: str, *, then: str = state.IDLE_SUPPRESSED) -> None:
        self._enter(state.RESET)
        self.last_shutdown = await tear_down(sandbox, reason)
        self._sandbox = None
        self._enter(state.IDLE if self.config.managed else then)

    # Invoke

    async def _perform(self, invocation: Invocation) -> None:
        async with self._lock:
            await self._keep_tenants_apart(invocation)
            if self.state == state.IDLE:
                await self._init()
            suppressed = self.state == state.IDLE_SUPPRESSED
            sandbox = self._new_sandbox() if suppressed else self._current()
            if suppressed:
                sandbox.awaits_restore = False  # no snapshot is taken of it
            sandbox.tenant_id = invocation.tenant_id
            self._enter(state.ENV_INVOKE)
            unrestored = await self._restore(sandbox) if sandbox.awaits_restore else None
            sandbox.thaw()
            self._reporter.start(sandbox, invocation)
            try:
                if unrestored:
                    raise unrestored
                if suppressed:
                    result = await self._initialize(sandbox, "invoke", invocation.deadline_ms)
                    if result.status == "timeout":
                        raise PhaseTimeout  # noqa: TRY301 - the same end as a timeout later on
                await sandbox.until(lambda: True, invocation.deadline_ms)  # what failed while idle fails this one
                sandbox.release_extensions(invocation)
                sandbox.offer(invocation)
                await sandbox.until(
                    lambda: invocation.runtime_done_ms is not None and sandbox.registry.invoke_done(),
                    invocation.deadline_ms,
                )
            except (Fatal, PhaseTimeout) as problem:
                await self._fail(sandbox, invocation, self._as_fatal(problem))
            else:
                ended_ms = self.clock.mono_ms()
                self._reporter.report(sandbox, invocation, ended_ms)
                invocation.finish()
                self._enter(state.ENV_READY)
                sandbox.freeze()

    async def _keep_tenants_apart(self, invocation: Invocation) -> None:
        """Tenant isolation: an environment serves one tenant; for another one it is taken down and a new one made."""
        sandbox = self._sandbox
        if self.state == state.ENV_READY and sandbox and sandbox.tenant_id not in (None, invocation.tenant_id):
            await self._reset(sandbox, "spindown", then=state.IDLE)

    async def _restore(self, sandbox: Sandbox) -> Fatal | None:
        """SnapStart: end what does not outlive a snapshot, let the platform's time pass, and restore."""
        for relay in self.relays:
            relay.reset()
        self.clock.offset_ms += self.config.snapshot_age_ms
        try:
            self._reporter.restore_ms = await restore(sandbox)
        except Fatal as fatal:
            return fatal
        return None

    async def _perform_managed(self, invocation: Invocation) -> None:
        async with self._lock:
            if self.state == state.IDLE:
                await self._init()
            if self.state != state.ENV_READY:
                result = self.init_result
                raise EmulatorError(f"the environment did not start: {result.error_type if result else 'shut down'}")
            sandbox = self._current()
            self._reporter.start(sandbox, invocation)
            sandbox.offer(invocation)
        try:
            await sandbox.until(lambda: invocation.runtime_done_ms is not None, invocation.deadline_ms)
        except (Fatal, PhaseTimeout) as problem:
            invocation.fail(self._as_fatal(problem))
        self._reporter.report(sandbox, invocation, self.clock.mono_ms())
        invocation.finish()

    async def _guard(self, sandbox: Sandbox) -> None:
        """Managed instances: a crash ends the environment at once, whoever is served."""
        try:
            await sandbox.until(lambda: sandbox.stopping, math.inf)
        except Fatal:
            async with self._lock:
                if self._sandbox is sandbox and self.state == state.ENV_READY:
                    await self._reset(sandbox, "failure")

    def _as_fatal(self, problem: Fatal | PhaseTimeout) -> Fatal:
        if isinstance(problem, Fatal):
            return problem
        message = f"Task timed out after {self.config.timeout_ms / 1000:.2f} seconds"
        return Fatal(TIMED_OUT, message, status="timeout")

    async def _fail(self, sandbox: Sandbox, invocation: Invocation, fatal: Fatal) -> None:
        ended_ms = self.clock.mono_ms()
        sandbox.drain_output()
        invocation.fail(fatal)
        sandbox.runtime_done(invocation)
        sandbox.memory_used_mb()  # noted while the processes are there
        early = self.config.faults.take("early_failure_reports")
        if early:
            self._reporter.report(sandbox, invocation, ended_ms)
        await self._reset(sandbox, "timeout" if fatal.status == "timeout" else "failure")
        if not early:
            self._reporter.report(sandbox, invocation, ended_ms)
        invocation.finish()

    # Helpers

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _background(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _finished(self, task: asyncio.Task[None], invocation: Invocation) -> None:
        """An invocation's task has ended; an error of the emulator itself reaches whoever waits for the result."""
        self._tasks.discard(task)
        if invocation.done.done():
            return
        error = EmulatorError("the emulator was closed") if task.cancelled() else task.exception()
        invocation.abandon(error or EmulatorError("the invocation ended without a result"))

    def _reset_relays(self) -> None:
        if self.relays and self.config.faults.take("reset_connections_on_thaw"):
            for relay in self.relays:
                relay.reset()

    def _jump(self) -> None:
        self.clock.offset_ms += self.config.faults.clock_jump_ms

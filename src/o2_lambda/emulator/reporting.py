"""The first and the last thing said of an invocation: `platform.start`, `platform.report`, START, END and REPORT."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from o2_lambda.emulator import events

if TYPE_CHECKING:
    from o2_lambda.emulator.clock import Clock
    from o2_lambda.emulator.config import LambdaConfig
    from o2_lambda.emulator.invocation import Invocation, InvokeResult
    from o2_lambda.emulator.sandbox import Sandbox
    from o2_lambda.emulator.timeline import Timeline

RESPONSE_SPANS = 2  # responseLatency and responseDuration: all that managed instances report


class Reporter:
    """Takes an invocation's times and tells them."""

    def __init__(self, config: LambdaConfig, clock: Clock, timeline: Timeline) -> None:
        self.init_ms: float | None = None  # of an init that the next report has to mention
        self.restore_ms: float | None = None  # of a restore that the next report has to mention
        self._config = config
        self._clock = clock
        self._timeline = timeline
        self._late: list[events.Record] = []

    def start(self, sandbox: Sandbox, invocation: Invocation) -> None:
        """Set the invocation's start and deadline, and emit `platform.start`."""
        invocation.started_ms = self._clock.mono_ms()
        invocation.started_wall_ms = self._clock.wall_ms()
        invocation.deadline_ms = invocation.started_ms + self._config.timeout_ms
        invocation.deadline_wall_ms = invocation.started_wall_ms + self._config.timeout_ms
        sandbox.active[invocation.request_id] = invocation
        version = self._config.function_version
        invocation.log(f"START RequestId: {invocation.request_id} Version: {version}\n")
        record = events.start(
            request_id=invocation.request_id,
            version=version,
            trace=events.tracing(invocation.trace_id, invocation.span_id),
            tenant_id=invocation.tenant_id,
        )
        sandbox.emit("platform.start", record)
        self.emit_late(sandbox)

    def report(self, sandbox: Sandbox, invocation: Invocation, ended_ms: float) -> None:
        """Emit `platform.report` and settle the result of an invocation whose phase ended at `ended_ms` (monotonic)."""
        sandbox.active.pop(invocation.request_id, None)
        result = invocation.result(
            ended_ms=ended_ms,
            init_duration_ms=self.init_ms,
            restore_duration_ms=self.restore_ms,
            memory_used_mb=sandbox.memory_used_mb(),
        )
        self.init_ms = self.restore_ms = None
        spans = invocation.overhead_span(ended_ms)
        if self._config.managed:
            spans = invocation.spans()[:RESPONSE_SPANS]
        record = events.report(
            request_id=invocation.request_id,
            status=invocation.outcome,
            error_type=invocation.told_error,
            metrics=self._metrics(result),
            spans=spans,
            trace=events.tracing(invocation.trace_id, invocation.span_id),
            tenant_id=invocation.tenant_id,
        )
        if self._config.faults.take("missing_reports"):
            self._timeline.note("fault.missing_report", request_id=invocation.request_id)
        elif self._config.faults.take("late_reports"):
            self._late.append(record)
        else:
            sandbox.emit("platform.report", record)
        invocation.log(report_lines(result, self._config.memory_mb))
        invocation.settled = replace(result, log_tail=invocation.tail)

    def emit_late(self, sandbox: Sandbox) -> None:
        """Emit the reports that a fault held back."""
        for record in self._late:
            sandbox.emit("platform.report", record)
        self._late.clear()

    def _metrics(self, result: InvokeResult) -> events.Record:
        duration_ms = round(result.duration_ms, 3)
        if self._config.managed:
            return {"durationMs": duration_ms}
        return events.drop_none(
            durationMs=duration_ms,
            billedDurationMs=result.billed_duration_ms,
            memorySizeMB=self._config.memory_mb,
            maxMemoryUsedMB=result.memory_used_mb,
            restoreDurationMs=None if result.restore_duration_ms is None else round(result.restore_duration_ms, 3),
            initDurationMs=None if result.init_duration_ms is None else round(result.init_duration_ms, 3),
        )


def report_lines(result: InvokeResult, memory_mb: int) -> str:
    """Return the END and REPORT lines of the text log."""
    restore = "" if result.restore_duration_ms is None else f"\tRestore Duration: {result.restore_duration_ms:.2f} ms"
    init = "" if result.init_duration_ms is None else f"\tInit Duration: {result.init_duration_ms:.2f} ms"
    status = "" if result.outcome == "success" else f"\tStatus: {result.outcome}"
    error = f"\tError Type: {result.error_type}" if result.outcome in ("error", "failure") else ""
    return (
        f"END RequestId: {result.request_id}\n"
        f"REPORT RequestId: {result.request_id}\tDuration: {result.duration_ms:.2f} ms"
        f"\tBilled Duration: {result.billed_duration_ms} ms\tMemory Size: {memory_mb} MB"
        f"\tMax Memory Used: {result.memory_used_mb} MB{init}{restore}{status}{error}\n"
    )

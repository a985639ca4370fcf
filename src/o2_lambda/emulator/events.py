"""The shapes of telemetry events, and how one is written into a batch. Pure: time comes as an argument."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from o2_lambda.emulator.clock import iso_ms

PLATFORM = "platform"
FUNCTION = "function"
EXTENSION = "extension"
CATEGORIES = (PLATFORM, FUNCTION, EXTENSION)

SCHEMA_STRINGS_ONLY = "2022-07-01"  # in this schema a log record is always a string
SCHEMA_MANAGED = "2025-01-29"  # the only one managed instances accept
SCHEMAS = (SCHEMA_STRINGS_ONLY, "2022-12-13", SCHEMA_MANAGED)

TRACE_HEADER = "X-Amzn-Trace-Id"

Record = dict[str, Any]


def compact(value: Any) -> str:
    """Return `value` as JSON without spaces and without escaping what is not ASCII, as the platform writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Event:
    """One telemetry event. A log event has `text` (what was written); a platform event has `record`."""

    time_ms: float
    type: str
    record: Record | None = None
    text: str = ""
    json_log: bool = False

    @property
    def category(self) -> str:
        """The subscription type it belongs to: platform, function or extension."""
        return self.type.partition(".")[0]

    def envelope(self) -> str:
        """Everything before the record's value."""
        return f'{{"time":"{iso_ms(self.time_ms)}","type":"{self.type}","record":'

    def value(self, schema: str) -> str:
        """Return the record's JSON text; an object log line is embedded as it was written where `schema` allows it."""
        if self.record is not None:
            return compact(self.record)
        if self.json_log and schema != SCHEMA_STRINGS_ONLY:
            line = self.text.strip()
            if is_object(line):
                return line
        return compact(self.text)

    def encode(self, schema: str) -> bytes:
        """Return the whole event as one JSON object."""
        return f"{self.envelope()}{self.value(schema)}}}".encode(errors="replace")


def is_object(line: str) -> bool:
    """Whether `line` is a JSON object."""
    if not (line.startswith("{") and line.endswith("}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def drop_none(**fields: Any) -> Record:
    """Return `fields` without the absent ones: the platform omits keys, it never writes null."""
    return {key: value for key, value in fields.items() if value is not None}


def span(name: str, start_ms: float, duration_ms: float) -> Record:
    """Return a span of `platform.runtimeDone` or `platform.report`; `start_ms` is wall time."""
    return {"name": name, "start": iso_ms(start_ms), "durationMs": round(duration_ms, 3)}


def tracing(trace_id: str | None, span_id: str | None = None) -> Record | None:
    """Return the tracing object of start, runtimeDone and report, or None without a trace id."""
    if not trace_id:
        return None
    return drop_none(spanId=span_id, type=TRACE_HEADER, value=trace_id)


def init_start(
    *,
    initialization_type: str,
    phase: str,
    runtime_version: str,
    runtime_arn: str,
    function: str,
    version: str,
    instance_id: str,
    memory_mb: int,
) -> Record:
    """`platform.initStart`."""
    return {
        "initializationType": initialization_type,
        "phase": phase,
        "runtimeVersion": runtime_version,
        "runtimeVersionArn": runtime_arn,
        "functionName": function,
        "functionVersion": version,
        "instanceId": instance_id,
        "instanceMaxMemory": memory_mb * 1024 * 1024,
    }


def restore_start(init: Record) -> Record:
    """`platform.restoreStart`, which says of the environment what `platform.initStart` said."""
    return {name: value for name, value in init.items() if name not in ("initializationType", "phase")}


def restore_runtime_done(*, status: str, error_type: str | None) -> Record:
    """`platform.restoreRuntimeDone`."""
    return drop_none(status=status, errorType=error_type)


def restore_report(*, status: str, error_type: str | None, duration_ms: float) -> Record:
    """`platform.restoreReport`."""
    return drop_none(status=status, errorType=error_type, metrics={"durationMs": round(duration_ms, 3)})


def init_runtime_done(*, initialization_type: str, phase: str, status: str, error_type: str | None) -> Record:
    """`platform.initRuntimeDone`."""
    return drop_none(initializationType=initialization_type, phase=phase, status=status, errorType=error_type)


def init_report(
    *, initialization_type: str, phase: str, status: str, error_type: str | None, duration_ms: float
) -> Record:
    """`platform.initReport`."""
    return drop_none(
        initializationType=initialization_type,
        phase=phase,
        status=status,
        errorType=error_type,
        metrics={"durationMs": round(duration_ms, 3)},
    )


def extension(*, name: str, state: str, events: list[str], error_type: str | None) -> Record:
    """`platform.extension`."""
    return drop_none(name=name, state=state, events=events, errorType=error_type)


def telemetry_subscription(*, name: str, types: list[str]) -> Record:
    """`platform.telemetrySubscription`."""
    return {"name": name, "state": "Subscribed", "types": types}


def logs_dropped(*, dropped_bytes: int, dropped_records: int) -> Record:
    """`platform.logsDropped`."""
    reason = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
    return {"droppedBytes": dropped_bytes, "droppedRecords": dropped_records, "reason": reason}


def start(*, request_id: str, version: str, trace: Record | None, tenant_id: str | None) -> Record:
    """`platform.start`."""
    return drop_none(requestId=request_id, version=version, tracing=trace, tenantId=tenant_id)


def runtime_done(
    *,
    request_id: str,
    status: str,
    error_type: str | None,
    spans: list[Record],
    duration_ms: float,
    produced_bytes: int,
    trace: Record | None,
    tenant_id: str | None,
) -> Record:
    """`platform.runtimeDone`."""
    return drop_none(
        requestId=request_id,
        status=status,
        errorType=error_type,
        spans=spans or None,
        metrics={"durationMs": round(duration_ms, 3), "producedBytes": produced_bytes},
        tracing=trace,
        tenantId=tenant_id,
    )


def report(
    *,
    request_id: str,
    status: str,
    error_type: str | None,
    metrics: Record,
    spans: list[Record],
    trace: Record | None,
    tenant_id: str | None,
) -> Record:
    """`platform.report`."""
    return drop_none(
        requestId=request_id,
        status=status,
        errorType=error_type,
        metrics=metrics,
        spans=spans or None,
        tracing=trace,
        tenantId=tenant_id,
    )

"""OTLP log records to rows, with the columns OpenObserve gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from o2_lambda.backend.flatten import LOGS_LEVELS_MAX, flatten
from o2_lambda.backend.names import LOGS, StreamKey, format_stream_name
from o2_lambda.backend.otlp import SPAN_ID_BYTES, TRACE_ID_BYTES, OtlpBatch, any_value, attributes, hex_id
from o2_lambda.backend.timestamps import TIMESTAMP, TimestampError, check_window

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from o2_lambda.backend.flatten import Json, Row


def build_logs_batch(request: ExportLogsServiceRequest, organization: str, stream: str, now_us: int) -> OtlpBatch:
    """Return the rows of all log records; those outside the time window are rejected one by one."""
    key = StreamKey(organization, LOGS, format_stream_name(stream))
    batch = OtlpBatch()
    for resource_logs in request.resource_logs:
        resource = attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            shared = {**resource, **scope_members(scope_logs.scope)}
            for record in scope_logs.log_records:
                try:
                    batch.add(key, _build_row(record, shared, now_us))
                except TimestampError as error:
                    batch.reject(str(error))
    return batch


def scope_members(scope: InstrumentationScope) -> dict[str, Json]:
    """Return the instrumentation scope's columns; an empty name or version has none."""
    members: dict[str, Json] = {
        "instrumentation_library_name": scope.name or None,
        "instrumentation_library_version": scope.version or None,
    }
    return members


def _build_row(record: LogRecord, shared: dict[str, Json], now_us: int) -> Row:
    timestamp_us = (record.time_unix_nano or record.observed_time_unix_nano) // 1000
    check_window(timestamp_us, now_us)
    members: dict[str, Json] = {
        **shared,
        TIMESTAMP: timestamp_us,
        "severity": record.severity_text or int(record.severity_number),
        "body": any_value(record.body),
        "dropped_attributes_count": record.dropped_attributes_count,
        **attributes(record.attributes),
        "trace_id": hex_id(record.trace_id, TRACE_ID_BYTES),
        "span_id": hex_id(record.span_id, SPAN_ID_BYTES),
    }
    return flatten(members, LOGS_LEVELS_MAX)

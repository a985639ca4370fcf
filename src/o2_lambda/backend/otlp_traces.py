"""Spans to rows, with the columns OpenObserve gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from o2_lambda.backend.flatten import LEVELS_UNLIMITED, flatten, to_json_text
from o2_lambda.backend.names import TRACES, StreamKey, format_stream_name
from o2_lambda.backend.otlp import SPAN_ID_BYTES, TRACE_ID_BYTES, OtlpBatch, any_value, attributes
from o2_lambda.backend.timestamps import TIMESTAMP, TimestampError, check_window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    from o2_lambda.backend.flatten import Json, Row

# Columns of the span itself: an attribute of the same name is stored as `attr_<name>`.
SPAN_COLUMNS = frozenset(
    {TIMESTAMP, "trace_id", "span_id", "operation_name", "service_name", "start_time", "end_time", "duration"}
    | {"span_kind", "span_status", "flags", "events", "links"}
)
_STATUS_NAMES = {Status.STATUS_CODE_OK: "OK", Status.STATUS_CODE_ERROR: "ERROR"}

BAD_TRACE_ID = f"a trace id must have {TRACE_ID_BYTES} bytes"
BAD_SPAN_ID = f"a span id must have {SPAN_ID_BYTES} bytes"


def build_trace_batch(request: ExportTraceServiceRequest, organization: str, stream: str, now_us: int) -> OtlpBatch:
    """Return the rows of all spans; spans with bad ids or outside the time window are rejected one by one."""
    key = StreamKey(organization, TRACES, format_stream_name(stream))
    batch = OtlpBatch()
    for resource_spans in request.resource_spans:
        resource = _resource_members(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                try:
                    batch.add(key, _build_row(span, resource, now_us))
                except (TimestampError, _SpanError) as error:
                    batch.reject(str(error))
    return batch


class _SpanError(ValueError):
    """One span is refused."""


def _resource_members(pairs: Iterable[KeyValue]) -> dict[str, Json]:
    """Return resource attributes prefixed with `service_`, but for `service.name` itself."""
    members: dict[str, Json] = {"service_name": ""}
    for pair in pairs:
        name = "service_name" if pair.key == "service.name" else f"service_{pair.key}"
        members[name] = any_value(pair.value)
    return members


def _build_row(span: Span, resource: dict[str, Json], now_us: int) -> Row:
    if len(span.trace_id) != TRACE_ID_BYTES:
        raise _SpanError(BAD_TRACE_ID)
    if len(span.span_id) != SPAN_ID_BYTES:
        raise _SpanError(BAD_SPAN_ID)
    timestamp_us = span.start_time_unix_nano // 1000
    check_window(timestamp_us, now_us)
    members: dict[str, Json] = {
        TIMESTAMP: timestamp_us,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "flags": 1,
        "span_status": _STATUS_NAMES.get(span.status.code, "UNSET") if span.HasField("status") else "",
        "span_kind": str(int(span.kind)),
        "operation_name": span.name,
        "start_time": span.start_time_unix_nano,
        "end_time": span.end_time_unix_nano,
        "duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        "events": to_json_text(_events(span)),
        "links": to_json_text(_links(span)),
    }
    if len(span.parent_span_id) == SPAN_ID_BYTES:
        members["reference.parent_trace_id"] = span.trace_id.hex()
        members["reference.parent_span_id"] = span.parent_span_id.hex()
        members["reference.ref_type"] = "ChildOf"
    for name, value in attributes(span.attributes).items():
        members[f"attr_{name}" if name in SPAN_COLUMNS else name] = value
    if span.HasField("status"):
        members["status_code"] = int(span.status.code)
        members["status_message"] = span.status.message
    return flatten({**resource, **members}, LEVELS_UNLIMITED)


def _events(span: Span) -> list[Json]:
    return [
        {"name": event.name, TIMESTAMP: event.time_unix_nano, **attributes(event.attributes)} for event in span.events
    ]


def _links(span: Span) -> list[Json]:
    return [
        {
            "context": {
                "traceId": link.trace_id.hex(),
                "spanId": link.span_id.hex(),
                "traceFlags": link.flags,
                "traceState": link.trace_state,
            },
            "attributes": attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes_count,
        }
        for link in span.links
        if len(link.trace_id) == TRACE_ID_BYTES and len(link.span_id) == SPAN_ID_BYTES
    ]

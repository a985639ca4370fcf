"""OTLP export requests of the three signals, as the official messages."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
PATHS = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
LEDGER_NAMES = {"traces": "traces", "metrics": "metrics", "logs": "otlp_logs"}
REQUEST_TYPES = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_ID_MEMBERS = {"traceId", "spanId", "parentSpanId"}


def export_request(signal: str, name: str = "work", count: int = 1) -> Message:
    """A request with `count` spans, data points or log records named `name`."""
    now_ns = time.time_ns()
    request: Any = REQUEST_TYPES[signal]()
    if signal == "traces":
        resource = request.resource_spans.add()
        for number in range(count):
            if not number:
                scope = resource.scope_spans.add()
            span = scope.spans.add()
            span.name, span.trace_id, span.span_id = name, b"\x01" * 16, number.to_bytes(7, "big") + b"\x02"
            span.start_time_unix_nano, span.end_time_unix_nano = now_ns, now_ns + 1_500_000
            span.attributes.add(key="text").value.string_value = 'ä€ "quoted"'
    elif signal == "metrics":
        resource = request.resource_metrics.add()
        metric = resource.scope_metrics.add().metrics.add()
        metric.name = name
        for number in range(count):
            point = metric.gauge.data_points.add()
            point.time_unix_nano, point.as_double = now_ns, number + 0.5
    else:
        resource = request.resource_logs.add()
        scope = resource.scope_logs.add()
        for number in range(count):
            record = scope.log_records.add()
            record.time_unix_nano, record.severity_text = now_ns + number, "INFO"
            record.body.string_value = f"{name} {number}"
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    message: Message = request
    return message


def as_json(request: Message) -> bytes:
    """The request in OTLP's JSON: ids in hex."""
    return json.dumps(_with_hex_ids(json_format.MessageToDict(request))).encode()


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(element) for element in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(member).hex() if key in _ID_MEMBERS else _with_hex_ids(member)
            for key, member in value.items()
        }
    return value

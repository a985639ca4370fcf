"""OTLP requests, as the official messages and as the JSON of the specification."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from google.protobuf.message import Message

TRACE_ID = bytes(range(16))
SPAN_ID = bytes(range(8))
PARENT_ID = bytes(range(1, 9))
HEX_MEMBERS = {"traceId", "spanId", "parentSpanId"}


def now_ns() -> int:
    return time.time_ns()


def attribute(key: str, value: Any) -> KeyValue:
    return KeyValue(key=key, value=any_value(value))


def any_value(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=[attribute(*item) for item in value.items()]))
    return AnyValue(string_value=value)


RESOURCE = {"service.name": "checkout", "service.version": "7", "cloud.region": "eu-west-1"}


def trace_request(start_ns: int) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(attribute(*item) for item in RESOURCE.items())
    span = resource_spans.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.parent_span_id = TRACE_ID, SPAN_ID, PARENT_ID
    span.name, span.kind = "GET /cart", Span.SPAN_KIND_SERVER
    span.start_time_unix_nano, span.end_time_unix_nano = start_ns, start_ns + 1_234_567
    values = {
        "http.method": "GET",
        "ok": True,
        "n": 3,
        "f": 0.5,
        "list": [1, "x"],
        "map": {"k": {"d": 1}},
        "duration": 9,
    }
    span.attributes.extend(attribute(*item) for item in values.items())
    span.attributes.append(attribute("raw", b"\x01\xff"))
    span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "boom"
    event = span.events.add()
    event.name, event.time_unix_nano = "exception", start_ns + 5
    event.attributes.append(attribute("exception.type", "KeyError"))
    link = span.links.add()
    link.trace_id, link.span_id = TRACE_ID, PARENT_ID
    return request


def logs_request(moment_ns: int) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.extend(attribute(*item) for item in RESOURCE.items())
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.name = "my.logger"
    record = scope_logs.log_records.add()
    record.time_unix_nano, record.severity_text = moment_ns, "WARN"
    record.severity_number = SeverityNumber.SEVERITY_NUMBER_WARN
    record.body.CopyFrom(any_value("disk full"))
    record.attributes.append(attribute("requestId", "r-1"))
    record.trace_id, record.span_id = TRACE_ID, SPAN_ID
    plain = scope_logs.log_records.add()
    plain.observed_time_unix_nano, plain.severity_number = moment_ns + 1000, SeverityNumber.SEVERITY_NUMBER_INFO
    plain.body.CopyFrom(any_value({"a": {"b": 1}}))
    return request


def metrics_request(moment_ns: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.extend(attribute(*item) for item in RESOURCE.items())
    scope_metrics = resource_metrics.scope_metrics.add()
    scope_metrics.scope.name = "meter"
    gauge = scope_metrics.metrics.add()
    gauge.name = "Memory.Used"
    for value in (1.5, 2.5):
        point = gauge.gauge.data_points.add()
        point.time_unix_nano, point.as_double = moment_ns, value
        point.attributes.append(attribute("pool.name", "heap"))
    total = scope_metrics.metrics.add()
    total.name = "invocations"
    total.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    total.sum.is_monotonic = True
    point = total.sum.data_points.add()
    point.start_time_unix_nano, point.time_unix_nano, point.as_int = moment_ns - 1000, moment_ns, 4
    histogram = scope_metrics.metrics.add()
    histogram.name = "latency"
    histogram.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    bucket = histogram.histogram.data_points.add()
    bucket.time_unix_nano, bucket.count, bucket.sum, bucket.max = moment_ns, 6, 30.0, 12.0
    bucket.explicit_bounds.extend([1.0, 2.5])
    bucket.bucket_counts.extend([1, 2, 3])
    exemplar = bucket.exemplars.add()
    exemplar.time_unix_nano, exemplar.as_double, exemplar.trace_id = moment_ns, 2.0, TRACE_ID
    return request


def to_json(request: Message) -> bytes:
    """Return OTLP/JSON: the protobuf JSON mapping with ids in hex and one member that nobody knows."""
    document = json_format.MessageToDict(request)
    return json.dumps(_with_hex_ids(document) | {"unknownMember": {"x": 1}}).encode()


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(member).hex() if key in HEX_MEMBERS else _with_hex_ids(member)
        for key, member in value.items()
    }

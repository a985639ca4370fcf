"""OTLP export requests made with the official protobuf classes, and how many items each holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from o2_lambda.extension.core import otlp

if TYPE_CHECKING:
    from google.protobuf.message import Message

REQUESTS: dict[str, type[Any]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "otlp_logs": ExportLogsServiceRequest,
}
POINT_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def traces(*spans_per_scope: int, name: str = "span") -> Message:
    """A request of one resource; each number is a scope with so many spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "grüße"
    for count in spans_per_scope:
        scope = resource.scope_spans.add()
        scope.scope.name = "scope"
        for index in range(count):
            span = scope.spans.add(name=f"{name} {index}", trace_id=b"t" * 16, span_id=b"s" * 8)
            span.start_time_unix_nano = 1_700_000_000_000_000_000 + index
            span.attributes.add(key="list").value.array_value.values.add(double_value=1.5)
            span.events.add(name="event", time_unix_nano=1)
            span.links.add(trace_id=b"u" * 16)
    return request


def metrics(*points_per_metric: int) -> Message:
    """A request of one metric of each number of points, its kind changing from one to the next."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    for index, count in enumerate(points_per_metric):
        kind = POINT_KINDS[index % len(POINT_KINDS)]
        metric = scope.metrics.add(name=kind, unit="ms")
        data = getattr(metric, kind)
        data.SetInParent()
        for number in range(count):
            point = data.data_points.add(time_unix_nano=number + 1)
            point.attributes.add(key="k").value.int_value = -number
            if kind in ("gauge", "sum"):
                point.as_double = number
                point.exemplars.add(as_int=3)
            elif kind == "summary":
                point.quantile_values.add(quantile=0.5, value=number)
    return request


def logs(*records_per_scope: int) -> Message:
    """A request of one resource; each number is a scope with so many log records."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    for count in records_per_scope:
        scope = resource.scope_logs.add()
        for index in range(count):
            scope.log_records.add(time_unix_nano=index + 1, severity_text="INFO").body.string_value = f"log {index} 日"
    return request


def merged(*requests: Message) -> Message:
    """One request of the resource blocks of all."""
    union = type(requests[0])()
    for request in requests:
        union.MergeFrom(request)
    return union


SAMPLES: dict[str, tuple[str, Message, int]] = {
    "no resource": ("traces", traces(), 0),
    "one span": ("traces", traces(1), 1),
    "spans in several scopes": ("traces", traces(3, 0, 4), 7),
    "spans of several resources": ("traces", merged(traces(2), traces(1, 1), traces(0)), 4),
    "many spans": ("traces", traces(300), 300),
    "a point of each kind": ("metrics", metrics(1, 1, 1, 1, 1), 5),
    "several points of each kind": ("metrics", metrics(2, 3, 4, 5, 6), 20),
    "metrics without points": ("metrics", metrics(0, 0, 0), 0),
    "metrics of several resources": ("metrics", merged(metrics(1, 2), metrics(3)), 6),
    "one log record": ("otlp_logs", logs(1), 1),
    "log records in several scopes": ("otlp_logs", logs(2, 5), 7),
    "log records of several resources": ("otlp_logs", merged(logs(2), logs(0), logs(3)), 5),
}


def encode(request: Message, content_type: str) -> bytes:
    """The body of an export request."""
    if content_type == otlp.PROTOBUF:
        return request.SerializeToString()
    return MessageToJson(request, indent=None).encode()

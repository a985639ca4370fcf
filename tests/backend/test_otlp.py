"""`/v1/traces`, `/v1/logs` and `/v1/metrics`: decoding, columns, answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from o2_lambda.backend import BackendConfig, BackendServer

from .client import PROTOBUF, Answer, Client
from .otlp_material import (
    PARENT_ID,
    SPAN_ID,
    TRACE_ID,
    logs_request,
    metrics_request,
    now_ns,
    to_json,
    trace_request,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

HOUR_NS = 3_600_000_000_000
JSON = "application/json"
REQUESTS = {"traces": trace_request, "logs": logs_request, "metrics": metrics_request}
STREAMS = {
    "traces": ["default"],
    "logs": ["default"],
    "metrics": ["memory_used", "invocations", "latency_count", "latency_sum", "latency_max", "latency_bucket"],
}


def export(client: Client, signal: str, request: Message, content_type: str = PROTOBUF, **headers: str) -> Answer:
    body = to_json(request) if content_type.startswith(JSON) else request.SerializeToString()
    return client.post(f"/api/default/v1/{signal}", body, {"Content-Type": content_type, **headers})


def rows_of(backend: BackendServer, signal: str) -> dict[str, list[dict[str, Any]]]:
    return {info.key.name: backend.rows(signal, info.key.name) for info in backend.streams()}


@pytest.mark.parametrize("signal", REQUESTS)
def test_json_and_protobuf_become_the_same_rows(signal: str) -> None:
    """Both encodings of one request are stored alike; unknown JSON members are ignored, ids are hex."""
    request = REQUESTS[signal](now_ns())
    stored = []
    for content_type in (PROTOBUF, JSON):
        with BackendServer() as backend, Client(backend) as client:
            assert export(client, signal, request, content_type).status == 200
            stored.append(rows_of(backend, signal))
    assert stored[0] == stored[1]
    assert sorted(stored[0]) == sorted(STREAMS[signal])


@pytest.mark.parametrize("signal", REQUESTS)
def test_concatenated_protobuf_requests_are_one(backend: BackendServer, client: Client, signal: str) -> None:
    """Two requests back to back in one body are both stored."""
    body = REQUESTS[signal](now_ns()).SerializeToString() * 2
    assert client.post(f"/api/default/v1/{signal}", body, {"Content-Type": PROTOBUF}).status == 200
    single = {"traces": 1, "logs": 2, "metrics": 2}[signal]
    assert backend.count(signal, STREAMS[signal][0]) == 2 * single


def test_span_columns(backend: BackendServer, client: Client) -> None:
    """A span's row, column by column."""
    start_ns = now_ns()
    export(client, "traces", trace_request(start_ns))
    (row,) = backend.rows("traces", "default")
    assert row == {
        "_timestamp": start_ns // 1000,
        "trace_id": TRACE_ID.hex(),
        "span_id": SPAN_ID.hex(),
        "reference_parent_trace_id": TRACE_ID.hex(),
        "reference_parent_span_id": PARENT_ID.hex(),
        "reference_ref_type": "ChildOf",
        "flags": 1,
        "span_status": "ERROR",
        "status_code": 2,
        "status_message": "boom",
        "span_kind": "2",
        "operation_name": "GET /cart",
        "service_name": "checkout",
        "service_service_version": "7",
        "service_cloud_region": "eu-west-1",
        "start_time": start_ns,
        "end_time": start_ns + 1_234_567,
        "duration": 1234,
        "http_method": "GET",
        "ok": True,
        "n": 3,
        "f": 0.5,
        "list": '[1,"x"]',
        "map_k_d": 1,
        "raw": "[1,255]",
        "attr_duration": 9,
        "events": f'[{{"_timestamp":{start_ns + 5},"exception.type":"KeyError","name":"exception"}}]',
        "links": '[{"attributes":{},"context":{"spanId":"0102030405060708","traceFlags":0,'
        '"traceId":"000102030405060708090a0b0c0d0e0f","traceState":""},"droppedAttributesCount":0}]',
    }


def test_root_span_has_no_parent_and_status_may_be_unset(backend: BackendServer, client: Client) -> None:
    """Without a parent there are no reference columns."""
    request = trace_request(now_ns())
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.parent_span_id = b""
    span.ClearField("status")
    span.ClearField("links")
    export(client, "traces", request)
    (row,) = backend.rows("traces", "default")
    assert not [column for column in row if column.startswith("reference")]
    assert (row["span_status"], row["links"]) == ("", "[]")


@pytest.mark.parametrize(("member", "value"), [("trace_id", b"short"), ("span_id", b""), ("trace_id", b"")])
def test_spans_with_bad_ids_are_rejected_alone(
    backend: BackendServer, client: Client, member: str, value: bytes
) -> None:
    """Ids must have 16 and 8 bytes; the other spans are stored, and the partial success says how many were not."""
    request = trace_request(now_ns())
    spans = request.resource_spans[0].scope_spans[0].spans
    spans.add().CopyFrom(spans[0])
    setattr(spans[0], member, value)
    answer = export(client, "traces", request)
    response = ExportTraceServiceResponse.FromString(answer.body)
    assert (answer.status, response.partial_success.rejected_spans) == (200, 1)
    assert "id must have" in response.partial_success.error_message
    assert backend.count("traces", "default") == 1


def test_log_columns(backend: BackendServer, client: Client) -> None:
    """Resource attributes come unprefixed, ids in hex, the severity as text or else as number."""
    moment_ns = now_ns()
    export(client, "logs", logs_request(moment_ns))
    first, second = backend.rows("logs", "default")
    shared = {
        "service_name": "checkout",
        "service_version": "7",
        "cloud_region": "eu-west-1",
        "instrumentation_library_name": "my.logger",
        "dropped_attributes_count": 0,
    }
    assert first == shared | {
        "_timestamp": moment_ns // 1000,
        "severity": "WARN",
        "body": "disk full",
        "requestid": "r-1",
        "trace_id": TRACE_ID.hex(),
        "span_id": SPAN_ID.hex(),
    }
    assert second == shared | {"_timestamp": moment_ns // 1000 + 1, "severity": "9", "body_a_b": 1}


def test_metric_rows(backend: BackendServer, client: Client) -> None:
    """One stream per metric name, one row per data point; delta stays delta."""
    moment_ns = now_ns()
    export(client, "metrics", metrics_request(moment_ns))
    shared = {
        "service_name": "checkout",
        "service_version": "7",
        "cloud_region": "eu-west-1",
        "instrumentation_library_name": "meter",
        "instrumentation_library_version": "",
        "_timestamp": moment_ns // 1000,
        "flag": "DATA_POINT_FLAGS_DO_NOT_USE",
    }
    gauge = {"__name__": "memory_used", "__type__": "gauge", "pool_name": "heap", "start_time": "0"}
    assert backend.rows("metrics", "memory_used") == [shared | gauge | {"value": value} for value in (1.5, 2.5)]
    assert backend.rows("metrics", "invocations") == [
        shared
        | {
            "__name__": "invocations",
            "__type__": "counter",
            "value": 4.0,
            "is_monotonic": "true",
            "aggregation_temporality": "AGGREGATION_TEMPORALITY_DELTA",
            "start_time": str(moment_ns - 1000),
        }
    ]


def test_histogram_is_taken_apart(backend: BackendServer, client: Client) -> None:
    """Count, sum, max and cumulative buckets are streams of their own; a statistic that was not sent is none."""
    export(client, "metrics", metrics_request(now_ns()))
    values = {
        name: [(row.get("le"), row["value"]) for row in backend.rows("metrics", name)]
        for name in ("latency_count", "latency_sum", "latency_max", "latency_bucket")
    }
    assert values == {
        "latency_count": [(None, 6.0)],
        "latency_sum": [(None, 30.0)],
        "latency_max": [(None, 12.0)],
        "latency_bucket": [("1", 1.0), ("2.5", 3.0), ("inf", 6.0)],
    }
    assert backend.rows("metrics", "latency_min") == []
    assert TRACE_ID.hex() in str(backend.rows("metrics", "latency_sum")[0]["exemplars"])


def test_exponential_histogram_and_summary(backend: BackendServer, client: Client) -> None:
    """Bounds of exponential buckets are powers of the base; quantiles become labels."""
    request = metrics_request(now_ns())
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    exponential = metrics.add(name="size").exponential_histogram.data_points.add()
    exponential.time_unix_nano, exponential.scale, exponential.zero_count, exponential.count = now_ns(), 0, 1, 7
    exponential.positive.offset = 1
    exponential.positive.bucket_counts.extend([2, 3])
    exponential.negative.bucket_counts.extend([1])
    summary = metrics.add(name="cost").summary.data_points.add()
    summary.time_unix_nano, summary.count, summary.sum = now_ns(), 2, 3.0
    summary.quantile_values.add(quantile=0.5, value=1.25)
    export(client, "metrics", request)
    buckets = [(row["le"], row["value"]) for row in backend.rows("metrics", "size_bucket")]
    assert buckets == [("-1", 1.0), ("0", 2.0), ("4", 4.0), ("8", 7.0)]
    assert [(row["quantile"], row["value"]) for row in backend.rows("metrics", "cost")] == [("0.5", 1.25)]


def test_bounds_beyond_a_double_are_infinite(backend: BackendServer, client: Client) -> None:
    """A hostile scale does not break the server."""
    request = metrics_request(now_ns())
    point = request.resource_metrics[0].scope_metrics[0].metrics.add(name="x").exponential_histogram.data_points.add()
    point.time_unix_nano, point.scale = now_ns(), -(2**31)
    point.positive.bucket_counts.extend([1])
    assert export(client, "metrics", request).status == 200
    assert backend.rows("metrics", "x_bucket")[-1]["le"] == "inf"


def age(request: Message, signal: str, moment_ns: int) -> None:
    """Move one record of the request in time."""
    if signal == "traces":
        request.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano = moment_ns  # type: ignore[attr-defined]
    elif signal == "logs":
        request.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano = moment_ns  # type: ignore[attr-defined]
    else:
        gauge = request.resource_metrics[0].scope_metrics[0].metrics[0].gauge  # type: ignore[attr-defined]
        gauge.data_points[0].time_unix_nano = moment_ns


RESPONSES: dict[str, tuple[Any, str, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records", ""),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
}


@pytest.mark.parametrize("offset_ns", [-6 * HOUR_NS, 25 * HOUR_NS])
@pytest.mark.parametrize("signal", REQUESTS)
def test_records_outside_the_window_are_a_partial_success(
    backend: BackendServer, client: Client, signal: str, offset_ns: int
) -> None:
    """Protobuf: 200, and the response counts what was refused; the rest is stored."""
    request = REQUESTS[signal](now_ns())
    age(request, signal, now_ns() + offset_ns)
    answer = export(client, signal, request)
    response_type, rejected, _ = RESPONSES[signal]
    partial = response_type.FromString(answer.body).partial_success
    assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
    assert (getattr(partial, rejected), partial.error_message[:4]) == (1, "Too ")
    assert backend.count(signal, STREAMS[signal][0]) == {"traces": 0, "logs": 1, "metrics": 1}[signal]


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_partial_success_in_json_is_206(client: Client, signal: str) -> None:
    """JSON: 200 with nothing to report, 206 with the counts in camelCase."""
    request = REQUESTS[signal](now_ns())
    whole = export(client, signal, request, JSON + "; charset=utf-8")
    assert (whole.status, whole.json) == (200, {"partialSuccess": None})
    assert whole.headers["content-type"] == JSON
    age(request, signal, 1)
    partial = export(client, signal, request, JSON)
    assert partial.status == 206
    assert partial.json["partialSuccess"][RESPONSES[signal][2]] == 1
    assert partial.json["partialSuccess"]["errorMessage"]


def test_logs_answer_protobuf_even_to_json(client: Client) -> None:
    """200 always, labelled JSON, and the body is protobuf nevertheless."""
    request = logs_request(now_ns())
    age(request, "logs", 1)
    answer = export(client, "logs", request, JSON)
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert ExportLogsServiceResponse.FromString(answer.body).partial_success.rejected_log_records == 1


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/x-protobuf;v=1", "text/plain", ""]
)
def test_logs_want_the_exact_content_type(backend: BackendServer, client: Client, content_type: str) -> None:
    """A charset suffix is enough for 400."""
    assert export(client, "logs", logs_request(now_ns()), content_type).status == 400
    assert backend.streams() == []


@pytest.mark.parametrize("signal", ["traces", "metrics"])
@pytest.mark.parametrize("content_type", ["text/plain", ""])
def test_unknown_content_type_is_400(client: Client, signal: str, content_type: str) -> None:
    """Neither protobuf nor JSON."""
    assert export(client, signal, REQUESTS[signal](now_ns()), content_type).status == 400


@pytest.mark.parametrize("signal", REQUESTS)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (PROTOBUF, b"\xff\xff\xff"),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b'{"resourceSpans":5,"resourceLogs":5,"resourceMetrics":5}'),
        (
            JSON,
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}],"resourceLogs":1,"resourceMetrics":1}',
        ),
    ],
    ids=["protobuf", "json", "array", "type", "hex"],
)
def test_invalid_payload_is_400(
    backend: BackendServer, client: Client, signal: str, content_type: str, body: bytes
) -> None:
    """Nothing of it is stored."""
    answer = client.post(f"/api/default/v1/{signal}", body, {"Content-Type": content_type})
    assert answer.status == 400
    assert answer.json["code"] == 400
    assert backend.streams() == []


@pytest.mark.parametrize("signal", REQUESTS)
def test_empty_request_is_fine(backend: BackendServer, client: Client, signal: str) -> None:
    """No bytes are a valid protobuf request without records."""
    answer = client.post(f"/api/default/v1/{signal}", b"", {"Content-Type": PROTOBUF})
    assert (answer.status, answer.body) == (200, b"")
    assert backend.streams() == []


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_stream_name_header_is_honoured(backend: BackendServer, client: Client, signal: str) -> None:
    """`stream-name` chooses the stream, formatted."""
    export(client, signal, REQUESTS[signal](now_ns()), **{"stream-name": "My-App"})
    assert [info.key.name for info in backend.streams()] == ["my_app"]


def test_organization_header_overrides_the_path_for_traces(backend: BackendServer, client: Client) -> None:
    """A forwarded `organization` header sends spans elsewhere: why it must not be forwarded."""
    export(client, "traces", trace_request(now_ns()), organization="elsewhere")
    assert backend.streams() == []
    found = client.get("/api/elsewhere/streams")
    assert found.status == 404
    assert client.post("/api/elsewhere/x/_json", []).status == 200
    assert [stream["name"] for stream in client.get("/api/elsewhere/streams").json["list"]] == ["default"]


@pytest.mark.parametrize(("signal", "status"), [("traces", 400), ("logs", 200), ("metrics", 500)])
def test_schema_errors(signal: str, status: int) -> None:
    """Too many columns: 400 for traces, 500 for metrics, and 200 with a reason for logs; nothing is stored."""
    with BackendServer(BackendConfig(columns_max=3)) as backend, Client(backend) as client:
        answer = export(client, signal, REQUESTS[signal](now_ns()))
        assert answer.status == status
        assert backend.streams() == []
        if signal == "logs":
            assert "fields" in ExportLogsServiceResponse.FromString(answer.body).partial_success.error_message

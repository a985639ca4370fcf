"""Real OpenTelemetry SDK exporters against the backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from o2_lambda.backend import BackendServer

RESOURCE = Resource.create({"service.name": "shop"})


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_python_sdk_exports_spans(backend: BackendServer, compression: Compression) -> None:
    """Spans of the real SDK arrive with parents, attributes, exception events and status."""
    headers = {"Authorization": backend.authorization_header}
    endpoint = f"{backend.url}/api/default/v1/traces"
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint, headers=headers, compression=compression))
    )
    tracer = provider.get_tracer("test")
    with (
        pytest.raises(KeyError),
        tracer.start_as_current_span("outer"),
        tracer.start_as_current_span("inner", attributes={"http.request.method": "GET"}),
    ):
        raise KeyError("x")
    provider.shutdown()
    outer, inner = sorted(backend.rows("traces", "default"), key=lambda row: str(row["operation_name"]), reverse=True)
    assert inner["reference_parent_span_id"] == outer["span_id"]
    assert inner["trace_id"] == outer["trace_id"]
    assert (inner["http_request_method"], inner["service_name"], inner["span_status"]) == ("GET", "shop", "ERROR")
    assert "KeyError" in str(inner["events"])


def test_python_sdk_exports_metrics(backend: BackendServer) -> None:
    """Counters and histograms of the real SDK arrive as streams."""
    exporter = OTLPMetricExporter(
        f"{backend.url}/api/default/v1/metrics", headers={"Authorization": backend.authorization_header}
    )
    provider = MeterProvider(resource=RESOURCE, metric_readers=[PeriodicExportingMetricReader(exporter)])
    meter = provider.get_meter("test")
    meter.create_counter("orders").add(3, {"kind": "book"})
    meter.create_histogram("duration.ms").record(12)
    provider.shutdown()
    (orders,) = backend.rows("metrics", "orders")
    assert (orders["value"], orders["kind"], orders["service_name"]) == (3.0, "book", "shop")
    assert backend.rows("metrics", "duration_ms_count")[0]["value"] == 1.0

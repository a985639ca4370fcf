"""A function that builds what its event describes with the OpenTelemetry SDK, and exports it as OTLP in protobuf.

It exports to every target of the event, and returns what the SDK made up: ids, times, and each exporter's verdict.
"""

# A function as people write them: without annotations.
# ruff: noqa: ANN001, ANN201

import os

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

RECEIVER = f"http://localhost:{os.environ.get('O2_OTLP_PORT', '4318')}"
SCOPE = {"instrumenting_module_name": "shop", "instrumenting_library_version": "1.2.3"}


def handler(event, context):
    build = {"traces": build_spans, "metrics": build_metrics, "logs": build_logs}[event["signal"]]
    exporter_class, items, made = build(event["items"], Resource(event["resource"]))
    verdicts = []
    for target in [RECEIVER, *event.get("witnesses", [])]:
        exporter = exporter_class(
            endpoint=f"{target}/v1/{event['signal']}", compression=Compression(event["compression"]), timeout=10
        )
        verdicts.append(exporter.export(items).name)
        exporter.shutdown()
    return {"verdicts": verdicts, "made": made}


def build_spans(spans, resource):
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer(**SCOPE)
    for described in spans:
        build_span(tracer, described, None)
    finished = memory.get_finished_spans()
    made = [
        {
            "name": span.name,
            "trace_id": f"{span.context.trace_id:032x}",
            "span_id": f"{span.context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}" if span.parent else None,
            "start": span.start_time,
            "end": span.end_time,
        }
        for span in finished
    ]
    return OTLPSpanExporter, finished, made


def build_span(tracer, described, parent):
    links = [
        trace.Link(
            trace.SpanContext(int(link["trace_id"], 16), int(link["span_id"], 16), is_remote=True), link["attributes"]
        )
        for link in described.get("links", [])
    ]
    span = tracer.start_span(
        described["name"],
        context=trace.set_span_in_context(parent) if parent else None,
        kind=trace.SpanKind[described["kind"]],
        attributes=described["attributes"],
        links=links,
    )
    for happened in described.get("events", []):
        span.add_event(happened["name"], happened["attributes"])
    if "status" in described:
        span.set_status(trace.StatusCode[described["status"]], described.get("message"))
    for child in described.get("children", []):
        build_span(tracer, child, span)
    span.end()


def build_metrics(metrics, resource):
    reader = InMemoryMetricReader()
    views = [View(instrument_name="*.exponential", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource, views=views, shutdown_on_exit=False)
    meter = provider.get_meter("shop", "1.2.3")
    for described in metrics:
        kind, points = described["kind"], described["points"]
        names = described["name"], described["unit"], described["description"]
        if kind == "gauge":
            observations = [Observation(point["value"], point["attributes"]) for point in points]
            meter.create_observable_gauge(names[0], [lambda _options, found=observations: found], *names[1:])
            continue
        instrument = getattr(meter, f"create_{kind}")(*names)
        for point in points:
            record = instrument.record if kind == "histogram" else instrument.add
            record(point["value"], point["attributes"])
    return OTLPMetricExporter, reader.get_metrics_data(), []


def build_logs(logs, resource):
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("shop", "1.2.3")
    for described in logs:
        record = LogRecord(
            timestamp=described["time"],
            severity_number=SeverityNumber(described["severity"]),
            severity_text=described["level"],
            body=described["body"],
            attributes=described["attributes"],
        )
        logger.emit(record)
    return OTLPLogExporter, memory.get_finished_logs(), []

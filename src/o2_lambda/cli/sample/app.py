"""The demo's function: it logs in every way, calls something slow, fails once, and traces itself with the OTel SDK."""

import json
import logging
import os
import time

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

RESOURCE = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "demo")})
TRACES = TracerProvider(resource=RESOURCE)
TRACES.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
METRICS = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=RESOURCE)
trace.set_tracer_provider(TRACES)
metrics.set_meter_provider(METRICS)
TRACER = trace.get_tracer("demo")
ORDERS = metrics.get_meter("demo").create_counter("demo.orders", unit="1")

log = logging.getLogger("shop")
log.setLevel(logging.INFO)


def handler(event, context):
    """Handles an order: `{"order": 1, "fail": false}`."""
    try:
        with TRACER.start_as_current_span("handle order", attributes={"order": event["order"]}):
            return process(event)
    finally:
        # The sandbox is frozen as soon as the answer is out: what the SDK still holds would wait for the next order.
        TRACES.force_flush(500)
        METRICS.force_flush(500)


def process(event):
    """Three ways to log, a slow call, and for some orders an exception."""
    print(f"order {event['order']} received")
    log.info("checking stock for order %s", event["order"])
    with TRACER.start_as_current_span("check stock"):
        time.sleep(0.01)
    with TRACER.start_as_current_span("charge card") as span:
        time.sleep(0.08)  # the slow call
        span.set_attribute("amount", 42.5)
        if event.get("fail"):
            raise ValueError(f"card of order {event['order']} was declined")
    ORDERS.add(1, {"kind": "demo"})
    print(json.dumps({"level": "INFO", "message": "order shipped", "order": event["order"], "parcels": 2}))
    return {"shipped": event["order"]}

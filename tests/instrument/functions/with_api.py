"""A function that makes spans of its own with the OpenTelemetry API, and ships no SDK."""

import urllib.request

from opentelemetry import trace

tracer = trace.get_tracer("shop", "1.2.3")


def handler(event, context):
    with tracer.start_as_current_span("price", attributes={"item": 7}) as span:
        span.add_event("asked", {"n": 1})
        urllib.request.urlopen(event["url"]).close()
        try:
            with tracer.start_as_current_span("discount"):
                raise ValueError("none today")
        except ValueError:
            pass
    return trace.get_current_span().get_span_context().trace_id != 0

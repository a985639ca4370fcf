"""A function that posts one span to the OTLP receiver by hand, as JSON."""

# A function as people write them: without annotations.
# ruff: noqa: ANN001, ANN201

import json
import os
import time
import urllib.request

PORT = os.environ.get("O2_OTLP_PORT", "4318")


def handler(event, context):
    now = time.time_ns()
    span = {
        "traceId": event["trace_id"],
        "spanId": event["span_id"],
        "name": "by hand",
        "kind": 1,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 1_000_000),
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    request = urllib.request.Request(f"http://localhost:{PORT}/v1/traces", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=2) as answer:
        return {"status": answer.status, "body": json.load(answer)}

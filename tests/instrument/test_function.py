"""Whole functions: real runtime client, wrapper, extension, backend. What arrives, and what the caller notices."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument.recording import CLIENTS

if TYPE_CHECKING:
    from tests.instrument.conftest import Target

SERVER, CLIENT, PRODUCER = "2", "3", "4"
ODD_FUNCTIONS = {
    "shop.missing": "",
    "nothing.handler": "",
    "broken.handler": "import shop_that_is_not_there\n",
    "badly_written.handler": "def handler(:\n",
    "failing.handler": "import json\n\ndef load():\n    return json.loads('{')\n\nCONFIG = load()\n",
    "leaving.handler": "raise SystemExit(3)\n",
    "shop": "",
    "no_function.handler": "handler = 7\n",
}


def without_ids(data: Any) -> str:
    """Request ids, times and addresses in memory differ from run to run, and nothing else may."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", str(data))
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|0x[0-9a-f]+", "<->", text)


@pytest.mark.parametrize("action", ["answer", "fail", "chained", "coroutine", "generator", "unmarshallable", "exit"])
def test_the_caller_gets_the_same_bytes(start: Any, spans: Any, action: str) -> None:
    """Answers and errors, the function's own lines in the log included."""
    seen = []
    for traced in (False, True):
        with start(traced=traced) as function:
            seen.append((without_ids(function.invoke({"do": action})), without_ids(function.lines())))
    assert seen[0] == seen[1]
    assert len(spans()) == 1


@pytest.mark.parametrize("name", ODD_FUNCTIONS)
def test_a_function_that_does_not_start_fails_the_same_way(start: Any, name: str) -> None:
    """Import errors, syntax errors, exceptions and exits at import, handlers that do not exist."""
    seen = []
    for traced in (False, True):
        with start(name, traced=traced, source=ODD_FUNCTIONS[name]) as function:
            init = function.running.init_result
            payload = function.invoke()
            seen.append(without_ids((init.status, init.error_type, init.message, payload, function.lines())))
    assert seen[0] == seen[1]
    assert "error" in seen[0].lower()


def test_the_invocations_span(start: Any, spans: Any) -> None:
    """One span for each invocation, with what is known of the function, the first one marked as cold."""
    with start(OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test") as function:
        function.invoke({"do": "answer"})
        function.invoke({"do": "fail"})
    first, second = spans()
    arn = "arn:aws:lambda:us-east-1:123456789012:function:shop"
    expected = {
        "operation_name": "shop", "span_kind": SERVER, "service_name": "shop", "faas_trigger": "other",
        "faas_coldstart": True, "cloud_resource_id": arn, "cloud_account_id": "123456789012",
        "service_cloud_region": "us-east-1", "service_faas_max_memory": 512 << 20,
        "service_deployment_environment": "test", "span_status": "",
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert (second["faas_coldstart"], second["span_status"]) == (False, "ERROR")
    assert second["status_message"] == "no fail"
    (event,) = json.loads(second["events"])
    assert event["exception.type"] == "LookupError"
    assert "in _fail" in event["exception.stacktrace"]
    assert "o2_tracing" not in event["exception.stacktrace"]
    assert first["trace_id"] != second["trace_id"]


def test_log_lines_lead_to_the_trace(start: Any, spans: Any, backend: Any) -> None:
    """The extension knows each invocation's span before the function prints, and writes it on its lines."""
    source = "def handler(event, context):\n    print('line of', event['number'])\n"
    with start("printing.handler", source=source) as function:
        for number in range(3):
            function.invoke({"number": number})
        function.running.shutdown()
    rows = [row for row in backend.rows("logs", "default") if str(row.get("record")).startswith("line of")]
    assert [row["record"] for row in rows] == [f"line of {number}\n" for number in range(3)]
    expected = [(span["faas_invocation_id"], span["trace_id"], span["span_id"]) for span in spans()]
    assert [(row["requestid"], row["trace_id"], row["span_id"]) for row in rows] == expected


def test_xray_is_a_link_and_no_decision(start: Any, spans: Any) -> None:
    """Active tracing off means Sampled=0 in the environment; the trace is recorded all the same."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    with start() as function:
        function.invoke({"do": "answer"}, trace_id=f"Root={root};Parent=53995c3f42cd8ad8;Sampled=0")
    (span,) = spans()
    (link,) = json.loads(span["links"])
    assert link["attributes"] == {"source": "x-ray-env"}
    assert link["context"]["traceId"] == "5759e988bd862e3fe1be46a994272793"
    assert span["aws_xray_trace_id"] == root
    assert span["trace_id"] != "5759e988bd862e3fe1be46a994272793"


def test_a_callers_trace_is_continued_or_left_unrecorded(start: Any, spans: Any) -> None:
    """The parent of an HTTP event, and its wish not to be sampled."""
    event = {"do": "answer", "status": 503, "requestContext": {"http": {"method": "GET", "path": "/"}}}
    parent = "00f067aa0ba902b7"
    with start() as function:
        function.invoke({**event, "headers": {"traceparent": f"00-{'a' * 32}-{parent}-01"}})
        function.invoke({**event, "headers": {"traceparent": f"00-{'b' * 32}-{parent}-00"}})
    (span,) = spans()
    assert (span["trace_id"], span["reference_parent_span_id"]) == ("a" * 32, parent)
    assert (span["http_response_status_code"], span["span_status"]) == (503, "ERROR")


@pytest.mark.parametrize("action", ["urllib", "requests", "aiohttp", "threads"])
def test_outgoing_calls_are_children_and_carry_the_context(start: Any, spans: Any, target: Target, action: str) -> None:
    """One span a request, below the invocation's, known to the server that was called."""
    with start() as function:
        function.invoke({"do": action, "url": f"{target.url}/path?sig=secret"})
    root, *calls = spans()
    assert len(calls) == len(target.requests) == (2 if action == "threads" else 1)
    for span, (_path, headers, _body) in zip(calls, target.requests, strict=True):
        assert headers["traceparent"] == f"00-{root['trace_id']}-{span['span_id']}-01"
        assert span["reference_parent_span_id"] == root["span_id"]
        assert (span["span_kind"], span["operation_name"]) == (CLIENT, "GET")
        assert span["url_full"] == f"{target.url}/path?sig=REDACTED"
        assert (span["http_response_status_code"], span["server_address"]) == (200, "127.0.0.1")
        assert span["server_port"] == int(target.url.rpartition(":")[2])
    if action == "requests":
        assert target.requests[0][1]["x-own"] == "kept"


@pytest.mark.parametrize("action", ["requests_refused", "aws_error"])
def test_a_failing_call_is_reported_and_looks_the_same(start: Any, spans: Any, target: Target, action: str) -> None:
    """The exception passes through the patches without a trace of them."""
    payloads = []
    for traced in (False, True):
        with start(traced=traced) as function:
            payloads.append(without_ids(function.invoke({"do": action, "url": target.url})))
    assert payloads[0] == payloads[1]
    root, call = spans()
    assert call["reference_parent_span_id"] == root["span_id"]
    assert (root["span_status"], call["span_status"]) == ("ERROR", "ERROR")


def test_aws_calls_hand_the_context_on(start: Any, spans: Any, target: Target) -> None:
    """SQS in a message attribute, EventBridge in its trace header, Lambda in the client context; one span each."""
    import base64

    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with start(**keys) as function:
        assert function.invoke({"do": "aws", "url": target.url}) == b'"sent"'
    root, sqs, events, invoke = spans()
    assert [span["operation_name"] for span in (sqs, events, invoke)] == [
        "SQS.SendMessage", "EventBridge.PutEvents", "Lambda.Invoke",
    ]  # fmt: skip
    assert {span["reference_parent_span_id"] for span in (sqs, events, invoke)} == {root["span_id"]}
    assert (sqs["span_kind"], events["span_kind"]) == (PRODUCER, CLIENT)
    assert (sqs["messaging_system"], sqs["messaging_destination_name"]) == ("aws_sqs", "orders")
    parents = [f"00-{root['trace_id']}-{span['span_id']}-01" for span in (sqs, events, invoke)]
    (_, _, sent), (_, _, put), (_, headers, _) = target.requests
    assert json.loads(sent)["MessageAttributes"]["traceparent"]["StringValue"] == parents[0]
    trace_id = root["trace_id"]
    expected = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={events['span_id']};Sampled=1"
    assert json.loads(put)["Entries"][0]["TraceHeader"] == expected
    context = json.loads(base64.b64decode(headers["x-amz-client-context"]))
    assert context["custom"]["traceparent"] == parents[2]


def test_httpx_sync_and_async(start: Any, spans: Any, target: Target) -> None:
    """Both transports."""
    if not CLIENTS.exists():
        pytest.skip("no clients here: run `make clients`")
    with start(PYTHONPATH=str(CLIENTS)) as function:
        assert function.invoke({"do": "httpx", "url": target.url}) == b"[200, 200]"
    root, *calls = spans()
    for span, (_path, headers, _body) in zip(calls, target.requests, strict=True):
        assert headers["traceparent"] == f"00-{root['trace_id']}-{span['span_id']}-01"
        assert (span["reference_parent_span_id"], span["http_response_status_code"]) == (root["span_id"], 200)


def test_an_httpx_request_that_is_sent_again_has_a_span_of_its_own(start: Any, spans: Any, target: Target) -> None:
    """As is one that follows a redirect, whose headers are those of the first; the function's own context stays."""
    if not CLIENTS.exists():
        pytest.skip("no clients here: run `make clients`")
    source = """
import httpx

def handler(event, context):
    with httpx.Client() as client:
        request = client.build_request("GET", event["url"])
        for _ in range(2):
            client.send(request)
            assert "traceparent" not in request.headers
        request.headers["traceparent"] = "own"
        client.send(request)
        return request.headers["traceparent"]
"""
    with start(source=source, PYTHONPATH=str(CLIENTS)) as function:
        assert function.invoke({"url": target.url}) == b'"own"'
    root, *calls = spans()
    sent = [headers["traceparent"] for _path, headers, _body in target.requests]
    assert sent == [*(f"00-{root['trace_id']}-{span['span_id']}-01" for span in calls[:2]), "own"]


def test_an_answer_of_aws_that_a_hook_of_the_function_has_changed_reaches_it(
    start: Any, spans: Any, target: Target
) -> None:
    """Whatever its shape is now."""
    source = """
import boto3

def odd(parsed, **options):
    parsed["Error"] = "text"
    parsed["ResponseMetadata"]["HTTPStatusCode"] = 404

def handler(event, context):
    client = boto3.client("dynamodb", endpoint_url=event["url"])
    client.meta.events.register("after-call", odd)
    return client.list_tables()["Error"]
"""
    with start(source=source, AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing") as function:
        assert function.invoke({"url": target.url}) == b'"text"'
    assert [span["operation_name"] for span in spans()] == ["shop", "DynamoDB.ListTables"]


def test_an_error_that_quotes_all_its_input_costs_no_span(start: Any, spans: Any) -> None:
    """The message is cut: a span that is longer than the exporter's queue would be dropped."""
    source = "def handler(event, context):\n    raise ValueError('much ' * 500_000)\n"
    with start(source=source) as function:
        function.invoke()
    (span,) = spans()
    assert (span["span_status"], span["error_type"]) == ("ERROR", "ValueError")
    assert span["status_message"].startswith("much much")


def test_disabled_instrumentations_stay_out(start: Any, spans: Any, target: Target) -> None:
    """By the names that OpenTelemetry's own instrumentations have."""
    with start(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="urllib, aiohttp-client") as function:
        function.invoke({"do": "urllib", "url": target.url})
    assert len(spans()) == 1
    assert "traceparent" not in target.requests[0][1]


def test_spans_made_with_the_api_join(start: Any, spans: Any, target: Target) -> None:
    """They lie between the invocation's span and those of the calls, with events, attributes and exceptions."""
    with start("with_api.handler") as function:
        assert function.invoke({"url": target.url}) == b"true"
    root, price, call, discount = spans()
    assert [span["operation_name"] for span in (price, call, discount)] == ["price", "GET", "discount"]
    assert price["reference_parent_span_id"] == root["span_id"]
    assert call["reference_parent_span_id"] == discount["reference_parent_span_id"] == price["span_id"]
    assert price["item"] == 7
    assert json.loads(price["events"])[0]["name"] == "asked"
    assert discount["span_status"] == "ERROR"
    assert json.loads(discount["events"])[0]["exception.type"] == "ValueError"


def test_an_sdk_of_the_functions_own_has_the_field_to_itself(start: Any, spans: Any) -> None:
    """Its spans reach the backend through the receiver without any setting; ours do not exist."""
    with start("with_sdk.handler") as function:
        assert function.invoke() == b'"done"'
        function.invoke()
    assert [span["operation_name"] for span in spans()] == ["own-span", "own-span"]


LATE_SDK = """
from opentelemetry import trace

tracer = trace.get_tracer("shop")

def handler(event, context):
    if event.get("configure"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    for name, made in (("early", tracer), ("late", trace.get_tracer("late"))):
        with made.start_as_current_span(name):
            pass
"""


def test_an_sdk_that_is_set_up_late_takes_over(start: Any, spans: Any) -> None:
    """Until then spans of the API are ours; from the next invocation on all are its own, of older tracers too."""
    with start("late.handler", source=LATE_SDK) as function:
        for event in ({}, {"configure": True}, {}):
            assert function.invoke(event) == b"null"
        assert not [line for line in function.lines() if "verrid" in line]
    made = [(span["operation_name"], span["service_telemetry_sdk_name"]) for span in spans()]
    ours, theirs = "o2-lambda", "opentelemetry"
    assert made == [
        ("shop", ours), ("early", ours), ("late", ours),
        ("shop", ours), ("early", ours), ("late", theirs),
        ("early", theirs), ("late", theirs),
    ]  # fmt: skip


API_BAGGAGE = """
import urllib.request
from opentelemetry import baggage, context, trace

def handler(event, _context):
    seen = dict(baggage.get_all())
    urllib.request.urlopen(event["url"]).close()
    token = context.attach(baggage.set_baggage("item", "7"))
    urllib.request.urlopen(event["url"]).close()
    context.detach(token)
    return seen
"""


def test_baggage_is_the_apis_and_travels_on(start: Any, target: Target) -> None:
    """What came with the event is what the API shows; what the function adds goes out with its calls."""
    with start("carrying.handler", source=API_BAGGAGE) as function:
        answer = function.invoke({"url": target.url, "headers": {"baggage": "tenant=acme"}})
    assert json.loads(answer) == {"tenant": "acme"}
    assert [headers["baggage"] for _path, headers, _body in target.requests] == ["tenant=acme", "tenant=acme,item=7"]


def test_sampling_off_leaves_no_trace(start: Any, spans: Any, target: Target) -> None:
    """The context goes on all the same, marked as not sampled."""
    with start(OTEL_TRACES_SAMPLER="always_off") as function:
        function.invoke({"do": "urllib", "url": target.url})
    assert spans() == []
    assert target.requests[0][1]["traceparent"].endswith("-00")


def test_without_a_receiver_the_function_works(start: Any, spans: Any) -> None:
    """A collector that is not there costs one line."""
    with start(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as function:
        for _ in range(5):
            assert json.loads(function.invoke({"do": "answer"}))["statusCode"] == 200
        lines = [line for line in function.lines() if "o2-lambda" in line]
    assert len(lines) == 1
    assert "traces do not reach 127.0.0.1:9 (" in lines[0]
    assert spans() == []

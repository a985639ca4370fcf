"""What an event says about its trigger, for events as AWS sends them and for those that only look like it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.instrument.python.o2_tracing import handler, settings, triggers
from o2_lambda.instrument.python.o2_tracing.exporter import Exporter
from o2_lambda.instrument.python.o2_tracing.spans import CONSUMER, SERVER
from o2_lambda.instrument.python.o2_tracing.tracer import Tracer

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
XRAY = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=0"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:orders"
CONTEXT = SimpleNamespace(client_context=None)


def read(event: Any, context: Any = CONTEXT) -> triggers.Trigger:
    return triggers.read(event, context, settings.PROPAGATORS_READ)


HTTP_API = {
    "version": "2.0",
    "routeKey": "GET /items/{id}",
    "rawPath": "/items/7",
    "rawQueryString": "a=1&b=2",
    "headers": {
        "traceparent": TRACEPARENT, "user-agent": "curl/8", "x-forwarded-proto": "https", "x-forwarded-port": "443",
        "host": "abc.execute-api.us-east-1.amazonaws.com",
    },
    "requestContext": {
        "domainName": "api.example.com",
        "routeKey": "GET /items/{id}",
        "http": {"method": "GET", "path": "/items/7", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
    },
}  # fmt: skip
REST_API = {
    "resource": "/items/{id}",
    "path": "/items/7",
    "httpMethod": "POST",
    "headers": {"Host": "api.example.com", "X-Forwarded-Proto": "https", "b3": f"{TRACE}-{SPAN}-1"},
    "multiValueQueryStringParameters": {"a": ["1", "2"]},
    "requestContext": {
        "path": "/prod/items/7", "protocol": "HTTP/1.1", "httpMethod": "POST", "domainName": "api.example.com",
        "identity": {"sourceIp": "192.0.2.1"},
    },
}  # fmt: skip
LOAD_BALANCER = {
    "httpMethod": "GET",
    "path": "/health",
    "multiValueQueryStringParameters": {"q": ["a%20b", "%C3%A4"], "sig": ["secret"]},
    "multiValueHeaders": {
        "host": ["lb.example.com"], "x-forwarded-for": ["192.0.2.1, 198.51.100.1"], "x-forwarded-port": ["80"],
        "x-forwarded-proto": ["http"], "x-amzn-trace-id": ["Root=1-5759e988-bd862e3fe1be46a994272793"],
    },
    "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x"}},
}  # fmt: skip


def test_http_api_and_function_url() -> None:
    """Payload format 2.0: method and route name the span, headers give the parent."""
    found = read(HTTP_API)
    assert (found.name, found.kind) == ("GET /items/{id}", SERVER)
    assert found.parent is not None
    assert found.parent.trace_id.hex() == TRACE
    assert found.attributes == {
        "faas.trigger": "http", "http.request.method": "GET", "url.path": "/items/7", "url.query": "a=1&b=2",
        "http.route": "/items/{id}", "client.address": "192.0.2.1", "network.protocol.version": "1.1",
        "url.scheme": "https", "server.address": "api.example.com", "server.port": 443, "user_agent.original": "curl/8",
    }  # fmt: skip


def test_a_default_route_is_no_route() -> None:
    """Function URLs have `$default` only, which would say nothing."""
    context = {**HTTP_API["requestContext"], "routeKey": "$default"}  # type: ignore[dict-item]
    found = read({**HTTP_API, "routeKey": "$default", "requestContext": context})
    assert found.name == "GET"
    assert "http.route" not in found.attributes


def test_rest_api() -> None:
    """Payload format 1.0, B3 in the headers, a parameter with two values."""
    found = read(REST_API)
    assert found.name == "POST /items/{id}"
    assert found.parent is not None
    expected = {"url.path": "/prod/items/7", "url.query": "a=1&a=2", "http.route": "/items/{id}"}
    assert expected.items() <= found.attributes.items()


@pytest.mark.parametrize(
    "event",
    [
        {**HTTP_API, "rawQueryString": "sig=secret&page=1"},
        {**REST_API, "multiValueQueryStringParameters": {"sig": ["secret"], "page": ["1"]}},
    ],
)
def test_what_grants_access_is_not_shown(event: dict[str, Any]) -> None:
    """In the query of a presigned URL, as in that of an outgoing request."""
    assert read(event).attributes["url.query"] == "sig=REDACTED&page=1"


def test_load_balancer() -> None:
    """Headers with several values, a query that is encoded already; the balancer's X-Ray root is no parent."""
    found = read(LOAD_BALANCER)
    assert (found.name, found.parent) == ("GET", None)
    expected = {
        "client.address": "192.0.2.1",
        "server.address": "lb.example.com",
        "server.port": 80,
        "url.scheme": "http",
        "url.query": "q=a%20b&q=%C3%A4&sig=REDACTED",
    }
    assert expected.items() <= found.attributes.items()


def sqs(**changes: Any) -> dict[str, Any]:
    return {"messageId": "m-1", "eventSource": "aws:sqs", "eventSourceARN": QUEUE, **changes}


def test_sqs_batch_links_to_each_sender() -> None:
    """From message attributes, or else from the X-Ray header of the system's; messages without either have no link."""
    records = [
        sqs(messageAttributes={"traceparent": {"stringValue": TRACEPARENT, "dataType": "String"}}),
        sqs(attributes={"AWSTraceHeader": XRAY}),
        sqs(),
    ]
    found = read({"Records": records})
    assert (found.name, found.kind, found.parent) == ("orders process", CONSUMER, None)
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in found.links] == [(TRACE, SPAN)] * 2
    assert found.attributes == {
        "faas.trigger": "pubsub", "messaging.system": "aws_sqs", "messaging.operation.type": "process",
        "messaging.operation.name": "process", "messaging.batch.message_count": 3,
        "messaging.destination.name": "orders",
    }  # fmt: skip


def test_a_notification_in_a_queue_links_to_who_published_it() -> None:
    """SNS puts the attributes into the body unless delivery is raw; a body that only looks like it is no error."""
    attributes = {"traceparent": {"Type": "String", "Value": TRACEPARENT}}
    body = json.dumps({"Type": "Notification", "TopicArn": "arn:x", "MessageAttributes": attributes})
    found = read({"Records": [sqs(body=body), sqs(body=body[:-1]), sqs(body=f"[{body}]"), sqs(body="plain")]})
    assert [link.trace_id.hex() for link in found.links] == [TRACE]


def test_sqs_of_several_queues() -> None:
    """No single destination."""
    found = read({"Records": [sqs(), sqs(eventSourceARN=QUEUE + "-2")]})
    assert found.name == "multiple_sources process"
    assert "messaging.destination.name" not in found.attributes


def test_sns() -> None:
    """Message attributes have another shape here."""
    message = {
        "TopicArn": "arn:aws:sns:us-east-1:1:news",
        "MessageId": "m-2",
        "MessageAttributes": {"traceparent": {"Type": "String", "Value": TRACEPARENT}},
    }
    found = read({"Records": [{"EventSource": "aws:sns", "Sns": message}]})
    assert found.name == "news process"
    assert [link.trace_id.hex() for link in found.links] == [TRACE]
    assert found.attributes["messaging.message.id"] == "m-2"
    assert found.attributes["messaging.system"] == "aws.sns"


@pytest.mark.parametrize(
    ("record", "name", "expected"),
    [
        (
            {"eventSource": "aws:kinesis", "eventSourceARN": "arn:aws:kinesis:us-east-1:1:stream/clicks"},
            "clicks process",
            {"faas.trigger": "pubsub", "messaging.system": "aws_kinesis"},
        ),
        (
            {
                "eventSource": "aws:dynamodb", "eventName": "MODIFY",
                "eventSourceARN": "arn:aws:dynamodb:us-east-1:1:table/carts/stream/2026-01-01T00:00:00.000",
            },
            "carts process",
            {"faas.trigger": "datasource", "faas.document.collection": "carts", "faas.document.operation": "edit"},
        ),
        (
            {
                "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00.000Z",
                "s3": {"bucket": {"name": "pictures"}, "object": {"key": "a/b.jpg"}},
            },
            "pictures process",
            {"faas.trigger": "datasource", "faas.document.name": "a/b.jpg", "faas.document.operation": "insert"},
        ),
    ],
)  # fmt: skip
def test_streams_and_buckets(record: dict[str, Any], name: str, expected: dict[str, Any]) -> None:
    """Where it came from and what happened there."""
    found = read({"Records": [record]})
    assert (found.name, found.kind) == (name, CONSUMER)
    assert expected.items() <= found.attributes.items()


def test_event_bridge_and_schedules() -> None:
    """An event of a bus is a message; a schedule is a timer."""
    found = read({"id": "e-1", "detail-type": "OrderPlaced", "source": "shop", "detail": {}})
    assert (found.name, found.attributes["messaging.system"]) == ("shop process", "aws_eventbridge")
    timer = read({"detail-type": "Scheduled Event", "source": "aws.events", "time": "2026-01-01T00:00:00Z"})
    assert timer.attributes == {"faas.trigger": "timer", "faas.time": "2026-01-01T00:00:00Z"}


def test_a_direct_call_continues_the_callers_trace() -> None:
    """From the client context that the caller's own instrumentation fills."""
    context = SimpleNamespace(client_context=SimpleNamespace(custom={"traceparent": TRACEPARENT}))
    found = read([1, 2], context)
    assert found.attributes == {"faas.trigger": "other"}
    assert found.parent is not None
    assert found.parent.span_id.hex() == SPAN


@pytest.mark.parametrize("event", [
    {**HTTP_API, "headers": {"Baggage": "tenant=acme"}},
    {"headers": {"baggage": "tenant=acme"}},
])  # fmt: skip
def test_baggage_may_come_without_a_trace(event: Any) -> None:
    """The invocation begins a trace and carries the baggage on."""
    found = read(event)
    assert (found.parent, found.baggage) == (None, "tenant=acme")


KEYS = [
    "Records", "requestContext", "http", "headers", "httpMethod", "eventSource", "Sns", "s3", "detail-type", "bucket",
    "messageAttributes", "attributes", "eventSourceARN", "method", "traceparent", "a", "",
]  # fmt: skip
SOURCES = st.sampled_from(["aws:sqs", "aws:sns", "aws:s3", "aws:dynamodb"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner | SOURCES, max_size=5),
    max_leaves=20,
)


INVOKED = SimpleNamespace(
    client_context=None, function_name="f", aws_request_id="r", invoked_function_arn="arn:aws:lambda:x:1:function:f"
)


@pytest.mark.parametrize(("sampler", "told"), [("always_on", True), ("always_off", False)])
def test_the_extension_is_told_of_an_invocation_before_the_handler_runs(sampler: str, told: bool) -> None:
    """Request id and span, where there will be one: an id that leads nowhere would be of no use on log lines."""
    order: list[Any] = []
    chosen = settings.read({"OTEL_TRACES_SAMPLER": sampler}, pytest.fail)
    exporter = Exporter(chosen.address, lambda spans: b"", lambda: 0, pytest.fail)
    exporter.add = lambda scope, span: None  # type: ignore[method-assign]
    exporter.announce = lambda *told: order.append(told)  # type: ignore[method-assign]
    tracer = Tracer(chosen, exporter)
    invocations = handler.Invocations(tracer)
    invocations._settled = True

    def function(_event: Any, _context: Any) -> None:
        assert tracer.invocation is not None
        order.append((tracer.invocation.context.trace_id, tracer.invocation.context.span_id))

    invocations.wrap(function)({}, INVOKED)
    (*announced, ran) = order
    assert announced == ([("r", *ran)] if told else [])


@pytest.mark.parametrize(("kind", "cold"), [("on-demand", True), ("provisioned-concurrency", False)])
def test_an_environment_that_is_kept_ready_is_not_cold(monkeypatch: pytest.MonkeyPatch, kind: str, cold: bool) -> None:
    """Its first invocation has waited for nothing."""
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    chosen = settings.read({}, pytest.fail)
    invocations = handler.Invocations(Tracer(chosen, Exporter(chosen.address, lambda _s: b"", lambda: 0, pytest.fail)))
    assert invocations._cold is cold


@given(JSON)
def test_no_event_keeps_an_invocation_from_its_span(event: Any) -> None:
    """Whatever the event is, there is one span, and the handler gets the event itself."""
    ended: list[bytes] = []
    chosen = settings.read({}, pytest.fail)
    exporter = Exporter(chosen.address, lambda spans: b"", lambda: 0, pytest.fail)
    exporter.add = lambda scope, span: ended.append(span)  # type: ignore[method-assign]
    invocations = handler.Invocations(Tracer(chosen, exporter))
    invocations._settled = True  # other tests have loaded the OpenTelemetry API into this process
    result = invocations.wrap(lambda given, _context: (given,))(event, INVOKED)
    assert result[0] is event
    assert len(ended) == 1

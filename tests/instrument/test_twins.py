"""The same events through the Python tracer's and the Node.js tracer's eyes: what they say of each must be the same."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import o2_lambda.instrument
from o2_lambda.instrument.python.o2_tracing import settings, triggers
from o2_lambda.instrument.python.o2_tracing.patches import aws_messages, botocore
from o2_lambda.instrument.python.o2_tracing.spans import SpanContext
from tests.instrument.test_events import (
    HTTP_API,
    LOAD_BALANCER,
    QUEUE,
    REST_API,
    SPAN,
    TRACE,
    TRACEPARENT,
    XRAY,
    sqs,
)

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
LIB = Path(o2_lambda.instrument.__path__[0]) / "node" / "lib"
SEED, MUTANTS = 20_26, 3000

# Reads each line of its input, an event with its client context, and writes what the tracer makes of it.
READ = """
const { read } = require(`${process.argv[1]}/triggers.js`);
const propagators = JSON.parse(process.argv[2]);
const shown = (c) => c && [c.traceId, c.spanId, c.flags, c.state, c.baggage, c.remote];
for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {
  const [event, custom] = JSON.parse(line);
  let found = null;
  try {
    const t = read(event, { clientContext: custom && { custom } }, propagators);
    const { kind, name, attributes, baggage } = t;
    found = { kind, name, attributes, baggage, parent: shown(t.parent), links: t.links.map(shown) };
  } catch {}
  console.log(JSON.stringify(found));
}
"""


def records(*given: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(given)}


def attribute(key: str, value: str = TRACEPARENT) -> dict[str, Any]:
    """A message attribute with a context, whose value lies under `key`."""
    return {"traceparent": {key: value}, "baggage": {key: "tenant=acme"}, "own": {key: "x"}}


NOTIFICATION = {"TopicArn": "arn:aws:sns:us-east-1:1:news", "MessageId": "m-2", "MessageAttributes": attribute("Value")}
FUNCTION_URL = {
    **HTTP_API, "routeKey": "$default",
    "requestContext": {**HTTP_API["requestContext"], "routeKey": "$default"},  # type: ignore[dict-item]
}  # fmt: skip
S3_OBJECT = {"bucket": {"name": "pictures"}, "object": {"key": "a/b.jpg"}}
TABLE = "arn:aws:dynamodb:us-east-1:1:table/carts/stream/2026-01-01T00:00:00.000"
EVENTS: dict[str, Any] = {
    "nothing": None,
    "empty": {},
    "list": [1, 2],
    "text": "text",
    "headers": {"headers": {"Traceparent": TRACEPARENT, "tracestate": "a=b"}},
    "baggage alone": {"headers": {"baggage": "tenant=acme"}},
    "odd headers": {"headers": {"traceparent": f"00-{TRACE}-{SPAN}-01-more", "b3": f"{TRACE}-{SPAN}-0"}},
    "HTTP API": HTTP_API,
    "HTTP API, presigned": {**HTTP_API, "rawQueryString": "sig=secret&page=1&" + "x" * 3000},
    "HTTP API without a trace": {**HTTP_API, "headers": {"Baggage": "tenant=acme"}},
    "function URL": FUNCTION_URL,
    "REST API": REST_API,
    "REST API, X-Ray": {**REST_API, "headers": {"X-Amzn-Trace-Id": XRAY}},
    "REST API, odd method": {**REST_API, "httpMethod": "BREW"},
    "REST API, one value": {**REST_API, "multiValueQueryStringParameters": None, "queryStringParameters": {"a": "ä b"}},
    "load balancer": LOAD_BALANCER,
    "load balancer, one value": {
        **LOAD_BALANCER,
        "multiValueQueryStringParameters": None,
        "queryStringParameters": {"a": "%C3%A4"},
    },
    "queue": records(sqs(messageAttributes=attribute("stringValue"))),
    "queue, X-Ray": records(sqs(attributes={"AWSTraceHeader": XRAY}), sqs(eventSourceARN=QUEUE + "-2")),
    "queue of a topic": records(sqs(body=json.dumps({"Type": "Notification", **NOTIFICATION})), sqs(body="plain")),
    "topic": records({"EventSource": "aws:sns", "Sns": NOTIFICATION}),
    "topics": records({"EventSource": "aws:sns", "Sns": NOTIFICATION}, {"EventSource": "aws:sns", "Sns": {}}),
    "stream": records({"eventSource": "aws:kinesis", "eventSourceARN": "arn:aws:kinesis:us-east-1:1:stream/clicks"}),
    **{
        f"table, {name}": records({"eventSource": "aws:dynamodb", "eventName": name, "eventSourceARN": TABLE})
        for name in ("INSERT", "MODIFY", "REMOVE")
    },
    **{
        f"bucket, {name}": records({"eventSource": "aws:s3", "eventName": name, "eventTime": "t", "s3": S3_OBJECT})
        for name in ("ObjectCreated:Put", "ObjectRemoved:Delete", "ObjectRestore:Post", "Other")
    },
    "bus": {"id": "e-1", "detail-type": "OrderPlaced", "source": "shop", "detail": {}},
    "schedule": {"detail-type": "Scheduled Event", "source": "aws.events", "time": "2026-01-01T00:00:00Z"},
    "unknown records": records({"eventSource": "aws:iot"}),
}
CUSTOMS = [None, {"baggage": "from=caller"}, {"traceparent": TRACEPARENT, "baggage": "from=caller"}]


def by_python(event: Any, custom: Any) -> Any:
    """What the Python tracer says."""
    context = SimpleNamespace(client_context=custom and SimpleNamespace(custom=custom))
    try:
        found = triggers.read(event, context, settings.PROPAGATORS_READ)
    except Exception:  # noqa: BLE001 - whatever: the handler catches it
        return None
    return {
        "kind": found.kind, "name": found.name, "baggage": found.baggage,
        "attributes": {key: value for key, value in found.attributes.items() if value is not None},
        "parent": shown(found.parent), "links": [shown(link) for link in found.links],
    }  # fmt: skip


def shown(context: Any) -> Any:
    if context is None:
        return None
    ids = [context.trace_id.hex(), context.span_id.hex()]
    return [*ids, context.flags, context.state, context.baggage, context.remote]


def by_node(cases: list[tuple[Any, Any]]) -> list[Any]:
    """What the Node.js tracer says of each."""
    command = [str(NODE), "-e", READ, str(LIB), json.dumps(settings.PROPAGATORS_READ)]
    given = "\n".join(map(json.dumps, cases))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_event_of_each_kind_says_the_same_in_both() -> None:
    """Kind, name, attributes, parent, links and baggage."""
    cases = [(event, custom) for event in EVENTS.values() for custom in CUSTOMS]
    for case, found in zip(cases, by_node(cases), strict=True):
        assert found is not None
        assert found == by_python(*case), case


# Prints what the tracer takes the variables for.
SETTINGS = """
const { read } = require(`${process.argv[1]}/settings.js`);
for (const environment of JSON.parse(process.argv[2])) {
  const lines = [];
  const { extracts, injects, limits, traces } = read(environment, (line) => lines.push(line));
  const { attributes, eventAttributes, valueLength, links } = limits;
  const wanted = ['redis', 'http', 'other'].map((name) => traces([name, 'second']));
  console.log(JSON.stringify([extracts, injects, [attributes, eventAttributes, valueLength, links], wanted, lines]));
}
"""
DISABLED = {"python": "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "node": "OTEL_NODE_DISABLED_INSTRUMENTATIONS"}
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"OTEL_PROPAGATORS": "xray-lambda"},
    {"OTEL_PROPAGATORS": "xray, XRAY-lambda,tracecontext"},
    {"OTEL_PROPAGATORS": "none"},
    {"OTEL_PROPAGATORS": "b3multi,jaeger,tracecontext,ottrace"},
    {"disabled": "*"},
    {"disabled": "redis, HTTP"},
    {"disabled": "second"},
    {"disabled": " , "},
    {"OTEL_ATTRIBUTE_COUNT_LIMIT": "5", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_SPAN_LINK_COUNT_LIMIT": "0"},
    {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9", "OTEL_SPAN_LINK_COUNT_LIMIT": "many"},
]


def test_variables_mean_the_same_to_both() -> None:
    """Propagators, instrumentations that are switched off, limits, and the lines about what is wrong."""

    def given(language: str) -> list[dict[str, str]]:
        return [
            {DISABLED[language] if name == "disabled" else name: value for name, value in environment.items()}
            for environment in ENVIRONMENTS
        ]

    command = [str(NODE), "-e", SETTINGS, str(LIB), json.dumps(given("node"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    for environment, line in zip(given("python"), done.stdout.splitlines(), strict=True):
        lines: list[str] = []
        chosen = settings.read(environment, lines.append)
        limits = chosen.limits
        assert json.loads(line) == [
            list(chosen.extracts), list(chosen.injects),
            [limits.attributes, limits.event_attributes, limits.value_length, limits.links],
            [chosen.traces(name, "second") for name in ("redis", "http", "other")], lines,
        ], environment  # fmt: skip


KIB = 1024
OWN = {"own": {"DataType": "String", "StringValue": "x" * 100}, "raw": {"DataType": "Binary", "BinaryValue": b"x" * 50}}
# What is sent, and whether it may grow by the context, without which it would be taken.
MESSAGES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "small": ("SQS.SendMessage", {"MessageBody": "m"}, True),
    "up to the limit": ("SQS.SendMessage", {"MessageBody": "m" * (256 * KIB - 10)}, False),
    "in bytes": ("SQS.SendMessage", {"MessageBody": "\u00e9" * (128 * KIB - 10)}, False),
    "with attributes": ("SNS.Publish", {"Message": "m" * (256 * KIB - 200), "MessageAttributes": OWN}, False),
    "between the limits": ("SQS.SendMessage", {"MessageBody": "m" * (257 * KIB)}, True),
    "the newer limit": ("SQS.SendMessage", {"MessageBody": "m" * (1024 * KIB - 10)}, False),
    "batch": ("SQS.SendMessageBatch", {"Entries": [{"MessageBody": "m" * (26 * KIB - 100)}] * 10}, True),
    "full batch": ("SQS.SendMessageBatch", {"Entries": [{"MessageBody": "m" * (256 * KIB // 10)}] * 10}, False),
    "full batch of topics": (
        "SNS.PublishBatch", {"PublishBatchRequestEntries": [{"Message": "m" * (256 * KIB // 8)}] * 8}, False,
    ),
}  # fmt: skip
SENDING = """
const { withContext } = require(`${process.argv[1]}/patches/aws_messages.js`);
const context = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), flags: 1, state: '', baggage: '' };
const revive = (key, value) => (key === 'BinaryValue' ? Buffer.from(value) : value);
for (const [call, input] of JSON.parse(require('fs').readFileSync(0, 'utf8'), revive)) {
  const sent = withContext(...call.split('.'), input, context, ['tracecontext']);
  console.log(JSON.stringify(sent).includes('traceparent'));
}
"""


def test_a_message_never_outgrows_its_services_limit() -> None:
    """Where the context would make a message or a batch too large, it goes without: nothing is lost by tracing."""
    expected = [grows for _call, _sent, grows in MESSAGES.values()]
    given = json.dumps([[call, sent] for call, sent, _ in MESSAGES.values()], default=bytes.decode)
    command = [str(NODE), "-e", SENDING, str(LIB)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    context = SpanContext(b"a" * 16, b"b" * 8, 1)
    ours = []
    for call, sent, _ in MESSAGES.values():
        service, operation = call.split(".")
        grown = aws_messages.with_context(service, operation, sent, context, ("tracecontext",), None)
        ours.append("traceparent" in str(grown))
    assert ours == expected
    assert [line == "true" for line in done.stdout.split()] == expected


def test_a_batch_of_thousands_is_not_read_to_its_end() -> None:
    """Where more messages have a context than a span can have links: one more is read, which counts as dropped."""
    batch = records(*[sqs(messageAttributes=attribute("stringValue")) for _ in range(10_000)])
    (from_node,) = by_node([(batch, None)])
    assert len(from_node["links"]) == len(by_python(batch, None)["links"]) == 129
    assert len(triggers.read(batch, None, settings.PROPAGATORS_READ, 5).links) == 6


@pytest.mark.parametrize(("call", "sent"), [("SFN.StartExecution", {}), ("EventBridge.PutEvents", {"Entries": [{}]})])
def test_an_older_botocore_is_not_given_what_it_refuses(call: str, sent: dict[str, Any]) -> None:
    """Parameters that its description of the service does not have yet."""
    older = SimpleNamespace(members={"Entries": SimpleNamespace(member=SimpleNamespace(members={"Source": None}))})
    context = SpanContext(b"a" * 16, b"b" * 8, 1)
    assert aws_messages.with_context(*call.split("."), sent, context, ("tracecontext",), older) == sent


# Of the same type: how an object looks as text differs between the languages.
INSTEAD: dict[type, list[Any]] = {
    str: ["", "x", TRACEPARENT],
    dict: [{}, {"a": "b"}, None],
    list: [[], ["x"]],
    type(None): [None, {}],
    int: [0, 7],
}


def mutate(dice: random.Random, value: Any) -> Any:
    """The event with one of its parts gone, or something else in its place."""
    places = [(holder, key) for holder in holders(value) for key in (holder if isinstance(holder, dict) else [0])]
    if places:
        holder, key = dice.choice(places)
        if dice.random() < 0.4:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(dice.choice(INSTEAD[type(holder[key])]))
    return value


def holders(value: Any) -> list[Any]:
    """The objects and lists in it that hold anything."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value] if isinstance(value, (dict, list)) and value else []
    return own + [holder for item in inner for holder in holders(item)]


def test_odd_events_say_the_same_in_both() -> None:
    """Events of all kinds with a few parts gone or replaced."""
    dice = random.Random(SEED)
    cases = []
    for _ in range(MUTANTS):
        event = copy.deepcopy(dice.choice([*EVENTS.values()]))
        for _ in range(dice.randrange(1, 4)):
            event = mutate(dice, event)
        cases.append((event, dice.choice(CUSTOMS)))
    different = [
        (case, found, by_python(*case))
        for case, found in zip(cases, by_node(cases), strict=True)
        if found != by_python(*case)
    ]
    assert different == []


@pytest.mark.parametrize(
    "given",
    [
        "shop", "shop:live", "shop:$LATEST", "123456789012:function:shop", "123456789012:function:shop:live",
        "arn:aws:lambda:us-east-1:123456789012:function:shop", "arn:aws:lambda:us-east-1:123456789012:function:shop:7",
    ],
)  # fmt: skip
def test_a_function_that_is_invoked_has_its_name_without_version_and_alias(given: str) -> None:
    """Whatever AWS takes for a function's name."""
    script = "console.log(require(`${process.argv[1]}/patches/aws_sdk.js`).functionName(process.argv[2]))"
    done = subprocess.run([str(NODE), "-e", script, str(LIB), given], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == botocore.function_name(given) == "shop"

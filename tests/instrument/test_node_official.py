"""The same function and events under OpenTelemetry's own Node.js instrumentation and under ours, compared span by span.

What differs is listed by name with its reason, and the lists are exact: a difference that comes or goes fails the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument import comparison, nodes
from tests.instrument.conftest import FUNCTIONS, Target
from tests.instrument.nodes import NodeFunction
from tests.instrument.recording import ENVIRONMENT, OFFICIAL, OURS, Recorded, record
from tests.instrument.test_events import HTTP_API, LOAD_BALANCER, REST_API, sqs
from tests.instrument.test_node_function import wrapper
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["wrapper"]  # a fixture

MISSING = nodes.unavailable()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "available"),
    pytest.mark.xdist_group("node databases"),  # one of each server
]

DATABASES = ("pg", "mysql2", "ioredis", "redis", "mongodb")
CALLS = (*DATABASES, "http", "undici", "aws")
EVENTS: dict[str, Any] = {
    "plain": {},
    "http_api": HTTP_API,
    "rest_api": REST_API,
    "load_balancer": LOAD_BALANCER,
    "sqs": {"Records": [sqs()]},
}
SCENES = (*CALLS, *EVENTS)
NO_EVENT = "the official handler span says little about its event"
LAMBDA = "known to the runtime, and the official handler span leaves it out"
RECOMMENDED = "the conventions ask for it; the official instrumentation of this library leaves it out"
OLD_MESSAGING = "the official one has older names beside, or leaves out, what the conventions ask for"
REQUEST = "of outgoing requests: optional, and the same for every request of a library"
IN_URL = "undici: a part of url.full, which is what the conventions ask of a client"
MANAGING = "the official one takes every call of SQS for messaging: here, one that deletes a queue"
ONLY_OURS = {
    "aws.error.code": "AWS's own code of an error, which the status does not tell",
    "aws.lambda.invoked_arn": LAMBDA,
    "aws.sqs.queue.url": "the convention's name; the official one has url.full",
    "aws.xray.trace_id": "leads to the trace in X-Ray, whose sampling does not decide about ours",
    "client.address": NO_EVENT,
    "db.namespace": "Redis: the database's number, as the conventions ask",
    "db.operation.batch.size": "Redis: one span for what is sent together",
    "db.operation.name": RECOMMENDED,
    "db.response.status_code": RECOMMENDED,
    "error.type": RECOMMENDED,
    "faas.invoked_region": RECOMMENDED,
    "faas.trigger": "the official one has it for queues only",
    "http.request.method": NO_EVENT,
    "http.response.status_code": "of the handler's answer, by which the official one sets the status alone",
    "http.route": NO_EVENT,
    "messaging.batch.message_count": NO_EVENT,
    "messaging.destination.name": NO_EVENT,
    "messaging.message.id": OLD_MESSAGING,
    "messaging.operation.name": OLD_MESSAGING,
    "messaging.operation.type": OLD_MESSAGING,
    "messaging.system": NO_EVENT,
    "network.protocol.version": NO_EVENT,
    "server.address": NO_EVENT,
    "server.port": NO_EVENT,
    "url.path": NO_EVENT,
    "url.query": NO_EVENT,
    "url.scheme": NO_EVENT,
    "user_agent.original": NO_EVENT,
}
ONLY_OFFICIAL = {
    "db.collection.name": "MongoDB: $cmd for a command that has no collection",
    "http.request.method_original": "undici: what http.request.method says, and asked for only where that differs",
    "messaging.destination": "the older name of messaging.destination.name",
    "messaging.destination.name": MANAGING,
    "messaging.destination_kind": "no convention's name any more",
    "messaging.system": MANAGING,
    "network.peer.address": "optional, and of little use behind a load balancer; server.address has the name",
    "network.peer.port": "as network.peer.address",
    "network.protocol.version": REQUEST,
    "url.full": "handler: the conventions ask a server for url.path and url.query; SQS: see aws.sqs.queue.url",
    "url.path": IN_URL,
    "url.query": IN_URL,
    "url.scheme": IN_URL,
    "user_agent.original": REQUEST,
}
OTHER_VALUE = {
    "db.operation.name": "ioredis: in capitals, as redis has it; PIPELINE and MULTI, of which each has one span",
    "db.query.text": "Redis, MongoDB: neither keys nor names of fields",
    "error.type": "http: the code of the error, where the official one has its class, which is always Error",
    "faas.invocation_id": "two invocations",
    "messaging.destination.name": "SNS: the topic's name, as the conventions' example has it, not its ARN",
}
# Name, kind and parent: scene -> (the official one's, ours).
OTHER_SPANS = {
    # The first word of the statement, after comments.
    "pg": {(f"pg.query:{word} postgres", word) for word in ("INSERT", "SELECT")} | {("pg.query:/* postgres", "CREATE")},
    # The commands' own names.
    "ioredis": {("set", "SET"), ("incr", "INCR"), ("get", "GET"), ("get", "GET INCR"), ("set", "SET GET"),
                ("quit", "QUIT")},
    "redis": {(f"redis-{word}", word) for word in ("SET", "INCR", "GET", "SELECT")} | {("redis-GET", "SET GET")},
    # One form of name for both languages.
    "mongodb": {("insert orders", "shop.insert"), ("refused $cmd", "shop.refused"), ("find orders", "shop.find")},
    # One form of name for all calls; by the conventions a client receives messages, and a consumer processes them.
    "aws": {("orders send", "SQS.SendMessage"), ("orders receive", "SQS.ReceiveMessage"), ("consumer", "client"),
            ("news send", "SNS.Publish"), ("other Invoke", "Lambda.Invoke")},
    "http_api": {("shop", "GET /items/{id}")},  # the conventions' name of a server's span
    "rest_api": {("shop", "POST /items/{id}"), ("", "elsewhere")},  # B3 is read without being asked for
    "load_balancer": {("shop", "GET")},
    "sqs": {("shop", "orders process"), ("server", "consumer")},  # one span for invocation and batch
}  # fmt: skip
OTHER_EXCEPTIONS = {
    "pg": {(None, "42703")},  # the official one says neither type nor code
    "mysql2": {("ER_BAD_FIELD_ERROR",)},  # the official one records no exception
    "mongodb": {("MongoServerError",)},  # nor does this
}
EXTRA_SPANS: dict[str, dict[str, tuple[str, ...]]] = {
    OFFICIAL: {
        "pg": ("pg.connect", "pg-pool.connect", "pg.connect", "pg-pool.connect", "pg-pool.connect"),
        # The handshake, a command once more that waited for it, and each command of a batch.
        "ioredis": ("connect", "set", "hello", "select", "client", "client", "info", "PIPELINE incr", "multi",
                    "MULTI get", "exec"),
        "redis": ("redis-connect", "MULTI"),
        "sqs": ("process orders",),  # a second span for the batch
    },
    OURS: {"pg": ("SELECT 8 AS number",)},  # a query that is an object of its own
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, wrapper: Path, stores: Any
) -> Iterator[dict[str, dict[str, list[Recorded]]]]:
    """By whom -> scene -> spans."""
    sources = {
        "index.js": (FUNCTIONS / "stores.js").read_text(),
        "official.js": (FUNCTIONS / "official.js").read_text(),
    }

    def start(by: str, url: str) -> NodeFunction:
        folder = tmp_path_factory.mktemp(by)
        # Lambda's client up to Node.js 22: what the newer one imports, the official one hooks by a loader only.
        options = {**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "LOADS": ",".join(CALLS)}
        if by == OFFICIAL:
            options["NODE_OPTIONS"] = f"--require {folder}/task/official.js"
        return NodeFunction(folder, sources, wrapper=wrapper if by == OURS else None, older=True, **options)

    target = Target()
    events = {name: {"do": name, **stores(name)} for name in DATABASES}
    events |= {name: {"do": name, "url": target.url, "closed": free_port()} for name in CALLS if name not in DATABASES}
    yield {by: record(by, events | EVENTS, start) for by in (OFFICIAL, OURS)}
    target.close()


def pairs(recorded: dict[str, dict[str, list[Recorded]]], scene: str) -> list[tuple[Recorded, Recorded]]:
    """(the official span, ours) of a scene, in order, without those that only one has."""
    return list(
        zip(*(_paired(recorded[by][scene], EXTRA_SPANS[by].get(scene, ())) for by in (OFFICIAL, OURS)), strict=True)
    )


def _paired(spans: list[Recorded], extra: tuple[str, ...]) -> list[Recorded]:
    """The spans without the first ones of these descriptions; the invocation's comes first."""
    rest = list(spans)
    for description in extra:
        del rest[next(number for number, span in enumerate(rest) if description in describe(span))]
    return sorted(rest, key=lambda span: span.parent not in ("", "elsewhere"))  # the official start is in milliseconds


def describe(span: Recorded) -> list[Any]:
    """What tells a span from the others of a scene."""
    return [span.name, span.attributes.get("db.operation.name"), span.attributes.get("db.query.text")]


@pytest.mark.parametrize("scene", SCENES)
def test_the_spans_are_the_same(recorded: Any, scene: str) -> None:
    """As many, in the same order, with the same names, kinds, parents, errors and recorded exceptions."""
    compared = pairs(recorded, scene)
    assert comparison.other_spans(compared) == OTHER_SPANS.get(scene, set())
    assert comparison.other_exceptions(compared) == OTHER_EXCEPTIONS.get(scene, set())


def test_the_attributes_are_the_same_but_for_those_named_here(recorded: Any) -> None:
    """Over all scenes, by name."""
    compared = [pair for scene in SCENES for pair in pairs(recorded, scene)]
    comparison.assert_attributes(compared, only_ours=ONLY_OURS, only_official=ONLY_OFFICIAL, other_value=OTHER_VALUE)

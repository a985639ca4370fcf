"""The same function and events under OpenTelemetry's own instrumentation and under ours, compared span by span.

What differs is listed by name with its reason, and the lists are exact: a difference that comes or goes fails the test.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument import comparison, servers
from tests.instrument.conftest import FUNCTIONS, PYTHON, Target
from tests.instrument.recording import CLIENTS, OFFICIAL, OURS, Recorded, record
from tests.instrument.test_events import HTTP_API, LOAD_BALANCER, REST_API, sqs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.xdist_group("serial"),
    pytest.mark.skipif(not CLIENTS.exists(), reason="no clients here: run `make clients`"),
]

DATABASES = ("redis", "psycopg", "psycopg2", "pymysql", "pymongo", "sqlalchemy")
CALLS = (*DATABASES, "http", "aws")
EVENTS: dict[str, Any] = {
    "plain": {},
    "http_api": HTTP_API,
    "rest_api": REST_API,
    "load_balancer": LOAD_BALANCER,
    "sqs": {"Records": [sqs()]},
}
OLD_HTTP = "the handler's and botocore's instrumentation know the older HTTP conventions only"
OLD_DATABASE = "botocore's instrumentation knows the older database conventions only"
OLD_MESSAGING = "botocore's instrumentation knows the older messaging conventions only"
RECOMMENDED = "the conventions ask for it; the official instrumentation of this library leaves it out"
NO_EVENT = "the official handler span says little about its event"
LAMBDA = "known to the runtime, and the official handler span leaves it out"
ONLY_OURS = {
    "aws.error.code": "AWS's own code of an error, which the status does not tell",
    "aws.kinesis.stream_name": RECOMMENDED,
    "aws.lambda.invoked_arn": LAMBDA,
    "aws.sqs.queue.url": "the convention's name of aws.queue_url",
    "aws.xray.trace_id": "leads to the trace in X-Ray, whose sampling does not decide about ours",
    "client.address": NO_EVENT,
    "db.namespace": "redis: the database's number, as the conventions ask",
    "db.operation.batch.size": "the convention's name of db.redis.pipeline_length",
    "db.operation.name": RECOMMENDED,
    "db.response.status_code": RECOMMENDED,
    "db.system.name": OLD_DATABASE,
    "error.type": RECOMMENDED,
    "faas.coldstart": LAMBDA,
    "faas.trigger": "the official one has it for HTTP and queues only",
    "http.request.method": OLD_HTTP,
    "http.response.status_code": OLD_HTTP,
    "messaging.batch.message_count": NO_EVENT,
    "messaging.destination.name": OLD_MESSAGING,
    "messaging.message.id": NO_EVENT,
    "messaging.operation.name": OLD_MESSAGING,
    "messaging.operation.type": OLD_MESSAGING,
    "messaging.system": NO_EVENT,
    "network.protocol.version": NO_EVENT,
    "server.address": "urllib's instrumentation leaves it out, the handler's has the older net.host.name",
    "server.port": "as server.address",
    "url.path": NO_EVENT,
    "url.query": NO_EVENT,
    "url.scheme": OLD_HTTP,
    "user_agent.original": NO_EVENT,
}
ONLY_OFFICIAL = {
    "aws.queue_url": "the older name of aws.sqs.queue.url",
    "db.operation": OLD_DATABASE,
    "db.redis.args_length": "no convention's name, and db.query.text shows it",
    "db.redis.pipeline_length": "the older name of db.operation.batch.size",
    "db.system": OLD_DATABASE,
    "http.method": OLD_HTTP,
    "http.scheme": OLD_HTTP,
    "http.status_code": OLD_HTTP,
    "http.target": OLD_HTTP,
    "messaging.destination": OLD_MESSAGING,
    "messaging.destination_kind": OLD_MESSAGING,
    "messaging.message.id": "botocore: empty there, since the stand-in for SQS answers without one",
    "messaging.url": OLD_MESSAGING,
    "net.host.name": OLD_HTTP,
    "net.peer.name": "the older name of server.address",
    "network.peer.address": "optional, and the official value is the host's name, which server.address has",
    "network.peer.port": "as network.peer.address",
    "network.protocol.version": "of outgoing requests: optional, and the same for every request of a library",
    "retry_attempts": "no convention's name; ours is http.request.resend_count, where there was a retry",
    "user_agent.original": "of outgoing requests: optional, and the same for every request of a library",
}
OTHER_VALUE = {
    "db.operation.name": "SQLAlchemy: the operation alone, where the official one adds the database's name",
    "db.query.text": "psycopg2: bytes there, where the conventions ask for text",
    "error.type": "requests: the error of urllib3, which is what is patched; and names with their module",
    "faas.invocation_id": "two invocations",
    "http.route": "HTTP API: the official one has the path, which makes as many names as there are items",
    "messaging.destination.name": "SNS: the topic's name, as the conventions' example has it, not its ARN",
    "messaging.system": "SQS: aws_sqs is the conventions' value",
}
# Name, kind and parent: scene -> (the official one's, ours).
OTHER_SPANS = {
    "psycopg2": {("postgres", "INSERT")},  # a statement in bytes has a first word, too
    "aws": {("news send", "SNS.Publish"), ("client", "producer")},  # one form of name for all calls; SQS produces
    "http_api": {("shop", "GET /items/{id}")},  # the conventions' name of a server's span
    "rest_api": {("shop", "POST /items/{id}"), ("", "elsewhere")},  # B3 is read without being asked for
    "load_balancer": {("shop", "GET")},
    "sqs": {("shop", "orders process"), ("server", "consumer")},  # one span for invocation and batch
}
OTHER_EXCEPTIONS = {
    "sqlalchemy": {("psycopg.errors.UndefinedTable",)},  # its official instrumentation sets the status alone
    "http": {("requests.exceptions.ConnectionError", "urllib3.exceptions.MaxRetryError")},  # see error.type
}
EXTRA_SPANS = {("sqs", "process orders")}  # the official one has a second span for the batch


@pytest.fixture(scope="module")
def recorded() -> Iterator[dict[str, dict[str, list[Recorded]]]]:
    """By whom -> scene -> spans."""
    environment = {**os.environ, "PYTHONPATH": str(CLIENTS)}
    with ExitStack() as stack:
        where: dict[str, Any] = {
            "redis": stack.enter_context(servers.redis_server()),
            "postgresql": stack.enter_context(servers.postgresql_server()),
            "mysql": stack.enter_context(servers.mysql_server()),
            "mongodb": stack.enter_context(servers.mongodb_server(PYTHON, FUNCTIONS / "mongodb.py", environment)),
        }
        target = Target()
        stack.callback(target.close)
        where["url"] = target.url
        events = {name: {"do": name, **where} for name in CALLS} | EVENTS
        # The official instrumentation turns rows of RealDictConnection into tuples: nothing to compare with.
        special = {"special": {"do": "psycopg2", "special": True, **where}}
        yield {OFFICIAL: record(OFFICIAL, events), OURS: record(OURS, events | special)}


def pairs(recorded: dict[str, dict[str, list[Recorded]]], scene: str) -> list[tuple[Recorded, Recorded]]:
    """(the official span, ours) of a scene, in order; SQLAlchemy's spans stand for those of the driver below."""
    official = [span for span in recorded[OFFICIAL][scene] if (scene, span.name) not in EXTRA_SPANS]
    if scene == "sqlalchemy":
        official = [span for span in official if not span.scope.endswith("psycopg")]
    return list(zip(official, recorded[OURS][scene], strict=True))


QUERY = "db.query.text"
SCENES = (*CALLS, *EVENTS)


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


def test_cursors_of_other_classes_are_traced_too(recorded: Any) -> None:
    """psycopg2: a class given to `cursor()` keeps its rows and its name, and each statement has one span."""
    _root, *calls = recorded[OURS]["special"]
    expected = [f"SELECT {number} AS number" for number in (6, 7, 8)]
    assert [span.attributes[QUERY] for span in calls[-3:]] == expected


def test_no_value_of_a_command_is_kept(recorded: Any) -> None:
    """Redis' arguments and MongoDB's documents are the function's data; SQL is kept as the function wrote it."""
    for scene in ("redis", "pymongo"):
        for span in recorded[OURS][scene]:
            assert "secret" not in str(span.attributes)


OWN_VALUES: dict[str, list[dict[str, Any]]] = {
    "redis": [
        {"db.operation.name": "SET", "db.namespace": "1"},
        {"db.operation.name": "PIPELINE", "db.operation.batch.size": 2},
        {"db.operation.name": "INCRBY", "error.type": "redis.exceptions.ResponseError"},
        {"db.operation.name": "GET", "db.namespace": "0"},
        {"db.operation.name": "PIPELINE", "db.operation.batch.size": 1},
    ],
    "psycopg": [
        {"db.operation.name": "CREATE"}, {"db.operation.name": "INSERT"},
        {"error.type": "psycopg.errors.UndefinedColumn", "db.response.status_code": "42703"},
        {"db.operation.name": "SELECT"},
    ],
    "psycopg2": [
        {"db.operation.name": "CREATE"}, {"db.operation.name": "INSERT"},
        {"error.type": "psycopg2.errors.UndefinedColumn", "db.response.status_code": "42703"},
    ],
    "pymysql": [
        {"db.operation.name": "CREATE"}, {"db.operation.name": "INSERT"},
        {"error.type": "pymysql.err.OperationalError", "db.response.status_code": "42S22"},
    ],
    "pymongo": [
        {"db.operation.name": "insert"},
        {"db.operation.name": "refused", "error.type": "CommandNotFound", "db.response.status_code": "59"},
        {"db.operation.name": "find"},
    ],
    "sqlalchemy": [
        {}, {"db.operation.name": "SELECT"},
        {"error.type": "psycopg.errors.UndefinedTable", "db.response.status_code": "42P01"},
        {}, {"db.operation.name": "SELECT"},
    ],
    "aws": [
        {"messaging.operation.type": "receive", "messaging.batch.message_count": 0},
        {"messaging.operation.type": "send", "messaging.destination.name": "orders"},
        {"messaging.operation.type": "send", "messaging.destination.name": "news"}, {}, {}, {}, {}, {},
    ],
}  # fmt: skip


@pytest.mark.parametrize("scene", OWN_VALUES)
def test_what_the_official_spans_lack_has_the_right_values(recorded: Any, scene: str) -> None:
    """Operation, database, size of a batch, codes of errors; blocking calls first, then asynchronous ones."""
    _root, *calls = recorded[OURS][scene]
    for span, expected in zip(calls, OWN_VALUES[scene], strict=True):
        assert {key: span.attributes.get(key) for key in expected} == expected

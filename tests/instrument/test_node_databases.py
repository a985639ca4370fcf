"""Databases that Node.js functions call, real servers and real clients: a span a call, whatever way it is made."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument import nodes
from tests.instrument.conftest import FUNCTIONS
from tests.instrument.nodes import MODULES, NodeFunction
from tests.instrument.test_node_function import receiver, without_ids, wrapper

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.nodes import Receiver, Span

__all__ = ["receiver", "wrapper"]  # fixtures

MISSING = nodes.unavailable()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "available"),
    pytest.mark.xdist_group("node databases"),  # one of each server
]
CLIENT = 3
INTERPRETERS = {} if MISSING else nodes.interpreters()
TEXT, NAMESPACE, CODE = "db.query.text", "db.namespace", "db.response.status_code"
COMMON = {
    "pg": {"db.system.name": "postgresql", NAMESPACE: "postgres"},
    "mysql2": {"db.system.name": "mysql", NAMESPACE: "shop"},
    "ioredis": {"db.system.name": "redis", NAMESPACE: "1"},
    "redis": {"db.system.name": "redis", NAMESPACE: "2"},
    "mongodb": {"db.system.name": "mongodb", NAMESPACE: "shop"},
}
# Scene -> the spans' names with those of their attributes that differ, in the order of their beginnings.
SPANS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "pg": [
        ("CREATE", {TEXT: "/* first */ CREATE TEMPORARY TABLE orders (number int)"}),
        ("INSERT", {TEXT: "INSERT INTO orders VALUES ($1)"}),
        ("SELECT", {TEXT: "SELECT nothing FROM orders", CODE: "42703", "error.type": "42703"}),
        ("SELECT", {TEXT: "SELECT number FROM orders"}),
        ("SELECT", {TEXT: "SELECT 8 AS number"}),
        ("SELECT", {TEXT: "SELECT $1::int AS n"}),
        ("SELECT", {TEXT: "SELECT $1::int AS n"}),
        ("SELECT", {TEXT: "SELECT 9 AS n"}),
    ],
    "mysql2": [
        ("CREATE", {TEXT: "CREATE TEMPORARY TABLE orders (number int)"}),
        ("INSERT", {TEXT: "INSERT INTO orders VALUES (?)"}),
        ("SELECT", {TEXT: "SELECT nothing FROM orders", CODE: "42S22", "error.type": "ER_BAD_FIELD_ERROR"}),
        ("SELECT", {TEXT: "SELECT ? AS secret"}),
        ("SELECT", {TEXT: "SELECT 1 AS n"}),
        ("SELECT", {TEXT: "SELECT 2 AS n"}),
        ("SELECT", {TEXT: "SELECT ? AS n"}),
        ("SELECT", {TEXT: "SELECT ? AS n"}),
        ("SELECT", {TEXT: "SELECT ? AS n"}),
    ],
    "ioredis": [
        ("SET", {TEXT: "SET ? ?"}),
        ("INCR", {TEXT: "INCR ?", CODE: "ERR", "error.type": "ReplyError"}),
        ("GET", {TEXT: "GET ?"}),
        ("GET INCR", {TEXT: "GET ?\nINCR ?", "db.operation.name": "PIPELINE", "db.operation.batch.size": 2}),
        ("SET GET", {TEXT: "SET ? ?\nGET ?", "db.operation.name": "MULTI", "db.operation.batch.size": 2}),
        ("QUIT", {TEXT: "QUIT"}),
    ],
    "redis": [
        ("SET", {TEXT: "SET ? ?"}),
        ("INCR", {TEXT: "INCR ?", CODE: "ERR"}),
        ("GET", {TEXT: "GET ?"}),
        ("SET GET", {TEXT: "SET ? ?\nGET ?", "db.operation.name": "MULTI", "db.operation.batch.size": 2}),
        ("GET", {TEXT: "GET ?", "db.operation.name": "PIPELINE", "db.operation.batch.size": 1}),
        ("SELECT", {TEXT: "SELECT ?"}),
        ("GET", {TEXT: "GET ?", NAMESPACE: "3"}),
    ],
    "mongodb": [
        ("shop.insert", {TEXT: "insert", "db.collection.name": "orders"}),
        ("shop.refused", {TEXT: "refused", CODE: "59", "error.type": "MongoServerError"}),
        ("shop.find", {TEXT: "find", "db.collection.name": "orders"}),
        ("shop.find", {TEXT: "find", "db.collection.name": "orders"}),
    ],
}
ANSWERS: dict[str, dict[str, Any]] = {
    "pg": {
        "callback": [[{"number": 7}], True], "rows": [8], "pooled": [[1, True], [2, True]], "promised": 9,
        "error": {"message": 'column "nothing" doe', "code": "42703", "own": False},
    },
    "mysql2": {
        "row": "value", "callback": [1, True], "streamed": [2], "pooled": [[3, True], [4, True]], "executed": 5,
        "error": {"message": "Unknown column 'noth", "code": "ER_BAD_FIELD_ERROR", "own": False},
    },
    "ioredis": {
        "callback": ["secret", True], "piped": "secret", "multi": "secret",
        "error": {"message": "ERR value is not an ", "own": False},
    },
    "redis": {
        "raw": "secret", "multi": "secret", "piped": "secret", "absent": None,
        "error": {"message": "ERR value is not an ", "own": False},
    },
    "mongodb": {"error": {"message": "no such command: 're", "code": 59, "own": False}, "found": 7, "all": 1},
}  # fmt: skip


def call(folder: Path, scene: str, event: Any, wrapper: Path | None, port: int, **options: str) -> Any:
    """The answer of the scene."""
    source = (FUNCTIONS / "stores.js").read_text()
    with NodeFunction(folder, {"index.js": source}, wrapper=wrapper, port=port, LOADS=scene, **options) as function:
        return json.loads(function.invoke({"do": scene, **event}))


def compare(scene: str, spans: list[Span], event: dict[str, int]) -> None:
    """All of a scene's spans, attribute by attribute."""
    _root, outer, *calls = spans
    assert [span.name for span in calls[: len(SPANS[scene])]] == [name for name, _ in SPANS[scene]]
    for span, (name, own) in zip(calls, SPANS[scene], strict=False):
        expected = {
            **COMMON[scene], "db.operation.name": name.removeprefix("shop."), "server.address": "127.0.0.1",
            "server.port": next(iter(event.values())), **own,
        }  # fmt: skip
        error_type = span.attributes.get("error.type")
        if CODE in own:
            expected.setdefault("error.type", error_type)
        assert span.attributes == expected
        assert (span.kind, span.parent_id, span.trace_id) == (CLIENT, outer.span_id, outer.trace_id)
        assert span.status[0] == (2 if CODE in own else 0)
        assert len(span.events) == (1 if CODE in own else 0)


@pytest.mark.parametrize("scene", SPANS)
def test_calls_of_databases(tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any, scene: str) -> None:
    """Below the span that was current at the call; results, errors and the context of callbacks stay the caller's."""
    event = stores(scene)
    assert call(tmp_path, scene, event, wrapper, receiver.port) == ANSWERS[scene]
    compare(scene, receiver.spans(len(SPANS[scene]) + 2), event)


@pytest.mark.parametrize(("scene", "package", "copied"), [
    ("ioredis", "ioredis", "ioredis-5"),
    ("redis", "@redis/client", "redis-client-4"),
    ("redis", "@redis/client", "redis-client-5"),
])  # fmt: skip
def test_calls_of_older_clients(
    tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any, scene: str, package: str, copied: str
) -> None:
    """Under the names that they have in functions."""
    event = stores(scene)
    shutil.copytree(MODULES / copied, tmp_path / "task" / "vendor" / "node_modules" / package)
    (tmp_path / "task" / "node_modules").symlink_to(MODULES)
    place = f"{tmp_path}/task/vendor/node_modules/{package}"
    answer = call(tmp_path, scene, event, wrapper, receiver.port, FROM=place)
    assert answer == ANSWERS[scene]
    compare(scene, receiver.spans(len(SPANS[scene]) + 2), event)


MODULE = """
import mysql from 'mysql2/promise';
import pg from 'pg';
export const handler = async ({ postgresql, mysql: port }) => {
  const client = new pg.Client({ host: '127.0.0.1', port: postgresql, user: 'shop', database: 'postgres' });
  await client.connect();
  const { rows } = await client.query('SELECT 1 AS n');
  await client.end();
  const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'root', database: 'shop' });
  const [[row]] = await connection.query('SELECT 2 AS n');
  await connection.end();
  return [rows[0].n, row.n];
};
"""


@pytest.mark.parametrize("version", [version for version in ("18", "20", "24") if version in INTERPRETERS])
def test_a_module_imports_the_same_clients(
    tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any, version: str
) -> None:
    """They are CommonJS, whichever way and under whichever version they are loaded."""
    options = {"wrapper": wrapper, "port": receiver.port, "node": INTERPRETERS[version], "older": version == "18"}
    with NodeFunction(tmp_path, {"index.mjs": MODULE}, **options) as function:
        assert function.invoke({**stores("pg"), **stores("mysql2")}) == b"[1,2]"
        root, *calls = receiver.spans(3)
    assert [(span.attributes["db.system.name"], span.parent_id) for span in calls] == [
        ("postgresql", root.span_id),
        ("mysql", root.span_id),
    ]


WAIT = "await new Promise((done) => setTimeout(done, 2000)); return 'fine'"
UNHANDLED = {
    "pg": "const c = new (require('pg').Client)({ port: 1 }); c.on('error', () => {}); c.connect().catch(() => {});"
    " c.query('SELECT 1')",
    "ioredis": "const c = new (require('ioredis'))(1, { maxRetriesPerRequest: 0 }); c.on('error', () => {});"
    " c.get('a')",
    "redis": "const c = require('@redis/client').createClient(); c.on('error', () => {}); c.get('a')",
}


@pytest.mark.parametrize("client", UNHANDLED)
def test_an_error_that_nobody_handles_stays_so(tmp_path: Path, wrapper: Path, receiver: Receiver, client: str) -> None:
    """The runtime fails the invocation for it, with the same report, whether or not there is a span for the call."""
    package = "@redis/client" if client == "redis" else client
    files = {"index.js": f"require('{package}'); exports.handler = async () => {{ {UNHANDLED[client]}; {WAIT} }}"}
    reports = []
    for starter in (None, wrapper):
        with NodeFunction(tmp_path, files, wrapper=starter, older=True, port=receiver.port) as function:
            reports.append(without_ids(function.invoke()))
    assert "Runtime.UnhandledPromiseRejection" in reports[0]
    assert reports[1] == reports[0]
    assert "/o2/node/" not in str(function.lines())
    assert receiver.spans(2)[1].status[0] == 2


def test_disabled_databases_stay_out(tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any) -> None:
    """By the names that OpenTelemetry's own instrumentations have."""
    options = {"OTEL_NODE_DISABLED_INSTRUMENTATIONS": "ioredis,redis"}
    assert call(tmp_path, "ioredis", stores("ioredis"), wrapper, receiver.port, **options) == ANSWERS["ioredis"]
    assert [span.name for span in receiver.spans(2)] == ["shop", "scene"]

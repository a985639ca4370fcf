"""Functions that esbuild has bundled: what is traced in them, what is not, and that both work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument import nodes, servers
from tests.instrument.nodes import NodeFunction
from tests.instrument.test_node_api import bundle
from tests.instrument.test_node_function import receiver, wrapper

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.conftest import Target
    from tests.instrument.nodes import Receiver

__all__ = ["receiver", "wrapper"]  # fixtures

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
TEXT, CODE, BATCH = "db.query.text", "db.response.status_code", "db.operation.batch.size"

CALLING = """
const { LambdaClient, InvokeCommand } = require('@aws-sdk/client-lambda');
const http = require('http');
const undici = require('undici');
const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
exports.handler = async ({ url }) => {
  await new Promise((resolve, reject) => {
    http.get(`${url}/http`, (answer) => { answer.resume(); answer.on('end', resolve); }).on('error', reject);
  });
  await (await fetch(`${url}/fetch`)).text();
  await (await undici.request(`${url}/undici`)).body.dump();
  const client = new LambdaClient({ endpoint: url, region: 'us-east-1', credentials });
  await client.send(new InvokeCommand({ FunctionName: 'other', Payload: '{}' }));
  return 'done';
};
"""
STORING = """
const { Client } = require('pg');
exports.handler = async ({ port }) => {
  const client = new Client({ host: '127.0.0.1', port, user: 'shop', database: 'postgres' });
  await client.connect();
  const { rows } = await client.query('SELECT 1 AS n');
  await client.end();
  return rows[0].n;
};
"""
# Libraries that publish their calls: function, and its spans with what tells them apart.
PUBLISHING: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "mysql2": (
        """
const mysql = require('mysql2');
exports.handler = async ({ mysql: port }) => {
  const plain = mysql.createConnection({ host: '127.0.0.1', port, user: 'root', database: 'shop' });
  const connection = plain.promise();
  const [[row]] = await connection.query('SELECT ? AS n', ['secret']);
  await connection.execute('SELECT ? AS n', ['secret']);
  await connection.query('SELECT nothing FROM orders').catch(() => 'refused');
  await new Promise((resolve) => plain.query('SELECT 1 AS n', resolve));
  await new Promise((resolve) => plain.query('SELECT 2 AS n').on('end', resolve));
  await connection.end();
  return row.n;
};
""",
        [
            ("SELECT", {TEXT: None, "db.namespace": "shop", "db.system.name": "mysql"}),
            ("SELECT", {TEXT: "SELECT ? AS n"}),
            ("SELECT", {TEXT: "SELECT nothing FROM orders", "error.type": "ER_NO_SUCH_TABLE", CODE: "42S02"}),
            ("SELECT", {TEXT: "SELECT 1 AS n"}),
            ("SELECT", {TEXT: "SELECT 2 AS n"}),
        ],
    ),
    "ioredis": (
        """
const { Redis } = require('ioredis');
exports.handler = async ({ redis: port }) => {
  const client = new Redis({ host: '127.0.0.1', port, db: 1 });
  await client.set('key', 'secret');
  await client.incr('key').catch(() => 'refused');
  const found = await client.get('key');
  await client.quit();
  return found;
};
""",
        [
            ("SET", {TEXT: "SET ? ?", "db.namespace": "1", "db.system.name": "redis"}),
            ("INCR", {TEXT: "INCR ?", CODE: "ERR", "error.type": "ReplyError"}),
            ("GET", {TEXT: "GET ?"}),
            ("QUIT", {}),
        ],
    ),
    "redis": (
        """
const { createClient } = require('@redis/client');
exports.handler = async ({ redis: port }) => {
  const client = createClient({ socket: { host: '127.0.0.1', port }, database: 2 });
  await client.connect();
  await client.set('key', 'secret');
  await client.incr('key').catch(() => 'refused');
  await client.multi().get('key').get('key').exec();
  await client.multi().get('key').execAsPipeline();
  const found = await client.get('key');
  await client.quit();
  return found;
};
""",
        [
            ("SET", {TEXT: "SET ? ?", "db.namespace": "2", "db.system.name": "redis"}),
            ("INCR", {TEXT: "INCR ?", CODE: "ERR"}),
            ("MULTI", {TEXT: None, BATCH: 2}),
            ("PIPELINE", {TEXT: None, BATCH: 1}),
            ("GET", {TEXT: "GET ?"}),
        ],
    ),
}
VERSIONS = [] if MISSING else [version for version in ("18", "20", "24") if version in nodes.interpreters()]
PATHS = ("/http", "/fetch", "/undici", "/2015-03-31/functions/other/invocations")


@pytest.mark.parametrize("options", [[], ["--minify"]], ids=["plain", "minified"])
def test_whatever_sends_http_is_traced(
    tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target, options: list[str]
) -> None:
    """By Node.js's own modules and by undici's events, which bundles share; requests of AWS SDKs show as calls."""
    source = bundle(tmp_path, CALLING, *options)
    with NodeFunction(tmp_path, {"index.js": source}, wrapper=wrapper, port=receiver.port) as function:
        assert function.invoke({"url": target.url}) == b'"done"'
        root, *calls = receiver.spans(5)
    assert [span.attributes["url.full"] for span in calls] == [target.url + path for path in PATHS]
    assert [span.name for span in calls] == ["GET", "GET", "GET", "Lambda.Invoke"]
    for span, (_path, headers, _body) in zip(calls, target.requests, strict=True):
        assert headers["traceparent"] == f"00-{root.trace_id}-{span.span_id}-01"


@pytest.mark.parametrize(("options", "names"), [([], ["shop"]), (["--external:pg"], ["shop", "SELECT"])])
def test_a_library_is_traced_where_it_stays_outside(
    tmp_path: Path, wrapper: Path, receiver: Receiver, options: list[str], names: list[str]
) -> None:
    """Inside of the bundle it has no name by which it could be found, and works as it is."""
    source = bundle(tmp_path, STORING, "--external:pg-native", *options)
    with (
        servers.postgresql_server() as port,
        NodeFunction(tmp_path, {"index.js": source}, wrapper=wrapper, port=receiver.port) as function,
    ):
        assert json.loads(function.invoke({"port": port})) == 1
        assert [span.name for span in receiver.spans(len(names))] == names


@pytest.mark.xdist_group("node databases")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("library", PUBLISHING)
def test_libraries_that_publish_their_calls_are_traced_in_a_bundle(
    tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any, library: str, version: str
) -> None:
    """A span each, with no value of the caller's, not even where the library has put it into the text."""
    source, expected = PUBLISHING[library]
    event = stores(library)
    options = {"node": nodes.interpreters()[version], "older": version == "18"}
    files = {"index.js": bundle(tmp_path, source, "--minify")}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **options) as function:
        assert function.invoke(event) == b'"secret"'
        root, *calls = receiver.spans(len(expected) + 1)
    assert [span.name for span in calls] == [name for name, _ in expected]
    for span, (name, own) in zip(calls, expected, strict=True):
        assert {key: span.attributes.get(key) for key in own} == own
        assert span.attributes["db.operation.name"] == name
        assert (span.attributes["server.address"], span.attributes["server.port"]) == (
            "127.0.0.1",
            next(iter(event.values())),
        )
        assert (span.parent_id, span.status[0]) == (root.span_id, 2 if CODE in own else 0)
        assert "secret" not in str(span.attributes)


@pytest.mark.xdist_group("node databases")
def test_what_a_function_leaves_out_is_not_listened_to(
    tmp_path: Path, wrapper: Path, receiver: Receiver, stores: Any
) -> None:
    """By the names that patched libraries have."""
    files = {"index.js": bundle(tmp_path, PUBLISHING["ioredis"][0])}
    options = {"OTEL_NODE_DISABLED_INSTRUMENTATIONS": "ioredis"}
    with NodeFunction(tmp_path, files, wrapper=wrapper, port=receiver.port, **options) as function:
        assert function.invoke(stores("ioredis")) == b'"secret"'
        assert [span.name for span in receiver.spans(1)] == ["shop"]

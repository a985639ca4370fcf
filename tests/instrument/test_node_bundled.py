"""Functions that esbuild has bundled: what is traced in them, what is not, and that both work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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
PATHS = ("/http", "/fetch", "/undici", "/2015-03-31/functions/other/invocations")


@pytest.mark.parametrize("options", [[], ["--minify"]], ids=["plain", "minified"])
def test_whatever_sends_http_is_traced(
    tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target, options: list[str]
) -> None:
    """By Node.js's own modules and by undici's events, which bundles share; an AWS SDK in the bundle shows as HTTP."""
    source = bundle(tmp_path, CALLING, *options)
    with NodeFunction(tmp_path, {"index.js": source}, wrapper=wrapper, port=receiver.port) as function:
        assert function.invoke({"url": target.url}) == b'"done"'
        root, *calls = receiver.spans(5)
    assert [span.attributes["url.full"] for span in calls] == [target.url + path for path in PATHS]
    assert [span.name for span in calls] == ["GET", "GET", "GET", "POST"]
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

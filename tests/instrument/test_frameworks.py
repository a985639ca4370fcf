"""What Python functions bring along: frameworks that make spans, other processes, green threads, aiobotocore."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument.conftest import CLIENTS

if TYPE_CHECKING:
    from tests.instrument.conftest import Target

TRACE, PARENT = "a" * 32, "b" * 16
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

FRAMEWORK = """
import urllib.request
from opentelemetry import context, propagate, trace

tracer = trace.get_tracer("framework")

def handler(event, _context):
    found = propagate.extract(event.get("headers", {}))
    token = context.attach(found)
    with tracer.start_as_current_span("request", context=found, kind=trace.SpanKind.SERVER):
        urllib.request.urlopen(event["url"]).close()
    context.detach(token)
    tracer.start_span("job", context=context.Context()).end()
"""


def test_a_frameworks_span_of_the_request_lies_below_the_invocations(start: Any, spans: Any, target: Target) -> None:
    """As FastAPI makes it, out of the request's headers alone; any other span without a parent is a root, as asked."""
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with start("framework.handler", source=FRAMEWORK) as function:
        function.invoke({"url": target.url})
        function.invoke({"url": target.url, "headers": sent})
        function.invoke(
            {"url": target.url, "headers": sent, "requestContext": {"http": {"method": "GET", "path": "/"}}}
        )
    for root, request, call, job in zip(*[iter(spans())] * 4, strict=True):
        assert [span["operation_name"] for span in (request, call, job)] == ["request", "GET", "job"]
        assert (request["reference_parent_span_id"], request["trace_id"]) == (root["span_id"], root["trace_id"])
        assert call["reference_parent_span_id"] == request["span_id"]
        assert job["trace_id"] != root["trace_id"]


FORKING = """
import multiprocessing
import urllib.request

def work(url, answer):
    for _ in range(2):
        urllib.request.urlopen(url).close()
    answer.send("done")

def handler(event, _context):
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    process = forking.Process(target=work, args=(event["url"], theirs))
    process.start()
    answer = ours.recv()
    process.join()
    return answer
"""


def test_calls_of_forked_processes_belong_to_the_invocation(start: Any, spans: Any, target: Target) -> None:
    """A child ends without an end of an invocation, so its spans leave when they end."""
    with start("forking.handler", source=FORKING) as function:
        assert [function.invoke({"url": target.url}) for _ in range(2)] == [b'"done"'] * 2
        function.running.shutdown()
    rows = spans()
    roots = [row for row in rows if row["operation_name"] == "shop"]
    calls = [row["reference_parent_span_id"] for row in rows if row["operation_name"] == "GET"]
    assert calls == [root["span_id"] for root in roots for _ in range(2)]
    assert len(rows) == 6


FORWARDING = """
import email.message
import http.client

def handler(event, _context):
    given = email.message.Message()
    for name, value in (("X-Part", "1"), ("X-Part", "2"), ("X-Own", "kept")):
        given[name] = value
    connection = http.client.HTTPConnection(event["url"].partition("//")[2])
    connection.request("GET", "/", headers=given)
    return connection.getresponse().status, given.items()
"""


def test_a_header_may_be_sent_several_times(start: Any, spans: Any, target: Target) -> None:
    """As when a function passes the headers of a message on; the message stays as it was."""
    with start("forwarding.handler", source=FORWARDING) as function:
        answer = json.loads(function.invoke({"url": target.url}))
    assert answer == [200, [["X-Part", "1"], ["X-Part", "2"], ["X-Own", "kept"]]]
    ((_path, headers, _body),) = target.requests
    assert (headers["x-part"], headers["x-own"]) == ("2", "kept")  # of several, the server keeps the last
    assert headers["traceparent"].split("-")[2] == spans()[1]["span_id"]


GREEN = """
import select
del select.poll  # as eventlet does
import urllib.request

def handler(event, _context):
    urllib.request.urlopen(event["url"]).close()
"""


def test_green_threads_cost_no_spans(start: Any, spans: Any, target: Target) -> None:
    """Libraries such as eventlet take away or replace what waits."""
    with start("green.handler", source=GREEN) as function:
        for _ in range(2):
            function.invoke({"url": target.url})
        assert [line for line in function.lines() if "o2-lambda" in line] == []
    assert [row["operation_name"] for row in spans()] == ["shop", "GET"] * 2


ASYNCHRONOUS = """
import asyncio
import botocore.session
import pathlib

package = pathlib.Path(__file__).with_name("aiobotocore")  # what matters of it here
package.mkdir(exist_ok=True)
package.joinpath("client.py").write_text('''
import json, urllib.request
from botocore.client import BaseClient

class AioBaseClient(BaseClient):
    async def _make_api_call(self, operation_name, api_params):
        if "MessageBody" not in api_params:
            raise ValueError("no message")
        urllib.request.urlopen(self.meta.endpoint_url, json.dumps(api_params).encode()).close()
        return {"MessageId": "m"}
''')
import aiobotocore.client

async def call(url):
    client = botocore.session.get_session().create_client("sqs", "us-east-1", endpoint_url=url)
    client.__class__ = type("SQS", (aiobotocore.client.AioBaseClient,), {})
    await client._make_api_call("SendMessage", {"QueueUrl": f"{url}/1/orders", "MessageBody": "m"})
    try:
        await client._make_api_call("SendMessage", {"QueueUrl": f"{url}/1/orders"})
    except Exception as error:
        frames = []
        traceback = error.__traceback__
        while traceback:
            frames.append(traceback.tb_frame.f_code.co_filename)
            traceback = traceback.tb_next
        return any("o2_tracing" in frame for frame in frames)

def handler(event, _context):
    return asyncio.run(call(event["url"]))
"""


def test_aiobotocore_calls_are_those_of_aws(start: Any, spans: Any, target: Target) -> None:
    """A client of its own, whose calls are awaited: a span a call, the context in the message, errors as they were."""
    with start("asynchronous.handler", source=ASYNCHRONOUS, **KEYS) as function:
        assert function.invoke({"url": target.url}) == b"false"
    root, sent, refused = spans()
    assert [row["operation_name"] for row in (sent, refused)] == ["SQS.SendMessage"] * 2
    assert (sent["reference_parent_span_id"], refused["span_status"]) == (root["span_id"], "ERROR")
    ((_path, _headers, body),) = target.requests
    carried = json.loads(body)["MessageAttributes"]["traceparent"]["StringValue"]
    assert carried == f"00-{root['trace_id']}-{sent['span_id']}-01"


BYTES = """
import redis

def handler(event, _context):
    with redis.Redis(host="127.0.0.1", port=event["redis"]) as client:
        client.execute_command(b"GET", b"key")
        with client.pipeline() as pipeline:
            pipeline.execute_command(b"GET", "key").execute()
"""


def test_redis_commands_may_be_bytes(start: Any, spans: Any, stores: Any) -> None:
    """Their names are text all the same."""
    if not CLIENTS.exists():
        pytest.skip("no clients here: run `make clients`")
    with start("commands.handler", source=BYTES, PYTHONPATH=str(CLIENTS)) as function:
        assert function.invoke(stores("redis")) == b"null"
    _root, *calls = spans()
    assert [(row["operation_name"], row["db_query_text"]) for row in calls] == [("GET", "GET ?")] * 2

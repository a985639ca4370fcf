"""Calls that Node.js functions make: a span below the invocation's each, its context with what is sent."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from tests.instrument import nodes
from tests.instrument.nodes import NodeFunction
from tests.instrument.test_node_function import receiver, without_ids, wrapper
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.conftest import Target
    from tests.instrument.nodes import Receiver, Span

__all__ = ["receiver", "wrapper"]  # fixtures

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
CLIENT, PRODUCER = 3, 4
CLOSED_PORT = free_port()
VERSION_2 = {"SDK": "aws-sdk", "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1"}

CALLS = """
const http = require('http');
const { setTimeout: sleep } = require('timers/promises');
const ask = (url, options = {}) => new Promise((resolve, reject) => {
  http.get(url, options, (answer) => { answer.resume(); answer.on('end', () => resolve(answer.statusCode)); })
    .on('error', reject);
});
const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
const aws = (name, command, url, input) => {
  const sdk = require(`@aws-sdk/client-${name}`);
  const client = new sdk[Object.keys(sdk).find((key) => /^(SQS|SNS|SFN|Lambda|EventBridge)Client$/.test(key))]({
    endpoint: url, region: 'us-east-1', maxAttempts: 1, credentials,
  });
  return (done) => client.send(new sdk[command](input), done);
};
const aws2 = (name, operation, url, input) => {
  const client = new (require('aws-sdk')[name])({
    endpoint: url, region: 'us-east-1', maxRetries: 0, credentials,
  });
  return (done) => (done ? client[operation](input, done) : client[operation](input).promise());
};
require(process.env.SDK || '@aws-sdk/client-sqs');
const own = { DataType: 'String', StringValue: 'kept' };
const EVENTS = { Entries: [{ Source: 's', DetailType: 'd', Detail: '{}' }] };
const THREE = (url) => {
  const message = { QueueUrl: `${url}/1/orders`, MessageBody: 'm', MessageAttributes: { own } };
  const invocation = { FunctionName: 'other', Payload: '{}' };
  if (!process.env.SDK) {
    return [message, aws('sqs', 'SendMessageCommand', url, message),
      aws('eventbridge', 'PutEventsCommand', url, EVENTS), aws('lambda', 'InvokeCommand', url, invocation)];
  }
  return [message, aws2('SQS', 'sendMessage', url, message), aws2('EventBridge', 'putEvents', url, EVENTS),
    aws2('Lambda', 'invoke', url, invocation)];
};
const ACTIONS = {
  http: ({ url }) => ask(`${url}/path?sig=secret`, { headers: { 'X-Own': 'kept' } }),
  array: ({ url }) => ask(`${url}/path?sig=secret`, { headers: ['Host', new URL(url).host, 'X-Own', 'kept'] }),
  post: ({ url }) => new Promise((resolve, reject) => {
    const request = http.request(`${url}/path?sig=secret`, { method: 'POST', headers: { 'X-Own': 'kept' } }, resolve);
    request.on('error', reject); request.write('a'); setTimeout(() => request.end('b'), 5);
  }).then((answer) => { answer.resume(); return answer.statusCode; }),
  fetch: async ({ url }) => (await fetch(`${url}/path?sig=secret`, { headers: { 'X-Own': 'kept' } })).status,
  undici: async ({ url }) => {
    const answer = await require('undici').request(`${url}/path?sig=secret`, { headers: { 'X-Own': 'kept' } });
    await answer.body.dump(); return answer.statusCode;
  },
  later: async ({ url }) => {
    await sleep(5);
    await new Promise((resolve) => setImmediate(resolve));
    return ask(`${url}/path?sig=secret`, { headers: { 'X-Own': 'kept' } });
  },
  unread: ({ url }) => new Promise((resolve) => { http.get(url).on('close', () => resolve('closed')); }),
  missing: ({ url }) => ask(`${url}/missing`),
  refused: ({ closed }) => ask(`http://127.0.0.1:${closed}/`),
  refused_fetch: ({ closed }) => fetch(`http://127.0.0.1:${closed}/`),
  aws: async ({ url }) => {
    const [message, sqs, events, lambda] = THREE(url);
    await sqs().catch(() => 'no answer of SQS');
    await events();
    await lambda();
    return Object.keys(message.MessageAttributes);
  },
  aws_together: async ({ url }) => {
    const { executionAsyncId } = require('async_hooks');
    const urls = [url, url.replace('127.0.0.1', 'localhost')];
    const calls = urls.map((at) => aws('eventbridge', 'PutEventsCommand', at, EVENTS));
    await Promise.all(calls.map((call) => call()));
    await null;
    return executionAsyncId();
  },
  aws_callbacks: ({ url }) => new Promise((resolve, reject) => {
    const [message, sqs, events, lambda] = THREE(url);
    const last = (error) => (error ? reject(error) : resolve(Object.keys(message.MessageAttributes)));
    sqs(() => events((error) => (error ? reject(error) : lambda(last))));
  }),
  aws_news: async ({ url }) => {
    const topic = { TopicArn: 'arn:aws:sns:us-east-1:123456789012:news', Message: 'm', MessageAttributes: { own } };
    const machine = { stateMachineArn: 'arn:aws:states:us-east-1:123456789012:stateMachine:bill', input: '{}' };
    const [sns, sfn] = process.env.SDK
      ? [aws2('SNS', 'publish', url, topic), aws2('StepFunctions', 'startExecution', url, machine)]
      : [aws('sns', 'PublishCommand', url, topic), aws('sfn', 'StartExecutionCommand', url, machine)];
    await sns();
    await sfn();
    return [Object.keys(topic.MessageAttributes), Object.keys(machine)];
  },
  aws_wrapped: async ({ url }) => {
    const { EventBridgeClient, PutEventsCommand } = require('@aws-sdk/client-eventbridge');
    const client = new EventBridgeClient({ endpoint: url, region: 'us-east-1', credentials, cacheMiddleware: true });
    class PutCommand { // as those of lib-dynamodb are made
      constructor(input) {
        this.input = input;
        this.clientCommand = new PutEventsCommand(input);
        this.middlewareStack = this.clientCommand.middlewareStack;
      }
      resolveMiddleware(stack, ...rest) {
        const handler = this.clientCommand.resolveMiddleware(stack.concat(this.middlewareStack), ...rest);
        return async () => handler(this.clientCommand);
      }
    }
    await client.send(new PutCommand(EVENTS));
    await client.send(new PutEventsCommand(EVENTS));
    await client.send(new PutEventsCommand(EVENTS));
  },
  aws_thrown: async () => {
    const { SQSClient, SendMessageCommand } = require('@aws-sdk/client-sqs');
    const client = new SQSClient({ region: 'us-east-1', credentials });
    const command = new SendMessageCommand({});
    command.resolveMiddleware = () => { throw new RangeError('at once'); };
    const caught = [];
    for (const sent of [undefined, command]) try { client.send(sent); } catch ({ message }) { caught.push(message); }
    return caught;
  },
  aws_stream: ({ url }) => new Promise((resolve, reject) => {
    const client = new (require('aws-sdk').S3)({
      endpoint: url, region: 'us-east-1', s3ForcePathStyle: true, credentials,
    });
    let text = '';
    client.getObject({ Bucket: 'pictures', Key: 'a.jpg' }).createReadStream()
      .on('data', (part) => { text += part; }).on('error', reject).on('end', () => resolve(text));
  }),
  aws2_error: ({ url: at }) => {
    const url = `${at}/missing`;
    return aws2('SQS', 'sendMessage', url, { QueueUrl: url, MessageBody: 'm' })();
  },
  aws_error: ({ url }) => aws('sqs', 'SendMessageCommand', `${url}/missing`, { QueueUrl: url, MessageBody: 'm' })(),
};
exports.handler = (event) => ACTIONS[event.do](event);
"""


@pytest.fixture
def run(tmp_path: Path, wrapper: Path, receiver: Receiver, target: Target) -> Any:
    """Runs one action, traced; returns the answer and the spans, of which there are so many."""

    def run(action: str, count: int, **options: Any) -> tuple[bytes, list[Span]]:
        with NodeFunction(tmp_path, {"index.js": CALLS}, wrapper=wrapper, port=receiver.port, **options) as function:
            event = {"do": action, "url": target.url, "closed": CLOSED_PORT}
            return function.invoke(event), receiver.spans(count)

    return run


@pytest.mark.parametrize("action", ["http", "array", "post", "fetch", "undici", "later"])
def test_outgoing_calls_are_children_and_carry_the_context(run: Any, target: Target, action: str) -> None:
    """One span a request, below the invocation's, known to the server that was called."""
    answer, (root, call) = run(action, 2)
    assert answer == b"200"
    ((path, headers, _body),) = target.requests
    assert headers["traceparent"] == f"00-{root.trace_id}-{call.span_id}-01"
    assert (path, headers["x-own"]) == ("/path?sig=secret", "kept")
    method = "POST" if action == "post" else "GET"
    assert (call.parent_id, call.kind, call.name) == (root.span_id, CLIENT, method)
    assert call.attributes == {
        "http.request.method": method, "url.full": f"{target.url}/path?sig=REDACTED", "server.address": "127.0.0.1",
        "server.port": int(target.url.rpartition(":")[2]), "http.response.status_code": 200,
    }  # fmt: skip
    assert call.status == (0, "")


def test_an_answer_that_nobody_reads_is_thrown_away(run: Any) -> None:
    """As Node.js does it for a request without a listener for its answer."""
    answer, (_root, call) = run("unread", 2)
    assert (answer, call.attributes["http.response.status_code"]) == (b'"closed"', 200)


def test_an_http_error_is_an_error(run: Any) -> None:
    """The call has failed, the invocation has not."""
    answer, (root, call) = run("missing", 2)
    assert (answer, root.status, call.status, call.attributes["error.type"]) == (b"404", (0, ""), (2, ""), "404")


@pytest.mark.parametrize("action", ["refused", "refused_fetch", "aws_error", "aws2_error"])
def test_a_failing_call_is_reported_and_looks_the_same(run: Any, tmp_path: Path, target: Target, action: str) -> None:
    """The error passes through the patches without a trace of them."""
    options = VERSION_2 if action == "aws2_error" else {}
    with NodeFunction(tmp_path, {"index.js": CALLS}, wrapper=None, **options) as function:
        plain = without_ids(function.invoke({"do": action, "url": target.url, "closed": CLOSED_PORT}))
    answer, (root, call) = run(action, 2, **options)
    assert without_ids(answer) == plain
    assert (root.status[0], call.status[0], call.parent_id) == (2, 2, root.span_id)


@pytest.mark.parametrize("action", ["aws", "aws_callbacks"])
@pytest.mark.parametrize("options", [{}, VERSION_2], ids=["version 3", "version 2"])
def test_aws_calls_hand_the_context_on(run: Any, target: Target, options: dict[str, str], action: str) -> None:
    """SQS in a message attribute, EventBridge in its trace header, Lambda in the client context; one span each."""
    answer, (root, sqs, events, invoke) = run(action, 4, **options)
    assert answer == b'["own"]'  # the caller's own parameters are not touched
    assert [span.name for span in (sqs, events, invoke)] == [
        "SQS.SendMessage",
        "EventBridge.PutEvents",
        "Lambda.Invoke",
    ]
    assert {span.parent_id for span in (sqs, events, invoke)} == {root.span_id}
    assert (sqs.kind, events.kind) == (PRODUCER, CLIENT)
    expected = {"messaging.system": "aws_sqs", "messaging.destination.name": "orders", "cloud.region": "us-east-1"}
    assert {name: sqs.attributes[name] for name in expected} == expected
    for span in (sqs, events, invoke):  # as the official instrumentation of Python has it
        assert f"http://{span.attributes['server.address']}:{span.attributes['server.port']}" == target.url
    parents = [f"00-{root.trace_id}-{span.span_id}-01" for span in (sqs, events, invoke)]
    (_, _, sent), (_, _, put), (_, headers, _) = target.requests
    attributes = json.loads(sent)["MessageAttributes"]
    assert (attributes["traceparent"]["StringValue"], attributes["own"]["StringValue"]) == (parents[0], "kept")
    trace_id = root.trace_id
    trace = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={events.span_id};Sampled=1"
    assert json.loads(put)["Entries"][0]["TraceHeader"] == trace
    context = json.loads(base64.b64decode(headers["x-amz-client-context"]))
    assert context["custom"]["traceparent"] == parents[2]


def test_requests_of_aws_calls_are_known_without_following_the_flow(run: Any, target: Target) -> None:
    """Calls at the same time: one span each, with its own server; promises are nobody's, so `await` is fast."""
    answer, (root, *calls) = run("aws_together", 3)
    assert answer == b"0"
    assert {call.parent_id for call in calls} == {root.span_id}
    assert {call.name for call in calls} == {"EventBridge.PutEvents"}
    assert sorted(call.attributes["server.address"] for call in calls) == ["127.0.0.1", "localhost"]


def test_a_command_around_another_is_the_call_that_it_makes(run: Any, target: Target) -> None:
    """As with the document client of DynamoDB. A client that keeps its middleware has one span a call, too."""
    answer, (root, *calls) = run("aws_wrapped", 4)
    assert answer == b"null"
    assert [(call.name, call.parent_id) for call in calls] == [("EventBridge.PutEvents", root.span_id)] * 3
    assert {call.attributes["server.port"] for call in calls} == {int(target.url.rpartition(":")[2])}
    sent = [json.loads(body)["Entries"][0]["TraceHeader"] for _path, _headers, body in target.requests]
    assert [call.span_id in trace for call, trace in zip(calls, sent, strict=True)] == [True] * 3


def test_an_aws_call_that_throws_at_once_has_a_span(run: Any) -> None:
    """And throws what it throws without one; what is no command has none."""
    answer, (_root, call) = run("aws_thrown", 2)
    assert json.loads(answer) == ["Cannot read properties of undefined (reading 'resolveMiddleware')", "at once"]
    assert (call.name, call.status) == ("SQS.SendMessage", (2, "at once"))


@pytest.mark.parametrize("options", [{}, VERSION_2], ids=["version 3", "version 2"])
def test_topics_and_state_machines_get_the_context_too(run: Any, target: Target, options: dict[str, str]) -> None:
    """SNS in a message attribute beside the caller's own, Step Functions in its trace header."""
    answer, (root, sns, sfn) = run("aws_news", 3, **options)
    assert answer == b'[["own"],["stateMachineArn","input"]]'  # the caller's own parameters are not touched
    assert [(span.name, span.kind, span.parent_id) for span in (sns, sfn)] == [
        ("SNS.Publish", PRODUCER, root.span_id),
        ("SFN.StartExecution", CLIENT, root.span_id),
    ]
    expected = {"messaging.system": "aws.sns", "messaging.destination.name": "news", "messaging.message.id": "m-1"}
    assert {name: sns.attributes.get(name) for name in expected} == expected
    (_, _, published), (_, _, started) = target.requests
    form = {name: value for name, (value,) in parse_qs(published.decode()).items()}
    sent = {
        form[f"MessageAttributes.entry.{number}.Name"]: form[f"MessageAttributes.entry.{number}.Value.StringValue"]
        for number in (1, 2)
    }
    assert sent == {"own": "kept", "traceparent": f"00-{root.trace_id}-{sns.span_id}-01"}
    trace_id = root.trace_id
    trace = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={sfn.span_id};Sampled=1"
    assert json.loads(started)["traceHeader"] == trace


def test_version_2_of_the_aws_sdk_streams(run: Any, target: Target) -> None:
    """A span until the answer is complete, with what the call was about."""
    answer, (_root, call) = run("aws_stream", 2, **VERSION_2)
    assert (answer, call.name, call.status) == (b'"{}"', "S3.GetObject", (0, ""))
    expected = {"aws.s3.bucket": "pictures", "aws.s3.key": "a.jpg", "rpc.system": "aws-api", "rpc.service": "S3",
                "rpc.method": "GetObject", "http.response.status_code": 200, "cloud.region": "us-east-1",
                "server.address": "127.0.0.1", "server.port": int(target.url.rpartition(":")[2])}  # fmt: skip
    assert call.attributes == expected


def test_disabled_instrumentations_stay_out(run: Any, target: Target) -> None:
    """By the names that OpenTelemetry's own instrumentations have."""
    _, spans = run("http", 1, OTEL_NODE_DISABLED_INSTRUMENTATIONS="http, undici")
    assert len(spans) == 1
    assert "traceparent" not in target.requests[0][1]

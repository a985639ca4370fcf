"""AWS SDKs that esbuild has bundled: their requests have the spans that the SDK has where it stays outside."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrument import nodes
from tests.instrument.nodes import NodeFunction
from tests.instrument.test_node_api import bundle
from tests.instrument.test_node_function import wrapper
from tests.integration.wire import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instrument.conftest import Target

__all__ = ["wrapper"]  # a fixture

MISSING = nodes.unavailable()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
VERSION_3 = """
const { SQSClient, SendMessageCommand, SendMessageBatchCommand } = require('@aws-sdk/client-sqs');
const { SNSClient, PublishCommand } = require('@aws-sdk/client-sns');
const { SFNClient, StartExecutionCommand } = require('@aws-sdk/client-sfn');
const { EventBridgeClient, PutEventsCommand } = require('@aws-sdk/client-eventbridge');
const { LambdaClient, InvokeCommand } = require('@aws-sdk/client-lambda');
exports.handler = async ({ url }) => {
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
  const options = { endpoint: url, region: 'eu-west-1', credentials };
  const QueueUrl = `${url}/1/orders`;
  const TopicArn = 'arn:aws:sns:eu-west-1:123456789012:news';
  const sqs = new SQSClient({ ...options, md5: false });
  const entry = { Id: '1', MessageBody: 'm' };
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: '{"QueueUrl":"no"}' }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries: [entry] }));
  await new SNSClient(options).send(new PublishCommand({ Message: 'Action=No&TopicArn=no', TopicArn }));
  await new SFNClient(options).send(new StartExecutionCommand({ stateMachineArn: 'arn', input: '{}' }));
  await new EventBridgeClient(options).send(new PutEventsCommand({ Entries: [{ Source: 's' }] }));
  await new LambdaClient(options).send(new InvokeCommand({ FunctionName: 'other:live', Payload: '{}' }));
  return 'done';
};
"""
VERSION_2 = """
const http = require('http');
const AWS = { SQS: require('aws-sdk/clients/sqs'), SNS: require('aws-sdk/clients/sns'),
  StepFunctions: require('aws-sdk/clients/stepfunctions'), DynamoDB: require('aws-sdk/clients/dynamodb'),
  Lambda: require('aws-sdk/clients/lambda'), S3: require('aws-sdk/clients/s3') };
const here = (_name, { all }, found) => {
  if (all) found(null, [{ address: '127.0.0.1', family: 4 }]);
  else found(null, '127.0.0.1', 4);
};
exports.handler = async ({ url }) => {
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
  const options = { endpoint: url, region: 'eu-west-1', credentials, maxRetries: 0, computeChecksums: false };
  const TopicArn = 'arn:aws:sns:eu-west-1:123456789012:news';
  const call = (name, operation, input) => new AWS[name](options)[operation](input).promise();
  await call('SQS', 'sendMessage', { QueueUrl: `${url}/1/orders`, MessageBody: 'm' });
  await call('SNS', 'publish', { TopicArn, Message: 'm' });
  await call('StepFunctions', 'startExecution', { stateMachineArn: 'arn', input: '{}' });
  await call('DynamoDB', 'putItem', { TableName: 'orders', Item: { TableName: { S: 'no' } } });
  await call('Lambda', 'invoke', { FunctionName: 'other', Payload: '{}' });
  options.endpoint = `http://s3.eu-west-1.amazonaws.com:${new URL(url).port}`;
  options.httpOptions = { agent: new http.Agent({ lookup: here }) };
  for (const s3ForcePathStyle of [true, false]) {
    options.s3ForcePathStyle = s3ForcePathStyle;
    await call('S3', 'getObject', { Bucket: 'pictures', Key: 'a/b c.jpg' });
  }
  return 'done';
};
"""
CALLS = {
    "3": (VERSION_3, ["SQS.SendMessage", "SQS.SendMessageBatch", "SNS.Publish", "SFN.StartExecution",
                      "EventBridge.PutEvents", "Lambda.Invoke"]),
    "2": (VERSION_2, ["SQS.SendMessage", "SNS.Publish", "SFN.StartExecution", "DynamoDB.PutItem", "Lambda.Invoke",
                      "S3.GetObject", "S3.GetObject"]),
}  # fmt: skip
ODD = """
const http = require('http');
const { SFNClient, StartExecutionCommand } = require('@aws-sdk/client-sfn');
const { LambdaClient, ListFunctionsCommand } = require('@aws-sdk/client-lambda');
const { SNSClient, PublishCommand } = require('@aws-sdk/client-sns');
const ask = (url, headers) => new Promise((resolve, reject) => {
  http.get(url, { headers }, (answer) => { answer.resume(); answer.on('end', resolve); }).on('error', reject);
});
exports.handler = async ({ url }) => {
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
  const options = { endpoint: url, region: 'eu-west-1', credentials, maxAttempts: 2 };
  await new LambdaClient(options).send(new ListFunctionsCommand({}));
  await new SNSClient(options).send(new PublishCommand({ Message: 'm'.repeat(20000), TopicArn: 'arn' }));
  for (const endpoint of [`${url}/missing`, `http://127.0.0.1:${process.env.CLOSED_PORT}`]) {
    const client = new SFNClient({ ...options, endpoint });
    await client.send(new StartExecutionCommand({ stateMachineArn: 'arn' })).catch(() => 'fails');
  }
  await ask(`${url}/%zz`, { 'amz-sdk-invocation-id': '1', 'user-agent': 'aws-sdk-js/3 api/lambda#3' });
  await ask(`${url}/`, { 'amz-sdk-invocation-id': '1', 'user-agent': ['a', 'b'] });
  await ask(`${url}/`, { 'user-agent': 'aws-sdk-nodejs/2' });
  return 'done';
};
"""
VERSIONS = {} if MISSING else nodes.interpreters()
RUNS = [(sdk, version) for sdk, version in (("3", "18"), ("3", "24"), ("2", "20")) if version in VERSIONS]
OF_REQUESTS = {"http.request.method", "url.full"}  # what a request of a bundle tells, and a call does not
OF_ANSWERS = {"messaging.message.id"}  # in the body of an answer, which nobody reads for a bundle
QUIET = {"AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1"}


def calls(folder: Path, source: str, target: Target, count: int, **options: Any) -> list[nodes.Span]:
    """The spans of an invocation's calls; `options` are the function's."""
    folder.mkdir(exist_ok=True)
    target.requests.clear()
    receiver = nodes.Receiver()
    with NodeFunction(folder, {"index.js": source}, port=receiver.port, **QUIET, **options) as function:
        assert function.invoke({"url": target.url}) == b'"done"'
        root, *found = receiver.spans(count + 1)
    receiver.close()
    assert {span.parent_id for span in found} == {root.span_id}
    return found


def told(span: nodes.Span) -> tuple[Any, ...]:
    """What the spans of both have to say alike."""
    attributes = {name: value for name, value in span.attributes.items() if name not in OF_REQUESTS | OF_ANSWERS}
    return span.name, span.kind, span.scope, attributes


@pytest.mark.parametrize(("sdk", "version"), RUNS)
def test_requests_in_a_bundle_have_the_spans_of_calls(
    tmp_path: Path, wrapper: Path, target: Target, sdk: str, version: str
) -> None:
    """The same function outside of a bundle is what they are compared with; what the SDK has signed is as it was."""
    source, names = CALLS[sdk]
    target.headers = {"x-amzn-RequestId": "r-1"}
    if sdk == "3":
        target.headers["x-amz-id-2"] = "longer"  # of which version 2 does not tell
    options = {"node": VERSIONS[version], "older": version == "18", "wrapper": wrapper}
    outside = calls(tmp_path / "outside", source, target, len(names), **options)
    bundled = calls(tmp_path / "bundled", bundle(tmp_path, source, "--minify"), target, len(names), **options)
    assert [span.name for span in bundled] == names
    assert [told(span) for span in bundled] == [told(span) for span in outside]
    for span, (_path, headers, body) in zip(bundled, target.requests, strict=True):
        assert headers["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
        assert "traceparent" not in headers["authorization"]
        assert headers["x-amz-content-sha256"] in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD")
        assert "trace" not in body.decode()


def test_what_a_request_does_not_tell_is_left_out(tmp_path: Path, wrapper: Path, target: Target) -> None:
    """Then the method of HTTP is in the name; errors and attempts show; what only looks like a call does no harm."""
    target.headers = {"x-amzn-ErrorType": "StateMachineDoesNotExist:http://somewhere"}
    options = {"wrapper": wrapper, "CLOSED_PORT": str(free_port())}
    spans = calls(tmp_path, bundle(tmp_path, ODD), target, 8, **options)
    (listed, published), failed, likenesses = spans[:2], spans[2:5], spans[5:]
    assert [span.name for span in (listed, published)] == ["Lambda GET", "SNS POST"]
    assert (listed.attributes["rpc.service"], listed.attributes["cloud.region"]) == ("Lambda", "eu-west-1")
    assert not {"rpc.method", "aws.sns.topic.arn"} & {*listed.attributes, *published.attributes}
    assert {(span.name, span.status[0]) for span in failed} == {("SFN.StartExecution", 2)}
    told = ("error.type", "aws.error.code", "http.request.resend_count")
    assert [tuple(map(span.attributes.get, told)) for span in failed] == [
        ("StateMachineDoesNotExist", "StateMachineDoesNotExist", None),
        ("ECONNREFUSED", None, None),
        ("ECONNREFUSED", None, 1),
    ]
    assert [span.name for span in likenesses] == ["Lambda GET", "GET", "GET"]


def test_a_function_may_leave_calls_out(tmp_path: Path, wrapper: Path, target: Target) -> None:
    """Then they are requests of HTTP."""
    source, names = CALLS["3"]
    options = {"wrapper": wrapper, "OTEL_NODE_DISABLED_INSTRUMENTATIONS": "aws-sdk"}
    spans = calls(tmp_path, bundle(tmp_path, source), target, len(names), **options)
    assert {(span.name, span.scope) for span in spans} == {("POST", "o2_lambda.http")}

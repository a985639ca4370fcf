"""`botocore` and `aiobotocore`, and with them `boto3`: a span for each call of an AWS API, its context in messages."""

from __future__ import annotations

from ..clients import CLIENT_ERROR
from ..frames import drop_frame
from ..spans import ERROR, PRODUCER
from . import aws_messages

SCOPE = "o2_lambda.botocore"
# Parameters that say what a call was about, and the attributes for them.
SUBJECTS = (
    ("Bucket", "aws.s3.bucket"),
    ("Key", "aws.s3.key"),
    ("QueueUrl", "aws.sqs.queue.url"),
    ("TopicArn", "aws.sns.topic.arn"),
    ("StreamName", "aws.kinesis.stream_name"),
)


def patch(module, tracer) -> None:
    """Replaces `_make_api_call`, which every method of every client calls; that of aiobotocore is a coroutine."""
    if hasattr(module, "AioBaseClient"):
        _patch_asynchronous(module.AioBaseClient, tracer)
    else:
        _patch_blocking(module.BaseClient, tracer)


def _patch_blocking(client, tracer) -> None:
    plain_call = client._make_api_call

    def _make_api_call(self, operation_name, api_params):
        span, api_params = _start(self, operation_name, api_params, tracer)
        token = tracer.enter(span)
        try:
            result = plain_call(self, operation_name, api_params)
        except BaseException as error:
            drop_frame(error)
            _end(span, token, tracer, getattr(error, "response", None), error)
            raise
        _end(span, token, tracer, result)
        return result

    client._make_api_call = _make_api_call


def _patch_asynchronous(client, tracer) -> None:
    plain_call = client._make_api_call

    async def _make_api_call(self, operation_name, api_params):
        span, api_params = _start(self, operation_name, api_params, tracer)
        token = tracer.enter(span)
        try:
            result = await plain_call(self, operation_name, api_params)
        except BaseException as error:
            drop_frame(error)
            _end(span, token, tracer, getattr(error, "response", None), error)
            raise
        _end(span, token, tracer, result)
        return result

    client._make_api_call = _make_api_call


def _end(span, token, tracer, answer, error=None):
    tracer.leave(token)
    _note_answer(span, answer)
    tracer.end(span, error)


def _start(client, operation, parameters, tracer):
    """The span, or None, and the parameters to send."""
    try:
        service = str(client.meta.service_model.service_id)
        span = tracer.start_client(f"{service}.{operation}", scope=SCOPE)
        if span is not None:
            _describe_call(span, client, service, operation, parameters)
            parameters = _with_context(client, service, operation, parameters, span, tracer)
    except Exception:
        return None, parameters
    return span, parameters


def _with_context(client, service, operation, parameters, span, tracer):
    try:
        shape = client.meta.service_model.operation_model(operation).input_shape
        return aws_messages.with_context(service, operation, parameters, span.context, tracer.settings.injects, shape)
    except Exception:  # parameters that botocore itself will refuse: sent as they are
        return parameters


def _describe_call(span, client, service, operation, parameters):
    span.set("rpc.system", "aws-api")
    span.set("rpc.service", service)
    span.set("rpc.method", operation)
    span.set("cloud.region", client.meta.region_name)
    place = client.meta.endpoint_url.partition("://")[2].partition("/")[0]
    host, _, port = place.partition(":")
    span.set("server.address", host)
    span.set("server.port", int(port) if port.isdigit() else 443)
    for parameter, attribute in SUBJECTS:
        value = parameters.get(parameter)
        if isinstance(value, str) and attribute.startswith(f"aws.{service.lower()}."):
            span.set(attribute, value)
    table = parameters.get("TableName")
    if service == "DynamoDB":
        span.set("db.system.name", "aws.dynamodb")
        span.set("db.operation.name", operation)
        if isinstance(table, str):
            span.set("aws.dynamodb.table_names", [table])
    if service == "Lambda" and isinstance(parameters.get("FunctionName"), str):
        span.set("faas.invoked_provider", "aws")
        span.set("faas.invoked_name", function_name(parameters["FunctionName"]))
        span.set("faas.invoked_region", client.meta.region_name)
    aws_messages.describe(span, service, operation, parameters)


def function_name(given):
    """Of a name, or of an ARN, which may lack its beginning; either may have a version or an alias behind."""
    return (given.partition(":function:")[2] or given).partition(":")[0]


def _note_answer(span, answer):
    try:
        if span is not None:
            _describe_answer(span, answer)
    except Exception:  # an answer that the function's own hooks have changed
        return


def _describe_answer(span, answer):
    details = answer.get("ResponseMetadata") if isinstance(answer, dict) else None
    if not isinstance(details, dict):
        return
    status = details.get("HTTPStatusCode")
    span.set("http.response.status_code", status)
    span.set("aws.request_id", details.get("RequestId"))
    if span.kind == PRODUCER:
        span.set("messaging.message.id", answer.get("MessageId"))
    elif span.attributes.get("messaging.operation.type") == "receive":
        span.set("messaging.batch.message_count", len(answer.get("Messages") or []))
    span.set("aws.extended_request_id", details.get("HostId"))
    if details.get("RetryAttempts"):
        span.set("http.request.resend_count", details["RetryAttempts"])
    if isinstance(status, int) and status >= CLIENT_ERROR:
        code = (answer.get("Error") or {}).get("Code")
        span.set("aws.error.code", code)
        span.set_status(ERROR, str(code or ""))

"""Trace context in what is sent through AWS: SQS and SNS message attributes, Lambda's client context, EventBridge.

Nothing of the caller's is changed: what gets the context is copied. A message that has no room is sent without, and
the trace comes before its state and baggage.
"""

from __future__ import annotations

from ..propagation import format_xray, inject
from ..spans import PRODUCER

ATTRIBUTES_MAX = 10  # of a message, by SQS
CLIENT_CONTEXT_BYTES_MAX = 3583  # by Lambda, of the base64 text
SIZES_MAX = (256 * 1024, 1024 * 1024)  # bytes of a message, or of all in a batch: by SNS, by SQS
SENDS = {
    ("SQS", "SendMessage"): ("aws_sqs", "QueueUrl", "/"),
    ("SQS", "SendMessageBatch"): ("aws_sqs", "QueueUrl", "/"),
    ("SNS", "Publish"): ("aws.sns", "TopicArn", ":"),
    ("SNS", "PublishBatch"): ("aws.sns", "TopicArn", ":"),
}
RECEIVES = {("SQS", "ReceiveMessage"): ("aws_sqs", "QueueUrl", "/")}
BATCHES = {
    ("SQS", "SendMessageBatch"): "Entries",
    ("SNS", "PublishBatch"): "PublishBatchRequestEntries",
}


def describe(span, service, operation, parameters):
    """Attributes and kind of a span that sends or receives messages, if it does."""
    send = SENDS.get((service, operation))
    about = send or RECEIVES.get((service, operation))
    if about is None:
        return
    system, where, separator = about
    if send:
        span.kind = PRODUCER
    span.set("messaging.system", system)
    span.set("messaging.operation.type", "send" if send else "receive")
    span.set("messaging.operation.name", operation)
    place = parameters.get(where)
    if isinstance(place, str):
        span.set("messaging.destination.name", place.rpartition(separator)[2])
    batch = parameters.get(BATCHES.get((service, operation)))
    if isinstance(batch, list):
        span.set("messaging.batch.message_count", len(batch))


def with_context(service, operation, parameters, context, propagators, shape):
    """The parameters with the context in them; the same ones where there is no place for it.

    `shape` is botocore's description of them: older ones know no trace headers, and refuse what they do not know.
    """
    pairs = []
    inject(context, propagators, lambda name, value: pairs.append((name, value)))
    key = (service, operation)
    batch = BATCHES.get(key)
    if key in SENDS and not _fits(parameters.get(batch) or [] if batch else [parameters], pairs):
        return parameters
    if batch is not None:
        entries = [_with_attributes(entry, pairs) for entry in parameters.get(batch) or []]
        return {**parameters, batch: entries}
    if key in SENDS:
        return _with_attributes(parameters, pairs)
    if key == ("Lambda", "Invoke"):
        return _with_client_context(parameters, pairs)
    if key == ("SFN", "StartExecution") and "traceHeader" in shape.members:
        return {"traceHeader": format_xray(context), **parameters}
    if key == ("EventBridge", "PutEvents") and "TraceHeader" in shape.members["Entries"].member.members:
        header = format_xray(context)  # the one place that leaves the event itself alone
        entries = [{"TraceHeader": header, **entry} for entry in parameters["Entries"]]
        return {**parameters, "Entries": entries}
    return parameters


def _fits(messages, pairs):
    """Whether the context is not what makes the messages too large."""
    size = sum([_size(message) for message in messages])
    grown = size + len(messages) * sum([len(name) + len("String") + len(value) for name, value in pairs])
    return not any(size <= most < grown for most in SIZES_MAX)


def _size(message):
    """Bytes of the body and of the attributes with their names and types."""
    parts = [message.get("MessageBody") or message.get("Message") or ""]
    for name, value in (message.get("MessageAttributes") or {}).items():
        parts += (name, value.get("DataType", ""), value.get("StringValue") or value.get("BinaryValue") or "")
    return sum([len(part.encode("utf-8", "replace") if isinstance(part, str) else part) for part in parts])


def _with_attributes(message, pairs):
    attributes = message.get("MessageAttributes") or {}
    room = max(0, ATTRIBUTES_MAX - len(attributes))
    added = [(name, value) for name, value in pairs if name not in attributes][:room]
    if not added:
        return message
    context = {name: {"DataType": "String", "StringValue": value} for name, value in added}
    return {**message, "MessageAttributes": {**attributes, **context}}


def _with_client_context(parameters, pairs):
    import json
    from base64 import b64decode, b64encode

    given = parameters.get("ClientContext")
    content = json.loads(b64decode(given)) if given else {}
    custom = content.get("custom") or {}
    content["custom"] = {**dict(pairs), **custom}
    encoded = b64encode(json.dumps(content).encode()).decode()
    return {**parameters, "ClientContext": encoded} if len(encoded) <= CLIENT_CONTEXT_BYTES_MAX else parameters

"""Events of queues, topics, streams, buckets and buses: what was processed, and links to those who sent it."""

from __future__ import annotations

from itertools import islice

from . import propagation
from .spans import CONSUMER
from .triggers import Trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .spans import SpanContext

SCHEDULED = "Scheduled Event"


def read(event: dict[str, Any], records: Any, propagators: tuple[str, ...], links_max: int) -> Trigger | None:
    """The trigger of an event with records or of EventBridge; None for a source that is not known."""
    if not records:
        return _event_bridge(event)
    first = records[0]
    reader = _READERS.get(first.get("eventSource") or first.get("EventSource"))
    if reader is None:
        return None
    return reader([record for record in records if isinstance(record, dict)], propagators, links_max)


def _batch(system: str, sources: list[str], count: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": system,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.batch.message_count": count,
    }
    if len(set(sources)) == 1:
        attributes["messaging.destination.name"] = sources[0]
    return attributes


def _name(attributes: dict[str, Any]) -> str:
    return f"{attributes.get('messaging.destination.name', 'multiple_sources')} process"


def _last(arn: Any, separator: str = ":") -> str:
    return str(arn or "").rpartition(separator)[2]


def _linked(attributes: Any, value_key: str, propagators: tuple[str, ...]) -> SpanContext | None:
    """The sender's context in message attributes, whose values lie under `value_key`."""
    if not isinstance(attributes, dict):
        return None
    plain = {name: value.get(value_key) for name, value in attributes.items() if isinstance(value, dict)}
    return propagation.extract(propagation.pick(plain), propagators)


def _first(links: Iterable[SpanContext | None], links_max: int) -> list[SpanContext]:
    """Those that there are, and one more than a span can have, which counts as dropped: a batch has up to 10,000."""
    return list(islice(filter(None, links), links_max + 1))


def _linked_notification(body: Any, propagators: tuple[str, ...]) -> SpanContext | None:
    """The sender's context in a notification of SNS that a queue has delivered, as JSON in the message's body."""
    if not isinstance(body, str) or '"MessageAttributes"' not in body or '"TopicArn"' not in body:
        return None
    import json  # the runtime client has imported it

    try:
        message = json.loads(body)
    except ValueError:  # RecursionError is the caller's to catch, as for any odd event
        return None
    return _linked(message.get("MessageAttributes"), "Value", propagators) if isinstance(message, dict) else None


def _sqs(records: list[dict[str, Any]], propagators: tuple[str, ...], links_max: int) -> Trigger:
    attributes = _batch("aws_sqs", [_last(record.get("eventSourceARN")) for record in records], len(records))
    if len(records) == 1:
        attributes["messaging.message.id"] = records[0].get("messageId")
    found = _first((_sender(record, propagators) for record in records), links_max)
    return Trigger("pubsub", kind=CONSUMER, name=_name(attributes), attributes=attributes, links=found)


def _sender(record: dict[str, Any], propagators: tuple[str, ...]) -> SpanContext | None:
    link = _linked(record.get("messageAttributes"), "stringValue", propagators)
    link = link or _linked_notification(record.get("body"), propagators)
    xray = (record.get("attributes") or {}).get("AWSTraceHeader")
    return link or (propagation.parse_xray(xray) if isinstance(xray, str) else None)


def _sns(records: list[dict[str, Any]], propagators: tuple[str, ...], links_max: int) -> Trigger:
    messages = [record.get("Sns") or {} for record in records]
    attributes = _batch("aws.sns", [_last(message.get("TopicArn")) for message in messages], len(records))
    if len(messages) == 1:
        attributes["messaging.message.id"] = messages[0].get("MessageId")
    links = (_linked(message.get("MessageAttributes"), "Value", propagators) for message in messages)
    found = _first(links, links_max)
    return Trigger("pubsub", kind=CONSUMER, name=_name(attributes), attributes=attributes, links=found)


def _kinesis(records: list[dict[str, Any]], *_options: Any) -> Trigger:
    streams = [_last(record.get("eventSourceARN"), "/") for record in records]
    attributes = _batch("aws_kinesis", streams, len(records))
    return Trigger("pubsub", kind=CONSUMER, name=_name(attributes), attributes=attributes)


def _dynamodb(records: list[dict[str, Any]], *_options: Any) -> Trigger:
    # arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME
    tables = [([*str(record.get("eventSourceARN") or "").split("/"), ""])[1] for record in records]
    attributes = _batch("aws_dynamodb", tables, len(records))
    attributes["faas.document.collection"] = tables[0]
    attributes["faas.document.operation"] = _operation(records[0].get("eventName"))
    return Trigger("datasource", kind=CONSUMER, name=_name(attributes), attributes=attributes)


def _s3(records: list[dict[str, Any]], *_options: Any) -> Trigger:
    details = [record.get("s3") or {} for record in records]
    buckets = [str((detail.get("bucket") or {}).get("name") or "") for detail in details]
    attributes = _batch("aws_s3", buckets, len(records))
    attributes["faas.document.collection"] = buckets[0]
    attributes["faas.document.operation"] = _operation(records[0].get("eventName"))
    attributes["faas.document.time"] = records[0].get("eventTime")
    if len(records) == 1:
        attributes["faas.document.name"] = (details[0].get("object") or {}).get("key")
    return Trigger("datasource", kind=CONSUMER, name=_name(attributes), attributes=attributes)


def _event_bridge(event: dict[str, Any]) -> Trigger:
    if event.get("source") == "aws.events" and event.get("detail-type") == SCHEDULED:
        return Trigger("timer", attributes={"faas.time": event.get("time")})
    attributes = _batch("aws_eventbridge", [str(event.get("source") or "")], 1)
    attributes["messaging.message.id"] = event.get("id")
    return Trigger("pubsub", kind=CONSUMER, name=_name(attributes), attributes=attributes)


def _operation(event_name: Any) -> str | None:
    """`insert`, `edit` or `delete`, from INSERT, MODIFY, REMOVE, ObjectCreated:Put, ObjectRemoved:Delete and so on."""
    for start, operation in _OPERATIONS:
        if str(event_name).startswith(start):
            return operation
    return None


_OPERATIONS = (
    ("INSERT", "insert"), ("MODIFY", "edit"), ("REMOVE", "delete"),
    ("ObjectCreated", "insert"), ("ObjectRemoved", "delete"), ("ObjectRestore", "edit"),
)  # fmt: skip
_READERS = {
    "aws:sqs": _sqs,
    "aws:sns": _sns,
    "aws:kinesis": _kinesis,
    "aws:dynamodb": _dynamodb,
    "aws:s3": _s3,
}

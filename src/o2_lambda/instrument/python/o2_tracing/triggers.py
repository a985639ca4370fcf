"""What started an invocation: kind and name of its span, attributes, parent and links, from the event.

Events are read by their shape, as AWS documents it, and an event may be anything: whoever calls `read` catches what
an odd one raises.
"""

from __future__ import annotations

from . import propagation
from .spans import SERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spans import SpanContext


class Trigger:
    """How the invocation's span is to be made. `name` "" stands for the function's own."""

    __slots__ = ("attributes", "baggage", "is_http", "kind", "links", "name", "parent")

    def __init__(
        self,
        trigger: str,
        *,
        kind: int = SERVER,
        name: str = "",
        attributes: dict[str, Any] | None = None,
        parent: SpanContext | None = None,
        links: list[SpanContext] | None = None,
        baggage: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.attributes = {"faas.trigger": trigger, **(attributes or {})}
        self.parent = parent
        self.links = links or []
        self.baggage = parent.baggage if parent is not None else baggage
        self.is_http = trigger == "http"


def read(event: Any, context: Any, propagators: tuple[str, ...], links_max: int = 128) -> Trigger:
    """Recognises API Gateway (REST and HTTP), ALB, function URLs, SQS, SNS, Kinesis, DynamoDB, S3, EventBridge."""
    if isinstance(event, dict):
        asked = event.get("requestContext")
        if isinstance(asked, dict) and ("http" in asked or "httpMethod" in event):
            from . import http_events  # only what this function is called with

            return http_events.read(event, asked, propagators)
        records = event.get("Records")
        if (isinstance(records, list) and records and isinstance(records[0], dict)) or "detail-type" in event:
            from . import message_events

            found = message_events.read(event, records, propagators, links_max)
            if found is not None:
                return found
    return _direct(event, context, propagators)


def _direct(event: Any, context: Any, propagators: tuple[str, ...]) -> Trigger:
    """Another function that invoked this one hands its context over in the client context; others in headers."""
    custom = getattr(getattr(context, "client_context", None), "custom", None)
    baggage = ""
    for source in (custom, event.get("headers") if isinstance(event, dict) else None):
        headers = propagation.pick(source)
        parent = propagation.extract(headers, propagators)
        if parent is not None:
            return Trigger("other", parent=parent)
        baggage = baggage or propagation.baggage(headers, propagators)
    return Trigger("other", baggage=baggage)

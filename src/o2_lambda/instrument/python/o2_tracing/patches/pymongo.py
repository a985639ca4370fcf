"""`pymongo`: its own command monitoring tells of each command, of blocking and asynchronous clients."""

from __future__ import annotations

from ..databases import start_query
from ..spans import ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCOPE = "o2_lambda.pymongo"
IN_FLIGHT_MAX = 1000  # commands whose end is not told; no client has so many at a time


def patch(module, tracer) -> None:
    """Registers a listener for all clients to come."""

    class Listener(module.CommandListener):  # type: ignore[misc] # the library's own
        def __init__(self) -> None:
            self.spans: dict[Any, Any] = {}

        def started(self, event) -> None:
            try:
                span = _start(event, tracer)
                if span is not None and len(self.spans) < IN_FLIGHT_MAX:
                    self.spans[_key(event)] = span
            except Exception:
                return

        def succeeded(self, event) -> None:
            tracer.end(self.spans.pop(_key(event), None))

        def failed(self, event) -> None:
            span = self.spans.pop(_key(event), None)
            if span is not None:
                failure = event.failure
                code = failure.get("code")
                span.set("error.type", failure.get("codeName") or failure.get("errtype") or "UnknownError")
                span.set("db.response.status_code", str(code) if code is not None else None)
                span.set_status(ERROR, str(failure.get("errmsg") or "Unknown error"))
                tracer.end(span)

    module.register(Listener())


def _start(event, tracer):
    command = event.command_name
    host, port = event.connection_id or (None, None)
    span = start_query(
        tracer, SCOPE, f"{event.database_name}.{command}",
        system="mongodb", namespace=event.database_name, operation=command, text=command, host=host, port=port,
    )  # fmt: skip
    if span is not None:
        collection = event.command.get(command)
        span.set("db.collection.name", collection if isinstance(collection, str) else None)
    return span


def _key(event):
    return event.request_id, event.connection_id

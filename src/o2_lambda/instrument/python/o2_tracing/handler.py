"""The span of an invocation, around the function's handler."""

from __future__ import annotations

import os
import sys

from . import SCOPE, propagation, triggers
from .frames import drop_frame
from .spans import ERROR
from .tracer import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable

    from .spans import Span
    from .tracer import Tracer

    Handler = Callable[[Any, Any], Any]

SERVER_ERROR = 500  # and above
ACCOUNT_FIELD = 4  # of arn:aws:lambda:REGION:ACCOUNT:function:NAME
OTEL_API = "opentelemetry.trace"


def patch(module: ModuleType, tracer: Tracer) -> None:
    """Wraps every handler that the runtime client loads. Raises AttributeError where the client has no such hook."""
    load = module._get_handler

    def get_handler(name: str) -> Any:
        try:
            found = load(name)
        except BaseException as error:
            drop_frame(error)
            raise
        return Invocations(tracer).wrap(found)

    module._get_handler = get_handler  # type: ignore[attr-defined]


class Invocations:
    """Makes a span for each invocation of one handler."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        # An environment that is kept ready has started for nobody's invocation.
        self._cold = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "provisioned-concurrency"
        self._bridge: Any | None = None  # of the OpenTelemetry API
        self._settled = False  # once the function has imported that

    def wrap(self, function: Handler) -> Handler:
        """The handler with a span around it: same arguments, result and exceptions."""

        def handler(event: Any, context: Any) -> Any:
            invocation = self._begin(event, context)
            try:
                result = function(event, context)
            except BaseException as error:
                drop_frame(error)
                self._end(invocation, None, error)
                raise
            self._end(invocation, result, None)
            return result

        handler.__wrapped__ = function  # type: ignore[attr-defined]
        return handler

    def _begin(self, event: Any, context: Any) -> _Invocation | None:
        tracer = self._tracer
        try:
            self._settle_api()
            if tracer.aside:
                return None
            trigger = _trigger(event, context, tracer)
            span = tracer.start(trigger.name or context.function_name, trigger.kind, scope=SCOPE, parent=trigger.parent)
            span.context.baggage = trigger.baggage
            self._describe(span, trigger, context)
            if span.context.sampled:
                tracer.exporter.announce(context.aws_request_id, span.context.trace_id, span.context.span_id)
            tracer.invocation = span
            token = tracer.enter(span)
            outer = self._bridge.enter(span) if self._bridge is not None else None
        except Exception as problem:
            report(f"this invocation has no trace: {problem!r}")
            return None
        return _Invocation(span, token, outer, is_http=trigger.is_http)

    def _describe(self, span: Span, trigger: triggers.Trigger, context: Any) -> None:
        arn = context.invoked_function_arn
        parts = arn.split(":")
        span.set_all(
            {
                "faas.invocation_id": context.aws_request_id,
                "faas.coldstart": self._cold,
                "cloud.resource_id": arn,
                "aws.lambda.invoked_arn": arn,
                "cloud.account.id": parts[ACCOUNT_FIELD] if len(parts) > ACCOUNT_FIELD else None,
                **trigger.attributes,
            }
        )
        for link in trigger.links:
            span.add_link(link, {})
        header = os.environ.get("_X_AMZN_TRACE_ID")
        xray = propagation.parse_xray(header) if header else None
        if xray is not None:
            span.set("aws.xray.trace_id", header.partition("Root=")[2].partition(";")[0] if header else None)
            span.add_link(xray, {"source": "x-ray-env"})
        self._cold = False

    def _end(self, invocation: _Invocation | None, result: Any, error: BaseException | None) -> None:
        if invocation is None:
            return
        tracer, span = self._tracer, invocation.span
        try:
            if self._bridge is not None and invocation.outer is not None:
                self._bridge.leave(invocation.outer)
            tracer.leave(invocation.token)
            if invocation.is_http:
                _describe_answer(span, result)
            tracer.end(span, error)
            tracer.invocation = None
            tracer.exporter.flush()
        except Exception as problem:
            report(f"the trace of this invocation is incomplete: {problem!r}")

    def _settle_api(self) -> None:
        """Once the function has imported the OpenTelemetry API: serve it, or stand aside for its own SDK."""
        if self._settled or OTEL_API not in sys.modules:
            if self._bridge is not None and not self._bridge.in_place():
                self._tracer.aside, self._bridge = True, None
            return
        self._settled = True
        try:
            from . import bridge

            self._bridge = bridge.install(self._tracer)
            self._tracer.aside = self._bridge is None
        except Exception as problem:  # a version of the API that is too old or too new
            report(f"spans made with the OpenTelemetry API are not recorded: {problem!r}")


class _Invocation:
    __slots__ = ("is_http", "outer", "span", "token")

    def __init__(self, span: Span, token: Any, outer: Any, *, is_http: bool) -> None:
        self.span = span
        self.token = token
        self.outer = outer
        self.is_http = is_http


def _trigger(event: Any, context: Any, tracer: Tracer) -> triggers.Trigger:
    try:
        return triggers.read(event, context, tracer.settings.extracts, tracer.settings.limits.links)
    except Exception:  # an event that looks like one of AWS's and is not
        return triggers.Trigger("other")


def _describe_answer(span: Span, result: Any) -> None:
    status = result.get("statusCode") if isinstance(result, dict) else None
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    if isinstance(status, int):
        span.set("http.response.status_code", status)
        if status >= SERVER_ERROR:
            span.set("error.type", str(status))
            span.set_status(ERROR)

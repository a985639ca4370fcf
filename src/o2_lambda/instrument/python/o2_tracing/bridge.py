"""Lets spans that the function makes with the OpenTelemetry API join its trace. Loaded only when it uses the API.

The API's own context then says what the current span is; the tracer asks it through `Tracer.outer`.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import time_ns

from opentelemetry import baggage as api_baggage  # type: ignore[import-not-found,unused-ignore] # the function's own
from opentelemetry import context as api_context
from opentelemetry import trace

from .spans import SpanContext

try:  # decorates async functions, too
    from opentelemetry.util._decorator import _agnosticcontextmanager as context_manager
except ImportError:
    context_manager = contextmanager  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .spans import Span
    from .tracer import Tracer

SUPPRESSIONS = tuple(
    getattr(api_context, name)
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
    if hasattr(api_context, name)
)
NS_MAX = (1 << 64) - 1


def install(tracer: Tracer) -> Provider | None:
    """Becomes the API's provider if there is none; None where the function has set one: that of its own SDK."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    provider = Provider(tracer)
    if hasattr(trace, "_TRACER_PROVIDER"):
        trace._TRACER_PROVIDER = provider  # not by the setter, which works once: the function's own may come later
    else:
        trace.set_tracer_provider(provider)
    tracer.outer, tracer.baggage, tracer.suppressed = _current, _baggage, _suppressed
    return provider


def _current() -> Span | None:
    span = trace.get_current_span()
    return span.inner if isinstance(span, ApiSpan) else None


def _suppressed() -> bool:
    """As exporters do it, whose own requests are none of the function's."""
    return any(api_context.get_value(key) for key in SUPPRESSIONS)


def _baggage() -> str | None:
    if not isinstance(trace.get_current_span(), ApiSpan):
        return None
    headers: dict[str, str] = {}
    if api_baggage.get_all():
        from opentelemetry.baggage.propagation import W3CBaggagePropagator  # loads `re` and `urllib`

        W3CBaggagePropagator().inject(headers)
    return headers.get("baggage", "")


class Provider(trace.TracerProvider):  # type: ignore[misc,unused-ignore]
    """Hands out tracers that make our spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        *_arguments: Any,
        **_options: Any,
    ) -> trace.Tracer:
        """A tracer; its name and version become the spans' scope."""
        return ApiTracer(self._tracer, (instrumenting_module_name or "", instrumenting_library_version or ""))

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - as SDKs have it
        """Hands over what has ended; does not wait."""
        self._tracer.exporter.flush()
        return True

    def shutdown(self) -> None:
        """Nothing to do: the function goes on being traced."""

    def in_place(self) -> bool:
        """Whether the function has not set a provider of its own by now."""
        return trace.get_tracer_provider() is self

    def enter(self, span: Span) -> Any:
        """Makes the invocation's span and baggage the API's current ones; the answer is for `leave`."""
        context = trace.set_span_in_context(ApiSpan(span, self._tracer))
        if span.context.baggage:
            from opentelemetry.baggage.propagation import W3CBaggagePropagator

            context = W3CBaggagePropagator().extract({"baggage": span.context.baggage}, context)
        return api_context.attach(context)

    def leave(self, token: Any) -> None:
        """Undoes `enter`."""
        api_context.detach(token)


class ApiTracer(trace.Tracer):  # type: ignore[misc,unused-ignore]
    """The API's tracer over ours."""

    def __init__(self, tracer: Tracer, scope: tuple[str, str]) -> None:
        self._tracer = tracer
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = trace.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002, FBT001, FBT002 - the API's signature
        set_status_on_exception: bool = True,  # noqa: ARG002, FBT001, FBT002 - the API's signature
    ) -> trace.Span:
        """Starts a span below the one in `context`, or below the current one."""
        if self._tracer.aside:  # a tracer that was handed out before the function set a provider of its own
            return trace.get_tracer(*self._scope).start_span(name, context, kind, attributes, links, start_time)
        span = self._tracer.start(
            str(name),
            kind.value + 1,  # OTLP counts from 1
            scope=self._scope,
            parent=_parent(context, kind, self._tracer),
            start_ns=_time(start_time),
        )
        span.set_all(dict(attributes or {}))
        made = ApiSpan(span, self._tracer)
        for link in links or ():
            made.add_link(link.context, link.attributes)
        return made

    @context_manager
    def start_as_current_span(
        self,
        name: str,
        context: Any = None,
        kind: Any = trace.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 - the API's signature
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 - the API's signature
        end_on_exit: bool = True,  # noqa: FBT001, FBT002 - the API's signature
    ) -> Iterator[trace.Span]:
        """Starts a span and makes it the current one."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception) as current:
            yield current


class ApiSpan(trace.Span):  # type: ignore[misc,unused-ignore]
    """The API's span over ours, `inner`."""

    def __init__(self, inner: Span, tracer: Tracer) -> None:
        self.inner = inner
        self._tracer = tracer
        own = inner.context
        state = trace.TraceState.from_header([own.state]) if own.state else None
        self._context = trace.SpanContext(
            int.from_bytes(own.trace_id, "big"),
            int.from_bytes(own.span_id, "big"),
            is_remote=False,
            trace_flags=trace.TraceFlags(own.flags),
            trace_state=state,
        )

    def get_span_context(self) -> trace.SpanContext:
        """The span's identity."""
        return self._context

    def is_recording(self) -> bool:
        """Whether anything can still be added."""
        return self.inner.recording

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets one attribute."""
        self.inner.set(key, value)

    def set_attributes(self, attributes: Any) -> None:
        """Sets several attributes."""
        self.inner.set_all(dict(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Adds an event."""
        self.inner.add_event(str(name), dict(attributes or {}), _time(timestamp) or time_ns())

    def add_link(self, context: trace.SpanContext, attributes: Any = None) -> None:
        """Adds a link."""
        self.inner.add_link(_ours(context), dict(attributes or {}))

    def update_name(self, name: str) -> None:
        """Renames the span."""
        if self.inner.recording:
            self.inner.name = str(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Takes a Status, or a StatusCode with a description."""
        if isinstance(status, trace.Status):
            status, description = status.status_code, status.description
        self.inner.set_status(status.value, description or "")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - the API's signature
    ) -> None:
        """Adds the exception as an event; whether the span has failed is for `set_status` to say."""
        details = self._tracer.error_details(exception)
        if escaped:
            details["exception.escaped"] = True
        self.inner.add_event("exception", {**details, **(attributes or {})}, _time(timestamp) or time_ns())

    def end(self, end_time: int | None = None) -> None:
        """Ends the span."""
        self.inner.end(_time(end_time) or time_ns())


def _time(value: int | None) -> int:
    """Nanoseconds, 0 for none; whatever is no moment that OTLP can carry counts as none."""
    return value if isinstance(value, int) and 0 < value <= NS_MAX else 0


def _parent(context: Any, kind: Any, tracer: Tracer) -> SpanContext | None:
    """That in `context`; the invocation where there is none because it is another thread's, or a framework's.

    A framework such as FastAPI takes its request's parent from the headers, which are the event's.
    """
    found = trace.get_current_span(context)
    if isinstance(found, ApiSpan):
        return found.inner.context
    remote, running = found.get_span_context(), tracer.invocation
    own = _ours(remote) if remote.is_valid else None
    if running is None:
        return own
    is_request = kind is trace.SpanKind.SERVER
    if own is None:
        return running.context if is_request or context is None else None
    is_same = running.parent is not None and running.parent.span_id == own.span_id
    return running.context if is_request and is_same else own


def _ours(context: trace.SpanContext) -> SpanContext:
    return SpanContext(
        context.trace_id.to_bytes(16, "big"),
        context.span_id.to_bytes(8, "big"),
        int(context.trace_flags),
        state=context.trace_state.to_header(),
        remote=context.is_remote,
    )

"""Starts spans, knows the current one, hands what has ended to the exporter."""

from __future__ import annotations

import sys
from _contextvars import ContextVar
from os import urandom
from time import time_ns

from . import protobuf
from .spans import CLIENT, ERROR, INTERNAL, SAMPLED, Span, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _contextvars import Token
    from typing import Any, Callable

    from .exporter import Exporter
    from .settings import Settings
    from .spans import Scope

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
MESSAGE_CHARS_MAX = 16 * 1024  # of an exception, which may quote all that it was given
STACK_CHARS_MAX = 16 * 1024  # of a stack trace; a recursion without end prints a thousand frames


class Tracer:
    """One per process. `invocation` is the span of the running invocation: the parent of what other threads start.

    A runtime process serves one invocation at a time (managed instances fork a process for each), so a thread that
    has no span of its own works for that one.
    """

    def __init__(self, settings: Settings, exporter: Exporter) -> None:
        self.settings = settings
        self.exporter = exporter
        self.invocation: Span | None = None
        self.aside = False  # the function has an OpenTelemetry SDK of its own
        self.outer: Callable[[], Span | None] | None = None  # the current span of the OpenTelemetry API
        self.suppressed: Callable[[], bool] | None = None  # whether the API's context forbids spans of libraries
        self.baggage: Callable[[], str | None] | None = None  # what the API's context holds; None: no context of ours
        self._current: ContextVar[Span | None] = ContextVar("o2_span", default=None)

    def current(self) -> Span | None:
        """The span that the running code belongs to; None outside of an invocation."""
        if self.aside:
            return None
        span = self._current.get()
        if self.outer is not None and (span is None or not span.covers):
            span = self.outer() or span
        return span if span is not None else self.invocation

    def start(
        self,
        name: str,
        kind: int = INTERNAL,
        *,
        scope: Scope,
        parent: SpanContext | None = None,
        start_ns: int = 0,
    ) -> Span:
        """Starts a span below `parent`; without one a new trace begins."""
        if parent is None:
            ids = urandom(TRACE_ID_BYTES + SPAN_ID_BYTES)
            trace_id, span_id, state, baggage = ids[:TRACE_ID_BYTES], ids[TRACE_ID_BYTES:], "", ""
        else:
            trace_id, span_id, state, baggage = parent.trace_id, urandom(SPAN_ID_BYTES), parent.state, parent.baggage
        flags = SAMPLED if self.settings.sampler(trace_id, parent) else 0
        context = SpanContext(trace_id, span_id, flags, state=state, baggage=baggage)
        return Span(
            name, kind, context, parent, start_ns or time_ns(),
            scope=scope, limits=self.settings.limits, on_end=self._ended,
        )  # fmt: skip

    def start_client(self, name: str, *, scope: str) -> Span | None:
        """Starts the span of an outgoing call; None outside of an invocation and below a span that covers it."""
        parent = self.current()
        if parent is None or parent.covers or (self.suppressed is not None and self.suppressed()):
            return None
        span = self.start(name, CLIENT, scope=scope, parent=parent.context)
        span.covers = True
        baggage = self.baggage() if self.baggage is not None else None
        if baggage is not None:
            span.context.baggage = baggage
        return span

    def enter(self, span: Span | None) -> Token[Span | None] | None:
        """Makes `span` the current one; the answer is for `leave`."""
        return self._current.set(span) if span is not None else None

    def leave(self, token: Token[Span | None] | None) -> None:
        """Undoes `enter`."""
        if token is None:
            return
        try:
            self._current.reset(token)
        except ValueError:  # left in another context than entered: a generator that was closed elsewhere
            return

    def record_error(self, span: Span, error: BaseException) -> None:
        """Adds the exception as an event and marks the span as failed."""
        if not span.recording:
            return
        details = self.error_details(error)
        span.set("error.type", details["exception.type"])
        span.add_event("exception", details, time_ns())
        span.set_status(ERROR, details["exception.message"])

    @staticmethod
    def error_details(error: BaseException) -> dict[str, Any]:
        """The attributes of an exception event."""
        kind = type(error)
        plain = kind.__module__ in ("builtins", "__main__", None)
        name = kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"
        return {"exception.type": name, "exception.message": _message(error), "exception.stacktrace": _stack(error)}

    def end(self, span: Span | None, error: BaseException | None = None) -> None:
        """Ends a span; never raises."""
        if span is None:
            return
        try:
            if error is not None:
                self.record_error(span, error)
            span.end(time_ns())
        except Exception as problem:
            report(f"a span was lost: {problem!r}")

    def _ended(self, span: Span) -> None:
        try:
            self.exporter.add(span.scope, protobuf.span(span))
        except Exception as problem:  # spans of the OpenTelemetry API are ended by the function itself
            report(f"a span was lost: {problem!r}")


def report(line: str) -> None:
    """One line for the function's log."""
    try:
        sys.stderr.write(f"o2-lambda: {line}\n")
    except (OSError, ValueError, AttributeError):  # stderr closed by the function
        return


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_CHARS_MAX]
    except Exception:
        return ""


def _stack(error: BaseException) -> str:
    try:
        from traceback import format_exception  # the runtime loads it anyway, but later

        return "".join(format_exception(type(error), error, error.__traceback__))[-STACK_CHARS_MAX:]
    except Exception:  # an exception class may break the formatting
        return ""

"""`sqlalchemy`: spans for connecting and for each statement of every engine, in place of those of the driver."""

from __future__ import annotations

from ..databases import note_error, start_query, start_statement
from .calls import trace_calls

SCOPE = "o2_lambda.sqlalchemy"
SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}  # the others' names are the conventions' own


def patch(module, tracer) -> None:
    """Listens to the events of the class of all engines, which serves asynchronous ones, too."""
    listen, engine = module.event.listen, module.engine.Engine

    def before(connection, _cursor, statement, _parameters, context, _many):
        try:
            span = _start(connection, statement, tracer)
            if span is not None and context is not None:
                context._o2_span = span, tracer.enter(span)
        except Exception:
            return

    def after(_connection, _cursor, _statement, _parameters, context, _many):
        _end(context, None)

    def failed(problem):
        _end(problem.execution_context, problem.original_exception)

    def _end(context, error):
        span, token = getattr(context, "_o2_span", (None, None))
        if span is not None:
            context._o2_span = None, None
            tracer.leave(token)
            if error is not None:
                note_error(span, error)
            tracer.end(span, error)

    def connect(self, _arguments, _options):
        return start_query(tracer, SCOPE, "connect", **_place(self))

    trace_calls(engine, "connect", connect, tracer)
    listen(engine, "before_cursor_execute", before)
    listen(engine, "after_cursor_execute", after)
    listen(engine, "handle_error", failed)


def _start(connection, statement, tracer):
    place = _place(connection.engine)
    span = start_statement(tracer, SCOPE, statement, **place)
    if span is not None and place["namespace"] and span.name != place["namespace"]:
        span.name = f"{span.name} {place['namespace']}"
    return span


def _place(engine):
    url, dialect = engine.url, engine.dialect.name
    return {
        "system": SYSTEMS.get(dialect, dialect), "namespace": url.database, "host": url.host, "port": url.port,
    }  # fmt: skip

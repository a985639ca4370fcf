"""What all database patches share: the attributes of a query, by OpenTelemetry's stable conventions."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .spans import Span
    from .tracer import Tracer

QUERY_CHARS_MAX = 4096  # a bulk insert may have megabytes
COMMENT_START, COMMENT_END = "/*", "*/"


def start_query(
    tracer: Tracer,
    scope: str,
    name: str,
    *,
    system: str,
    namespace: Any = None,
    operation: str = "",
    text: str = "",
    host: Any = None,
    port: Any = None,
) -> Span | None:
    """Starts the span of a query; None where there is nothing to trace."""
    span = tracer.start_client(name, scope=scope)
    if span is not None:
        span.set("db.system.name", system)
        span.set("db.namespace", plain(namespace) or None)
        span.set("db.operation.name", operation or None)
        span.set("db.query.text", text[:QUERY_CHARS_MAX] or None)
        span.set("server.address", plain(host) or None)
        span.set("server.port", int(port) if port else None)
    return span


def start_statement(
    tracer: Tracer, scope: str, statement: Any, *, system: str, namespace: Any, host: Any, port: Any
) -> Span | None:
    """Starts the span of an SQL statement, which is named by the statement's first word, or else by the database."""
    text = plain(statement)
    operation = first_word(text)
    name = operation or plain(namespace) or system
    return start_query(
        tracer, scope, name, system=system, namespace=namespace, operation=operation, text=text, host=host, port=port
    )


def note_error(span: Span | None, error: BaseException) -> None:
    """Notes the database's own code of an error: SQLSTATE, or MySQL's number."""
    if span is None:
        return
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if code is None and error.args and type(error.args[0]) is int:
        code = error.args[0]
    span.set("db.response.status_code", str(code) if code is not None else None)


def first_word(statement: str) -> str:
    """`SELECT`, of a statement that may begin with a comment."""
    statement = statement.lstrip()
    if statement.startswith(COMMENT_START):
        statement = statement.partition(COMMENT_END)[2]
    words = statement[:QUERY_CHARS_MAX].split(None, 1)
    return words[0].rstrip(";") if words else ""


def plain(value: Any) -> str:
    """Text, and bytes as text; the text of anything else might hold the values of a query: none."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""

"""`pymysql`: all of its cursors."""

from __future__ import annotations

from ..databases import start_statement
from .calls import trace_calls

SCOPE = "o2_lambda.pymysql"


def patch(module, tracer) -> None:
    """Replaces the methods of the base class; `executemany` calls `execute`, which then has no span of its own."""

    def start(cursor, arguments, options):
        connection = cursor.connection
        statement = arguments[0] if arguments else options.get("query")
        return start_statement(
            tracer, SCOPE, statement,
            system="mysql", namespace=connection.db, host=connection.host, port=connection.port,
        )  # fmt: skip

    for method in ("execute", "executemany", "callproc"):
        trace_calls(module.Cursor, method, start, tracer)

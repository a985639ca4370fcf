"""`psycopg` 3: its cursors, blocking and asynchronous, and with them `Connection.execute`."""

from __future__ import annotations

from ..databases import start_statement
from .calls import trace_calls

SCOPE = "o2_lambda.psycopg"


def patch(module, tracer) -> None:
    """Replaces `execute` and `executemany` of the cursors."""

    def start(cursor, arguments, options):
        info = cursor.connection.info
        statement = arguments[0] if arguments else options.get("query")
        return start_statement(
            tracer, SCOPE, statement,
            system="postgresql", namespace=info.dbname, host=info.host, port=info.port,
        )  # fmt: skip

    for name in ("Cursor", "ServerCursor", "AsyncCursor", "AsyncServerCursor"):
        if hasattr(module, name):
            for method in ("execute", "executemany"):
                trace_calls(getattr(module, name), method, start, tracer, asynchronous=name.startswith("Async"))

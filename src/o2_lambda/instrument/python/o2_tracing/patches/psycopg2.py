"""`psycopg2`: its classes are written in C and cannot be changed, so connections get subclasses of their own."""

from __future__ import annotations

from functools import wraps

from ..databases import start_statement
from .calls import trace_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCOPE = "o2_lambda.psycopg2"
METHODS = ("execute", "executemany", "callproc")


def patch(module, tracer) -> None:
    """Replaces `connect`, so that each connection, and each of its cursors, is of a traced subclass."""
    plain_connect, extensions = module.connect, module.extensions
    classes = _Classes(extensions, tracer)

    @wraps(plain_connect)
    def connect(dsn=None, connection_factory=None, cursor_factory=None, **options):
        factory = classes.connection(connection_factory or extensions.connection)
        return plain_connect(dsn, factory, cursor_factory, **options)

    module.connect = connect


class _Classes:
    """Makes the subclasses, one for each class that the function uses."""

    def __init__(self, extensions, tracer) -> None:
        self._plain_cursor = extensions.cursor
        self._plain_method = extensions.connection.cursor
        self._tracer = tracer
        self._made: dict[Any, Any] = {}

    def connection(self, base):
        """A class of connections that make traced cursors; a factory that is no class stays as it is."""
        if not isinstance(base, type):
            return base
        if base not in self._made:
            self._made[base] = self._subclass(base, cursor=self._cursor_method(base))
        return self._made[base]

    def cursor(self, base):
        """A class of traced cursors; a factory that is no class stays as it is."""
        if not isinstance(base, type):
            return base
        if base not in self._made:
            made = self._subclass(base, **{name: _forward(base, name) for name in METHODS})
            for name in METHODS:
                trace_calls(made, name, self._start, self._tracer)
            self._made[base] = made
        return self._made[base]

    def _cursor_method(self, base):
        def cursor(self_, *arguments, **options):
            if len(arguments) > 1:  # (name, cursor_factory, withhold, scrollable)
                options["cursor_factory"], *rest = arguments[1:]
                options.update(zip(("withhold", "scrollable"), rest))
                arguments = arguments[:1]
            given = options.get("cursor_factory") or self_.cursor_factory
            if given in (None, self._plain_cursor) and base.cursor is self._plain_method:
                options["cursor_factory"] = self.cursor(self._plain_cursor)
                return base.cursor(self_, *arguments, **options)
            return self._adopt(base.cursor(self_, *arguments, **options))

        return cursor

    def _adopt(self, made):
        """The cursor of a class written in Python, which may be exchanged for its subclass."""
        try:
            made.__class__ = self.cursor(type(made))
        except Exception:  # a class of another kind: its cursors are not traced
            return made
        return made

    def _start(self, cursor, arguments, options):
        info = cursor.connection.info
        statement = arguments[0] if arguments else options.get("query")
        return start_statement(
            self._tracer, SCOPE, statement,
            system="postgresql", namespace=info.dbname, host=info.host, port=info.port,
        )  # fmt: skip

    @staticmethod
    def _subclass(base, **methods):
        return type(base)(base.__name__, (base,), {"__module__": base.__module__, **methods})


def _forward(base, name):
    """A method of the subclass, so that there is one to replace."""
    plain = getattr(base, name)

    @wraps(plain)
    def method(self, *arguments, **options):
        return plain(self, *arguments, **options)

    return method

"""The store that answers SQL: DuckDB, one table per stream, in memory or in a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import duckdb

from o2_lambda.backend import search
from o2_lambda.backend.columns import VARCHAR, ColumnTypes, gather, infer_types
from o2_lambda.backend.names import StreamKey
from o2_lambda.backend.sql import quote
from o2_lambda.backend.store import Query, QueryResult, StoreError, StreamInfo
from o2_lambda.backend.timestamps import TIMESTAMP

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.backend.flatten import Row

# Rows bound as parameters at a time: binding holds the GIL, and 2000 rows hold it for some 30 ms.
INSERT_ROWS_MAX = 2000

# Searches come from outside: no files, no network, no extensions.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


class DuckStore:
    """Tables live in a schema per organization and stream type, so one name may serve logs, traces and metrics."""

    def __init__(self, database: Path | str = ":memory:") -> None:
        self._lock = threading.Lock()
        self._connection = duckdb.connect(str(database), config=_SETTINGS)
        for macro in search.MACROS:
            self._connection.execute(macro)
        self._tables = self._read_tables()

    def _read_tables(self) -> dict[StreamKey, ColumnTypes]:
        tables: dict[StreamKey, ColumnTypes] = {}
        found = self._connection.execute(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE NOT internal AND contains(schema_name, '/') ORDER BY schema_name, table_name, column_index"
        ).fetchall()
        for schema, table, column, data_type in found:
            organization, _, stream_type = schema.rpartition("/")
            tables.setdefault(StreamKey(organization, stream_type, table), {})[column] = data_type
        return tables

    def insert(self, key: StreamKey, rows: list[Row]) -> None:
        """Append rows in one transaction; new columns are added, conflicting ones become strings."""
        if not rows:
            return
        with self._lock:
            known = self._tables.get(key, {})
            types = infer_types(rows, known)
            self._connection.execute("BEGIN")
            try:
                self._shape_table(key, known, types)
                for start in range(0, len(rows), INSERT_ROWS_MAX):
                    self._append(key, rows[start : start + INSERT_ROWS_MAX], types)
                self._connection.execute("COMMIT")
            except (duckdb.Error, UnicodeEncodeError) as error:
                self._connection.execute("ROLLBACK")
                raise StoreError(f"stream {key.name} cannot take these rows: {error}") from error
            self._tables[key] = types

    def _shape_table(self, key: StreamKey, known: ColumnTypes, types: ColumnTypes) -> None:
        if not known:
            columns = ", ".join(f"{quote(name)} {column_type}" for name, column_type in types.items())
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema_name(key))}")
            self._connection.execute(f"CREATE TABLE {table_name(key)} ({columns})")
            return
        for name, column_type in types.items():
            if name not in known:
                change = f"ADD COLUMN {quote(name)} {column_type}"
            elif known[name] != column_type:
                change = f"ALTER COLUMN {quote(name)} TYPE {column_type}"
            else:
                continue
            self._connection.execute(f"ALTER TABLE {table_name(key)} {change}")

    def _append(self, key: StreamKey, rows: list[Row], types: ColumnTypes) -> None:
        present = [name for name in types if any(name in row for row in rows)]
        names = ", ".join(map(quote, present))
        values = ", ".join(f"unnest(?::{types[name]}[])" for name in present)
        self._connection.execute(
            f"INSERT INTO {table_name(key)} ({names}) SELECT {values}",
            [gather(rows, name, types[name]) for name in present],
        )

    def streams(self, organization: str) -> list[StreamInfo]:
        """Return the streams of an organization by type and name, with counts and columns."""
        with self._lock:
            keys = sorted(key for key in self._tables if key.organization == organization)
            return [self._describe(key) for key in keys]

    def _describe(self, key: StreamKey) -> StreamInfo:
        found = self._connection.execute(
            f"SELECT count(*), coalesce(min({TIMESTAMP}), 0), coalesce(max({TIMESTAMP}), 0) FROM {table_name(key)}"  # noqa: S608 - quoted
        ).fetchone()
        rows, first_us, last_us = found or (0, 0, 0)
        return StreamInfo(key, rows, first_us, last_us, dict(self._tables[key]))

    def query(self, query: Query) -> QueryResult:
        """Run a SELECT on a consistent snapshot, while inserts go on."""
        with self._lock:
            tables = {
                key.name: search.Table(table_name(key), text_columns(types))
                for key, types in self._tables.items()
                if (key.organization, key.stream_type) == (query.organization, query.stream_type)
            }
            cursor = self._connection.cursor()
        try:
            return search.run(cursor, query, tables)
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the database; an on-disk one keeps its rows."""
        with self._lock:
            self._connection.close()


def schema_name(key: StreamKey) -> str:
    """Return the schema of a stream's table: the slash cannot occur in an organization's identifier."""
    return f"{key.organization}/{key.stream_type}"


def table_name(key: StreamKey) -> str:
    """Return the qualified, quoted table of a stream."""
    return f"{quote(schema_name(key))}.{quote(key.name)}"


def text_columns(types: ColumnTypes) -> tuple[str, ...]:
    """Return the columns that full-text search looks at."""
    return tuple(name for name in types if name in search.FULL_TEXT_FIELDS and types[name] == VARCHAR)

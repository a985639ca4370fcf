"""`_search`: OpenObserve's SQL on DuckDB.

Each stream a statement names becomes a temporary view of the asked time range, inside a transaction that is rolled
back: the statement runs as it was written, on one snapshot, and leaves nothing behind.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from o2_lambda.backend.sql import order_newest_first, quote, quote_tables, replace_calls, table_of
from o2_lambda.backend.store import Query, QueryResult, SearchError
from o2_lambda.backend.timestamps import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping

SQL_NOT_VALID = 20001
STREAM_NOT_FOUND = 20002
FULL_TEXT_FIELD_NOT_FOUND = 20003
FIELD_NOT_FOUND = 20004
FUNCTION_NOT_DEFINED = 20005
EXECUTION_FAILED = 20008

# OpenObserve's default full-text fields: what `match_all` looks at.
FULL_TEXT_FIELDS = frozenset({"log", "message", "msg", "content", "data", "body", "json", "error"})

_FULL_TEXT_FUNCTIONS = ("match_all", "match_all_ignore_case")

# OpenObserve's own functions, as far as queries for Lambda use them.
MACROS = (
    "CREATE OR REPLACE MACRO str_match(field, text) AS contains(field, text)",
    "CREATE OR REPLACE MACRO str_match_ignore_case(field, text) AS contains(lower(field), lower(text))",
    "CREATE OR REPLACE MACRO re_match(field, pattern) AS regexp_matches(field, pattern)",
    "CREATE OR REPLACE MACRO re_not_match(field, pattern) AS NOT regexp_matches(field, pattern)",
    "CREATE OR REPLACE MACRO approx_percentile_cont(field, share) AS quantile_cont(field, share)",
    "CREATE OR REPLACE MACRO to_timestamp_micros(field) AS make_timestamp(field)",
)

# Bucket width of `histogram(_timestamp)` without one: the first that fits the time range.
_HISTOGRAM_WIDTHS = (
    (15 * 60, "10 second"),
    (60 * 60, "30 second"),
    (6 * 3600, "1 minute"),
    (24 * 3600, "5 minute"),
    (7 * 86_400, "30 minute"),
    (math.inf, "1 day"),
)
_US_PER_SECOND = 1_000_000


class Table(NamedTuple):
    """What a stream name stands for: a qualified, quoted table, and its columns under full-text search."""

    table: str
    text_columns: tuple[str, ...]


def run(cursor: duckdb.DuckDBPyConnection, query: Query, tables: Mapping[str, Table]) -> QueryResult:
    """Run one query against the streams in `tables` (by stored name). Raises SearchError."""
    sql = quote_tables(query.sql)
    try:
        cursor.execute("BEGIN")
        try:
            _define_histogram(cursor, query.range_us)
            names = _check_statement(cursor, sql, tables)
            _define_views(cursor, names, query.range_us, tables)
            text_columns = sorted({column for name in names for column in tables[name].text_columns})
            return _fetch(cursor, _name_text_columns(sql, text_columns), query)
        finally:
            cursor.execute("ROLLBACK")
    except duckdb.Error as error:
        raise _translate(error) from error


def _define_histogram(cursor: duckdb.DuckDBPyConnection, range_us: tuple[int, int] | None) -> None:
    seconds = math.inf if range_us is None else (range_us[1] - range_us[0]) / _US_PER_SECOND
    width = next(width for seconds_max, width in _HISTOGRAM_WIDTHS if seconds <= seconds_max)
    cursor.execute(
        f"CREATE TEMP MACRO histogram(field, width := '{width}') AS "
        "strftime(time_bucket(CAST(width AS INTERVAL), make_timestamp(field)), '%Y-%m-%dT%H:%M:%S')"
    )


def _check_statement(cursor: duckdb.DuckDBPyConnection, sql: str, tables: Mapping[str, Table]) -> list[str]:
    """Return the streams that a statement reads; refuse everything but one SELECT over known streams."""
    statements = cursor.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SearchError(SQL_NOT_VALID, "only a single SELECT statement is allowed")
    known_functions = replace_calls(sql, _FULL_TEXT_FUNCTIONS, "concat(")
    names = {table_of(reference) for reference in cursor.get_table_names(known_functions, qualified=True)}
    for name in sorted(names - tables.keys()):
        raise SearchError(STREAM_NOT_FOUND, f"Search stream not found: {name}")
    return sorted(names)


def _define_views(
    cursor: duckdb.DuckDBPyConnection,
    names: list[str],
    range_us: tuple[int, int] | None,
    tables: Mapping[str, Table],
) -> None:
    condition = "" if range_us is None else f" WHERE {TIMESTAMP} >= {range_us[0]:d} AND {TIMESTAMP} < {range_us[1]:d}"
    for name in names:
        cursor.execute(
            f"CREATE TEMP VIEW {quote(name)} AS SELECT * FROM {tables[name].table}{condition}"  # noqa: S608 - quoted
        )


def _name_text_columns(sql: str, text_columns: list[str]) -> str:
    """Hand `match_all(text)` what it searches: the full-text columns of the streams, joined."""
    fields = f"concat_ws(chr(10), {', '.join(map(quote, text_columns))})" if text_columns else None
    rewritten = replace_calls(sql, _FULL_TEXT_FUNCTIONS, f"str_match_ignore_case({fields}, ")
    if fields is None and rewritten != sql:
        raise SearchError(FULL_TEXT_FIELD_NOT_FOUND, "Full text search field not found")
    return rewritten


def _fetch(cursor: duckdb.DuckDBPyConnection, sql: str, query: Query) -> QueryResult:
    columns = [str(column[0]) for column in cursor.execute(f"DESCRIBE {sql}").fetchall()]
    if TIMESTAMP in columns:
        sql = order_newest_first(sql, TIMESTAMP)
    cursor.execute(sql)
    if query.offset:
        cursor.fetchmany(query.offset)
    rows = cursor.fetchall() if query.limit is None else cursor.fetchmany(query.limit)
    hits = [
        {name: to_json(value) for name, value in zip(columns, row, strict=True) if value is not None} for row in rows
    ]
    is_last_page = rows and (query.limit is None or len(rows) < query.limit)
    total = query.offset + len(rows) if is_last_page else _count(cursor, sql)
    return QueryResult(hits, total)


def _count(cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = cursor.execute(f"SELECT count(*) FROM ({sql.rstrip().rstrip(';')})").fetchone()  # noqa: S608 - checked above
    return int(found[0]) if found else 0


def to_json(value: object) -> object:
    """Return a value of the database as JSON can hold it; what is not finite becomes null, times become ISO text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): to_json(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(element) for element in value]
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)


def _translate(error: duckdb.Error) -> SearchError:
    message = str(error).partition("\n")[0]
    if isinstance(error, duckdb.ParserException):
        return SearchError(SQL_NOT_VALID, f"Search SQL not valid: {message}")
    if isinstance(error, duckdb.BinderException) and "column" in message.lower():
        return SearchError(FIELD_NOT_FOUND, f"Search field not found: {message}")
    if isinstance(error, duckdb.CatalogException) and "Function" in message:
        return SearchError(FUNCTION_NOT_DEFINED, f"Search function not defined: {message}")
    return SearchError(EXECUTION_FAILED, f"Search SQL execute error: {message}")

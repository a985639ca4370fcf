"""Rows to columns: the SQL type of each column, and what happens when values of different types meet in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from o2_lambda.backend.flatten import Row, Scalar

BIGINT = "BIGINT"
DOUBLE = "DOUBLE"
BOOLEAN = "BOOLEAN"
VARCHAR = "VARCHAR"

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

ColumnTypes: TypeAlias = dict[str, str]


def sql_type(value: Scalar) -> str:
    """Return the column type of one value; integers beyond 64 bits become doubles."""
    if isinstance(value, str):
        return VARCHAR
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return BIGINT if INT64_MIN <= value <= INT64_MAX else DOUBLE
    return DOUBLE


def merge_types(one: str, other: str) -> str:
    """Return the type that holds both: numbers widen to double, everything else becomes a string for ever."""
    if one == other:
        return one
    if {one, other} == {BIGINT, DOUBLE}:
        return DOUBLE
    return VARCHAR


def infer_types(rows: Iterable[Row], known: ColumnTypes) -> ColumnTypes:
    """Return the column types after these rows: `known` widened where needed, with the new columns appended."""
    types = dict(known)
    for row in rows:
        for name, value in row.items():
            seen = types.get(name)
            if seen == VARCHAR:
                continue
            found = sql_type(value)
            if seen != found:
                types[name] = found if seen is None else merge_types(seen, found)
    return types


def gather(rows: list[Row], name: str, column_type: str) -> list[Scalar | None]:
    """Return one column's values, converted to its type, None where a row lacks it."""
    values = [row.get(name) for row in rows]
    if column_type == VARCHAR:
        return [value if value is None or isinstance(value, str) else _to_text(value) for value in values]
    if column_type == DOUBLE:
        return [None if value is None else float(value) for value in values]
    return values


def _to_text(value: Scalar) -> str:
    """Spell a value the way the database casts what it already holds, so old and new rows read alike."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

"""Flattening: how OpenObserve turns one JSON object into one row of scalar columns.

Nested keys are joined with `_`, lower-cased, and every character outside `[a-z0-9_]` becomes `_`. Objects below the
level limit and all arrays become JSON strings; empty objects, empty arrays and nulls leave no column.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar: TypeAlias = str | int | float | bool
Row: TypeAlias = dict[str, Scalar]
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json] | None"

# OpenObserve's default for logs (ZO_INGEST_FLATTEN_LEVEL): root, `record`, `record.metrics`.
LOGS_LEVELS_MAX = 3
# Spans and data points are flattened without a limit.
LEVELS_UNLIMITED = 0

_KEY_FORMATTED = re.compile(r"[a-z0-9_]+")
_KEY_FOREIGN = re.compile(r"[^a-z0-9_]")
_UPPER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def format_key(key: str) -> str:
    """Return the column name of one JSON key; camelCase is not split: `requestId` becomes `requestid`."""
    if _KEY_FORMATTED.fullmatch(key):
        return key
    # ASCII only: str.lower() would map the Kelvin sign to `k`.
    return _KEY_FOREIGN.sub("_", key.translate(_UPPER)) or "_"


def to_json_text(value: Json) -> str:
    """Return the text stored for an array or a deep object: compact, keys sorted."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def flatten(record: Mapping[str, Json], levels_max: int = LOGS_LEVELS_MAX) -> Row:
    """Flatten one record to a row of scalars.

    `levels_max` counts the root as level one; `LEVELS_UNLIMITED` flattens to any depth. Of two keys that fall on the
    same column the later one wins.
    """
    row: Row = {}
    _flatten_object(record, "", 1, levels_max, row)
    return row


def _flatten_object(members: Mapping[str, Json], prefix: str, level: int, levels_max: int, row: Row) -> None:
    for key, value in members.items():
        if value is None:
            continue
        column = prefix + format_key(key)
        if isinstance(value, dict):
            if not value:
                continue
            if levels_max and level >= levels_max:
                row[column] = to_json_text(value)
            else:
                _flatten_object(value, column + "_", level + 1, levels_max, row)
        elif isinstance(value, list):
            if value:
                row[column] = to_json_text(value)
        else:
            row[column] = value

"""JSON records to rows: the rules of `_json` and `_multi`, without a socket, a clock or a database."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from o2_lambda.backend.flatten import LOGS_LEVELS_MAX, flatten
from o2_lambda.backend.store import StoreError
from o2_lambda.backend.timestamps import (
    TIMESTAMP,
    TIMESTAMP_ALIAS,
    TimestampError,
    check_window,
    parse_timestamp_us,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from o2_lambda.backend.flatten import Json, Row

# OpenObserve's ZO_COLS_PER_RECORD_LIMIT for one batch; OpenObserve Cloud allows 200.
COLUMNS_MAX = 1000

NOT_AN_OBJECT = "flatten value must be an object"


class PayloadError(ValueError):
    """The whole body is refused with 400; the message names what is wrong."""


class PoisonRecordError(Exception):
    """A record that makes the real server's handler panic: the connection drops and nothing is answered."""


@dataclass(slots=True)
class Batch:
    """What became of the records of one request: `rows` to store, and the count and last reason of the refused."""

    rows: list[Row] = field(default_factory=list)
    failed: int = 0
    error: str = ""

    def fail(self, reason: str) -> None:
        """Count one refused record; only the last reason is reported, as the real server does."""
        self.failed += 1
        self.error = reason


def check_columns(rows: Iterable[Row], columns_max: int) -> None:
    """Raise StoreError when rows of one request together use more distinct columns than they may."""
    columns: set[str] = set()
    for row in rows:
        columns |= row.keys()
    if len(columns) > columns_max:
        raise StoreError(f"Got {len(columns)} fields, more than the limit of {columns_max}")


def parse_json(body: bytes) -> list[Json]:
    """Return the records of a `_json` body: the elements of an array, or the one value it is.

    Raises PayloadError for anything else, newline-delimited JSON included.
    """
    value = _loads(body)
    return value if isinstance(value, list) else [value]


def parse_ndjson(body: bytes) -> list[Json]:
    """Return the records of a `_multi` body, one per line, blank lines skipped; one bad line refuses the whole."""
    return [_loads(line) for line in body.splitlines() if line.strip()]


def _loads(body: bytes) -> Json:
    try:
        value: Json = json.loads(body, parse_constant=_refuse_constant, parse_float=_parse_float)
        if b"\\ud" in body or b"\\uD" in body:
            _refuse_lone_surrogates(value)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"Invalid JSON: {error}") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("number out of range")
    return number


def _refuse_lone_surrogates(value: Json) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def build_batch(records: Iterable[Json], now_us: int) -> Batch:
    """Flatten, timestamp and window-check records; a bad record costs itself alone.

    Raises PoisonRecordError when a record has a top-level `_id` that is not a string.
    """
    batch = Batch()
    for record in records:
        if not isinstance(record, dict):
            batch.fail(NOT_AN_OBJECT)
            continue
        if "_id" in record and not isinstance(record["_id"], str):
            raise PoisonRecordError("top-level `_id` is not a string")
        try:
            batch.rows.append(_build_row(record, now_us))
        except TimestampError as error:
            batch.fail(str(error))
    return batch


def _build_row(record: dict[str, Json], now_us: int) -> Row:
    timestamp = record.get(TIMESTAMP, record.get(TIMESTAMP_ALIAS))
    timestamp_us = parse_timestamp_us(timestamp, now_us)
    check_window(timestamp_us, now_us)
    if TIMESTAMP_ALIAS in record:
        record = {key: value for key, value in record.items() if key != TIMESTAMP_ALIAS}
    row = flatten(record, LOGS_LEVELS_MAX)
    row[TIMESTAMP] = timestamp_us
    return row

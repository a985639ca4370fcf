"""Timestamps: what OpenObserve makes of `_timestamp`, and which records it refuses for their age."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from o2_lambda.backend.flatten import Json

TIMESTAMP = "_timestamp"
# A record that carries this key and no `_timestamp` is stored with it renamed.
TIMESTAMP_ALIAS = "@timestamp"

# Magnitudes above which an integer is read as the finer unit; below the last one it is seconds.
_NANOSECONDS_ABOVE = 31_500_000_000_000_000
_MICROSECONDS_ABOVE = 31_500_000_000_000
_MILLISECONDS_ABOVE = 31_500_000_000

_US_PER_HOUR = 3_600_000_000
# ZO_INGEST_ALLOWED_UPTO and ZO_INGEST_ALLOWED_IN_FUTURE, at their defaults.
PAST_HOURS_MAX = 5
FUTURE_HOURS_MAX = 24

TOO_OLD = f"Too old data, only last {PAST_HOURS_MAX} hours data can be ingested. Data discarded."
TOO_FAR = f"Too far data, only future {FUTURE_HOURS_MAX} hours data can be ingested. Data discarded."
UNREADABLE = "Can't parse timestamp"


class TimestampError(ValueError):
    """A record's timestamp is unreadable or outside the window; the message is the one the server reports."""


def scale_to_us(value: int) -> int:
    """Return an integer timestamp of unknown unit (s, ms, µs, ns; told apart by magnitude) in µs."""
    if value > _NANOSECONDS_ABOVE:
        return value // 1000
    if value > _MICROSECONDS_ABOVE:
        return value
    if value > _MILLISECONDS_ABOVE:
        return value * 1000
    return value * 1_000_000


def parse_timestamp_us(value: Json, now_us: int) -> int:
    """Return the value of `_timestamp` in µs; null and 0 mean now.

    Raises TimestampError for what is neither a number nor an RFC 3339 string.
    """
    if value is None:
        return now_us
    if isinstance(value, (bool, list, dict)):
        raise TimestampError(UNREADABLE)
    if isinstance(value, str):
        return _parse_rfc3339_us(value)
    try:
        number = int(value)
    except (OverflowError, ValueError) as error:
        raise TimestampError(UNREADABLE) from error
    return scale_to_us(number) if number else now_us


def _parse_rfc3339_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimestampError(UNREADABLE) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def check_window(timestamp_us: int, now_us: int) -> None:
    """Raise TimestampError when a record is older than 5 h or more than 24 h in the future."""
    if timestamp_us < now_us - PAST_HOURS_MAX * _US_PER_HOUR:
        raise TimestampError(TOO_OLD)
    if timestamp_us > now_us + FUTURE_HOURS_MAX * _US_PER_HOUR:
        raise TimestampError(TOO_FAR)

"""Reading `_timestamp` and the time window."""

from __future__ import annotations

from typing import Any

import pytest

from o2_lambda.backend.timestamps import (
    TOO_FAR,
    TOO_OLD,
    TimestampError,
    check_window,
    parse_timestamp_us,
    scale_to_us,
)

NOW_US = 1_760_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("value", "expected_us"),
    [
        (1_760_000_000, NOW_US),
        (1_760_000_000_000, NOW_US),
        (1_760_000_000_000_000, NOW_US),
        (1_760_000_000_000_000_123, NOW_US),
        (1_760_000_000.9, NOW_US),
        (31_500_000_000, 31_500_000_000_000_000),
        (31_500_000_001, 31_500_000_001_000),
        (31_500_000_000_000, 31_500_000_000_000_000),
        (31_500_000_000_001, 31_500_000_000_001),
        (31_500_000_000_000_001, 31_500_000_000_000),
        (-1, -1_000_000),
    ],
)
def test_integers_are_scaled_by_magnitude(value: float, expected_us: int) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds are told apart at the documented bounds."""
    assert parse_timestamp_us(value, NOW_US) == expected_us
    assert scale_to_us(int(value)) == expected_us


@pytest.mark.parametrize("value", [None, 0, 0.0])
def test_nothing_means_now(value: Any) -> None:
    """Null and zero stand for the moment of arrival."""
    assert parse_timestamp_us(value, NOW_US) == NOW_US


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-09T08:53:20Z",
        "2025-10-09T08:53:20.000Z",
        "2025-10-09T10:53:20.000000+02:00",
        "2025-10-09T08:53:20",
    ],
)
def test_rfc3339_strings_are_read(text: str) -> None:
    """Strings with a zone, and without one as UTC."""
    assert parse_timestamp_us(text, 0) == NOW_US


@pytest.mark.parametrize("value", ["yesterday", "", True, [], {}, [1], float("inf"), float("nan")])
def test_everything_else_is_refused(value: Any) -> None:
    """What is no time costs the record, with the server's reason."""
    with pytest.raises(TimestampError, match="Can't parse timestamp"):
        parse_timestamp_us(value, NOW_US)


def test_window_reaches_five_hours_back_and_a_day_ahead() -> None:
    """Both edges belong to the window; one microsecond beyond does not."""
    check_window(NOW_US - 5 * HOUR_US, NOW_US)
    check_window(NOW_US + 24 * HOUR_US, NOW_US)
    with pytest.raises(TimestampError) as too_old:
        check_window(NOW_US - 5 * HOUR_US - 1, NOW_US)
    assert str(too_old.value) == TOO_OLD
    with pytest.raises(TimestampError) as too_far:
        check_window(NOW_US + 24 * HOUR_US + 1, NOW_US)
    assert str(too_far.value) == TOO_FAR

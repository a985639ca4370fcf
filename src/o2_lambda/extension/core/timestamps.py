"""Time stamps as Lambda writes them."""

from __future__ import annotations


def epoch_us(time: str) -> int:
    """Microseconds since 1970 of `2026-01-01T00:00:00.000Z` (any number of fraction digits). Raises ValueError."""
    year, month, day = int(time[0:4]), int(time[5:7]), int(time[8:10])
    seconds = int(time[11:13]) * 3600 + int(time[14:16]) * 60 + int(time[17:19])
    if time[4] + time[7] + time[10] + time[13] + time[16] + time[-1] != "--T::Z" or not 1 <= month <= 12:  # noqa: PLR2004 - months
        raise ValueError(time)
    # Days from the civil calendar: years start in March, so that the leap day is the last of its year.
    year -= month < 3  # noqa: PLR2004 - March
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    fraction = time[20:-1]
    return (days * 86400 + seconds) * 1_000_000 + (int((fraction + "000000")[:6]) if fraction else 0)

"""Time stamps as Lambda writes them."""

from __future__ import annotations

_PUNCTUATION = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (-1, "Z"))
MONTHS = 12


def epoch_us(time: str) -> int:
    """Microseconds since 1970 of `2026-01-01T00:00:00.000Z`, with any number of fraction digits or none.

    Raises ValueError or IndexError for anything else.
    """
    fraction = time[20:-1]
    digits = time[0:4] + time[5:7] + time[8:10] + time[11:13] + time[14:16] + time[17:19] + fraction
    if not (digits.isascii() and digits.isdigit()) or time[19] != (".Z"[not fraction]):
        raise ValueError(time)
    for index, char in _PUNCTUATION:
        if time[index] != char:
            raise ValueError(time)
    year, month, day = int(time[0:4]), int(time[5:7]), int(time[8:10])
    seconds = int(time[11:13]) * 3600 + int(time[14:16]) * 60 + int(time[17:19])
    if not 1 <= month <= MONTHS:
        raise ValueError(time)
    # Days from the civil calendar: years start in March, so that the leap day is the last of its year.
    year -= month < 3  # noqa: PLR2004 - March
    days = year * 365 + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    return (days * 86400 + seconds) * 1_000_000 + int((fraction + "000000")[:6])


def basic_time(wall_ms: int) -> str:
    """A time in ms since 1970 as `20260101T000000Z`, ISO 8601's basic form."""
    days, seconds = divmod(wall_ms // 1000, 86400)
    # The civil calendar in eras of 400 years (146097 days) that begin in March.
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += era * 400 + (month >= 10)  # noqa: PLR2004 - January and February belong to the next year
    month = month + 3 if month < 10 else month - 9  # noqa: PLR2004 - as above
    return f"{year:04}{month:02}{day + 1:02}T{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}Z"

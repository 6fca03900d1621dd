"""What a `Retry-After` header says. Source: RFC 9110, sections 10.2.3 and 5.6.7."""

from __future__ import annotations

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SECONDS_DIGITS_MAX = 9
_S_PER_DAY = 86_400


def retry_after_s(value: str, now_s: float) -> float | None:
    """Seconds from `now_s`, Unix time, on; None if `value` is neither a number nor a date."""
    if value.isascii() and value.isdecimal():
        return float(value[:_SECONDS_DIGITS_MAX])
    date_s = http_date_s(value)
    return None if date_s is None else max(0.0, date_s - now_s)


def http_date_s(value: str) -> int | None:
    """Unix time of a date like `Sun, 06 Nov 1994 08:49:37 GMT`; None if it is none.

    By hand: `email.utils` and `time.strptime` load ten modules for it.
    """
    parts = value.lower().replace(":", " ").replace(",", " ").split()
    if len(parts) != 8 or parts[7] != "gmt" or parts[2] not in _MONTHS:  # noqa: PLR2004
        return None
    numbers = (parts[1], *parts[3:7])
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    day, year, hour, minute, second = map(int, numbers)
    month = _MONTHS.index(parts[2]) + 1
    if not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60 or not 1970 <= year <= 9999:  # noqa: PLR2004
        return None
    return (
        _days_since_1970(year, month, day) * _S_PER_DAY
        + hour * 3600
        + minute * 60
        + min(second, 59)
    )


def _days_since_1970(year: int, month: int, day: int) -> int:
    """Days of the Gregorian calendar; years that begin in March have the leap day last."""
    if month <= 2:  # noqa: PLR2004
        year, month = year - 1, month + 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * (month - 3) + 2) // 5 + day - 719_469

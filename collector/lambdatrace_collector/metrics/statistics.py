"""Statistics and periods: what a query may ask for, and how its range is cut.

Source: CloudWatch user guide, "Statistics definitions"; API reference, GetMetricData.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BASIC_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
SUB_MINUTE_PERIODS_S = (1, 5, 10, 20, 30)
PERIOD_MAX_S = 86_400
MINUTE_MS = 60_000
DAY_MS = 86_400_000

# How AWS chooses when a query names no unit and the metric has several.
UNIT_PRIORITY = (
    "Megabits",
    "Terabits",
    "Gigabits",
    "Count",
    "Bytes",
    "Gigabytes",
    "Gigabytes/Second",
    "Kilobytes",
    "Kilobits/Second",
    "Terabytes",
    "Terabits/Second",
    "Bytes/Second",
    "Percent",
    "Megabytes",
    "Megabits/Second",
    "Milliseconds",
    "Microseconds",
    "Kilobytes/Second",
    "Gigabits/Second",
    "Megabytes/Second",
    "Bits",
    "Bits/Second",
    "Count/Second",
    "Seconds",
    "Kilobits",
    "Terabytes/Second",
    "None",
)

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100(?:\.0{1,10})?)")


@dataclass(frozen=True)
class Statistic:
    """One statistic: a basic one, or a percentile with its level from 0 to 1."""

    name: str
    level: float | None = None


def parse_statistic(text: str) -> Statistic | None:
    """The statistic that `text` names; None when it is none that this collector computes."""
    if text in BASIC_STATISTICS:
        return Statistic(text)
    percentile = _PERCENTILE.fullmatch(text)
    return Statistic(text, float(percentile[1]) / 100) if percentile else None


def is_period(period_s: int) -> bool:
    """True for the periods that AWS takes: 1, 5, 10, 20, 30 or a multiple of 60 seconds."""
    if period_s > PERIOD_MAX_S:
        return False
    return period_s in SUB_MINUTE_PERIODS_S or (period_s > 0 and period_s % 60 == 0)


def aligned_start_ms(start_ms: int, period_s: int, now_ms: int) -> int:
    """The start of a range, rounded down as AWS does by its age.

    Younger than 15 days: to the minute, or to the period when that is shorter; to 63 days: to
    five minutes; older: to the hour.
    """
    age_ms = now_ms - start_ms
    if age_ms < 15 * DAY_MS:
        step_ms = min(MINUTE_MS, period_s * 1000)
    elif age_ms < 63 * DAY_MS:
        step_ms = 5 * MINUTE_MS
    else:
        step_ms = 60 * MINUTE_MS
    return start_ms // step_ms * step_ms


def preferred_unit(units: set[str]) -> str:
    """The unit that AWS answers with when a query names none. `units` is not empty."""
    return min(units, key=lambda unit: UNIT_PRIORITY.index(unit) if unit in UNIT_PRIORITY else 99)

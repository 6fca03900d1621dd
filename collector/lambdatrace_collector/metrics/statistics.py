"""Statistics and periods: what a query may ask for, and how its range is cut.

Source: CloudWatch user guide, "Statistics definitions"; API reference, GetMetricData.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

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

_NUMBER = r"\d+(?:\.\d{1,10})?"
_TO_LEVEL = re.compile(rf"(p|tm|wm|tc|ts)({_NUMBER})")
_BETWEEN = re.compile(rf"(TM|WM|TC|TS|PR)\(({_NUMBER}%?)?:({_NUMBER}%?)?\)")
_KINDS = {
    "p": "percentile",
    "tm": "trimmed_mean",
    "wm": "winsorized_mean",
    "tc": "trimmed_count",
    "ts": "trimmed_sum",
    "pr": "rank",
}


@dataclass(frozen=True)
class Statistic:
    """One statistic: its name as asked for, and how `metric_statistics.sql` computes it.

    `kind` is the name itself for the basic ones. The others have bounds: parts from 0 to 1 of the
    values' number when `is_part`, else values, `low` exclusive and `high` inclusive.
    """

    name: str
    kind: str
    is_part: bool = True
    low: float = 0.0
    high: float = 1.0

    @property
    def is_basic(self) -> bool:
        """True for those that statistic sets suffice for."""
        return self.kind in BASIC_STATISTICS


def parse_statistic(text: str) -> Statistic | None:
    """The statistic that `text` names; None when it names none.

    `tm99` is TM(:99%); bounds with a percent sign are parts of the values' number, others are
    values. Upper case goes with two bounds, lower case with one.
    """
    if text in BASIC_STATISTICS:
        return Statistic(text, text)
    if text == "IQM":
        return Statistic(text, _KINDS["tm"], low=0.25, high=0.75)
    to_level = _TO_LEVEL.fullmatch(text)
    if to_level:
        level = float(to_level[2]) / 100
        if level > 1:
            return None
        is_percentile = to_level[1] == "p"
        bounds = (level, 1.0) if is_percentile else (0.0, level)
        return Statistic(text, _KINDS[to_level[1]], low=bounds[0], high=bounds[1])
    between = _BETWEEN.fullmatch(text)
    return _between(text, *between.groups()) if between else None


def _between(text: str, name: str, low: str | None, high: str | None) -> Statistic | None:
    given = [bound for bound in (low, high) if bound]
    are_percents = {bound.endswith("%") for bound in given}
    if len(are_percents) != 1:
        return None
    kind = _KINDS[name.lower()]
    if are_percents == {False}:
        bounds = float(low or "-inf"), float(high or "inf")
        return Statistic(text, kind, False, *bounds) if bounds[0] < bounds[1] else None
    bounds = float((low or "0").rstrip("%")) / 100, float((high or "100").rstrip("%")) / 100
    is_valid = name != "PR" and bounds[0] < bounds[1] <= 1
    return Statistic(text, kind, True, *bounds) if is_valid else None


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


def oldest_ms(period_s: int, now_ms: int) -> int:
    """How far back a period reaches: finer datapoints are kept for less long.

    Source: GetMetricStatistics, "CloudWatch metrics are retained as follows".
    """
    if period_s % 3600 == 0:
        return now_ms - 455 * DAY_MS
    if period_s % 300 == 0:
        return now_ms - 63 * DAY_MS
    if period_s % 60 == 0:
        return now_ms - 15 * DAY_MS
    return now_ms - 3 * 3_600_000


def rollup_tier_s(period_s: int) -> int:
    """The rollup that answers a period: of 3600 or 300 seconds; 0 when every one is coarser."""
    return next((tier for tier in (3600, 300) if period_s % tier == 0), 0)


def preferred_unit(units: Collection[str]) -> str:
    """The unit that AWS answers with when a query names none. `units` is not empty."""
    return min(units, key=lambda unit: UNIT_PRIORITY.index(unit) if unit in UNIT_PRIORITY else 99)

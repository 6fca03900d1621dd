from __future__ import annotations

import pytest

from lambdatrace_collector.metrics.statistics import (
    DAY_MS,
    UNIT_PRIORITY,
    Statistic,
    aligned_start_ms,
    is_period,
    parse_statistic,
    preferred_unit,
)

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Average", Statistic("Average")),
        ("p99", Statistic("p99", 0.99)),
        ("p0", Statistic("p0", 0.0)),
        ("p100", Statistic("p100", 1.0)),
        ("p2.5", Statistic("p2.5", 0.025)),
        ("p101", None),
        ("p", None),
        ("P99", None),
        ("tm99", None),
        ("average", None),
    ],
)
def test_statistics_are_read(text: str, expected: Statistic | None) -> None:
    assert parse_statistic(text) == expected


def test_periods_are_those_of_aws() -> None:
    taken = [period for period in range(-60, 200) if is_period(period)]
    assert taken == [1, 5, 10, 20, 30, 60, 120, 180]
    assert (is_period(86_400), is_period(86_460)) == (True, False)


@pytest.mark.parametrize(
    ("age_ms", "period_s", "step_ms"),
    [
        (0, 60, 60_000),
        (0, 3600, 60_000),
        (0, 10, 10_000),
        (15 * DAY_MS, 60, 300_000),
        (63 * DAY_MS, 60, 3_600_000),
    ],
)
def test_a_range_starts_where_aws_rounds_it(age_ms: int, period_s: int, step_ms: int) -> None:
    start_ms = NOW_MS - age_ms - 1
    assert aligned_start_ms(start_ms, period_s, NOW_MS) == start_ms - start_ms % step_ms


def test_the_unit_of_several_is_chosen_by_aws_s_priority() -> None:
    assert preferred_unit({"Seconds", "Milliseconds", "Count"}) == "Count"
    assert preferred_unit({"None"}) == "None"
    assert len(set(UNIT_PRIORITY)) == 27

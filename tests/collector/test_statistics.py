from __future__ import annotations

import math

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
        ("Average", Statistic("Average", "Average")),
        ("p99", Statistic("p99", "percentile", low=0.99)),
        ("p0", Statistic("p0", "percentile", low=0.0)),
        ("p100", Statistic("p100", "percentile", low=1.0)),
        ("p2.5", Statistic("p2.5", "percentile", low=0.025)),
        ("tm90", Statistic("tm90", "trimmed_mean", high=0.9)),
        ("tc90.5", Statistic("tc90.5", "trimmed_count", high=0.905)),
        ("ts10", Statistic("ts10", "trimmed_sum", high=0.1)),
        ("wm98", Statistic("wm98", "winsorized_mean", high=0.98)),
        ("IQM", Statistic("IQM", "trimmed_mean", low=0.25, high=0.75)),
        ("TM(2%:98%)", Statistic("TM(2%:98%)", "trimmed_mean", low=0.02, high=0.98)),
        ("TS(80%:)", Statistic("TS(80%:)", "trimmed_sum", low=0.8)),
        ("WM(:95%)", Statistic("WM(:95%)", "winsorized_mean", high=0.95)),
        ("TM(150:1000)", Statistic("TM(150:1000)", "trimmed_mean", False, 150.0, 1000.0)),
        ("TC(:0.5)", Statistic("TC(:0.5)", "trimmed_count", False, -math.inf, 0.5)),
        ("PR(100:)", Statistic("PR(100:)", "rank", False, 100.0, math.inf)),
        *(
            (text, None)
            for text in (
                *(
                    "p101",
                    "p",
                    "P99",
                    "average",
                    "pr50",
                    "TM99",
                    "tm(1:2)",
                    "iqm",
                    "p1.12345678901",
                ),
                *("TM(:)", "TM(2%:98)", "TM(98%:2%)", "TM(5:5)", "PR(10%:20%)", "TM(50%:101%)"),
            )
        ),
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

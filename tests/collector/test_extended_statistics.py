"""Percentiles and their kin, against what they are by definition."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.collector.conftest import Collector

HOUR = timedelta(hours=1)


def an_hour_ago() -> datetime:
    return datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR


def put(cloudwatch: Any, namespace: str, *data: dict[str, Any]) -> None:
    start = an_hour_ago()
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": "m", "Timestamp": start, **datum} for datum in data],
    )


def statistics(cloudwatch: Any, namespace: str, *names: str) -> dict[str, float | None]:
    """Each statistic of the hour, by both operations, which agree."""
    start = an_hour_ago()
    metric = {"Namespace": namespace, "MetricName": "m"}
    span = {"StartTime": start, "EndTime": start + HOUR}
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {"Id": f"q{place}", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": name}}
            for place, name in enumerate(names)
        ],
        **span,
    )
    values = [(result["Values"] or [None])[0] for result in answer["MetricDataResults"]]
    extended: dict[str, float] = {}
    for first in range(0, len(names), 10):
        for point in cloudwatch.get_metric_statistics(
            **metric, **span, Period=3600, ExtendedStatistics=list(names[first : first + 10])
        )["Datapoints"]:
            extended |= point["ExtendedStatistics"]
    found = dict(zip(names, values, strict=True))
    assert extended == {name: value for name, value in found.items() if value is not None}
    return found


def test_one_to_a_hundred_has_the_statistics_that_one_counts_on_fingers(
    collector: Collector, unique: str
) -> None:
    cloudwatch = collector.client("cloudwatch")
    put(cloudwatch, unique, {"Values": [float(n) for n in range(1, 101)]})
    expected = {
        "p50": 50.5,
        "p90": 90.1,  # rank 0.9 * 99 = 89.1 of ranks from 0: between 90 and 91
        "tm90": 45.5,  # the mean of 1 … 90
        "tc90": 90.0,
        "ts90": 4095.0,
        "wm90": (4095.0 + 10 * 90) / 100,  # the highest ten count as 90
        "IQM": 50.5,  # the mean of 26 … 75
        "TM(25%:75%)": 50.5,
        "TM(10%:)": 55.5,
        "TC(80%:)": 20.0,
        "TS(:10%)": 55.0,
        "WM(10%:90%)": (11 * 10 + sum(range(11, 91)) + 90 * 10) / 100,
        "tc0.5": 0.5,  # half of a value
        "TM(0%:0.5%)": 1.0,
        "TM(20:40)": 30.5,  # above 20, up to 40
        "TC(20:40)": 20.0,
        "TS(20:40)": 610.0,
        "TC(:0.5)": 0.0,
        "TM(:0.5)": None,  # the mean of nothing
        "WM(20:40)": (20 * 20 + sum(range(21, 41)) + 40 * 60) / 100,
        "PR(:30)": 30.0,
        "PR(30:)": 70.0,
        "PR(10:30)": 20.0,
        "PR(100:)": 0.0,
    }
    found = statistics(cloudwatch, unique, *expected)
    assert {
        name: None if value is None else round(value, 9) for name, value in found.items()
    } == expected
    cloudwatch.close()


def test_counts_weigh_like_values_that_come_as_often(collector: Collector, unique: str) -> None:
    cloudwatch = collector.client("cloudwatch")
    names = ("p10", "p50", "p99.9", "tm75", "TM(10%:60%)", "wm80", "TC(2:7)", "PR(:5)", "IQM")
    chance = random.Random(1)
    values = [round(chance.lognormvariate(1, 1), 3) for _ in range(40)]
    counts = [chance.randint(1, 9) for _ in values]
    put(cloudwatch, f"{unique}-counted", {"Values": values, "Counts": [float(n) for n in counts]})
    spread = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
    chance.shuffle(spread)
    put(
        cloudwatch,
        f"{unique}-spread",
        *({"Values": spread[first : first + 100]} for first in range(0, len(spread), 100)),
    )
    counted = statistics(cloudwatch, f"{unique}-counted", *names)
    assert counted == pytest.approx(statistics(cloudwatch, f"{unique}-spread", *names))
    assert counted == pytest.approx({name: by_definition(spread, name) for name in names})
    cloudwatch.close()


def by_definition(values: Sequence[float], name: str) -> float:
    """A statistic of values that each count once."""
    ordered = sorted(values)
    count = len(ordered)
    if name.startswith("p"):
        rank = float(name[1:]) / 100 * (count - 1)
        below = math.floor(rank)
        above = ordered[min(below + 1, count - 1)]
        return ordered[below] + (above - ordered[below]) * (rank - below)
    if name in ("TC(2:7)", "PR(:5)"):
        inside = (
            sum(2 < v <= 7 for v in ordered) if name[0] == "T" else sum(v <= 5 for v in ordered)
        )
        return inside if name[0] == "T" else 100 * inside / count
    low, high = {
        "tm75": (0.0, 0.75),
        "TM(10%:60%)": (0.1, 0.6),
        "wm80": (0.0, 0.8),
        "IQM": (0.25, 0.75),
    }[name]
    parts = [
        (value, max(0.0, min(place + 1, high * count) - max(place, low * count)))
        for place, value in enumerate(ordered)
    ]
    total = math.fsum(value * part for value, part in parts)
    if name == "wm80":
        edge = max(value for value, part in parts if part > 0)
        return (total + edge * (1 - high) * count) / count
    return total / math.fsum(part for _, part in parts)


@pytest.mark.parametrize(
    ("datum", "median"),
    [
        ({"SampleCount": 1.0, "Sum": 5.0, "Minimum": 5.0, "Maximum": 5.0}, 5.0),
        ({"SampleCount": 4.0, "Sum": 20.0, "Minimum": 5.0, "Maximum": 5.0}, 5.0),
        ({"SampleCount": 1.0, "Sum": 5.0, "Minimum": 4.0, "Maximum": 6.0}, None),
        ({"SampleCount": 4.0, "Sum": 21.0, "Minimum": 5.0, "Maximum": 5.0}, None),
        ({"SampleCount": 2.0, "Sum": 10.0, "Minimum": 4.0, "Maximum": 6.0}, None),
    ],
)
def test_a_statistic_set_has_percentiles_only_where_it_says_all(
    collector: Collector, unique: str, datum: dict[str, float], median: float | None
) -> None:
    cloudwatch = collector.client("cloudwatch")
    put(cloudwatch, unique, {"StatisticValues": datum})
    assert statistics(cloudwatch, unique, "p50") == {"p50": median}
    cloudwatch.close()


@pytest.mark.parametrize("name", ["P50", "p101", "tm", "TM(1)", "TM(2%:1%)", "pr50", "Median"])
def test_what_is_no_statistic_is_refused(collector: Collector, unique: str, name: str) -> None:
    cloudwatch = collector.client("cloudwatch")
    with pytest.raises(ClientError) as caught:
        statistics(cloudwatch, unique, name)
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "ValidationError",
        (
            f"The value {name} for parameter MetricDataQueries.member.1.MetricStat.Stat is not"
            " supported."
        ),
    )
    cloudwatch.close()

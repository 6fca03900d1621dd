"""What is left of metrics as time goes on: samples, rollups of closed days, and nothing."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace_collector.metrics.retention import roll_up
from tests.collector.conftest import start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse, Collector

ACCOUNT, REGION = "123456789012", "eu-west-1"
LEVELS = (1, 25, 50, 75, 90, 95, 99, 99.9, 100)


def hour_of(days_ago: int) -> datetime:
    """Noon, so that the hour after it is of the same day."""
    now = datetime.now(timezone.utc)
    return (now - timedelta(days=days_ago)).replace(hour=12, minute=0, second=0, microsecond=0)


def sample(name: str, moment: datetime, number: int, **columns: Any) -> dict[str, Any]:
    return {
        "account": ACCOUNT,
        "region": REGION,
        "namespace": "aged",
        "metric_name": name,
        "timestamp_ms": round(moment.timestamp() * 1000),
        "unit": "Milliseconds",
        "storage_resolution": 1,
        "sample_id": str(number + 1),
        **columns,
    }


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def write(store: Store, rows: Sequence[dict[str, Any]]) -> None:
    body = "\n".join(json.dumps(row) for row in rows).encode()
    run(store.insert("metric_input", body, "JSONEachRow"))


def points(
    collector: Collector, name: str, start: datetime, stat: str, period: int
) -> list[tuple[float, float]]:
    """Of an hour: minutes after `start` and values."""
    (found,) = several(collector, name, start, (stat,), period)
    return found


def several(
    collector: Collector, name: str, start: datetime, stats: Sequence[str], period: int
) -> list[list[tuple[float, float]]]:
    """`points` of several statistics."""
    cloudwatch = collector.client("cloudwatch")
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {
                "Id": f"q{place}",
                "MetricStat": {
                    "Metric": {"Namespace": "aged", "MetricName": name},
                    "Period": period,
                    "Stat": stat,
                },
            }
            for place, stat in enumerate(stats)
        ],
        StartTime=start,
        EndTime=start + timedelta(hours=1),
        ScanBy="TimestampAscending",
    )
    cloudwatch.close()
    return [
        [
            ((moment - start).total_seconds() / 60, value)
            for moment, value in zip(result["Timestamps"], result["Values"], strict=True)
        ]
        for result in answer["MetricDataResults"]
    ]


def interpolated(ordered: Sequence[float], level: float) -> float:
    """As numpy.percentile has it by default."""
    rank = level / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


@pytest.fixture
def aged(clickhouse: ClickHouse, open_on: Callable[[ClickHouse], Store]) -> Store:
    return open_on(clickhouse)


@pytest.fixture(scope="module")
def collector(clickhouse: ClickHouse) -> Iterator[Collector]:
    """A collector on the same server, which finds nothing to roll up when it starts."""
    running = start(clickhouse.url, "--no-grpc", "--no-xray")
    yield running
    running.stop()


def test_the_older_the_data_the_coarser_the_period_that_reaches_it(
    aged: Store, collector: Collector
) -> None:
    # Of these days all but the newest are over for more than 15 days.
    for days_ago, name in ((1, "day"), (20, "weeks"), (70, "months")):
        start = hour_of(days_ago)
        write(
            aged,
            [
                sample(
                    name,
                    start + timedelta(seconds=30 * number),
                    number,
                    values=[1.0 + number],
                    counts=[2.0],
                )
                for number in range(120)
            ],
        )
    now_ms = time.time_ns() // 1_000_000
    closed = run(roll_up(aged, now_ms))
    assert closed == [hour_of(70).date(), hour_of(20).date()]
    assert run(roll_up(aged, now_ms)) == []  # once

    def found(name: str, days_ago: int) -> list[int]:
        start = hour_of(days_ago)
        return [
            len(points(collector, name, start, "Sum", period)) for period in (30, 60, 300, 3600)
        ]

    assert found("day", 1) == [0, 60, 12, 1]
    assert found("weeks", 20) == [0, 0, 12, 1]
    assert found("months", 70) == [0, 0, 0, 1]
    total = sum(2.0 * (1 + number) for number in range(120))
    for days_ago, name in ((1, "day"), (20, "weeks"), (70, "months")):
        start = hour_of(days_ago)
        assert points(collector, name, start, "Sum", 3600) == [(0.0, total)]
        assert points(collector, name, start, "SampleCount", 3600) == [(0.0, 240.0)]
        assert points(collector, name, start, "Maximum", 3600) == [(0.0, 120.0)]
    # Ten samples of 1 to 10 lie in the first five minutes.
    assert points(collector, "weeks", hour_of(20), "TS(:10)", 300)[0] == (0.0, 110.0)


def test_percentiles_stay_within_one_percent_through_rollup(
    aged: Store, collector: Collector
) -> None:
    chance = random.Random(7)
    start = hour_of(30)
    shapes: dict[str, list[float]] = {
        "lognormal": [chance.lognormvariate(3, 2) for _ in range(3000)],
        "pareto": [chance.paretovariate(0.8) for _ in range(3000)],
        "bimodal": [
            chance.gauss(5, 0.5) if n % 50 else chance.gauss(9000, 10) for n in range(3000)
        ],
        "zeros": [0.0 if n % 3 else chance.expovariate(1e-6) for n in range(3000)],
        "tiny": [chance.expovariate(1e9) for _ in range(3000)],
    }
    for name, values in shapes.items():
        write(
            aged,
            [
                sample(
                    name, start + timedelta(seconds=number), number, values=[value], counts=[1.0]
                )
                for number, value in enumerate(values)
            ],
        )
    run(roll_up(aged, time.time_ns() // 1_000_000))
    stats = (*(f"p{level}" for level in LEVELS), "Sum", "Minimum", "tm90")
    for name, values in shapes.items():
        ordered = sorted(values)
        *levels, total, least, trimmed = (
            value for ((_, value),) in several(collector, name, start, stats, 3600)
        )
        expected = [interpolated(ordered, level) for level in LEVELS]
        assert levels == pytest.approx(expected, rel=0.01, abs=1e-300), name
        assert total == pytest.approx(math.fsum(values), rel=1e-12)
        assert least == ordered[0]
        # What is bounded by percentiles is an average of values that are within 0.5 %.
        kept = ordered[: len(ordered) * 9 // 10]
        assert trimmed == pytest.approx(math.fsum(kept) / len(kept), rel=0.01)


def test_a_statistic_set_has_its_sums_but_no_percentiles_after_rollup(
    aged: Store, collector: Collector
) -> None:
    start = hour_of(40)
    spread = {"sample_count": 3.0, "sum": 6.0, "minimum": 1.0, "maximum": 3.0}
    write(
        aged,
        [
            sample("set", start, 0, **spread),
            sample("set", start, 1, values=[7.0], counts=[1.0]),
            sample("below", start, 2, values=[-7.0, 3.0], counts=[1.0, 1.0]),
        ],
    )
    run(roll_up(aged, time.time_ns() // 1_000_000))
    stats = ("SampleCount", "Sum", "Minimum", "Maximum", "p50")
    found = {
        name: [
            [value for _, value in of_one] for of_one in several(collector, name, start, stats, 300)
        ]
        for name in ("set", "below")
    }
    assert found == {
        "set": [[4.0], [13.0], [1.0], [7.0], []],
        "below": [[2.0], [-4.0], [-7.0], [3.0], []],
    }


def test_a_day_that_was_begun_is_made_whole_and_counted_once(aged: Store) -> None:
    start = hour_of(50)
    day_ms = round(start.replace(hour=0).timestamp() * 1000)
    write(aged, [sample("begun", start, 0, values=[5.0], counts=[1.0])])
    window = {"from_ms": day_ms + 12 * 3_600_000, "to_ms": day_ms + 13 * 3_600_000}
    run(aged.execute("roll_up_metric_samples", **window))  # and then the collector was stopped
    assert statistics(aged, "begun", start) == [1.0]
    assert run(roll_up(aged, time.time_ns() // 1_000_000)) == [start.date()]
    assert statistics(aged, "begun", start) == [1.0]
    write(aged, [sample("begun", start, 1, values=[9.0], counts=[1.0])])  # too late for its day
    assert run(roll_up(aged, time.time_ns() // 1_000_000)) == []
    assert statistics(aged, "begun", start) == [1.0]


def test_totals_are_kept_a_day_longer_so_that_the_next_day_s_first_is_told(
    aged: Store, clickhouse: ClickHouse
) -> None:
    first, second, third = (hour_of(days).replace(hour=0) for days in (17, 16, 15))
    late = timedelta(hours=23)
    totals = {
        first + late + timedelta(minutes=59): 5,
        second + timedelta(minutes=1): 9,
        second + late + timedelta(minutes=59): 10,  # the point before is too long ago
        third + timedelta(minutes=1): 12,
    }
    ids = run(aged.query("metric_ids", **described("totals")))[0]["metric_ids"]
    start_ns = round((first + late).timestamp()) * 10**9
    rows = [
        {"metric_id": ids[0], "series_id": 1, "start_ns": start_ns, "unit": "Count", "total": total}
        | {"time_ns": round(moment.timestamp()) * 10**9}
        for moment, total in totals.items()
    ]
    body = "\n".join(map(json.dumps, rows)).encode()
    run(aged.insert("metric_totals", body, "JSONEachRow"))
    hours = (first + late, second, second + late, third)
    expected = [[5.0], [4.0], [], [2.0]]
    assert [statistics(aged, "totals", hour, "Sum") for hour in hours] == expected

    closed = run(roll_up(aged, time.time_ns() // 1_000_000))
    assert {first.date(), second.date()} <= {*closed}
    assert [statistics(aged, "totals", hour, "Sum") for hour in hours] == expected
    assert days_of_totals(clickhouse) == [second.date(), third.date()]


def days_of_totals(clickhouse: ClickHouse) -> list[date]:
    import clickhouse_connect

    client = clickhouse_connect.get_client(dsn=clickhouse.url)
    rows = client.query(
        "SELECT DISTINCT toDate(intDiv(time_ns, 1000000000), 'UTC') AS day FROM metric_totals"
        " ORDER BY day"
    ).result_rows
    client.close()
    return [day for (day,) in rows]


def described(name: str) -> dict[str, Any]:
    """A metric without dimensions, as metric_ids.sql takes it."""
    return {
        "account": ACCOUNT,
        "region": REGION,
        "namespaces": ["aged"],
        "metric_names": [name],
        "dimension_names": [[]],
        "dimension_values": [[]],
    }


def statistics(store: Store, name: str, start: datetime, kind: str = "SampleCount") -> list[float]:
    """A statistic of an hour, as the store tells it."""
    start_ms = round(start.timestamp() * 1000)
    (ids,) = run(store.query("metric_ids", **described(name)))
    rows = run(
        store.query(
            "metric_statistics+totals",
            metric_ids=ids["metric_ids"],
            start_ms=start_ms,
            end_ms=start_ms + 3_600_000,
            period_ms=3_600_000,
            tier_s=3600,
            has_distributions=0,
            kinds=[kind],
            are_parts=[0],
            lows=[0.0],
            highs=[0.0],
        )
    )
    return [value for row in rows for value in row["point_values"]]


def test_the_engine_ends_each_tier_at_its_age(aged: Store, clickhouse: ClickHouse) -> None:
    for days_ago in (60, 64, 454, 456):
        start = hour_of(days_ago)
        write(aged, [sample(f"aged-{days_ago}", start, 0, values=[5.0], counts=[1.0])])
        for hour in (11, 12, 13):
            at_ms = round(start.replace(hour=hour).timestamp() * 1000)
            run(aged.execute("roll_up_metric_samples", from_ms=at_ms - 3_600_000, to_ms=at_ms))
    assert rolled_days(aged, clickhouse) == {
        300: {hour_of(60).date()},
        3600: {hour_of(days_ago).date() for days_ago in (60, 64, 454)},
    }


def rolled_days(store: Store, clickhouse: ClickHouse) -> dict[int, set[date]]:
    """Days with rollups of this test's metrics, by resolution, once the engine has merged."""
    import clickhouse_connect

    client = clickhouse_connect.get_client(dsn=clickhouse.url)
    try:
        client.command("OPTIMIZE TABLE metric_rollups FINAL")
        rows = client.query(
            "SELECT DISTINCT resolution_s, toDate(intDiv(timestamp_ms, 1000), 'UTC')"
            " FROM metric_rollups WHERE metric_id IN"
            " (SELECT metric_id FROM metrics WHERE metric_name LIKE 'aged-%')"
        ).result_rows
    finally:
        client.close()
    days: dict[int, set[date]] = {}
    for resolution_s, day in rows:
        days.setdefault(resolution_s, set()).add(day)
    return days

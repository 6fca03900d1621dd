from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.metrics.datums import dimension_columns
from lambdatrace_collector.metrics.statistics import aligned_start_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.metrics.statistics import Statistic
    from lambdatrace_collector.store.engine import Store


@dataclass(frozen=True)
class Series:
    """One metric over a range in periods: [start_ms, end_ms), Unix milliseconds."""

    namespace: str
    metric_name: str
    dimension_names: tuple[str, ...]  # sorted
    dimension_values: tuple[str, ...]
    unit: str  # empty: all units
    start_ms: int
    end_ms: int
    period_s: int


@dataclass(frozen=True)
class Point:
    """A statistic's value in one period and unit. `timestamp_s` is the period's start."""

    timestamp_s: int
    unit: str
    value: float


def range_ms(call: Call) -> tuple[int, int]:
    """StartTime and EndTime of a call, in Unix milliseconds."""
    return round(call.parameters["StartTime"] * 1000), round(call.parameters["EndTime"] * 1000)


def metric_series(
    call: Call, path: str, metric: Mapping[str, Any], unit: str, period_s: int
) -> Series:
    """The series of `metric` over the call's range, its start rounded as AWS rounds it.

    `metric` holds Namespace, MetricName and perhaps Dimensions, which errors call `path`.
    Raises AwsError when the dimensions break a rule.
    """
    names, values = dimension_columns(path, metric.get("Dimensions", ()))
    start_ms, end_ms = range_ms(call)
    return Series(
        namespace=metric["Namespace"],
        metric_name=metric["MetricName"],
        dimension_names=tuple(names),
        dimension_values=tuple(values),
        unit=unit,
        start_ms=aligned_start_ms(start_ms, period_s, call.now_ms),
        end_ms=end_ms,
        period_s=period_s,
    )


async def statistic_points(
    store: Store, call: Call, series: Series, statistic: Statistic
) -> list[Point]:
    """The points of `statistic`, ascending in time; periods without data have none.

    A percentile has no point where it cannot be told: negative values, or a StatisticSet of
    several different values.
    """
    if statistic.level is None:
        rows = await basic_rows(store, call, series)
        return [
            Point(row["timestamp_s"], row["unit"], basic_value(row, statistic.name)) for row in rows
        ]
    rows = await store.query(
        "metric_percentile", **_parameters(call, series), level=statistic.level
    )
    return [Point(row["timestamp_s"], row["unit"], row["value"]) for row in rows]


async def basic_rows(store: Store, call: Call, series: Series) -> list[dict[str, Any]]:
    """A row per period and unit with the parts of all basic statistics, ascending in time."""
    return await store.query("metric_statistics", **_parameters(call, series))


def basic_value(row: Mapping[str, Any], name: str) -> float:
    """The basic statistic `name` of a row of `basic_rows`."""
    if name == "Average":
        return float(row["sum"] / row["sample_count"])
    column = {
        "SampleCount": "sample_count",
        "Sum": "sum",
        "Minimum": "minimum",
        "Maximum": "maximum",
    }[name]
    return float(row[column])


def _parameters(call: Call, series: Series) -> dict[str, Any]:
    return {
        "account": call.account,
        "region": call.region,
        "namespace": series.namespace,
        "metric_name": series.metric_name,
        "dimension_names": list(series.dimension_names),
        "dimension_values": list(series.dimension_values),
        "unit": series.unit,
        "start_ms": series.start_ms,
        "end_ms": series.end_ms,
        "period_ms": series.period_s * 1000,
    }

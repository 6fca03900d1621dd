"""GetMetricStatistics and ListMetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.metrics.datums import (
    dimension_columns,
    invalid_combination,
    invalid_value,
)
from lambdatrace_collector.metrics.series import Metric, Selection, read_points
from lambdatrace_collector.metrics.statistics import (
    BASIC_STATISTICS,
    aligned_start_ms,
    is_period,
    parse_statistic,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.errors import AwsError
    from lambdatrace_collector.metrics.statistics import Statistic
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch API reference, GetMetricStatistics and ListMetrics.
STATISTICS_POINTS_MAX = 1440
LIST_PAGE_MAX = 500
LISTED_MS = 14 * 24 * 3600 * 1000
RECENTLY_ACTIVE_MS = 3 * 3600 * 1000


class MetricReading:
    """The operations GetMetricStatistics and ListMetrics."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_metric_statistics(self, call: Call) -> Mapping[str, Any]:
        """GetMetricStatistics: a datapoint per period and unit, of at most 1440 periods."""
        parameters = call.parameters
        selections = statistics_selections(call)
        datapoints: dict[tuple[int, str], dict[str, Any]] = {}
        found = await read_points(self._store, call, selections)
        for selection, by_unit in zip(selections, found, strict=True):
            name = selection.statistic.name
            for unit, points in by_unit.items():
                if parameters.get("Unit", unit) != unit:
                    continue
                for timestamp_s, value in zip(*points, strict=True):
                    point = datapoints.setdefault(
                        (timestamp_s, unit), {"Timestamp": float(timestamp_s), "Unit": unit}
                    )
                    if selection.statistic.is_basic:
                        point[name] = value
                    else:
                        point.setdefault("ExtendedStatistics", {})[name] = value
        return {"Label": parameters["MetricName"], "Datapoints": list(datapoints.values())}

    async def list_metrics(self, call: Call) -> Mapping[str, Any]:
        """ListMetrics: the metrics with data in the last two weeks, 500 per page."""
        parameters = call.parameters
        is_cross_account = parameters.get("IncludeLinkedAccounts", False)
        if parameters.get("OwningAccount", call.account) != call.account:
            return {"Metrics": [], "OwningAccounts": []} if is_cross_account else {"Metrics": []}
        token = parameters.get("NextToken")
        after = decode_token(token, str, str, int, invalid=_invalid_token) if token else ("", "", 0)
        filters = parameters.get("Dimensions", ())
        is_recent = "RecentlyActive" in parameters
        rows = await self._store.query(
            "list_metrics",
            account=call.account,
            region=call.region,
            namespace=parameters.get("Namespace", ""),
            metric_name=parameters.get("MetricName", ""),
            after_namespace=after[0],
            after_name=after[1],
            after_id=after[2],
            filter_names=[item["Name"] for item in filters],
            filter_values=[item.get("Value", "") for item in filters],
            since_ms=call.now_ms - (RECENTLY_ACTIVE_MS if is_recent else LISTED_MS),
            page_max=LIST_PAGE_MAX + 1,
        )
        page = rows[:LIST_PAGE_MAX]
        result: dict[str, Any] = {"Metrics": [_metric(row) for row in page]}
        if is_cross_account:
            result["OwningAccounts"] = [call.account] * len(page)
        if len(rows) > LIST_PAGE_MAX:
            last = page[-1]
            result["NextToken"] = encode_token(
                last["namespace"], last["metric_name"], last["metric_id"]
            )
        return result


def statistics_selections(call: Call) -> list[Selection]:
    """What a GetMetricStatistics call asks for. Raises AwsError when it may not be asked."""
    parameters = call.parameters
    statistics = _statistics(parameters)
    start_ms, end_ms = round(parameters["StartTime"] * 1000), round(parameters["EndTime"] * 1000)
    period_s = parameters["Period"]
    if start_ms >= end_ms:
        raise invalid_value("The parameter StartTime must be less than the parameter EndTime.")
    if not is_period(period_s):
        raise invalid_value(
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60 seconds."
        )
    points = -(-(end_ms - start_ms) // (period_s * 1000))
    if points > STATISTICS_POINTS_MAX:
        raise invalid_combination(
            f"You have requested up to {points} datapoints, which exceeds the limit of"
            f" {STATISTICS_POINTS_MAX}. You may reduce the datapoints requested by increasing"
            " Period, or decreasing the time range."
        )
    names, values = dimension_columns("Dimensions", parameters.get("Dimensions", ()))
    metric = Metric(parameters["Namespace"], parameters["MetricName"], tuple(names), tuple(values))
    start_ms = aligned_start_ms(start_ms, period_s, call.now_ms)
    return [Selection(metric, statistic, period_s, start_ms, end_ms) for statistic in statistics]


def _statistics(parameters: Mapping[str, Any]) -> list[Statistic]:
    basic = parameters.get("Statistics", [])
    extended = parameters.get("ExtendedStatistics", [])
    if not basic and not extended:
        raise invalid_combination("Must specify either Statistics or ExtendedStatistics")
    statistics: list[Statistic] = []
    for text in (*basic, *extended):
        statistic = parse_statistic(text)
        if statistic is None or (text in extended and text in BASIC_STATISTICS):
            raise invalid_value(
                f"The value {text} for parameter ExtendedStatistics is not supported."
            )
        statistics.append(statistic)
    return statistics


def _metric(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Namespace": row["namespace"],
        "MetricName": row["metric_name"],
        "Dimensions": [
            {"Name": name, "Value": value}
            for name, value in zip(row["names"], row["values"], strict=True)
        ],
    }


def _invalid_token() -> AwsError:
    return invalid_value("The value for parameter NextToken is invalid.")

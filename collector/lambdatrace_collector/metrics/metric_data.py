"""GetMetricData: several metrics in one call, in pages of datapoints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.metrics.queries import (
    Point,
    Series,
    metric_series,
    range_ms,
    statistic_points,
)
from lambdatrace_collector.metrics.statistics import (
    Statistic,
    is_period,
    parse_statistic,
    preferred_unit,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch API reference, GetMetricData.
QUERIES_MAX = 500
DATAPOINTS_MAX = 100_800


@dataclass(frozen=True)
class MetricQuery:
    """One MetricStat of a request."""

    query_id: str
    label: str
    series: Series
    statistic: Statistic


class MetricData:
    """The operation GetMetricData."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_metric_data(self, call: Call) -> Mapping[str, Any]:
        """GetMetricData. A page ends at MaxDatapoints; NextToken says where the next one begins."""
        parameters = call.parameters
        queries = metric_queries(call)
        is_descending = parameters.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        room = parameters.get("MaxDatapoints", DATAPOINTS_MAX)
        if not 1 <= room <= DATAPOINTS_MAX:
            raise _invalid(f"The parameter MaxDatapoints must be from 1 to {DATAPOINTS_MAX}.")
        place, skipped = _place(parameters.get("NextToken"))
        results: list[dict[str, Any]] = []
        while place < len(queries):
            query = queries[place]
            points = await statistic_points(self._store, call, query.series, query.statistic)
            points, messages = _one_unit(points)
            if is_descending:
                points.reverse()
            page = points[skipped : skipped + room]
            is_complete = skipped + len(page) == len(points)
            results.append(_result(query, page, messages, is_complete=is_complete))
            room -= len(page)
            if not is_complete:
                token = encode_token(place, skipped + len(page))
                return {"MetricDataResults": results, "Messages": [], "NextToken": token}
            place, skipped = place + 1, 0
            if room == 0 and place < len(queries):
                token = encode_token(place, 0)
                return {"MetricDataResults": results, "Messages": [], "NextToken": token}
        return {"MetricDataResults": results, "Messages": []}


def metric_queries(call: Call) -> list[MetricQuery]:
    """The queries of a request that return data. Raises AwsError when one may not be asked."""
    parameters = call.parameters
    start_ms, end_ms = range_ms(call)
    if end_ms <= start_ms:
        raise _invalid("The parameter EndTime must be greater than StartTime.")
    asked = parameters["MetricDataQueries"]
    if not 1 <= len(asked) <= QUERIES_MAX:
        raise _invalid(
            f"The collection MetricDataQueries must have a size from 1 to {QUERIES_MAX}."
        )
    ids = [query["Id"] for query in asked]
    if len(set(ids)) < len(ids):
        raise _invalid("The values for parameter id in MetricDataQueries are not unique.")
    shared = Counter(_metric_name(query) for query in asked)
    queries = [_metric_query(call, query, shared) for query in asked]
    return [
        built for query, built in zip(asked, queries, strict=True) if query.get("ReturnData", True)
    ]


def _metric_query(call: Call, query: Mapping[str, Any], shared: Mapping[str, int]) -> MetricQuery:
    query_id = query["Id"]
    if not (query_id[0].islower() and query_id.replace("_", "a").isalnum() and query_id.isascii()):
        raise _invalid(
            f"The value {query_id} for parameter Id must start with a lower case letter and hold"
            " letters, digits and underscores."
        )
    if "Expression" in query:
        raise _invalid(
            f"The expression of query {query_id} is not supported by this collector:"
            " expected MetricStat."
        )
    if "MetricStat" not in query:
        raise _invalid(f"Query {query_id} needs MetricStat.")
    metric_stat = query["MetricStat"]
    metric, period_s = metric_stat["Metric"], metric_stat["Period"]
    statistic = parse_statistic(metric_stat["Stat"])
    if statistic is None:
        raise _invalid(
            f"The value {metric_stat['Stat']} for parameter MetricStat.Stat of query {query_id} is"
            " not supported: expected SampleCount, Average, Sum, Minimum, Maximum or a percentile"
            " such as p99."
        )
    if not is_period(period_s):
        raise _invalid(
            f"The value {period_s} for parameter Period of query {query_id} is invalid: expected"
            " 1, 5, 10, 20, 30 or a multiple of 60."
        )
    if "Namespace" not in metric or "MetricName" not in metric:
        raise _invalid(f"The metric of query {query_id} needs Namespace and MetricName.")
    unit = metric_stat.get("Unit", "")
    series = metric_series(call, "MetricStat.Metric.Dimensions", metric, unit, period_s)
    label = query.get("Label") or _label(series, statistic, shared)
    return MetricQuery(query_id, label, series, statistic)


def _label(series: Series, statistic: Statistic, shared: Mapping[str, int]) -> str:
    """The metric's name; where several queries have it, with its dimensions and statistic."""
    if shared[series.metric_name] == 1:
        return series.metric_name
    return " ".join((*series.dimension_values, series.metric_name, statistic.name))


def _metric_name(query: Mapping[str, Any]) -> str:
    return str(query.get("MetricStat", {}).get("Metric", {}).get("MetricName", ""))


def _one_unit(points: Sequence[Point]) -> tuple[list[Point], list[dict[str, str]]]:
    """The points of one unit, since a result has one value per period; a message when it chose."""
    units = {point.unit for point in points}
    if len(units) <= 1:
        return list(points), []
    unit = preferred_unit(units)
    message = f"Multiple units returned: '[{', '.join(sorted(units))}]'"
    kept = [point for point in points if point.unit == unit]
    return kept, [{"Code": "MultipleUnits", "Value": message}]


def _result(
    query: MetricQuery, page: Sequence[Point], messages: list[dict[str, str]], *, is_complete: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "Id": query.query_id,
        "Label": query.label,
        "Timestamps": [float(point.timestamp_s) for point in page],
        "Values": [point.value for point in page],
        "StatusCode": "Complete" if is_complete else "PartialData",
    }
    if messages:
        result["Messages"] = messages
    return result


def _place(token: str | None) -> tuple[int, int]:
    if not token:
        return 0, 0
    place, skipped = decode_token(token, int, int, invalid=_invalid_token)
    if place < 0 or skipped < 0:
        raise _invalid_token()
    return place, skipped


def _invalid_token() -> AwsError:
    return _invalid("The value for parameter NextToken is invalid.")


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message, query_code="ValidationError")

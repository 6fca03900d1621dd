"""What a GetMetricData request asks: its MetricDataQueries, checked and typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.metrics.datums import dimension_columns
from lambdatrace_collector.metrics.series import Metric, Selection
from lambdatrace_collector.metrics.statistics import aligned_start_ms, is_period, parse_statistic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call

# Source: CloudWatch API reference, GetMetricData and MetricDataQuery.
QUERIES_MAX = 500
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class MetricQuery:
    """One MetricDataQuery: a metric's statistic (`selection`), or else an `expression`."""

    query_id: str
    label: str | None
    is_returned: bool
    account: str
    selection: Selection | None = None
    unit: str | None = None  # the only one that is asked for
    expression: str | None = None
    period_s: int | None = None  # of an expression


@dataclass(frozen=True)
class MetricDataRequest:
    """A GetMetricData request over [start_ms, end_ms)."""

    queries: tuple[MetricQuery, ...]
    start_ms: int
    end_ms: int

    @property
    def period_s(self) -> int:
        """The coarsest period of the request's metrics; a minute where it has none."""
        return max(
            (query.selection.period_s for query in self.queries if query.selection), default=60
        )


def parse_request(call: Call) -> MetricDataRequest:
    """The request of a GetMetricData call. Raises AwsError when it may not be asked."""
    parameters = call.parameters
    start_ms, end_ms = round(parameters["StartTime"] * 1000), round(parameters["EndTime"] * 1000)
    if end_ms <= start_ms:
        raise validation_error("The parameter EndTime must be greater than StartTime.")
    asked = parameters["MetricDataQueries"]
    if not 1 <= len(asked) <= QUERIES_MAX:
        raise validation_error(
            f"The collection MetricDataQueries must have a size from 1 to {QUERIES_MAX}."
        )
    ids = [query["Id"] for query in asked]
    if len(set(ids)) < len(ids):
        raise validation_error("The values for parameter id in MetricDataQueries are not unique.")
    queries = tuple(
        _query(call, f"MetricDataQueries.member.{place}", query, start_ms, end_ms)
        for place, query in enumerate(asked, start=1)
    )
    return MetricDataRequest(queries, start_ms, end_ms)


def validation_error(message: str) -> AwsError:
    """AWS's ValidationError."""
    return AwsError("ValidationException", message, query_code="ValidationError")


def _query(
    call: Call, path: str, query: Mapping[str, Any], start_ms: int, end_ms: int
) -> MetricQuery:
    query_id = query["Id"]
    if not _ID.fullmatch(query_id):
        raise validation_error(
            f"The value {query_id} for parameter {path}.Id must start with a lower case letter and"
            " hold letters, digits and underscores."
        )
    if "Expression" in query and "MetricStat" in query:
        raise validation_error(
            f"The parameters {path}.Expression and {path}.MetricStat are mutually exclusive and you"
            " have specified both."
        )
    parts: dict[str, Any] = {
        "query_id": query_id,
        "label": query.get("Label"),
        "is_returned": query.get("ReturnData", True),
        "account": query.get("AccountId", call.account),
    }
    if "Expression" in query:
        period_s = query.get("Period")
        if period_s is not None:
            _check_period(f"{path}.Period", period_s)
        return MetricQuery(**parts, expression=query["Expression"], period_s=period_s)
    if "MetricStat" not in query:
        raise validation_error(
            f"At least one of the parameters {path}.Expression and {path}.MetricStat must be"
            " specified."
        )
    metric_stat = query["MetricStat"]
    selection = _selection(call, f"{path}.MetricStat", metric_stat, start_ms, end_ms)
    return MetricQuery(**parts, selection=selection, unit=metric_stat.get("Unit"))


def _selection(
    call: Call, path: str, metric_stat: Mapping[str, Any], start_ms: int, end_ms: int
) -> Selection:
    metric, period_s = metric_stat["Metric"], metric_stat["Period"]
    statistic = parse_statistic(metric_stat["Stat"])
    if statistic is None:
        raise validation_error(
            f"The value {metric_stat['Stat']} for parameter {path}.Stat is not supported."
        )
    _check_period(f"{path}.Period", period_s)
    for name in ("Namespace", "MetricName"):
        if name not in metric:
            raise validation_error(f"The parameter {path}.Metric.{name} is required.")
    names, values = dimension_columns(f"{path}.Metric.Dimensions", metric.get("Dimensions", ()))
    key = Metric(metric["Namespace"], metric["MetricName"], tuple(names), tuple(values))
    start_ms = aligned_start_ms(start_ms, period_s, call.now_ms)
    return Selection(key, statistic, period_s, start_ms, end_ms)


def _check_period(path: str, period_s: int) -> None:
    if not is_period(period_s):
        raise validation_error(
            f"The value {period_s} for parameter {path} is invalid: expected 1, 5, 10, 20, 30 or a"
            " multiple of 60."
        )

"""What the queries of a GetMetricData request give: read at once, then computed in order."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.metrics.labels import (
    LabelError,
    default_labels,
    dynamic_label,
    searched_labels,
)
from lambdatrace_collector.metrics.math_evaluation import Evaluation
from lambdatrace_collector.metrics.math_functions import Context, MathError
from lambdatrace_collector.metrics.math_syntax import (
    ExpressionSyntaxError,
    Function,
    Name,
    parse_expression,
    walk,
)
from lambdatrace_collector.metrics.metric_queries import validation_error
from lambdatrace_collector.metrics.search import search_selections
from lambdatrace_collector.metrics.series import read_points
from lambdatrace_collector.metrics.statistics import oldest_ms, preferred_unit
from lambdatrace_collector.metrics.time_series import Span, TimeSeries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.errors import AwsError
    from lambdatrace_collector.metrics.metric_queries import MetricDataRequest, MetricQuery
    from lambdatrace_collector.metrics.series import Points, Selection
    from lambdatrace_collector.metrics.time_series import Value
    from lambdatrace_collector.store.engine import Store

SEARCHES_MAX = 100
# Held at once for a request with expressions, some 160 bytes each: 500 metrics by the minute for a
# day are 720,000. Without expressions a page's queries are read alone.
POINTS_MAX = 1_000_000
_METRICS_INSIGHTS = re.compile(r"\s*SELECT\s", re.IGNORECASE)
_SEARCH_LIMITED = (
    "MaxMetricsExceeded",
    "Maximum number of allowed metrics exceeded. Your search may have been limited.",
)


@dataclass(frozen=True)
class QueryResult:
    """One MetricDataResult before it is cut into pages."""

    query_id: str
    label: str
    series: TimeSeries
    is_forbidden: bool = False  # another account's


async def query_results(
    store: Store, call: Call, request: MetricDataRequest, first: int, points_max: int
) -> tuple[list[QueryResult], bool]:
    """The results from `first` on, in the request's order, and whether they are all that follow.

    Only the queries that return data have results; an expression has as many as series. Metrics
    alone are read for `points_max` points or few more. Raises AwsError for what is no expression.
    """
    if not any(query.expression for query in request.queries):
        return await _metric_results(store, call, request, first, points_max)
    return (await _computed_results(store, call, request))[first:], True


async def _metric_results(
    store: Store, call: Call, request: MetricDataRequest, first: int, points_max: int
) -> tuple[list[QueryResult], bool]:
    labels = default_labels([query.selection for query in request.queries if query.selection])
    labelled = [
        (query, query.selection, label)
        for query, label in zip(request.queries, labels, strict=True)
        if query.is_returned and query.selection
    ][first:]
    taken = points = 0
    while taken < len(labelled) and points < points_max:
        points += _points_at_most(call, labelled[taken][1])
        taken += 1
    found = await read_points(store, call, [selection for _, selection, _ in labelled[:taken]])
    results = [
        result
        for (query, selection, label), by_unit in zip(labelled[:taken], found, strict=True)
        for result in _results(call, query, _own_series(call, query, selection, label, by_unit))
    ]
    return results, taken == len(labelled)


async def _computed_results(
    store: Store, call: Call, request: MetricDataRequest
) -> list[QueryResult]:
    trees = {query.query_id: _tree(query) for query in request.queries if query.expression}
    order = _in_order(trees, {query.query_id for query in request.queries})
    searches = await _searches(store, call, request, trees)
    metrics = {query.query_id: query.selection for query in request.queries if query.selection}
    selections = [*metrics.values(), *(item for _, found, _ in searches for item in found)]
    _bound(call, selections)
    points = await read_points(store, call, selections)

    values = _metric_values(call, request, points[: len(metrics)])
    span = Span(request.start_ms // 1000, -(-request.end_ms // 1000))
    context = Context(span, request.period_s, tuple(values.items()))
    found = _searched_values(searches, points[len(metrics) :])
    by_id = {query.query_id: query for query in request.queries}
    computed: dict[str, Value] = dict(values)
    for query_id in order:
        period_s = by_id[query_id].period_s or request.period_s
        evaluation = Evaluation(replace(context, period_s=period_s), computed, found)
        try:
            computed[query_id] = evaluation.series(trees[query_id])
        except MathError as error:
            raise _expression_error(query_id, error) from error
    return [
        result
        for query in request.queries
        if query.is_returned
        for result in _results(call, query, computed[query.query_id])
    ]


def _tree(query: MetricQuery) -> Any:
    if _METRICS_INSIGHTS.match(query.expression or ""):
        error = MathError("Metrics Insights queries (SELECT) are not supported by this collector")
        raise _expression_error(query.query_id, error)
    try:
        return parse_expression(query.expression or "")
    except ExpressionSyntaxError as error:
        raise _expression_error(query.query_id, error) from error


def _in_order(trees: Mapping[str, Any], ids: set[str]) -> list[str]:
    """The expressions' Ids, each after those it refers to. Raises AwsError for a circle."""
    needs: dict[str, set[str]] = {}
    for query_id, tree in trees.items():
        named = {node.query_id for node in walk(tree) if isinstance(node, Name)}
        for unknown in sorted(named - ids):
            raise _expression_error(query_id, MathError(f"Undefined variable '{unknown}'"))
        needs[query_id] = named & trees.keys()
    order: list[str] = []
    while needs:
        ready = [query_id for query_id, named in needs.items() if named <= set(order)]
        if not ready:
            query_id = next(iter(needs))
            raise _expression_error(query_id, MathError("The expression refers to itself"))
        order += ready
        for query_id in ready:
            del needs[query_id]
    return order


async def _searches(
    store: Store, call: Call, request: MetricDataRequest, trees: Mapping[str, Any]
) -> list[tuple[Function, list[Selection], bool]]:
    """Each SEARCH of the request, what it selects, and whether that is not all."""
    searches: list[tuple[Function, list[Selection], bool]] = []
    for query in request.queries:
        for node in walk(trees[query.query_id]) if query.query_id in trees else ():
            if not (isinstance(node, Function) and node.name == "SEARCH"):
                continue
            if len(searches) >= SEARCHES_MAX:
                raise validation_error(f"A request can hold at most {SEARCHES_MAX} SEARCHes.")
            period_s = query.period_s or request.period_s
            try:
                found, is_limited = await search_selections(store, call, request, node, period_s)
            except MathError as error:
                raise _expression_error(query.query_id, error) from error
            searches.append((node, found, is_limited))
    return searches


def _bound(call: Call, selections: Iterable[Selection]) -> None:
    """Raises AwsError when the selections could have more points than one request may hold."""
    points = sum(_points_at_most(call, selection) for selection in selections)
    if points > POINTS_MAX:
        raise validation_error(
            f"You have requested up to {points} datapoints, which exceeds the limit of"
            f" {POINTS_MAX}. You may reduce the datapoints requested by increasing Period, or"
            " decreasing the time range."
        )


def _points_at_most(call: Call, selection: Selection) -> int:
    start_ms = max(selection.start_ms, oldest_ms(selection.period_s, call.now_ms))
    return max(-(-(selection.end_ms - start_ms) // (selection.period_s * 1000)), 0)


def _metric_values(
    call: Call, request: MetricDataRequest, points: Sequence[Mapping[str, Points]]
) -> dict[str, TimeSeries]:
    queries = [query for query in request.queries if query.selection is not None]
    labels = default_labels([query.selection for query in queries if query.selection])
    return {
        query.query_id: _own_series(call, query, query.selection, label, by_unit)
        for query, label, by_unit in zip(queries, labels, points, strict=True)
        if query.selection
    }


def _own_series(
    call: Call,
    query: MetricQuery,
    selection: Selection,
    label: str,
    by_unit: Mapping[str, Points],
) -> TimeSeries:
    is_own = query.account == call.account
    return _series(selection, label, by_unit if is_own else {}, query.unit)


def _searched_values(
    searches: Sequence[tuple[Function, list[Selection], bool]],
    points: Sequence[Mapping[str, Points]],
) -> dict[Function, tuple[TimeSeries, ...]]:
    values: dict[Function, tuple[TimeSeries, ...]] = {}
    place = 0
    for node, selections, is_limited in searches:
        found = points[place : place + len(selections)]
        place += len(selections)
        labels = searched_labels(selections)
        series = [
            _series(selection, label, by_unit, None)
            for selection, label, by_unit in zip(selections, labels, found, strict=True)
        ]
        if is_limited:
            series[0] = replace(series[0], messages=(*series[0].messages, _SEARCH_LIMITED))
        values[node] = tuple(series)
    return values


def _series(
    selection: Selection, label: str, by_unit: Mapping[str, Points], unit: str | None
) -> TimeSeries:
    """The points of one unit, since a result has one value per period; it says when it chose."""
    messages: tuple[tuple[str, str], ...] = ()
    if unit is None and by_unit:
        unit = preferred_unit(by_unit)
        if len(by_unit) > 1:
            text = f"Multiple units returned: '[{', '.join(sorted(by_unit))}]'"
            messages = (("MultipleUnits", text),)
    timestamps, values = by_unit.get(unit or "", ((), ()))
    points = dict(zip(timestamps, values, strict=True))
    return TimeSeries(points, selection.period_s, label, selection, True, messages)


def _results(call: Call, query: MetricQuery, value: Value) -> list[QueryResult]:
    several = value if isinstance(value, tuple) else (value,)
    return [
        QueryResult(
            query.query_id,
            _label(call, query, series, is_one=not isinstance(value, tuple)),
            series,
            query.account != call.account,
        )
        for series in several
        if isinstance(series, TimeSeries)
    ]


def _label(call: Call, query: MetricQuery, series: TimeSeries, *, is_one: bool) -> str:
    """The label that was asked for; of an expression's array it stands before the series' own."""
    if query.label is None:
        return query.query_id if is_one and query.expression else series.label
    offset = call.parameters.get("LabelOptions", {}).get("Timezone", "+0000")
    try:
        label = dynamic_label(
            query.label, series, query.account, call.region, call.now_ms // 1000, offset
        )
    except LabelError as error:
        raise validation_error(f"Error in the label of '{query.query_id}': {error}") from error
    if is_one or label != query.label:
        return label
    return f"{label} {series.label}".strip()


def _expression_error(query_id: str, error: Exception) -> AwsError:
    return validation_error(f"Error in expression '{query_id}': {error}")

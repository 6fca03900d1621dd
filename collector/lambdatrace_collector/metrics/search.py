"""SEARCH: the metrics that a search expression finds, and what to read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.metrics.math_functions import MathError
from lambdatrace_collector.metrics.math_syntax import Number, Text
from lambdatrace_collector.metrics.search_syntax import SearchSyntaxError, parse_search
from lambdatrace_collector.metrics.series import Metric, Selection
from lambdatrace_collector.metrics.statistics import aligned_start_ms, is_period, parse_statistic

if TYPE_CHECKING:
    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.metrics.math_syntax import Function
    from lambdatrace_collector.metrics.metric_queries import MetricDataRequest
    from lambdatrace_collector.store.engine import Store

SEARCHED_MS = 14 * 24 * 3600 * 1000  # metrics without data for longer are not found
SERIES_MAX = 500


async def search_selections(
    store: Store, call: Call, request: MetricDataRequest, node: Function, period_s: int
) -> tuple[list[Selection], bool]:
    """What SEARCH('expression', 'statistic'[, period]) selects, and whether there was more.

    `period_s` is used where SEARCH names none. Raises MathError.
    """
    match node.arguments:
        case (Text(text), Text(stat)):
            pass
        case (Text(text), Text(stat), Number(number)):
            period_s = int(number) if number == int(number) else 0
        case _:
            raise MathError("SEARCH takes ('search expression', 'statistic', period)")
    statistic = parse_statistic(stat)
    if statistic is None:
        raise MathError(f"SEARCH: '{stat}' is no statistic")
    if not is_period(period_s):
        raise MathError("SEARCH: the period must be 1, 5, 10, 20, 30 or a multiple of 60 seconds")
    try:
        search = parse_search(text)
    except SearchSyntaxError as error:
        raise MathError(f"SEARCH: {error}") from error
    rows = await store.query(
        "search_metrics",
        account=call.account,
        region=call.region,
        has_schema=int(search.namespace is not None),
        namespace=search.namespace or "",
        dimension_names=list(search.dimension_names),
        since_ms=call.now_ms - SEARCHED_MS,
        term_fields=[term.field for term in search.terms],
        terms_exact=[int(term.is_exact) for term in search.terms],
        term_texts=[term.text for term in search.terms],
        term_parts=[list(term.parts) for term in search.terms],
        terms_cased=[[int(is_cased) for is_cased in term.cased] for term in search.terms],
        clauses=[list(clause) for clause in search.clauses],
        metrics_max=SERIES_MAX + 1,
    )
    start_ms = aligned_start_ms(request.start_ms, period_s, call.now_ms)
    selections = [
        Selection(
            Metric(row["namespace"], row["metric_name"], tuple(row["names"]), tuple(row["values"])),
            statistic,
            period_s,
            start_ms,
            request.end_ms,
        )
        for row in rows[:SERIES_MAX]
    ]
    return selections, len(rows) > SERIES_MAX

"""Functions of time: periods, times as numbers, and the times of the query.

Source: CloudWatch Logs user guide, "Datetime functions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.function_table import Function
from lambdatrace_collector.logs.insights.syntax import Duration, Field, QuerySyntaxError
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_time,
    bound,
    call,
    integer,
    number,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.function_table import Context
    from lambdatrace_collector.logs.insights.syntax import Call, Node
    from lambdatrace_collector.store.compiled_query import Expression

MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
MONTHS = {"mo": 1, "q": 3, "y": 12}
# The most of a unit that a period has; more is taken for that.
COUNTS_MAX = {"ms": 1000, "s": 60, "m": 60, "h": 24}
PERIODS_MAX = 1_000_000
# 1970-01-01 is a Thursday; weeks begin on Monday.
_MONDAY_MS = 4 * MILLISECONDS["d"]


def floor_to(time: Expression, period: Duration) -> Expression:
    """The time, in ms, rounded down to a multiple of the period, in UTC."""
    if not 1 <= period.count <= PERIODS_MAX:
        raise QuerySyntaxError(
            f"{period.count} is not a number of periods from 1 to {PERIODS_MAX}", period.span
        )
    period = _capped(period)
    if period.unit in MONTHS:
        months = call("toIntervalMonth", integer(period.count * MONTHS[period.unit]))
        moment = call("fromUnixTimestamp64Milli", time, string("UTC"))
        start = call("toStartOfInterval", moment, months)
        seconds = call("toUnixTimestamp", call("toDateTime", start, string("UTC")))
        return call("multiply", call("toInt64", seconds), integer(1000))
    length = integer(period.count * MILLISECONDS[period.unit])
    if period.unit != "w":
        return call("minus", time, call("positiveModulo", time, length))
    since = call("minus", time, integer(_MONDAY_MS))
    return call("minus", time, call("positiveModulo", since, length))


def _bin(node: Call, context: Context) -> Value:
    if len(node.arguments) != 1:
        raise QuerySyntaxError("bin() takes a period, such as 5m", node.span)
    period = _period(node.arguments[0])
    return Value(floor_to(context.timestamp(node).expression, period), Kind.TIME)


def _date_floor(node: Call, context: Context) -> Value:
    time, period = _time_and_period(node, context)
    return Value(bound(time, lambda moment: floor_to(moment, period)), Kind.TIME)


def _date_ceil(node: Call, context: Context) -> Value:
    time, period = _time_and_period(node, context)

    def body(moment: Expression) -> Expression:
        floored = floor_to(moment, period)
        return call("if", call("equals", floored, moment), moment, _next(floored, period))

    return Value(bound(time, body), Kind.TIME)


def _from_millis(value: Value) -> Value:
    return Value(as_time(value), Kind.TIME)


def _to_millis(value: Value) -> Value:
    return Value(call("toFloat64", as_time(value)), Kind.NUMBER)


def _now(node: Call, context: Context) -> Value:
    if node.arguments:
        raise QuerySyntaxError("now() takes no value", node.span)
    return Value(number(context.selection.now_s), Kind.NUMBER)


def _query_time(node: Call, context: Context) -> Value:
    if node.arguments:
        raise QuerySyntaxError(f"{node.function}() takes no value", node.span)
    start_ms, end_ms = context.selection.start_ms, context.selection.end_ms
    times = {"querystarttime": start_ms, "queryendtime": end_ms}
    return Value(number(times.get(node.function, end_ms - start_ms)), Kind.NUMBER)


def _time_and_period(node: Call, context: Context) -> tuple[Expression, Duration]:
    if len(node.arguments) != 2:  # noqa: PLR2004 -- a time, a period
        raise QuerySyntaxError(f"{node.function}() takes a time and a period", node.span)
    return as_time(context.compile(node.arguments[0])), _period(node.arguments[1])


def _period(node: Node) -> Duration:
    if isinstance(node, Field) and len(node.path) == 1 and node.path[0] in {*MILLISECONDS, *MONTHS}:
        return Duration(1, node.path[0], span=node.span)
    if not isinstance(node, Duration):
        raise QuerySyntaxError(
            "expected a period: a number and one of ms s m h d w mo q y, such as 5m", node.span
        )
    return node


def _next(floored: Expression, period: Duration) -> Expression:
    period = _capped(period)
    if period.unit not in MONTHS:
        return call("plus", floored, integer(period.count * MILLISECONDS[period.unit]))
    moment = call("fromUnixTimestamp64Milli", floored, string("UTC"))
    later = call("addMonths", moment, integer(period.count * MONTHS[period.unit]))
    return call("toUnixTimestamp64Milli", later)


def _capped(period: Duration) -> Duration:
    most = COUNTS_MAX.get(period.unit, PERIODS_MAX)
    return Duration(min(period.count, most), period.unit, span=period.span)


DATETIMES: dict[str, Function] = {
    "frommillis": Function(_from_millis, 1, 1),
    "tomillis": Function(_to_millis, 1, 1),
}
DATETIMES_OF_CONTEXT: dict[str, Callable[[Call, Context], Value]] = {
    "bin": _bin,
    "datefloor": _date_floor,
    "dateceil": _date_ceil,
    "now": _now,
    "querystarttime": _query_time,
    "queryendtime": _query_time,
    "querytimerange": _query_time,
}

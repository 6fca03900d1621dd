"""The functions of metric math that compute on values alone.

Each takes its evaluated arguments and the context of the request; words such as AVG and REPEAT
stay words. Source: CloudWatch user guide, "Functions supported for metric math".
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.metrics.math_syntax import Text, Word
from lambdatrace_collector.metrics.time_series import Span, TimeSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lambdatrace_collector.metrics.time_series import Series, Value

    Handler = Callable[["Context", Sequence[Any]], Value]


class MathError(Exception):
    """The expression cannot be evaluated; the message says why."""


@dataclass(frozen=True)
class Context:
    """What functions know of their request."""

    span: Span
    period_s: int  # of a series that is made of no metric
    metrics: tuple[tuple[str, TimeSeries], ...]  # with their Ids, in the request's order


def call_function(context: Context, name: str, arguments: Sequence[Any]) -> Value:
    """The value of the function `name`. Raises MathError."""
    handler = FUNCTIONS.get(name)
    if handler is None:
        raise MathError(_refusal(name))
    return handler(context, arguments)


def type_name(value: Any) -> str:
    """The type of a value, for messages."""
    if isinstance(value, TimeSeries):
        return "TimeSeries"
    if isinstance(value, tuple):
        return "Array[TimeSeries]"
    if isinstance(value, (Word, Text)):
        return "String"
    return "Scalar"


def union(series: Iterable[TimeSeries]) -> list[int]:
    """Every timestamp at which one of `series` has a value, ascending."""
    return sorted({timestamp for item in series for timestamp in item.points})


def merged(series: Sequence[TimeSeries], points: dict[int, float]) -> TimeSeries:
    """A series made of several: its period is the coarsest, its label the first one's."""
    period_s = max(item.period_s for item in series)
    source = series[0].source if len(series) == 1 else None
    return TimeSeries(points, period_s, series[0].label, source)


def finite(points: Iterable[tuple[int, float | None]]) -> dict[int, float]:
    """The points that have a value: what has none, or none that is finite, is dropped."""
    return {
        timestamp: value
        for timestamp, value in points
        if value is not None and math.isfinite(value)
    }


_ELSEWHERE = {
    "ANOMALY_DETECTION_BAND": "no anomaly detection model is trained here",
    "DB_PERF_INSIGHTS": "there are no databases here",
    "INSIGHT_RULE_METRIC": "there are no Contributor Insights rules here",
    "LAMBDA": "Lambda data sources are not called from here",
    "SERVICE_QUOTA": "there are no service quotas here",
}


def _refusal(name: str) -> str:
    if name in _ELSEWHERE:
        return f"The function {name} is not supported: {_ELSEWHERE[name]}"
    return f"Unknown function '{name}'"


def _mismatch(name: str, arguments: Sequence[Any]) -> MathError:
    types = ", ".join(type_name(argument) for argument in arguments)
    return MathError(f"Function {name} does not take the arguments ({types})")


def _pointwise(name: str, compute: Callable[[float], float]) -> Handler:
    def one(value: float) -> float | None:
        try:
            return compute(value)
        except (ValueError, OverflowError):  # a logarithm of what has none: the point is dropped
            return None

    def handler(_context: Context, arguments: Sequence[Any]) -> Value:
        match arguments:
            case [float() as number]:
                result = one(number)
                if result is None:
                    raise MathError(f"Function {name} has no value for {number:g}")
                return result
            case [TimeSeries() | tuple() as value]:
                return each(
                    value, lambda series: finite((at, one(v)) for at, v in series.points.items())
                )
        raise _mismatch(name, arguments)

    return handler


def each(value: Series, compute: Callable[[TimeSeries], dict[int, float]]) -> Series:
    """`compute`d points for a series, or for each of an array."""
    if isinstance(value, tuple):
        return tuple(series.with_points(compute(series)) for series in value)
    return value.with_points(compute(value))


def _reduction(
    name: str, compute: Callable[[Sequence[float]], float], *, missing_is_zero: bool = False
) -> Handler:
    """A function that makes a scalar of a series, and a series of an array."""

    def handler(_context: Context, arguments: Sequence[Any]) -> Value:
        match arguments:
            case [TimeSeries() as series]:
                values = list(series.points.values())
                return float(compute(values)) if values else math.nan
            case [tuple() as array]:
                if not array:
                    return TimeSeries({}, _context.period_s, name)
                points = {}
                for timestamp in union(array):
                    present = [s.points[timestamp] for s in array if timestamp in s.points]
                    if missing_is_zero:
                        present += [0.0] * (len(array) - len(present))
                    points[timestamp] = float(compute(present))
                return merged(array, points)
        raise _mismatch(name, arguments)

    return handler


def _sequential(
    name: str, compute: Callable[[list[tuple[int, float]]], Iterable[tuple[int, float]]]
) -> Handler:
    """A function of a series' points in their order."""

    def handler(_context: Context, arguments: Sequence[Any]) -> Value:
        match arguments:
            case [TimeSeries() | tuple() as value]:
                return each(value, lambda series: finite(compute(list(series.points.items()))))
        raise _mismatch(name, arguments)

    return handler


def _steps(
    points: list[tuple[int, float]], step: Callable[[int, float], float]
) -> list[tuple[int, float]]:
    """`step` of the seconds and the difference from each point to the next."""
    return [
        (at, step(at - before_at, value - before))
        for (before_at, before), (at, value) in pairwise(points)
    ]


def _running_sum(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    total, sums = 0.0, []
    for timestamp, value in points:
        total += value
        sums.append((timestamp, total))
    return sums


def _fill(context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [TimeSeries() | tuple() as value, float() as number]:
            return each(value, lambda series: _filled(context, series, number))
        case [TimeSeries() | tuple() as value, Word("REPEAT" | "LINEAR") as how]:
            return each(value, lambda series: _filled(context, series, how))
        case [tuple() as value, TimeSeries() as filler]:
            return each(value, lambda series: _with_points_of(filler, series))
    raise _mismatch("FILL", arguments)


def _with_points_of(filler: TimeSeries, series: TimeSeries) -> dict[int, float]:
    return dict(sorted({**filler.points, **series.points}.items()))


def _filled(context: Context, series: TimeSeries, filler: float | Word) -> dict[int, float]:
    timestamps = sorted({*context.span.periods(series.period_s), *series.points})
    if isinstance(filler, float):
        return {timestamp: series.points.get(timestamp, filler) for timestamp in timestamps}
    known = list(series.points)
    filled: dict[int, float] = {}
    place = -1  # of the last known point at or before the timestamp
    for timestamp in timestamps:
        if place + 1 < len(known) and known[place + 1] == timestamp:
            place += 1
        if timestamp in series.points or (place >= 0 and filler.text == "REPEAT"):
            filled[timestamp] = series.points[known[place]]
        elif 0 <= place < len(known) - 1:
            before, after = known[place], known[place + 1]
            rise = series.points[after] - series.points[before]
            part = (timestamp - before) / (after - before)
            filled[timestamp] = series.points[before] + rise * part
    return filled


def _calendar(name: str, compute: Callable[[datetime], float]) -> Handler:
    def handler(context: Context, arguments: Sequence[Any]) -> Value:
        match arguments:
            case [TimeSeries() as series]:
                return series.with_points(
                    {
                        at: float(compute(datetime.fromtimestamp(at, timezone.utc)))
                        for at in context.span.periods(series.period_s)
                    }
                )
        raise _mismatch(name, arguments)

    return handler


def _period(_context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [TimeSeries(is_metric=True) as series]:
            return float(series.period_s)
        case [TimeSeries()]:
            raise MathError("Function PERIOD takes a metric, not the result of an expression")
    raise _mismatch("PERIOD", arguments)


def _metrics(context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case []:
            return tuple(series for _, series in context.metrics)
        case [Text(part)]:
            return tuple(series for query_id, series in context.metrics if part in query_id)
    raise _mismatch("METRICS", arguments)


def _metric_count(_context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [tuple() as array]:
            return float(len(array))
    raise _mismatch("METRIC_COUNT", arguments)


def _end_of(name: str, place: int) -> Handler:
    def handler(context: Context, arguments: Sequence[Any]) -> Value:
        match arguments:
            case [tuple() as array]:
                if array:
                    series: TimeSeries = array[place]
                    return series
                return TimeSeries({}, context.period_s, name)
        raise _mismatch(name, arguments)

    return handler


def _remove_empty(_context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [tuple() as array]:
            return tuple(series for series in array if series.points)
    raise _mismatch("REMOVE_EMPTY", arguments)


def _slice(_context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [tuple() as array, float() as first]:
            return tuple(array[_place("SLICE", first) :])
        case [tuple() as array, float() as first, float() as last]:
            return tuple(array[_place("SLICE", first) : _place("SLICE", last)])
    raise _mismatch("SLICE", arguments)


def _place(name: str, number: float) -> int:
    if not math.isfinite(number) or number < 0 or number != int(number):
        raise MathError(f"Function {name} takes whole numbers from 0, not {number:g}")
    return int(number)


_SORTED_BY: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": statistics.fmean,
    "MIN": min,
    "MAX": max,
    "SUM": math.fsum,
}


def _sort(_context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [tuple() as array, Word(by), Word("ASC" | "DESC" as order)] if by in _SORTED_BY:
            return tuple(_sorted(array, by, order))
        case [tuple() as array, Word(by), Word("ASC" | "DESC" as order), float() as most] if (
            by in _SORTED_BY
        ):
            return tuple(_sorted(array, by, order)[: _place("SORT", most)])
    raise _mismatch("SORT", arguments)


def _sorted(array: Sequence[TimeSeries], by: str, order: str) -> list[TimeSeries]:
    """A series without points has no place of its own: it stands last."""
    known = [series for series in array if series.points]
    known.sort(
        key=lambda series: _SORTED_BY[by](list(series.points.values())), reverse=order == "DESC"
    )
    return [*known, *(series for series in array if not series.points)]


def _time_series(context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [float() as number]:
            periods = context.span.periods(context.period_s)
            points = dict.fromkeys(periods, number) if math.isfinite(number) else {}
            return TimeSeries(points, context.period_s, f"{number:g}")
    raise _mismatch("TIME_SERIES", arguments)


def _if(context: Context, arguments: Sequence[Any]) -> Value:
    match arguments:
        case [float() | TimeSeries() as condition, float() | TimeSeries() as then]:
            return _chosen(context, condition, then, None)
        case [
            float() | TimeSeries() as condition,
            float() | TimeSeries() as then,
            float() | TimeSeries() as otherwise,
        ]:
            return _chosen(context, condition, then, otherwise)
    raise _mismatch("IF", arguments)


def _chosen(
    context: Context,
    condition: float | TimeSeries,
    then: float | TimeSeries,
    otherwise: float | TimeSeries | None,
) -> Value:
    """IF's value. Where the condition has no point there is none; a true one without value is 0."""
    if isinstance(condition, float):
        if condition != 0:
            return then
        return TimeSeries({}, context.period_s, "IF") if otherwise is None else otherwise
    points: dict[int, float] = {}
    for timestamp, is_true in condition.points.items():
        if is_true:
            points[timestamp] = (
                then.points.get(timestamp, 0.0) if isinstance(then, TimeSeries) else then
            )
        elif isinstance(otherwise, float):
            points[timestamp] = otherwise
        elif otherwise is not None and timestamp in otherwise.points:
            points[timestamp] = otherwise.points[timestamp]
    # The series is named after what it shows, not after what decided.
    shown = [item for item in (then, otherwise) if isinstance(item, TimeSeries)] or [condition]
    named = shown[0].with_points(finite(points.items()))
    return replace(named, period_s=max(condition.period_s, *(item.period_s for item in shown)))


FUNCTIONS: dict[str, Handler] = {
    "ABS": _pointwise("ABS", abs),
    "AVG": _reduction("AVG", statistics.fmean, missing_is_zero=True),
    "CEIL": _pointwise("CEIL", lambda value: float(math.ceil(value))),
    "DATAPOINT_COUNT": _reduction("DATAPOINT_COUNT", len),
    "DATE": _calendar("DATE", lambda moment: moment.day),
    "DAY": _calendar("DAY", lambda moment: moment.isoweekday()),
    "DIFF": _sequential("DIFF", lambda points: _steps(points, lambda _, change: change)),
    "DIFF_TIME": _sequential("DIFF_TIME", lambda points: _steps(points, lambda time, _: time)),
    "EPOCH": _calendar("EPOCH", lambda moment: moment.timestamp()),
    "FILL": _fill,
    "FIRST": _end_of("FIRST", 0),
    "FLOOR": _pointwise("FLOOR", lambda value: float(math.floor(value))),
    "HOUR": _calendar("HOUR", lambda moment: moment.hour),
    "IF": _if,
    "LAST": _end_of("LAST", -1),
    "LOG": _pointwise("LOG", math.log),
    "LOG10": _pointwise("LOG10", math.log10),
    "MAX": _reduction("MAX", max),
    "METRICS": _metrics,
    "METRIC_COUNT": _metric_count,
    "MIN": _reduction("MIN", min),
    "MINUTE": _calendar("MINUTE", lambda moment: moment.minute),
    "MONTH": _calendar("MONTH", lambda moment: moment.month),
    "PERIOD": _period,
    "RATE": _sequential("RATE", lambda points: _steps(points, lambda time, change: change / time)),
    "REMOVE_EMPTY": _remove_empty,
    "RUNNING_SUM": _sequential("RUNNING_SUM", _running_sum),
    "SLICE": _slice,
    "SORT": _sort,
    "STDDEV": _reduction("STDDEV", statistics.pstdev),
    "SUM": _reduction("SUM", math.fsum),
    "TIME_SERIES": _time_series,
    "YEAR": _calendar("YEAR", lambda moment: moment.year),
}

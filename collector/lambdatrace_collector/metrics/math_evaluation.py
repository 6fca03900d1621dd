"""Metric math, from trees to values: references, operators, and functions of arguments.

Source: CloudWatch user guide, "Basic arithmetic functions", "Comparison and logical operators".
Between two series, where one has a point the other's missing one counts as 0; a division by zero,
or what is not finite, drops the point.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.metrics.math_functions import (
    Context,
    MathError,
    call_function,
    finite,
    merged,
    type_name,
    union,
)
from lambdatrace_collector.metrics.math_syntax import (
    Chain,
    Function,
    Items,
    Name,
    Negation,
    Number,
    Text,
    Word,
)
from lambdatrace_collector.metrics.time_series import TimeSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace_collector.metrics.time_series import Value

_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": math.pow,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    "<": lambda left, right: float(left < right),
    "<=": lambda left, right: float(left <= right),
    ">": lambda left, right: float(left > right),
    ">=": lambda left, right: float(left >= right),
    "AND": lambda left, right: float(bool(left) and bool(right)),
    "OR": lambda left, right: float(bool(left) or bool(right)),
}


class Evaluation:
    """Evaluates the trees of one request. `values` are by Id, `searches` by SEARCH's node."""

    def __init__(
        self,
        context: Context,
        values: Mapping[str, Value],
        searches: Mapping[Function, tuple[TimeSeries, ...]],
    ) -> None:
        self._context = context
        self._values = values
        self._searches = searches

    def series(self, tree: Any) -> TimeSeries | tuple[TimeSeries, ...]:
        """The series, or array of them, that an expression gives. Raises MathError."""
        value = self._value(tree)
        if isinstance(value, float):
            raise MathError(
                "The expression gives a Scalar: its result must be a single time series or an"
                " array of time series"
            )
        return value

    def _value(self, node: Any) -> Value:
        match node:
            case Number(number):
                return number
            case Name(query_id):
                return self._values[query_id]
            case Negation(operand):
                return _operated("*", -1.0, self._value(operand))
            case Chain(first, rest):
                value = self._value(first)
                for sign, operand in rest:
                    value = _operated(sign, value, self._value(operand))
                return value
            case Items(members):
                return self._array(members)
            case Function():
                return self._call(node)
        raise MathError(f"'{node.text}' is no value")

    def _call(self, node: Function) -> Value:
        if node.name == "SEARCH":
            return self._searches[node]
        arguments = [
            item if isinstance(item, (Word, Text)) else self._value(item) for item in node.arguments
        ]
        return call_function(self._context, node.name, arguments)

    def _array(self, members: tuple[Any, ...]) -> tuple[TimeSeries, ...]:
        series: list[TimeSeries] = []
        for member in members:
            value = self._value(member)
            if isinstance(value, float):
                raise MathError("An array holds time series, not a Scalar")
            series += value if isinstance(value, tuple) else (value,)
        return tuple(series)


def _operated(sign: str, left: Value, right: Value) -> Value:
    compute = _OPERATORS[sign]
    match left, right:
        case float(), float():
            result = _number(compute, left, right)
            return math.nan if result is None else result
        case tuple(), tuple():
            raise MathError(
                f"Unsupported operand type(s) for {sign}: '{type_name(left)}' and"
                f" '{type_name(right)}'"
            )
        case tuple(), _:
            return tuple(_series(compute, series, right) for series in left)
        case _, tuple():
            return tuple(_series(compute, left, series) for series in right)
        case _:
            return _series(compute, left, right)


def _series(compute: Callable[[float, float], float], left: Value, right: Value) -> TimeSeries:
    """The points of two operands of which one is a series and none an array."""
    match left, right:
        case TimeSeries(), float():
            points = ((at, _number(compute, value, right)) for at, value in left.points.items())
            return left.with_points(finite(points))
        case float(), TimeSeries():
            points = ((at, _number(compute, left, value)) for at, value in right.points.items())
            return right.with_points(finite(points))
        case TimeSeries(), TimeSeries():
            return _joined(compute, left, right)
    raise MathError(f"Unsupported operand types: '{type_name(left)}' and '{type_name(right)}'")


def _joined(
    compute: Callable[[float, float], float], left: TimeSeries, right: TimeSeries
) -> TimeSeries:
    points = (
        (at, _number(compute, left.points.get(at, 0.0), right.points.get(at, 0.0)))
        for at in union((left, right))
    )
    return merged((left, right), finite(points))


def _number(compute: Callable[[float, float], float], left: float, right: float) -> float | None:
    """None where there is no value: a division by zero, a root of a negative, an overflow."""
    try:
        return compute(left, right)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None

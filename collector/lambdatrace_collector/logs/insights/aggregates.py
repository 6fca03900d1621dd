"""The functions of `stats`: over all records of a group.

Source: CloudWatch Logs user guide, `stats`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.syntax import Call, Node, Number, QuerySyntaxError, Star
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    call,
    finite,
    natural_order,
    number,
)
from lambdatrace_collector.store.compiled_query import Apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.compiled_query import Expression

_NUMERIC = {"avg": "avg", "sum": "sum", "stddev": "stddevSamp"}
_ARG = {"earliest": "argMin", "latest": "argMax"}
_SORTED = {"sortsfirst": "argMin", "sortslast": "argMax"}
AGGREGATES = frozenset({"count", "count_distinct", "min", "max", "pct", *_NUMERIC, *_ARG, *_SORTED})


def compile_aggregate(
    node: Call, compile_value: Callable[[Node], Value], timestamp: Callable[[Call], Value]
) -> Value:
    """The value of an aggregate's call. Raises QuerySyntaxError."""
    name = node.function
    if name == "count":
        return _count(node, compile_value)
    expected = 2 if name == "pct" else 1
    if (name != "count_distinct" and len(node.arguments) != expected) or not node.arguments:
        raise QuerySyntaxError(
            f"{name}() takes {'a field and a percentage' if expected > 1 else 'one field'}",
            node.span,
        )
    if any(isinstance(argument, Star) for argument in node.arguments):
        raise QuerySyntaxError(f"{name}() takes a field, not *", node.span)
    if name == "pct":
        return _percentile(node, compile_value)
    values = [compile_value(argument) for argument in node.arguments]
    value = values[0]
    if name == "count_distinct":
        # `uniq` counts exactly to 65,536 different values, then estimates, as CloudWatch does.
        return Value(call("toFloat64", call("uniq", *map(_comparable, values))), Kind.NUMBER)
    if name in _NUMERIC:
        return Value(finite(call(_NUMERIC[name], as_number(value))), Kind.NUMBER)
    if name in _ARG:
        at = timestamp(node).expression
        return Value(call(_ARG[name], value.expression, at), _plain(value.kind))
    if name in _SORTED:
        text = as_text(value)
        return Value(call(_SORTED[name], text, natural_order(text)), Kind.TEXT)
    return _extreme(name, value)


def _count(node: Call, compile_value: Callable[[Node], Value]) -> Value:
    arguments = node.arguments
    if len(arguments) > 1:
        raise QuerySyntaxError("count() takes * or one field", node.span)
    if not arguments or isinstance(arguments[0], Star):
        return Value(call("toFloat64", call("count")), Kind.NUMBER)
    counted = call("count", compile_value(arguments[0]).expression)
    return Value(call("toFloat64", counted), Kind.NUMBER)


def _percentile(node: Call, compile_value: Callable[[Node], Value]) -> Value:
    field, percentage = node.arguments
    level = float(percentage.text) if isinstance(percentage, Number) else -1.0
    if not 0 <= level <= 100:  # noqa: PLR2004 -- a percentage
        raise QuerySyntaxError(
            "pct() takes a percentage from 0 to 100 as its second value", percentage.span
        )
    # Exact, interpolated, to 8,192 values of a group; a sample of as many beyond.
    values = (as_number(compile_value(field)),)
    return Value(finite(Apply("quantile", values, (number(level / 100),))), Kind.NUMBER)


def _extreme(name: str, value: Value) -> Value:
    """The least or greatest: of the numbers, or of texts where there is no number."""
    if value.kind.is_numeric:
        return Value(call(name, value.expression), _plain(value.kind))
    of_numbers = call("toString", call(name, as_number(value)))
    return Value(call("coalesce", of_numbers, call(name, as_text(value))), Kind.TEXT)


def _comparable(value: Value) -> Expression:
    return value.expression if value.kind.is_numeric else as_text(value)


def _plain(kind: Kind) -> Kind:
    """The kind of what is calculated from values: a time is then its milliseconds."""
    return Kind.NUMBER if kind in (Kind.TIME, Kind.DOUBLE) else kind

"""The functions of the language: what each takes, and what it is in the engine.

Source: CloudWatch Logs user guide, "Boolean, comparison, numeric, datetime, and other functions".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.addresses import ADDRESSES, ADDRESSES_OF_CONTEXT
from lambdatrace_collector.logs.insights.datetimes import DATETIMES, DATETIMES_OF_CONTEXT
from lambdatrace_collector.logs.insights.encodings import ENCODINGS
from lambdatrace_collector.logs.insights.function_table import Function, condition
from lambdatrace_collector.logs.insights.json_values import JSON_VALUES
from lambdatrace_collector.logs.insights.syntax import NOWHERE, QuerySyntaxError
from lambdatrace_collector.logs.insights.texts import TEXTS
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    bound,
    call,
    finite,
    is_true,
    number,
)
from lambdatrace_collector.store.compiled_query import Null

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.function_table import Context
    from lambdatrace_collector.logs.insights.syntax import Call
    from lambdatrace_collector.store.compiled_query import Expression

CASES_MAX = 10  # source: "General functions"
EARTH_RADIUS_KM = 6371.0


def compile_call(node: Call, context: Context) -> Value:
    """The value of a function's call. Raises QuerySyntaxError."""
    name = node.function
    if name in FUNCTIONS_OF_CONTEXT:
        return FUNCTIONS_OF_CONTEXT[name](node, context)
    function = FUNCTIONS.get(name)
    if function is None:
        raise QuerySyntaxError(f"there is no function {name}()", node.span)
    count = len(node.arguments)
    if count < function.at_least or (function.at_most is not None and count > function.at_most):
        raise QuerySyntaxError(
            f"{name}() takes {function.counts}, not {count}: see the function's reference",
            node.span,
        )
    values = [context.compile(argument) for argument in node.arguments]
    try:
        return function.make(*values)
    except QuerySyntaxError as error:
        raise QuerySyntaxError(error.message, node.span) from None


def _numeric(function: str) -> Callable[[Value], Value]:
    def make(value: Value) -> Value:
        return Value(finite(call(function, as_number(value))), Kind.NUMBER)

    return make


def _extreme(function: str) -> Callable[..., Value]:
    def make(*values: Value) -> Value:
        return Value(call(function, *map(as_number, values)), Kind.NUMBER)

    return make


def _is_present(value: Value) -> Expression:
    return call("isNotNull", value.expression)


def _of_one_kind(values: tuple[Value, ...]) -> tuple[list[Expression], Kind]:
    """The values as they are when all are of one kind, else as text."""
    if len({value.kind for value in values}) == 1:
        return [value.expression for value in values], values[0].kind
    return [as_text(value) for value in values], Kind.TEXT


def _coalesce(*values: Value) -> Value:
    expressions, kind = _of_one_kind(values)
    return Value(call("coalesce", *expressions), kind)


def _if(condition: Value, *values: Value) -> Value:
    expressions, kind = _of_one_kind(values)
    return Value(call("if", is_true(condition), *expressions), kind)


def _case(*arguments: Value) -> Value:
    """The value after the first condition that is true; the last one is for when none is."""
    conditions, values = arguments[:-1:2], arguments[1::2]
    if len(conditions) > CASES_MAX:
        raise QuerySyntaxError(f"case() takes at most {CASES_MAX} conditions", NOWHERE)
    expressions, kind = _of_one_kind((*values, *arguments[2 * len(values) :]))
    default = expressions[len(values)] if len(expressions) > len(values) else Null()
    branches = [
        part
        for condition, value in zip(conditions, expressions, strict=False)
        for part in (is_true(condition), value)
    ]
    return Value(call("multiIf", *branches, default), kind)


def _is_numeric(value: Value) -> Expression:
    return call("isNotNull", as_number(value))


def _haversine(*degrees: Value) -> Value:
    first_latitude, first_longitude, latitude, longitude = (
        call("multiply", as_number(value), number(math.pi / 180)) for value in degrees
    )

    def half_square(a: Expression, b: Expression) -> Expression:
        half = call("divide", call("minus", b, a), number(2))
        return call("pow", call("sin", half), number(2))

    cosines = call("multiply", call("cos", first_latitude), call("cos", latitude))
    across = call("multiply", cosines, half_square(first_longitude, longitude))
    root = call("sqrt", call("plus", half_square(first_latitude, latitude), across))
    # Rounding may take the root of opposite points over 1.
    at_most_1 = bound(root, lambda x: call("if", call("greater", x, number(1)), number(1), x))
    angle = call("asin", at_most_1)
    return Value(finite(call("multiply", number(2 * EARTH_RADIUS_KM), angle)), Kind.NUMBER)


FUNCTIONS: dict[str, Function] = {
    "abs": Function(_numeric("abs"), 1, 1),
    "ceil": Function(_numeric("ceil"), 1, 1),
    "floor": Function(_numeric("floor"), 1, 1),
    "log": Function(_numeric("log"), 1, 1),
    "sqrt": Function(_numeric("sqrt"), 1, 1),
    "greatest": Function(_extreme("greatest"), 1, None),
    "least": Function(_extreme("least"), 1, None),
    "haversine": Function(_haversine, 4, 4),
    "isnumeric": Function(condition(_is_numeric), 1, 1),
    "ispresent": Function(condition(_is_present), 1, 1),
    "coalesce": Function(_coalesce, 1, None),
    "if": Function(_if, 3, 3),
    "case": Function(_case, 2, 2 * CASES_MAX + 1),
    "unmask": Function(lambda value: value, 1, 1),
    **TEXTS,
    **JSON_VALUES,
    **DATETIMES,
    **ADDRESSES,
    **ENCODINGS,
}
FUNCTIONS_OF_CONTEXT: dict[str, Callable[[Call, Context], Value]] = {
    **DATETIMES_OF_CONTEXT,
    **ADDRESSES_OF_CONTEXT,
}
FUNCTION_NAMES = frozenset({*FUNCTIONS, *FUNCTIONS_OF_CONTEXT})

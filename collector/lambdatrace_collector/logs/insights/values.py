"""Values of a query as the engine's expressions, and how one kind becomes another.

Fields of log events are text. Text that is a number compares and calculates as one; a missing field
is NULL, and so is all that is made of it, but for the functions that ask whether it is there.
"""

from __future__ import annotations

import enum
import itertools
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    Expression,
    Lambda,
    Null,
    Parameter,
    Variable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_VARIABLES = itertools.count()


class Kind(enum.Enum):
    """What a value is, and so how it is compared and shown."""

    TEXT = "text"  # Nullable(String)
    NUMBER = "number"  # Nullable(Float64)
    DOUBLE = "double"  # as NUMBER; shown as Java writes a double, as Lambda's discovered fields are
    TIME = "time"  # Nullable(Int64), milliseconds since 1970
    BOOLEAN = "boolean"  # Nullable(UInt8)
    JSON = "json"  # Nullable(String): a JSON value as it is written

    @property
    def is_numeric(self) -> bool:
        """Whether values of the kind are numbers for the engine."""
        return self not in (Kind.TEXT, Kind.JSON)


class Value(NamedTuple):
    """An expression and what it is."""

    expression: Expression
    kind: Kind


MISSING = Value(Null(), Kind.TEXT)


def call(function: str, *arguments: Expression) -> Apply:
    """`function(arguments)`."""
    return Apply(function, arguments)


def string(text: str) -> Parameter:
    """A constant text."""
    return Parameter(text, "String")


def number(value: float) -> Parameter:
    """A constant number."""
    return Parameter(float(value), "Float64")


def integer(value: int) -> Parameter:
    """A constant whole number."""
    return Parameter(value, "Int64")


def bound(value: Expression, body: Callable[[Expression], Expression]) -> Expression:
    """`body(value)`, where the body may use the value several times without repeating its text."""
    if isinstance(value, (Column, Parameter, Variable, Null)):
        return body(value)
    variable = f"v{next(_VARIABLES) % 100_000}"
    mapped = call("arrayMap", Lambda((variable,), body(Variable(variable))), call("array", value))
    return call("arrayElement", mapped, integer(1))


def finite(value: Expression) -> Expression:
    """The number, or NULL for what is none: a division by zero, a root of -1."""
    return bound(value, lambda x: call("if", call("isFinite", x), x, Null()))


def constant_number(text: str) -> float | None:
    """The number that `text` writes; None when it writes none."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def as_number(value: Value) -> Expression:
    """The value as Nullable(Float64); NULL for text that is no number."""
    expression = value.expression
    if value.kind in (Kind.NUMBER, Kind.DOUBLE):
        return expression
    if value.kind.is_numeric:
        return call("toFloat64", expression)
    if isinstance(expression, Parameter):
        constant = constant_number(str(expression.value))
        return Null() if constant is None else number(constant)
    if isinstance(expression, Null):
        return expression
    return finite(call("toFloat64OrNull", as_text(value)))


def as_text(value: Value) -> Expression:
    """The value as Nullable(String)."""
    expression = value.expression
    if value.kind is Kind.TEXT:
        return expression
    if value.kind is Kind.JSON:
        return bound(expression, json_text)
    return call("toString", expression)


def as_boolean(value: Value) -> Expression:
    """The value as a condition: a number that is not 0, or the text `true`."""
    if value.kind is Kind.BOOLEAN:
        return value.expression
    if value.kind.is_numeric:
        return call("notEquals", value.expression, number(0))
    return bound(
        as_text(value),
        lambda text: call(
            "ifNull",
            call("notEquals", as_number(Value(text, Kind.TEXT)), number(0)),
            call("equals", call("lower", text), string("true")),
        ),
    )


def as_time(value: Value) -> Expression:
    """The value as milliseconds since 1970, Nullable(Int64)."""
    if value.kind is Kind.TIME:
        return value.expression
    return call("accurateCastOrNull", call("floor", as_number(value)), string("Int64"))


def json_text(raw: Expression) -> Expression:
    """The text of a JSON value: a string's own, else the value as it is written; null is NULL."""
    return call(
        "multiIf",
        call("isNull", raw),
        Null(),
        call("startsWith", raw, string('"')),
        call("JSONExtractString", raw),
        call("equals", raw, string("null")),
        Null(),
        raw,
    )


def compare(operator: str, left: Value, right: Value) -> Expression:
    """`left operator right`, one of the functions equals, notEquals, less, … of the engine.

    Two numbers, or texts that are numbers, compare as numbers, other texts as text; a text that is
    no number is not equal to a number, and neither more nor less.
    """
    if left.kind.is_numeric and right.kind.is_numeric:
        return call(operator, left.expression, right.expression)
    if left.kind.is_numeric:
        return _compare_text(_MIRRORED.get(operator, operator), right, left.expression)
    if right.kind.is_numeric:
        return _compare_text(operator, left, right.expression)
    for one, other in ((left, right), (right, left)):
        text = one.expression.value if isinstance(one.expression, Parameter) else None
        if isinstance(text, str) and constant_number(text) is None:
            del other
            return call(operator, as_text(left), as_text(right))
    return bound(
        as_text(left), lambda a: bound(as_text(right), lambda b: _compare_texts(operator, a, b))
    )


_MIRRORED = {
    "less": "greater",
    "greater": "less",
    "lessOrEquals": "greaterOrEquals",
    "greaterOrEquals": "lessOrEquals",
}


def _compare_text(operator: str, text: Value, numeric: Expression) -> Expression:
    if operator not in ("equals", "notEquals"):
        return call(operator, as_number(text), numeric)

    def body(value: Expression) -> Expression:
        return call(
            "if",
            call("isNull", value),
            Null(),
            call(
                "ifNull",
                call(operator, as_number(Value(value, Kind.TEXT)), numeric),
                call("if", call("isNull", numeric), Null(), _truth(operator == "notEquals")),
            ),
        )

    return bound(as_text(text), body)


def _compare_texts(operator: str, left: Expression, right: Expression) -> Expression:
    a, b = (as_number(Value(side, Kind.TEXT)) for side in (left, right))
    are_numbers = call("and", call("isNotNull", a), call("isNotNull", b))
    return call("if", are_numbers, call(operator, a, b), call(operator, left, right))


def _truth(is_true: bool) -> Parameter:
    return Parameter(int(is_true), "UInt8")


def truth(*, is_true: bool) -> Value:
    """A constant condition."""
    return Value(_truth(is_true), Kind.BOOLEAN)


def natural_order(text: Expression) -> Expression:
    """A key that sorts text as `sort` does: runs of digits by length and then value.

    Source: the user guide, `sort`.
    """
    part = Variable("part")
    is_digits = call("match", part, string("^[0-9]"))
    length = call("if", is_digits, call("length", part), Parameter(0, "UInt64"))
    key = Lambda(("part",), call("tuple", is_digits, length, part))
    parts = call("extractAll", call("ifNull", text, string("")), string("[0-9]+|[^0-9]+"))
    return call("arrayMap", key, parts)


def is_true(condition: Value) -> Expression:
    """A condition that is neither true nor false counts as false."""
    return call("ifNull", as_boolean(condition), Parameter(0, "UInt8"))

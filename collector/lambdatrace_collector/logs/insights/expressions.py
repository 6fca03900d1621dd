"""Expressions of a query as values of the engine, given what its names stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.logs.insights.aggregates import AGGREGATES, compile_aggregate
from lambdatrace_collector.logs.insights.function_table import Context
from lambdatrace_collector.logs.insights.functions import compile_call
from lambdatrace_collector.logs.insights.syntax import (
    Binary,
    Call,
    Duration,
    Field,
    Like,
    Member,
    Node,
    Number,
    QuerySyntaxError,
    Regex,
    Star,
    Text,
    Unary,
)
from lambdatrace_collector.logs.insights.texts import contains
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_boolean,
    as_number,
    as_text,
    bound,
    call,
    compare,
    finite,
    number,
    string,
    truth,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.selection import Selection
    from lambdatrace_collector.store.compiled_query import Expression

DEPTH_MAX = 24  # of an expression; each level may be several of the engine's

_COMPARISONS = {
    "=": "equals",
    "!=": "notEquals",
    "<": "less",
    "<=": "lessOrEquals",
    ">": "greater",
    ">=": "greaterOrEquals",
}
_ARITHMETIC = {
    "+": "plus",
    "-": "minus",
    "*": "multiply",
    "/": "divide",
    "%": "modulo",
    "^": "pow",
}


class Names(NamedTuple):
    """What names stand for where an expression is: fields, calls written as a column's name."""

    field: Callable[[Field], Value]
    column: Callable[[Call], Value | None]
    timestamp: Callable[[Call], Value]
    selection: Selection


class Expressions:
    """Compiles the expressions of one command; `is_aggregate` within stats' list of aggregates."""

    def __init__(self, names: Names, *, is_aggregate: bool = False) -> None:
        self._names = names
        self._is_aggregate = is_aggregate
        self._depth = 0

    def value(self, node: Node) -> Value:
        """The value of an expression. Raises QuerySyntaxError."""
        if self._depth >= DEPTH_MAX:
            raise QuerySyntaxError(
                f"the expression is nested more than {DEPTH_MAX} levels deep", node.span
            )
        self._depth += 1
        try:
            return self._value(node)
        finally:
            self._depth -= 1

    def condition(self, node: Node) -> Value:
        """The value of an expression as a condition."""
        return Value(as_boolean(self.value(node)), Kind.BOOLEAN)

    def _value(self, node: Node) -> Value:
        if isinstance(node, Field):
            return self._names.field(node)
        if isinstance(node, Number):
            return self._number(node)
        if isinstance(node, Text):
            return Value(string(node.value), Kind.TEXT)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, Binary):
            return self._binary(node)
        if isinstance(node, Unary):
            return self._unary(node)
        if isinstance(node, Member):
            return self._member(node)
        if isinstance(node, Like):
            return self._like(node)
        what = "a period" if isinstance(node, Duration) else "*" if isinstance(node, Star) else "it"
        raise QuerySyntaxError(f"{what} cannot stand here: expected a value", node.span)

    def _number(self, node: Number) -> Value:
        value = float(node.text)
        if value in (float("inf"), float("-inf")):
            raise QuerySyntaxError(f"{node.text} is too large a number", node.span)
        return Value(number(value), Kind.NUMBER)

    def _call(self, node: Call) -> Value:
        column = self._names.column(node)
        if column is not None:
            return column
        if node.function not in AGGREGATES:
            names = self._names
            return compile_call(node, Context(self.value, names.timestamp, names.selection))
        if not self._is_aggregate:
            raise QuerySyntaxError(
                f"{node.function}() is a function of stats: it cannot stand here", node.span
            )
        self._is_aggregate = False  # no aggregate of an aggregate
        try:
            return compile_aggregate(node, self.value, self._names.timestamp)
        finally:
            self._is_aggregate = True

    def _binary(self, node: Binary) -> Value:
        operator = node.operator
        if operator in ("and", "or"):
            conditions = (as_boolean(self.value(each)) for each in _operands(node))
            return Value(call(operator, *conditions), Kind.BOOLEAN)
        left, right = self.value(node.left), self.value(node.right)
        if operator in _COMPARISONS:
            return Value(compare(_COMPARISONS[operator], left, right), Kind.BOOLEAN)
        result = call(_ARITHMETIC[operator], as_number(left), as_number(right))
        return Value(finite(call("toFloat64", result)), Kind.NUMBER)

    def _unary(self, node: Unary) -> Value:
        operand = self.value(node.operand)
        if node.operator == "not":
            return Value(call("not", as_boolean(operand)), Kind.BOOLEAN)
        return Value(call("negate", as_number(operand)), Kind.NUMBER)

    def _member(self, node: Member) -> Value:
        operand = self.value(node.operand)
        items = [self.value(item) for item in node.items]
        if not items:
            return truth(is_true=node.is_negated)

        def body(expression: Value) -> Value:
            tests = [compare("equals", expression, item) for item in items]
            any_of: Expression = tests[0] if len(tests) == 1 else call("or", *tests)
            return Value(call("not", any_of) if node.is_negated else any_of, Kind.BOOLEAN)

        kind = Kind.TEXT if operand.kind is Kind.JSON else operand.kind
        plain = as_text(operand) if operand.kind is Kind.JSON else operand.expression
        tested = bound(plain, lambda x: body(Value(x, kind)).expression)
        return Value(tested, Kind.BOOLEAN)

    def _like(self, node: Like) -> Value:
        operand = self.value(node.operand)
        if isinstance(node.pattern, Regex):
            found: Expression = call("match", as_text(operand), string(node.pattern.pattern))
        else:
            found = contains(operand, self.value(node.pattern))
        return Value(call("not", found) if node.is_negated else found, Kind.BOOLEAN)


def _operands(node: Binary) -> list[Node]:
    """All operands of `a or b or c`, in order: such a chain is long, not deep."""
    found: list[Node] = []
    left: Node = node
    while isinstance(left, Binary) and left.operator == node.operator:
        found.append(left.right)
        left = left.left
    found.append(left)
    return found[::-1]

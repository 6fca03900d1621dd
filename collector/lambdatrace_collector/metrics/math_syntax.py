"""Metric math, from text to a tree.

Source: CloudWatch user guide, "Using metric math", "Metric math syntax and functions". Operators
bind as in most languages: `^`, unary minus, `* /`, `+ -`, comparisons, AND, OR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lark import Lark, Transformer, v_args
from lark.exceptions import LarkError, UnexpectedInput, UnexpectedToken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


# Deeper than anything that is written by hand or by a tool, and far from Python's own limit.
DEPTH_MAX = 64

_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction (OR conjunction)*
?conjunction: comparison (AND comparison)*
?comparison: sum (COMPARISON sum)*
?sum: term ((PLUS | MINUS) term)*
?term: signed ((TIMES | OVER) signed)*
?signed: MINUS signed -> negation
    | power
?power: atom (RAISED exponent)*
?exponent: MINUS exponent -> negation
    | atom
?atom: NUMBER -> number
    | STRING -> text
    | WORD "(" [disjunction ("," disjunction)*] ")" -> function
    | WORD -> word
    | NAME -> name
    | "[" disjunction ("," disjunction)* "]" -> items
    | "(" disjunction ")"

OR.3: "||" | /OR(?![A-Za-z0-9_])/
AND.3: "&&" | /AND(?![A-Za-z0-9_])/
COMPARISON: "==" | "!=" | "<=" | ">=" | "<" | ">"
PLUS: "+"
MINUS: "-"
TIMES: "*"
OVER: "/"
RAISED: "^"
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
STRING: /"[^"]*"|'[^']*'/
WORD: /[A-Z][A-Z0-9_]*/
NAME: /[a-z][a-zA-Z0-9_]*/
%ignore /\s+/
"""


class ExpressionSyntaxError(Exception):
    """The text is no expression; the message says where."""


@dataclass(frozen=True)
class Number:
    """A scalar."""

    value: float


@dataclass(frozen=True)
class Text:
    """A string, without its quotes."""

    text: str


@dataclass(frozen=True)
class Name:
    """The Id of a query."""

    query_id: str


@dataclass(frozen=True)
class Word:
    """An upper case word that is an argument: REPEAT, AVG, DESC."""

    text: str


@dataclass(frozen=True)
class Items:
    """An array: `[m1, m2]`."""

    members: tuple[Any, ...]


@dataclass(frozen=True)
class Function:
    """A function and what stands in its parentheses."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Negation:
    """Unary minus."""

    operand: Any


@dataclass(frozen=True)
class Chain:
    """Operators of one rank, from the left: `a - b + c`."""

    first: Any
    rest: tuple[tuple[str, Any], ...]


def parse_expression(text: str) -> Any:
    """The tree of an expression. Raises ExpressionSyntaxError."""
    if _depth(text) > DEPTH_MAX:
        raise ExpressionSyntaxError(f"nested deeper than {DEPTH_MAX} levels")
    try:
        tree: Any = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise ExpressionSyntaxError(_where(text, error)) from error
    except LarkError as error:
        raise ExpressionSyntaxError(str(error)) from error
    return tree


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _depth(text: str) -> int:
    """How deep parentheses, brackets and signs nest, at most."""
    deepest = depth = signs = 0
    for character in text:
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        if character == "-":
            signs += 1
        elif not character.isspace():
            signs = 0
        deepest = max(deepest, depth + signs)
    return deepest


def _where(text: str, error: UnexpectedInput) -> str:
    place = cast("int | None", error.pos_in_stream)
    is_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    if is_end or place is None or place < 0:
        return "Invalid syntax: the expression ends too early"
    return f"Invalid syntax at character {place + 1}: '{text[place : place + 20]}'"


@v_args(inline=True)
class _Builder(Transformer[Any, Any]):
    def number(self, token: str) -> Number:
        return Number(float(token))

    def text(self, token: str) -> Text:
        return Text(str(token[1:-1]))

    def word(self, token: str) -> Word:
        return Word(str(token))

    def name(self, token: str) -> Name:
        return Name(str(token))

    def items(self, *members: Any) -> Items:
        return Items(members)

    def function(self, name: str, *arguments: Any) -> Function:
        return Function(str(name), arguments)

    def negation(self, _minus: str, operand: Any) -> Negation:
        return Negation(operand)

    def disjunction(self, *parts: Any) -> Chain:
        return _chain(parts)

    conjunction = comparison = sum = term = power = disjunction


def walk(tree: Any) -> Iterator[Any]:
    """Every node of a tree, parents first."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Chain):
            waiting += [node.first, *(operand for _, operand in node.rest)]
        elif isinstance(node, Negation):
            waiting.append(node.operand)
        elif isinstance(node, Items):
            waiting += node.members
        elif isinstance(node, Function):
            waiting += node.arguments


_SPELLINGS = {"&&": "AND", "||": "OR"}


def _chain(parts: Sequence[Any]) -> Chain:
    operators = [_SPELLINGS.get(str(operator), str(operator)) for operator in parts[1::2]]
    return Chain(parts[0], tuple(zip(operators, parts[2::2], strict=True)))

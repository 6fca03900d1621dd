"""What an Insights query says, as a tree; each part knows the characters it was written as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class Span(NamedTuple):
    """Characters of the query, from `start` to before `end`."""

    start: int
    end: int


NOWHERE = Span(0, 0)


class QuerySyntaxError(Exception):
    """The query is not in the language, or uses what this collector refuses: where, and why."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


@dataclass(frozen=True)
class Node:
    """Part of an expression."""

    span: Span = field(default=NOWHERE, compare=False, kw_only=True)


@dataclass(frozen=True)
class Number(Node):
    """A number, as it was written."""

    text: str


@dataclass(frozen=True)
class Text(Node):
    """A quoted string."""

    value: str


@dataclass(frozen=True)
class Regex(Node):
    """A regular expression between slashes, after `like`, `=~` or `parse`."""

    pattern: str


@dataclass(frozen=True)
class Duration(Node):
    """A period of time: `count` of `unit`, one of ms s m h d w mo q y."""

    count: int
    unit: str


@dataclass(frozen=True)
class Star(Node):
    """The `*` of count(*)."""


@dataclass(frozen=True)
class Field(Node):
    """A field's name; its parts are what stood between the dots, and indexes of lists."""

    path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name as results show it."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Call(Node):
    """A function, its name in lower case, and its arguments."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Unary(Node):
    """`not x` or `-x`."""

    operator: str
    operand: Node


@dataclass(frozen=True)
class Binary(Node):
    """Two operands and one of: or and = != < <= > >= + - * / % ^."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Member(Node):
    """`x in [...]`, or `not in`."""

    operand: Node
    items: tuple[Node, ...]
    is_negated: bool


@dataclass(frozen=True)
class Like(Node):
    """`x like y`: y is a Regex, or text to be found in x."""

    operand: Node
    pattern: Node
    is_negated: bool


class Output(NamedTuple):
    """An expression in a list, and the name of its column: the alias, else its own words."""

    expression: Node
    name: str
    has_alias: bool


class SortKey(NamedTuple):
    """One key of `sort`."""

    expression: Node
    is_descending: bool


@dataclass(frozen=True)
class Fields:
    """`fields`: adds columns to the results."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Display:
    """`display`: the only columns of the results."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Filter:
    """`filter`."""

    condition: Node


@dataclass(frozen=True)
class Parse:
    """`parse`: takes groups of a regular expression, which a glob is written as, out of a field."""

    source: Field
    pattern: Regex
    names: tuple[str, ...]


@dataclass(frozen=True)
class Stats:
    """`stats`: aggregates for each value of the keys."""

    aggregates: tuple[Output, ...]
    keys: tuple[Output, ...]
    span: Span


@dataclass(frozen=True)
class Sort:
    """`sort`."""

    keys: tuple[SortKey, ...]


@dataclass(frozen=True)
class Limit:
    """`limit`."""

    count: int


@dataclass(frozen=True)
class Dedup:
    """`dedup`: the first record for each value of the fields."""

    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Unnest:
    """`unnest`: a record for each item of a list."""

    source: Field
    into: str


@dataclass(frozen=True)
class Unmask:
    """`unmask`: shows fields as they are; no data is masked here."""

    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Pattern:
    """`pattern`: records grouped by the text that their field's values share."""

    source: Field


@dataclass(frozen=True)
class Diff:
    """`diff`: patterns compared with those of an earlier period.

    `period` is previous, previousday, previousweek or previousmonth.
    """

    period: str


@dataclass(frozen=True)
class AddTotals:
    """`addtotals`: the sums of rows in a new column `name`, and of columns in a last row."""

    name: str
    has_row_totals: bool
    has_column_totals: bool
    fields: tuple[Field, ...]


Command: TypeAlias = (
    "Fields | Display | Filter | Parse | Stats | Sort | Limit | Dedup | Unnest | Unmask | Pattern"
    " | Diff | AddTotals"
)


@dataclass(frozen=True)
class Source:
    """`SOURCE`: the log groups of the query, by name, or by the beginnings of names and class."""

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    is_by_name: bool = False


@dataclass(frozen=True)
class Query:
    """A whole query: its commands with where each stands."""

    commands: tuple[tuple[Command, Span], ...]
    source: Source | None = None

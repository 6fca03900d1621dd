"""The nodes of a query, made of the parse tree that the grammar gives."""
# ruff: noqa: D102 -- each method makes what the grammar's rule of its name describes

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lark import Token, v_args
from lark.visitors import Transformer_NonRecursive

from lambdatrace_collector.logs.insights import regexes
from lambdatrace_collector.logs.insights.syntax import (
    AddTotals,
    Binary,
    Call,
    Dedup,
    Diff,
    Display,
    Duration,
    Field,
    Fields,
    Filter,
    Like,
    Limit,
    Member,
    Node,
    Number,
    Output,
    Parse,
    Pattern,
    Query,
    QuerySyntaxError,
    Regex,
    Sort,
    SortKey,
    Source,
    Span,
    Star,
    Stats,
    Text,
    Unary,
    Unmask,
    Unnest,
)

if TYPE_CHECKING:
    from lark.tree import Meta

PARTS_MAX = 12  # of a field's name; those of events are read to five levels
DIGITS_MAX = 18  # of a whole number: it fits the engine's Int64
LIMIT_MAX = 10_000  # rows; source: the user guide, `limit`
PREFIXES_MAX = 5  # source: the user guide, `SOURCE`
ACCOUNTS_MAX = 20

_UNITS = {"ms": "ms", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w", "q": "q", "y": "y"} | {
    "milliseconds": "ms",
    "msecs": "ms",
    "seconds": "s",
    "secs": "s",
    "minutes": "m",
    "mins": "m",
    "hours": "h",
    "hrs": "h",
    "days": "d",
    "weeks": "w",
    "mo": "mo",
    "mons": "mo",
    "months": "mo",
    "qtrs": "q",
    "quarters": "q",
    "yrs": "y",
    "years": "y",
}


@v_args(meta=True)
class TreeBuilder(Transformer_NonRecursive[Token, Any]):
    """Makes the nodes of the parse tree of `text`, from the leaves up, without recursion."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def start(self, _meta: Meta, children: list[Any]) -> Query:
        source = children[0] if isinstance(children[0], Source) else None
        commands = tuple(child for child in children if isinstance(child, tuple))
        return Query(commands, source)

    def source_selectors(self, meta: Meta, children: list[Any]) -> Source:
        known = {"nameprefix": (), "class": (), "accountidentifiers": ()}
        chosen: dict[str, tuple[str, ...]] = dict(known)
        for name, values in filter(None, children):
            key = {"loggroupclass": "class", "accountidentifier": "accountidentifiers"}.get(
                name.lower(), name.lower()
            )
            if key not in known:
                raise QuerySyntaxError(
                    f"{name} is not known here: expected namePrefix, class or accountIdentifiers",
                    _span(meta),
                )
            chosen[key] = values
        if len(chosen["nameprefix"]) > PREFIXES_MAX or (
            len(chosen["accountidentifiers"]) > ACCOUNTS_MAX
        ):
            raise QuerySyntaxError(
                f"SOURCE takes at most {PREFIXES_MAX} prefixes and {ACCOUNTS_MAX} accounts",
                _span(meta),
            )
        return Source(
            prefixes=chosen["nameprefix"],
            classes=chosen["class"],
            accounts=chosen["accountidentifiers"],
        )

    def source_names(self, _meta: Meta, children: list[Text]) -> Source:
        return Source(names=tuple(child.value for child in children), is_by_name=True)

    def selector(self, _meta: Meta, children: list[Any]) -> tuple[str, tuple[str, ...]]:
        return str(children[0]), tuple(child.value for child in children[1:])

    def fields(self, meta: Meta, children: list[Any]) -> tuple[Fields, Span]:
        return Fields(children[0]), _span(meta)

    def display(self, meta: Meta, children: list[Any]) -> tuple[Display, Span]:
        return Display(children[0]), _span(meta)

    def filter(self, meta: Meta, children: list[Any]) -> tuple[Filter, Span]:
        return Filter(children[0]), _span(meta)

    def parse_glob(self, meta: Meta, children: list[Any]) -> tuple[Parse, Span]:
        source, glob, names = children
        pattern = regexes.of_glob(glob.value, glob.span, len(names))
        return Parse(source, Regex(pattern, span=glob.span), _names(names)), _span(meta)

    def parse_regex(self, meta: Meta, children: list[Any]) -> tuple[Parse, Span]:
        source, token, names = children
        regex = _regex(token)
        given = None if names is None else _names(names)
        return Parse(source, regex, regexes.group_names(regex, given)), _span(meta)

    def stats(self, meta: Meta, children: list[Any]) -> tuple[Stats, Span]:
        return Stats(children[0], children[1] or (), _span(meta)), _span(meta)

    def sort(self, meta: Meta, children: list[Any]) -> tuple[Sort, Span]:
        return Sort(tuple(children)), _span(meta)

    def limit(self, meta: Meta, children: list[Any]) -> tuple[Limit, Span]:
        text = str(children[0])
        if not text.isdecimal() or len(text) > DIGITS_MAX or not 1 <= int(text) <= LIMIT_MAX:
            raise QuerySyntaxError(
                f"limit is {text[:DIGITS_MAX]}: expected a whole number from 1 to {LIMIT_MAX}",
                _span(meta),
            )
        return Limit(int(text)), _span(meta)

    def dedup(self, meta: Meta, children: list[Any]) -> tuple[Dedup, Span]:
        return Dedup(children[0]), _span(meta)

    def unnest(self, meta: Meta, children: list[Any]) -> tuple[Unnest, Span]:
        return Unnest(children[0], children[1].name), _span(meta)

    def unmask(self, meta: Meta, children: list[Any]) -> tuple[Unmask, Span]:
        return Unmask(children[0]), _span(meta)

    def pattern(self, meta: Meta, children: list[Any]) -> tuple[Pattern, Span]:
        return Pattern(children[0]), _span(meta)

    def diff(self, meta: Meta, children: list[Any]) -> tuple[Diff, Span]:
        period = children[0]
        return Diff("previous" if period is None else period.lower()), _span(meta)

    def addtotals(self, meta: Meta, children: list[Any]) -> tuple[AddTotals, Span]:
        *pairs, fields = children
        options = dict(pairs)
        totals = AddTotals(
            str(options.get("fieldname", "Total")),
            _boolean(options.get("row", "true"), meta),
            _boolean(options.get("col", "false"), meta),
            tuple(fields or ()),
        )
        return totals, _span(meta)

    def option(self, _meta: Meta, children: list[Token]) -> tuple[str, str]:
        name = children[0].rstrip("= \t").lower()
        value = children[1]
        return name, _unquoted(value) if value.type == "STRING" else str(value)

    def outputs(self, _meta: Meta, children: list[Output]) -> tuple[Output, ...]:
        return tuple(children)

    def output(self, meta: Meta, children: list[Any]) -> Output:
        expression, alias = children
        if alias is not None:
            return Output(expression, alias.name, has_alias=True)
        span = _span(meta)
        name = self._text[span.start : span.end]
        return Output(
            expression, expression.name if isinstance(expression, Field) else name, has_alias=False
        )

    def references(self, _meta: Meta, children: list[Field]) -> _References:
        return _References(children)

    def sort_key(self, _meta: Meta, children: list[Any]) -> SortKey:
        direction = children[1]
        return SortKey(children[0], direction is not None and direction.lower() == "desc")

    def binary(self, meta: Meta, children: list[Any]) -> Binary:
        left, operator, right = children
        return Binary(operator.lower(), left, right, span=_span(meta))

    def unary(self, meta: Meta, children: list[Any]) -> Unary:
        operator, operand = children
        return Unary(operator.lower(), operand, span=_span(meta))

    def member(self, meta: Meta, children: list[Any]) -> Member:
        is_negated = isinstance(children[1], Token)
        return Member(children[0], children[-1], is_negated, span=_span(meta))

    def items(self, _meta: Meta, children: list[Any]) -> tuple[Node, ...]:
        return tuple(child for child in children if child is not None)

    def like(self, meta: Meta, children: list[Any]) -> Like:
        is_negated = isinstance(children[1], Token)
        return Like(children[0], children[-1], is_negated, span=_span(meta))

    def regex(self, _meta: Meta, children: list[Token]) -> Regex:
        return _regex(children[0])

    def number(self, meta: Meta, children: list[Token]) -> Number:
        return Number(str(children[0]), span=_span(meta))

    def duration(self, meta: Meta, children: list[Token]) -> Duration:
        unit = children[0].lstrip("0123456789 \t")
        digits = children[0].removesuffix(unit).strip()
        if len(digits) > DIGITS_MAX:
            raise QuerySyntaxError("the period is too long", _span(meta))
        count = int(digits)
        return Duration(count, _UNITS.get(unit) or _UNITS[f"{unit}s"], span=_span(meta))

    def string(self, meta: Meta, children: list[Token]) -> Text:
        return Text(_unquoted(children[0]), span=_span(meta))

    def star(self, meta: Meta, _children: list[Token]) -> Star:
        return Star(span=_span(meta))

    def call(self, meta: Meta, children: list[Any]) -> Call:
        arguments = tuple(child for child in children[1:] if child is not None)
        return Call(str(children[0]).lower(), arguments, span=_span(meta))

    def reference(self, meta: Meta, children: list[Token]) -> Field:
        if len(children) > PARTS_MAX:
            raise QuerySyntaxError(
                f"the field's name has {len(children)} parts: at most {PARTS_MAX} are allowed",
                _span(meta),
            )
        parts = (str(child).strip("`[]") for child in children)
        return Field(tuple(parts), span=_span(meta))


class _References(tuple[Field, ...]):
    """Fields that stand in a list."""

    __slots__ = ()


def _span(meta: Meta) -> Span:
    return Span(meta.start_pos, meta.end_pos) if not meta.empty else Span(0, 0)


def _names(references: _References) -> tuple[str, ...]:
    return tuple(reference.name for reference in references)


def _regex(token: Token) -> Regex:
    start = token.start_pos or 0
    return Regex(token[1:-1].replace("\\/", "/"), span=Span(start, start + len(token)))


def _unquoted(token: Token) -> str:
    return re.sub(r"\\([\\\"'])", r"\1", token[1:-1])


def _boolean(text: str, meta: Meta) -> bool:
    if text.lower() not in ("true", "false"):
        raise QuerySyntaxError(f"{text!r} is not true or false", _span(meta))
    return text.lower() == "true"

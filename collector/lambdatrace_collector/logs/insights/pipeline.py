"""What the commands of a query so far give: a select of the engine, and what names in it mean.

A command adds columns to the select that is on top, or puts another select on it that has a
condition, an order, or groups.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.events import events_with_fields
from lambdatrace_collector.logs.insights.expressions import Expressions, Names
from lambdatrace_collector.logs.insights.links import link_conditions
from lambdatrace_collector.logs.insights.named_fields import (
    DEFAULT_FIELDS,
    POINTER,
    fields_of_events,
)
from lambdatrace_collector.logs.insights.syntax import (
    AddTotals,
    Call,
    Field,
    Node,
    Query,
    QuerySyntaxError,
    Span,
)
from lambdatrace_collector.logs.insights.values import (
    MISSING,
    Kind,
    Value,
    bound,
    call,
    integer,
    string,
    truth,
)
from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    Expression,
    Lambda,
    Order,
    Select,
    Total,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace_collector.logs.insights.selection import Selection

CONSTANTS = (("true",), ("false",))
FIELDS_MAX = 200  # that a query names; CloudWatch discovers as many of an event

Columns = list[tuple[str, Expression]]


class Rows(enum.Enum):
    """What the rows are: this decides which commands may follow."""

    EVENTS = "events"
    PATTERNS = "patterns"
    TABLE = "table"


class Pipeline:
    """The select that the commands so far give; commands change it by its methods.

    `order` is how its rows are sorted in the end; `matched` counts the events that conditions kept,
    where there were any. Raises QuerySyntaxError for a query that names too many fields.
    """

    def __init__(self, query: Query, text: str, selection: Selection) -> None:
        self._text = text
        self._selection = selection
        named = fields_of_events(query)
        if len(named) > FIELDS_MAX:
            raise QuerySyntaxError(
                f"the query names {len(named)} fields: at most {FIELDS_MAX} are allowed",
                Span(0, len(text)),
            )
        self.source, self._discovered = events_with_fields(
            selection.only(link_conditions(query)), named
        )
        self.rows = Rows.EVENTS
        self.order: tuple[Order, ...] = (
            Order(Column("timestamp_ms"), is_descending=True),
            Order(Column("event_id"), is_descending=True),
        )
        self.limit: int | None = None
        self.is_filtered = False
        self.is_deduplicated = False
        self.totals: AddTotals | None = None
        self.matched: Select | None = None
        self._is_matching = True
        self._columns = 0
        self._named: dict[str, Value] = {}
        self._pending: Columns = []
        self._shown: list[str] | None = None
        self._parsed: list[str] = []
        self._shown_fields: dict[str, Field] = {}

    # Names and what they stand for.

    def field(self, node: Field) -> Value:
        """What a field's name stands for here; MISSING when nothing has that name."""
        for end in range(len(node.path), 0, -1):
            value = self._named.get(".".join(node.path[:end]))
            if value is not None and end == len(node.path):
                return value
            if value is not None and value.kind is Kind.JSON:
                return Value(_inside(value.expression, node.path[end:]), Kind.JSON)
        if node.path in CONSTANTS:
            return truth(is_true=node.path == ("true",))
        return self._discovered.get(node.name, MISSING)

    def names(self) -> Names:
        """What names stand for in expressions."""
        return Names(self.field, self._call_column, self._timestamp, self._selection)

    def compile(self, node: Node) -> Value:
        """The value of an expression."""
        return Expressions(self.names()).value(node)

    def condition(self, node: Node) -> Expression:
        """The value of an expression as a condition."""
        return Expressions(self.names()).condition(node).expression

    def name(self, name: str, value: Value) -> None:
        """Call a value `name` from here on."""
        self._named[name] = Value(self.column(value.expression), value.kind)

    def _timestamp(self, node: Call) -> Value:
        if self.rows is not Rows.EVENTS:
            raise QuerySyntaxError(
                f"{node.function}() needs @timestamp, which stats has not kept", node.span
            )
        return Value(Column("timestamp_ms"), Kind.TIME)

    def _call_column(self, node: Call) -> Value | None:
        return self._named.get(self._text[node.span.start : node.span.end])

    # What the results show.

    def show(self, names: Sequence[str], fields: Sequence[Field] = ()) -> None:
        """Show these columns after those shown so far; `fields` are those that are events' own."""
        self._shown_fields.update((each.name, each) for each in fields)
        self._shown = self._shown if self._shown is not None else []
        _add_missing(self._shown, names)

    def show_only(self) -> None:
        """Show nothing but what is shown from here on."""
        self._shown = []

    def show_beside(self, names: Sequence[str], fields: Sequence[Field] = ()) -> None:
        """Show these columns beside the events' time and message, unless others were chosen."""
        self._shown_fields.update((each.name, each) for each in fields)
        _add_missing(self._parsed if self._shown is None else self._shown, names)

    def show_if_chosen(self, name: str) -> None:
        """Show this column when columns were chosen."""
        if self._shown is not None:
            _add_missing(self._shown, [name])

    def result_names(self) -> list[str]:
        """The names of the results' columns, in order."""
        names = list(self._shown if self._shown is not None else DEFAULT_FIELDS)
        _add_missing(names, self._parsed)
        if self.rows is Rows.EVENTS:
            _add_missing(names, [POINTER])
        return names

    def shown_value(self, name: str) -> Value:
        """The value of a column of the results."""
        value = self._named.get(name)
        if value is not None:
            return value
        return self.field(self._shown_fields.get(name, Field((name,))))

    # The selects.

    def column(self, expression: Expression) -> Column:
        """A new column of the next select; of the one after, when it needs the next one's."""
        if columns_in(expression) & {name for name, _ in self._pending}:
            self.flush()
        name = self._next_name()
        self._pending.append((name, expression))
        return Column(name)

    def new_column(self, columns: Columns, value: Value) -> Value:
        """A new column of `columns`, which make a select of their own."""
        name = self._next_name()
        columns.append((name, value.expression))
        return Value(Column(name), value.kind)

    def flush(
        self,
        where: Expression | None = None,
        order_by: tuple[Order, ...] = (),
        limit_one_by: tuple[Expression, ...] = (),
        limit: int | None = None,
    ) -> None:
        """Put a select on top that has the pending columns too, when there is anything to do."""
        if self._pending and (where or order_by or limit_one_by):
            self.flush()
        if not self._pending and where is None and limit is None and not limit_one_by:
            return
        carried = tuple((name, Column(name)) for name in self.source.names())
        self.source = Select(
            (*carried, *self._pending),
            self.source,
            where=where,
            order_by=order_by,
            limit_one_by=limit_one_by,
            limit=limit,
        )
        self._pending = []

    def end_of_matching(self) -> None:
        """Note which events matched, before the first command that takes some away or adds any."""
        self.flush()
        if self._is_matching and self.is_filtered:
            self.matched = Select((("matched", Apply("count")),), self.source)
        self._is_matching = False

    def begin_table(self, rows: Rows, source: Select, found: dict[str, Value]) -> None:
        """From here on there are the columns `found` of `source` only, and no events."""
        self.source = source
        self.rows = rows
        self._named = found
        self._discovered = {}
        self._shown = list(found)
        self._parsed = []
        self.limit = None

    def _next_name(self) -> str:
        self._columns += 1
        return f"c{self._columns}"


def columns_in(expression: Expression) -> set[str]:
    """The names of the columns that an expression reads."""
    if isinstance(expression, Column):
        return {expression.name}
    if isinstance(expression, Lambda):
        return columns_in(expression.body)
    if isinstance(expression, Apply):
        return set().union(*map(columns_in, expression.arguments))
    if isinstance(expression, Total):
        return columns_in(expression.summed)
    return set()


def _add_missing(names: list[str], added: Sequence[str]) -> None:
    names.extend(name for name in dict.fromkeys(added) if name not in names)


def _inside(raw: Expression, path: tuple[str, ...]) -> Expression:
    """The value at `path` of a JSON value, as it is written; NULL when there is none."""
    for key in path:
        raw = bound(raw, partial(_member, key))
    return call("nullIf", raw, string(""))


def _member(key: str, raw: Expression) -> Expression:
    """What is called `key` in a JSON object, or in a list is at this place."""
    by_name = call("JSONExtractRaw", raw, string(key))
    if not (key.isdecimal() and key.isascii() and len(key) <= 9):  # noqa: PLR2004 -- fits Int64
        return by_name
    is_list = call("equals", call("JSONType", raw), string("Array"))
    return call("if", is_list, call("JSONExtractRaw", raw, integer(int(key) + 1)), by_name)

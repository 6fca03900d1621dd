"""A query's commands as one statement of the engine: each command selects from the one before.

The events of the groups are the innermost select; above it, every field that the query names is
taken out of the event; then each command adds its columns or its condition. The engine drops what
no one reads, and takes conditions down to where the events are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights import fields
from lambdatrace_collector.logs.insights.expressions import Expressions, Names
from lambdatrace_collector.logs.insights.patterns import grouped_columns, pattern_of, ratio
from lambdatrace_collector.logs.insights.syntax import (
    AddTotals,
    Call,
    Command,
    Dedup,
    Display,
    Field,
    Fields,
    Filter,
    Like,
    Limit,
    Node,
    Output,
    Parse,
    Pattern,
    Query,
    QuerySyntaxError,
    Regex,
    Sort,
    Span,
    Stats,
    Unmask,
    Unnest,
)
from lambdatrace_collector.logs.insights.values import (
    MISSING,
    Kind,
    Value,
    as_number,
    as_text,
    bound,
    call,
    integer,
    natural_order,
    number,
    string,
    truth,
)
from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    CompiledQueryError,
    Expression,
    Lambda,
    Null,
    Order,
    Parameter,
    Select,
    Table,
    Total,
    Variable,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECORDS = ("timestamp_ms", "event_id", "log_group", "log_stream", "ingestion_ms", "message")
DEFAULT_FIELDS = ("@timestamp", "@message")
POINTER = "@ptr"
CONSTANTS = (("true",), ("false",))
FIELDS_MAX = 200  # that a query names; CloudWatch discovers as many of an event


@dataclass(frozen=True)
class Selection:
    """The events a query is about, and when it is asked."""

    account: str
    region: str
    groups: tuple[str, ...]
    start_ms: int
    end_ms: int
    now_s: int

    def events(self, columns: tuple[tuple[str, Expression], ...]) -> Select:
        """Those events, with these columns."""
        where = fields.condition(self.account, self.region, self.groups, self.start_ms, self.end_ms)
        return Select(columns, Table("log_events", is_final=True), where)


@dataclass(frozen=True)
class Plan:
    """What is asked of the engine: the rows; how many events matched, when that is not all.

    `columns` are the results' columns with their names and kinds, in order; those of `select` are
    called r0, r1 and so on.
    """

    select: Select
    columns: tuple[tuple[str, Kind], ...]
    matched: Select | None
    has_column_totals: bool = False
    totals: frozenset[str] = field(default=frozenset())


def plan_query(query: Query, text: str, selection: Selection, limit: int) -> Plan:
    """The plan of a query that is written as `text`; at most `limit` rows unless it says itself.

    Raises QuerySyntaxError.
    """
    planner = _Planner(query, text, selection)
    for command, span in query.commands:
        planner.add(command, span)
    plan = planner.plan(limit)
    try:
        render(plan.select)
    except CompiledQueryError as error:
        if not error.is_too_large:
            raise
        raise QuerySyntaxError(
            "the query is too complex: write it shorter", Span(0, len(text))
        ) from error
    return plan


def regexes_of(query: Query) -> list[Regex]:
    """Every regular expression of the query, which the engine must be able to run."""
    found: list[Regex] = []
    for command, _ in query.commands:
        if isinstance(command, Parse):
            found.append(command.pattern)
        found.extend(
            node.pattern
            for expression in _expressions(command)
            for node in _walk(expression)
            if isinstance(node, Like) and isinstance(node.pattern, Regex)
        )
    return found


class _Planner:
    def __init__(self, query: Query, text: str, selection: Selection) -> None:
        self._text = text
        self._selection = selection
        self._columns = 0
        self._discovered: dict[str, Value] = {}
        self._named: dict[str, Value] = {}
        self._pending: list[tuple[str, Expression]] = []
        self._shown: list[str] | None = None
        self._parsed: list[str] = []
        self._shown_fields: dict[str, Field] = {}
        self._order: tuple[Order, ...] = (
            Order(Column("timestamp_ms"), is_descending=True),
            Order(Column("event_id"), is_descending=True),
        )
        self._is_raw = True
        self._is_deduplicated = False
        self._limit: int | None = None
        self._matched: Select | None = None
        self._is_filtered = False
        self._is_matching = True
        self._totals: AddTotals | None = None
        self._source = self._events(_discovered(query))

    # The commands.

    def add(self, command: Command, span: Span) -> None:
        """Put the next command on top."""
        if self._is_deduplicated and not isinstance(command, Limit):
            raise QuerySyntaxError("only limit can follow dedup", span)
        if self._totals is not None:
            raise QuerySyntaxError("nothing can follow addtotals", span)
        if isinstance(command, (Fields, Display)):
            self._show(command)
        elif isinstance(command, Filter):
            self._filter(command)
        elif isinstance(command, Parse):
            self._parse(command)
        elif isinstance(command, Stats):
            self._stats(command)
        elif isinstance(command, Sort):
            self._sort(command)
        else:
            self._add_other(command, span)

    def _add_other(self, command: Command, span: Span) -> None:
        if isinstance(command, Limit):
            self._end_of_matching()
            self._flush(order_by=self._order, limit=command.count)
            self._limit = command.count
        elif isinstance(command, Dedup):
            self._dedup(command)
        elif isinstance(command, Unnest):
            self._unnest(command)
        elif isinstance(command, Unmask):
            self._shown_fields.update((each.name, each) for each in command.fields)
            self._add_shown([each.name for each in command.fields], is_parsed=True)
        elif isinstance(command, Pattern):
            self._pattern(command, span)
        elif isinstance(command, AddTotals):
            self._add_totals(command, span)

    def _show(self, command: Fields | Display) -> None:
        if isinstance(command, Display):
            self._shown = []
        for output in command.outputs:
            if isinstance(output.expression, Field) and not output.has_alias:
                self._shown_fields[output.name] = output.expression
            else:
                self._name(output.name, self._compile(output.expression))
        self._add_shown([output.name for output in command.outputs])

    def _filter(self, command: Filter) -> None:
        self._flush()
        condition = self._expressions().condition(command.condition)
        self._flush(where=condition.expression)
        self._is_filtered = True

    def _parse(self, command: Parse) -> None:
        text = as_text(self._field(command.source))
        pattern = string(command.pattern.pattern)
        groups = self._column(call("extractGroups", call("ifNull", text, string("")), pattern))
        self._flush()
        text = as_text(self._field(command.source))
        for place, name in enumerate(command.names, 1):
            if name:
                group = call("arrayElementOrNull", groups, integer(place))
                value = call("if", call("isNull", text), Null(), group)
                self._name(name, Value(value, Kind.TEXT))
        self._add_shown([name for name in command.names if name], is_parsed=True)

    def _stats(self, command: Stats) -> None:
        self._end_of_matching()
        keys = [(output, _grouped(self._compile(output.expression))) for output in command.keys]
        self._flush()
        aggregates: dict[str, Value] = {}
        by_column = {output.name: value for output, value in keys}

        def named(node: Field) -> Value:
            if node.name in aggregates:
                return aggregates[node.name]
            return self._field(node)

        names = Names(named, lambda _: None, self._timestamp, self._selection.now_s)
        columns: list[tuple[str, Expression]] = []
        found: dict[str, Value] = {}
        for output, value in keys:
            found[output.name] = self._new_column(columns, value)
        for output in command.aggregates:
            value = Expressions(names, is_aggregate=True).value(output.expression)
            _require_aggregated(output, value.expression, self._source, by_column)
            aggregates[output.name] = value
            found[output.name] = self._new_column(columns, value)
        self._source = Select(
            tuple(columns), self._source, group_by=tuple(value.expression for _, value in keys)
        )
        self._begin_table(found)
        self._order = tuple(
            order
            for output, _ in keys
            for order in _orders(found[output.name], found[output.name].kind is Kind.TIME)
        )

    def _sort(self, command: Sort) -> None:
        orders: list[Order] = []
        for key in command.keys:
            value = self._compile(key.expression)
            column = self._column(value.expression)
            orders.extend(_orders(Value(column, value.kind), key.is_descending))
        self._flush()
        self._order = tuple(orders)

    def _dedup(self, command: Dedup) -> None:
        self._end_of_matching()
        self._flush()
        values = [self._field(each) for each in command.fields]
        plain = [as_text(value) for value in values]
        is_missing = call(
            "or", truth(is_true=False).expression, *(call("isNull", x) for x in plain)
        )
        # Records without one of the fields are no duplicates: a number of their own keeps them.
        own = call("if", is_missing, call("rowNumberInAllBlocks"), Parameter(0, "UInt64"))
        self._flush(order_by=self._order, limit_one_by=(*plain, own))
        self._is_deduplicated = True

    def _unnest(self, command: Unnest) -> None:
        self._end_of_matching()
        value = self._field(command.source)
        raw = value.expression if value.kind is Kind.JSON else call("toJSONString", as_text(value))
        raw_or_empty = call("ifNull", raw, string(""))

        def items(text: Expression) -> Expression:
            is_list = call("equals", call("JSONType", text), string("Array"))
            item = Lambda(("item",), call("toNullable", Variable("item")))
            parts = call("arrayMap", item, call("JSONExtractArrayRaw", text))
            return call("if", is_list, parts, call("array", call("nullIf", text, string(""))))

        item_column = self._column(call("arrayJoin", bound(raw_or_empty, items)))
        self._flush()
        self._named[command.into] = Value(item_column, Kind.JSON)
        if self._shown is not None:
            self._add_shown([command.into])

    def _pattern(self, command: Pattern, span: Span) -> None:
        if not self._is_raw:
            raise QuerySyntaxError("pattern cannot follow stats or pattern", span)
        self._end_of_matching()
        text = self._column(call("ifNull", as_text(self._field(command.source)), string("")))
        self._flush()
        pattern = self._column(pattern_of(text))
        self._flush()
        columns: list[tuple[str, Expression]] = []
        found = {
            name: self._new_column(columns, value)
            for name, value in grouped_columns(pattern).items()
        }
        self._source = Select(tuple(columns), self._source, group_by=(pattern,))
        count = found["@sampleCount"]
        share = self._column(ratio(count.expression))
        self._flush()
        self._begin_table(
            {
                "@pattern": found["@pattern"],
                "@ratio": Value(share, Kind.NUMBER),
                "@sampleCount": count,
                "@severityLabel": found["@severityLabel"],
            }
        )
        self._order = (
            *_orders(count, is_descending=True),
            *_orders(found["@pattern"], is_descending=False),
        )

    def _add_totals(self, command: AddTotals, span: Span) -> None:
        self._totals = command
        shown = [name for name in self._result_names() if name != POINTER]
        self._shown_fields.update((each.name, each) for each in command.fields)
        chosen = [each.name for each in command.fields] or shown
        values = [
            value
            for name in chosen
            if (value := self._named_value(name)).kind in (Kind.NUMBER, Kind.DOUBLE, Kind.TEXT)
        ]
        del span
        if command.has_row_totals:
            total: Expression = number(0)
            for value in values:
                total = call("plus", total, call("ifNull", as_number(value), number(0)))
            self._name(command.name, Value(total, Kind.NUMBER))
            self._add_shown([command.name], is_parsed=True)

    # The results.

    def plan(self, limit: int) -> Plan:
        """The plan of all commands."""
        self._end_of_matching()
        self._flush()
        names = self._result_names()
        values = [self._named_value(name) for name in names]
        select = Select(
            tuple((f"r{place}", _result(value)) for place, value in enumerate(values)),
            self._source,
            order_by=self._order,
            limit=self._limit if self._limit is not None else limit,
        )
        columns = tuple(
            (name, Kind.TEXT if value.kind is Kind.JSON else value.kind)
            for name, value in zip(names, values, strict=True)
        )
        totals = self._totals
        if totals is None or not totals.has_column_totals:
            return Plan(select, columns, self._matched)
        chosen = {each.name for each in totals.fields} or {*names}
        if totals.has_row_totals:
            chosen.add(totals.name)
        return Plan(select, columns, self._matched, True, frozenset(chosen - {POINTER}))

    def _result_names(self) -> list[str]:
        names = list(self._shown if self._shown is not None else DEFAULT_FIELDS)
        names += [name for name in self._parsed if name not in names]
        if self._is_raw and POINTER not in names:
            names.append(POINTER)
        return names

    def _named_value(self, name: str) -> Value:
        value = self._named.get(name)
        return (
            value
            if value is not None
            else self._field(self._shown_fields.get(name, Field((name,))))
        )

    def _add_shown(self, names: list[str], *, is_parsed: bool = False) -> None:
        if self._shown is None and is_parsed:
            shown = self._parsed
        else:
            self._shown = shown = self._shown if self._shown is not None else []
        shown.extend(name for name in names if name not in shown)

    # Names, and the selects they are columns of.

    def _events(self, discovered: Sequence[Field]) -> Select:
        """The events with all that the query may name of them, and no more."""
        needed = {each.name: each for each in discovered}
        if len(needed) > FIELDS_MAX:
            raise QuerySyntaxError(
                f"the query names {len(needed)} fields: at most {FIELDS_MAX} are allowed",
                Span(0, len(self._text)),
            )
        events = self._selection.events(tuple((name, Column(name)) for name in RECORDS))
        carried = tuple((name, Column(name)) for name in RECORDS)
        with_json = Select((*carried, ("json", fields.json_of_event())), events)
        own: list[tuple[str, Expression]] = []
        raw: list[tuple[str, Expression]] = []
        texts: list[tuple[str, Expression]] = []
        for name, each in needed.items():
            value = fields.own_field(name, self._selection.account)
            column = self._next_name()
            if value is not None:
                own.append((column, value.expression))
                texts.append((column, Column(column)))
                self._discovered[name] = Value(Column(column), value.kind)
            else:
                raw.append((column, fields.json_field(each.path)))
                texts.append((column, fields.json_field_text(Column(column))))
                self._discovered[name] = Value(Column(column), Kind.TEXT)
        with_raw = Select((*carried, *own, *raw), with_json)
        return Select((*carried, *texts), with_raw)

    def _field(self, node: Field) -> Value:
        for end in range(len(node.path), 0, -1):
            value = self._named.get(".".join(node.path[:end]))
            if value is not None and end == len(node.path):
                return value
            if value is not None and value.kind is Kind.JSON:
                return Value(_inside(value.expression, node.path[end:]), Kind.JSON)
        if node.path in CONSTANTS:
            return truth(is_true=node.path == ("true",))
        return self._discovered.get(node.name, MISSING)

    def _timestamp(self, node: Call) -> Value:
        if not self._is_raw:
            raise QuerySyntaxError(
                f"{node.function}() needs @timestamp, which stats has not kept", node.span
            )
        return Value(Column("timestamp_ms"), Kind.TIME)

    def _call_column(self, node: Call) -> Value | None:
        return self._named.get(self._text[node.span.start : node.span.end])

    def _expressions(self) -> Expressions:
        names = Names(self._field, self._call_column, self._timestamp, self._selection.now_s)
        return Expressions(names)

    def _compile(self, node: Node) -> Value:
        return self._expressions().value(node)

    def _name(self, name: str, value: Value) -> None:
        self._named[name] = Value(self._column(value.expression), value.kind)

    def _column(self, expression: Expression) -> Column:
        """A new column of the next select; of the one after, when it needs the next one's."""
        if _columns_in(expression) & {name for name, _ in self._pending}:
            self._flush()
        name = self._next_name()
        self._pending.append((name, expression))
        return Column(name)

    def _new_column(self, columns: list[tuple[str, Expression]], value: Value) -> Value:
        name = self._next_name()
        columns.append((name, value.expression))
        return Value(Column(name), value.kind)

    def _next_name(self) -> str:
        self._columns += 1
        return f"c{self._columns}"

    def _flush(
        self,
        where: Expression | None = None,
        order_by: tuple[Order, ...] = (),
        limit_one_by: tuple[Expression, ...] = (),
        limit: int | None = None,
    ) -> None:
        """Put a select on top that has the pending columns too, when there is anything to do."""
        if self._pending and (where or order_by or limit_one_by):
            self._flush()
        if not self._pending and where is None and limit is None and not limit_one_by:
            return
        carried = tuple((name, Column(name)) for name in self._source.names())
        self._source = Select(
            (*carried, *self._pending),
            self._source,
            where=where,
            order_by=order_by,
            limit_one_by=limit_one_by,
            limit=limit,
        )
        self._pending = []

    def _end_of_matching(self) -> None:
        """Note which events matched, before the first command that takes some away or adds any."""
        self._flush()
        if self._is_matching and self._is_filtered:
            self._matched = Select((("matched", Apply("count")),), self._source)
        self._is_matching = False

    def _begin_table(self, found: dict[str, Value]) -> None:
        """From here on there are these columns only, and no events."""
        self._named = found
        self._discovered = {}
        self._is_raw = False
        self._shown = list(found)
        self._parsed = []
        self._limit = None


def _discovered(query: Query) -> list[Field]:
    """The fields that may be events' own: what is named before there are no events any more."""
    found = [Field((name,)) for name in (*DEFAULT_FIELDS, POINTER)]
    for command, _ in query.commands:
        for expression in _expressions(command):
            found.extend(node for node in _walk(expression) if isinstance(node, Field))
        if isinstance(command, (Stats, Pattern)):
            break
    return found


def _expressions(command: Command) -> list[Node]:
    if isinstance(command, (Fields, Display)):
        return [output.expression for output in command.outputs]
    if isinstance(command, Filter):
        return [command.condition]
    if isinstance(command, (Parse, Unnest, Pattern)):
        return [command.source]
    if isinstance(command, Stats):
        return [output.expression for output in command.aggregates + command.keys]
    if isinstance(command, Sort):
        return [key.expression for key in command.keys]
    if isinstance(command, (Dedup, Unmask, AddTotals)):
        return list(command.fields)
    return []


def _walk(node: Node) -> Iterator[Node]:
    """A node and all below it, without recursion: a query may be nested as deep as it is long."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        for value in vars(one).values():
            if isinstance(value, Node):
                waiting.append(value)
            elif isinstance(value, tuple):
                waiting.extend(item for item in value if isinstance(item, Node))


def _columns_in(expression: Expression) -> set[str]:
    if isinstance(expression, Column):
        return {expression.name}
    if isinstance(expression, Lambda):
        return _columns_in(expression.body)
    if isinstance(expression, Apply):
        return set().union(*map(_columns_in, expression.arguments))
    if isinstance(expression, Total):
        return _columns_in(expression.summed)
    return set()


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


def _grouped(value: Value) -> Value:
    return Value(as_text(value), Kind.TEXT) if value.kind is Kind.JSON else value


def _orders(value: Value, is_descending: bool) -> list[Order]:
    if value.kind.is_numeric:
        return [Order(value.expression, is_descending)]
    text = as_text(value)
    numeric = as_number(Value(text, Kind.TEXT))
    return [
        # Of text, what is no number comes before all numbers; source: the user guide, `sort`.
        Order(call("isNull", text)),
        Order(call("isNotNull", numeric), is_descending),
        Order(numeric, is_descending),
        Order(natural_order(text), is_descending),
    ]


def _result(value: Value) -> Expression:
    return as_text(value) if value.kind is Kind.JSON else value.expression


def _require_aggregated(
    output: Output, expression: Expression, source: Select, keys: dict[str, Value]
) -> None:
    """Refuse a column of events among aggregates, which has no one value, unless it is a key."""
    del source
    outside = _outside_aggregates(expression) - {
        name for value in keys.values() for name in _columns_in(value.expression)
    }
    if outside:
        raise QuerySyntaxError(
            f"{output.name} has many values: expected a function of stats, such as max(), or a"
            " field of those after 'by'",
            output.expression.span,
        )


_AGGREGATE_FUNCTIONS = frozenset(
    {"count", "uniq", "avg", "sum", "stddevSamp", "argMin", "argMax", "min", "max", "quantile"}
)


def _outside_aggregates(expression: Expression) -> set[str]:
    if isinstance(expression, Apply):
        if expression.function in _AGGREGATE_FUNCTIONS:
            return set()
        return set().union(*map(_outside_aggregates, expression.arguments))
    if isinstance(expression, Lambda):
        return _outside_aggregates(expression.body)
    return _columns_in(expression)

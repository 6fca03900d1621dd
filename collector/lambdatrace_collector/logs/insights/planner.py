"""A query's commands as one statement of the engine: each command selects from the one before.

The events of the groups are the innermost select; above it, every field that the query names is
taken out of the event; then each command adds its columns or its condition. The engine drops what
no one reads, and takes conditions down to where the events are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.insights import commands
from lambdatrace_collector.logs.insights.comparison import compare_patterns
from lambdatrace_collector.logs.insights.grouping import add_stats
from lambdatrace_collector.logs.insights.patterns import group_patterns
from lambdatrace_collector.logs.insights.pipeline import Pipeline, Rows
from lambdatrace_collector.logs.insights.syntax import (
    AddTotals,
    Command,
    Dedup,
    Diff,
    Display,
    Fields,
    Filter,
    Limit,
    Parse,
    Pattern,
    Query,
    QuerySyntaxError,
    Sort,
    Span,
    Stats,
    Unmask,
    Unnest,
)
from lambdatrace_collector.logs.insights.totals import add_totals, summed_columns
from lambdatrace_collector.logs.insights.values import Kind, Value, as_text, call
from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    CompiledQueryError,
    Expression,
    Select,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdatrace_collector.logs.insights.selection import Selection

_COMMANDS: dict[type[Command], Callable[[Pipeline, Any, Span], None]] = {
    AddTotals: add_totals,
    Dedup: commands.dedup,
    Display: commands.display,
    Fields: commands.show_fields,
    Filter: commands.filter_rows,
    Limit: commands.limit,
    Parse: commands.parse,
    Pattern: group_patterns,
    Sort: commands.sort,
    Stats: add_stats,
    Unmask: commands.unmask,
    Unnest: commands.unnest,
}


@dataclass(frozen=True)
class Plan:
    """What is asked of the engine: the rows; how much was read and matched, of each range of time.

    `columns` are the results' columns with their names and kinds, in order; those of `select` are
    called r0, r1 and so on. `scanned` gives `records` and `bytes`; `matched` gives `matched`, and
    is empty when all that was read matched. `totals` are those whose sums are the last row.
    """

    select: Select
    columns: tuple[tuple[str, Kind], ...]
    scanned: tuple[Select, ...]
    matched: tuple[Select, ...]
    totals: frozenset[str]


def plan_query(query: Query, text: str, selection: Selection, limit: int) -> Plan:
    """The plan of a query that is written as `text`; at most `limit` rows unless it says itself.

    Raises QuerySyntaxError.
    """
    plan = _plan(query, text, selection, limit)
    try:
        render(plan.select)
    except CompiledQueryError as error:
        if not error.is_too_large:
            raise
        raise QuerySyntaxError(
            "the query is too complex: write it shorter", Span(0, len(text))
        ) from error
    return plan


def _plan(query: Query, text: str, selection: Selection, limit: int) -> Plan:
    pipeline = Pipeline(query, text, selection)
    pipelines, selections = [pipeline], [selection]
    for place, (command, span) in enumerate(query.commands):
        _require_place(pipeline, command, span)
        if isinstance(command, Diff):
            earlier_selection = selection.before(command.period)
            earlier = Pipeline(query, text, earlier_selection)
            _apply(earlier, query.commands[:place])
            compare_patterns(pipeline, earlier)
            pipelines.append(earlier)
            selections.append(earlier_selection)
        else:
            _apply(pipeline, [(command, span)])
    pipeline.end_of_matching()
    names = pipeline.result_names()
    values = [pipeline.shown_value(name) for name in names]
    select = Select(
        tuple((f"r{place}", _result(value)) for place, value in enumerate(values)),
        pipeline.source,
        order_by=pipeline.order,
        limit=pipeline.limit if pipeline.limit is not None else limit,
    )
    columns = tuple(
        (name, Kind.TEXT if value.kind is Kind.JSON else value.kind)
        for name, value in zip(names, values, strict=True)
    )
    return Plan(
        select,
        columns,
        tuple(map(_scanned, selections)),
        tuple(each.matched for each in pipelines if each.matched is not None),
        summed_columns(pipeline),
    )


def _apply(pipeline: Pipeline, given: Sequence[tuple[Command, Span]]) -> None:
    for command, span in given:
        _COMMANDS[type(command)](pipeline, command, span)


def _require_place(pipeline: Pipeline, command: Command, span: Span) -> None:
    if pipeline.is_deduplicated and not isinstance(command, Limit):
        raise QuerySyntaxError("only limit can follow dedup", span)
    if pipeline.totals is not None:
        raise QuerySyntaxError("nothing can follow addtotals", span)
    if pipeline.rows is Rows.TABLE and isinstance(command, Diff):
        raise QuerySyntaxError("diff cannot follow stats or diff", span)


def _scanned(selection: Selection) -> Select:
    return selection.events(
        (("records", Apply("count")), ("bytes", call("sum", Column("message.size"))))
    )


def _result(value: Value) -> Expression:
    return as_text(value) if value.kind is Kind.JSON else value.expression

"""`addtotals`: the sums of rows in a new column, and those of columns in a last row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.named_fields import POINTER
from lambdatrace_collector.logs.insights.values import Kind, Value, as_number, call, number

if TYPE_CHECKING:
    from lambdatrace_collector.logs.insights.pipeline import Pipeline
    from lambdatrace_collector.logs.insights.syntax import AddTotals, Span
    from lambdatrace_collector.store.compiled_query import Expression

_SUMMED = (Kind.NUMBER, Kind.DOUBLE, Kind.TEXT)


def add_totals(pipeline: Pipeline, command: AddTotals, _: Span) -> None:
    """Sum the rows; columns are summed when the results are shown."""
    pipeline.totals = command
    if not command.has_row_totals:
        return
    chosen = [pipeline.field(each) for each in command.fields] or [
        pipeline.shown_value(name) for name in pipeline.result_names() if name != POINTER
    ]
    total: Expression = number(0)
    for value in chosen:
        if value.kind in _SUMMED:
            total = call("plus", total, call("ifNull", as_number(value), number(0)))
    pipeline.name(command.name, Value(total, Kind.NUMBER))
    pipeline.show_beside([command.name])


def summed_columns(pipeline: Pipeline) -> frozenset[str]:
    """The columns whose sums are the last row; none when there is no such row."""
    command = pipeline.totals
    if command is None or not command.has_column_totals:
        return frozenset()
    chosen = {each.name for each in command.fields} or {*pipeline.result_names()}
    if command.has_row_totals:
        chosen.add(command.name)
    return frozenset(chosen - {POINTER})

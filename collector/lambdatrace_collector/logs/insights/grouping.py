"""`stats`: one row for each value of its keys, with aggregates of the records that have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.expressions import Expressions
from lambdatrace_collector.logs.insights.ordering import orders
from lambdatrace_collector.logs.insights.pipeline import Columns, Pipeline, Rows, columns_in
from lambdatrace_collector.logs.insights.syntax import Field, Output, QuerySyntaxError, Span, Stats
from lambdatrace_collector.logs.insights.values import Kind, Value, as_text
from lambdatrace_collector.store.compiled_query import Apply, Lambda, Select

if TYPE_CHECKING:
    from lambdatrace_collector.store.compiled_query import Expression

_AGGREGATE_FUNCTIONS = frozenset(
    {"count", "uniq", "avg", "sum", "stddevSamp", "argMin", "argMax", "min", "max", "quantile"}
)


def add_stats(pipeline: Pipeline, command: Stats, _: Span) -> None:
    """Group the rows. Raises QuerySyntaxError for an aggregate that has no one value."""
    pipeline.end_of_matching()
    keys = [(output, _grouped(pipeline.compile(output.expression))) for output in command.keys]
    pipeline.flush()
    columns: Columns = []
    found = {output.name: pipeline.new_column(columns, value) for output, value in keys}
    key_columns = {name for _, value in keys for name in columns_in(value.expression)}
    aggregates: dict[str, Value] = {}

    def named(node: Field) -> Value:
        """An aggregate may be made of those before it."""
        return aggregates.get(node.name) or pipeline.field(node)

    names = pipeline.names()._replace(field=named, column=lambda _: None)
    for output in command.aggregates:
        value = Expressions(names, is_aggregate=True).value(output.expression)
        _require_aggregated(output, value.expression, key_columns)
        aggregates[output.name] = value
        found[output.name] = pipeline.new_column(columns, value)
    group_by = tuple(value.expression for _, value in keys)
    pipeline.begin_table(
        Rows.TABLE, Select(tuple(columns), pipeline.source, group_by=group_by), found
    )
    pipeline.order = tuple(
        order
        for output, _ in keys
        for order in orders(found[output.name], is_descending=found[output.name].kind is Kind.TIME)
    )


def _grouped(value: Value) -> Value:
    return Value(as_text(value), Kind.TEXT) if value.kind is Kind.JSON else value


def _require_aggregated(output: Output, expression: Expression, keys: set[str]) -> None:
    """Refuse a column of events among aggregates, which has no one value, unless it is a key."""
    if _outside_aggregates(expression) - keys:
        raise QuerySyntaxError(
            f"{output.name} has many values: expected a function of stats, such as max(), or a"
            " field of those after 'by'",
            output.expression.span,
        )


def _outside_aggregates(expression: Expression) -> set[str]:
    if isinstance(expression, Apply):
        if expression.function in _AGGREGATE_FUNCTIONS:
            return set()
        return set().union(*map(_outside_aggregates, expression.arguments))
    if isinstance(expression, Lambda):
        return _outside_aggregates(expression.body)
    return columns_in(expression)

"""The commands that take records and give records: what each does to the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.ordering import orders
from lambdatrace_collector.logs.insights.syntax import Field
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_text,
    bound,
    call,
    integer,
    string,
    truth,
)
from lambdatrace_collector.store.compiled_query import Lambda, Null, Order, Parameter, Variable

if TYPE_CHECKING:
    from lambdatrace_collector.logs.insights.pipeline import Pipeline
    from lambdatrace_collector.logs.insights.syntax import (
        Dedup,
        Display,
        Fields,
        Filter,
        Limit,
        Output,
        Parse,
        Sort,
        Span,
        Unmask,
        Unnest,
    )
    from lambdatrace_collector.store.compiled_query import Expression


def show_fields(pipeline: Pipeline, command: Fields, _: Span) -> None:
    """`fields`."""
    _show(pipeline, command.outputs)


def display(pipeline: Pipeline, command: Display, _: Span) -> None:
    """`display`."""
    pipeline.show_only()
    _show(pipeline, command.outputs)


def filter_rows(pipeline: Pipeline, command: Filter, _: Span) -> None:
    """`filter`."""
    pipeline.flush()
    condition = pipeline.condition(command.condition)
    pipeline.flush(where=condition)
    pipeline.is_filtered = True


def parse(pipeline: Pipeline, command: Parse, _: Span) -> None:
    """`parse`: a group that is not there has no value, and one that matches nothing is empty."""
    text = as_text(pipeline.field(command.source))
    pattern = string(command.pattern.pattern)
    groups = pipeline.column(call("extractGroups", call("ifNull", text, string("")), pattern))
    pipeline.flush()
    text = as_text(pipeline.field(command.source))
    for place, name in enumerate(command.names, 1):
        if name:
            group = call("arrayElementOrNull", groups, integer(place))
            value = call("if", call("isNull", text), Null(), group)
            pipeline.name(name, Value(value, Kind.TEXT))
    pipeline.show_beside([name for name in command.names if name])


def sort(pipeline: Pipeline, command: Sort, _: Span) -> None:
    """`sort`."""
    found: list[Order] = []
    for key in command.keys:
        value = pipeline.compile(key.expression)
        column = pipeline.column(value.expression)
        found.extend(orders(Value(column, value.kind), is_descending=key.is_descending))
    pipeline.flush()
    pipeline.order = tuple(found)


def limit(pipeline: Pipeline, command: Limit, _: Span) -> None:
    """`limit`."""
    pipeline.end_of_matching()
    pipeline.flush(order_by=pipeline.order, limit=command.count)
    pipeline.limit = command.count


def dedup(pipeline: Pipeline, command: Dedup, _: Span) -> None:
    """`dedup`: records without one of the fields are no duplicates."""
    pipeline.end_of_matching()
    plain = [as_text(pipeline.field(each)) for each in command.fields]
    is_missing = call("or", truth(is_true=False).expression, *(call("isNull", x) for x in plain))
    # A number of their own keeps those without a field.
    own = call("if", is_missing, call("rowNumberInAllBlocks"), Parameter(0, "UInt64"))
    pipeline.flush(order_by=pipeline.order, limit_one_by=(*plain, own))
    pipeline.is_deduplicated = True


def unnest(pipeline: Pipeline, command: Unnest, _: Span) -> None:
    """`unnest`: what is no list is one item."""
    pipeline.end_of_matching()
    value = pipeline.field(command.source)
    raw = value.expression if value.kind is Kind.JSON else call("toJSONString", as_text(value))

    def items(text: Expression) -> Expression:
        is_list = call("equals", call("JSONType", text), string("Array"))
        item = Lambda(("item",), call("toNullable", Variable("item")))
        parts = call("arrayMap", item, call("JSONExtractArrayRaw", text))
        return call("if", is_list, parts, call("array", call("nullIf", text, string(""))))

    item_list = bound(call("ifNull", raw, string("")), items)
    pipeline.name(command.into, Value(call("arrayJoin", item_list), Kind.JSON))
    pipeline.flush()
    pipeline.show_if_chosen(command.into)


def unmask(pipeline: Pipeline, command: Unmask, _: Span) -> None:
    """`unmask`: no data is masked here, so that it shows the fields."""
    pipeline.show_beside([each.name for each in command.fields], command.fields)


def _show(pipeline: Pipeline, outputs: tuple[Output, ...]) -> None:
    plain: list[Field] = []
    for output in outputs:
        if isinstance(output.expression, Field) and not output.has_alias:
            plain.append(output.expression)
        else:
            pipeline.name(output.name, pipeline.compile(output.expression))
    pipeline.show([output.name for output in outputs], plain)

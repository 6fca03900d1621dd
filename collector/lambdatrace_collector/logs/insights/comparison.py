"""`diff`: how many events each pattern has in two ranges of time.

Each range goes through the commands before `diff` by itself. The results are patterns, never
events. The user guide names the columns as the console shows them (event count, difference event
count, difference description, severity type); what GetQueryResults calls the second and third of
these is not published.

Source: CloudWatch Logs user guide, `diff` and "Compare (diff) with previous time ranges".
"""

from __future__ import annotations

from lambdatrace_collector.logs.insights.ordering import orders
from lambdatrace_collector.logs.insights.patterns import (
    COUNT,
    PATTERN,
    count_patterns,
    severity,
)
from lambdatrace_collector.logs.insights.pipeline import Columns, Pipeline, Rows
from lambdatrace_collector.logs.insights.syntax import Field
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    call,
    number,
    string,
)
from lambdatrace_collector.store.compiled_query import Column, Expression, Select, UnionAll

_MESSAGE = Field(("@message",))


def compare_patterns(pipeline: Pipeline, earlier: Pipeline) -> None:
    """Compare the patterns of `pipeline` with those of `earlier`, the same commands before it.

    The patterns are of `@message` unless a `pattern` command has made others.
    """
    for each in (pipeline, earlier):
        if each.rows is Rows.EVENTS:
            count_patterns(each, _MESSAGE)
        each.flush()
    both = UnionAll((_counted(pipeline, is_earlier=False), _counted(earlier, is_earlier=True)))
    pattern, now, before = Column("pattern"), Column("now"), Column("before")
    counted = Select(
        (("pattern", pattern), ("now", call("sum", now)), ("before", call("sum", before))),
        both,
        group_by=(pattern,),
    )
    change = call("minus", now, before)
    columns: Columns = [("size", call("abs", change))]
    found = {
        "@pattern": pipeline.new_column(columns, Value(pattern, Kind.TEXT)),
        "@sampleCount": pipeline.new_column(columns, Value(now, Kind.NUMBER)),
        "@diffEventCount": pipeline.new_column(columns, Value(change, Kind.NUMBER)),
        "@differenceDescription": pipeline.new_column(columns, _described(now, before)),
        "@severityLabel": pipeline.new_column(columns, severity(pattern)),
    }
    pipeline.begin_table(Rows.TABLE, Select(tuple(columns), counted), found)
    pipeline.order = (
        *orders(Value(Column("size"), Kind.NUMBER), is_descending=True),
        *orders(found["@pattern"], is_descending=False),
    )


def _counted(pipeline: Pipeline, *, is_earlier: bool) -> Select:
    count, none = as_number(pipeline.field(COUNT)), number(0)
    columns = (
        ("pattern", as_text(pipeline.field(PATTERN))),
        ("now", none if is_earlier else count),
        ("before", count if is_earlier else none),
    )
    return Select(columns, pipeline.source)


def _described(now: Column, before: Column) -> Value:
    """New, gone, the same, or by how many percent there are more or less."""

    def percent(sign: str, more: Column, less: Column) -> Expression:
        part = call("divide", call("minus", more, less), before)
        rounded = call("round", call("multiply", part, number(100)))
        return call("concat", string(sign), call("toString", rounded), string("%"))

    text = call(
        "multiIf",
        call("equals", before, number(0)),
        string("new"),
        call("equals", now, number(0)),
        string("gone"),
        call("equals", now, before),
        string("same"),
        call("greater", now, before),
        percent("+", now, before),
        percent("-", before, now),
    )
    return Value(text, Kind.TEXT)

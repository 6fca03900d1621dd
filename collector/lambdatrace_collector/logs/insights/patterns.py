"""`pattern`: what texts have in common once the parts that vary are taken out.

A part varies when it is an id, an address, a time, a number or a quoted value; it is written <*>.
Texts with the same rest are one pattern. CloudWatch finds patterns with a model that it does not
publish; these rules find those of the lines that programs write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.ordering import orders
from lambdatrace_collector.logs.insights.pipeline import Columns, Pipeline, Rows
from lambdatrace_collector.logs.insights.syntax import Field, Pattern, QuerySyntaxError, Span
from lambdatrace_collector.logs.insights.values import Kind, Value, as_text, call, string
from lambdatrace_collector.store.compiled_query import Select, Total

if TYPE_CHECKING:
    from lambdatrace_collector.store.compiled_query import Expression

PATTERN = Field(("@pattern",))
COUNT = Field(("@sampleCount",))

# From the most particular to the most general: what a rule has replaced is no number any more.
_VARYING = (
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\b1-[0-9a-f]{8}-[0-9a-f]{24}\b"
    r"|\b(?:0x)?[0-9a-fA-F]*\d[0-9a-fA-F]{7,}\b"
    r"|[+-]?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
)
_VARIABLE = "<*>"
_SEVERITIES = (
    ("FATAL", r"(?i)\b(?:fatal|critical|panic|emergency)\b"),
    ("ERROR", r"(?i)(?:\berr(?:or)?s?\b|exception|\bfail(?:ed|ure)?\b|timed out)"),
    ("WARN", r"(?i)\bwarn(?:ing)?s?\b"),
    ("DEBUG", r"(?i)\bdebug\b"),
    ("INFO", r"(?i)\binfo\b"),
)


def group_patterns(pipeline: Pipeline, command: Pattern, span: Span) -> None:
    """`pattern`: one row for each pattern, those of most events first."""
    if pipeline.rows is not Rows.EVENTS:
        raise QuerySyntaxError("pattern cannot follow stats, pattern or diff", span)
    count = count_patterns(pipeline, command.source)
    pattern = pipeline.field(PATTERN)
    share = call("divide", count, Total(count))
    columns: Columns = []
    found = {
        "@pattern": pipeline.new_column(columns, pattern),
        "@ratio": pipeline.new_column(columns, Value(share, Kind.NUMBER)),
        "@sampleCount": pipeline.new_column(columns, Value(count, Kind.NUMBER)),
        "@severityLabel": pipeline.new_column(columns, severity(pattern.expression)),
    }
    pipeline.begin_table(Rows.PATTERNS, Select(tuple(columns), pipeline.source), found)
    pipeline.order = (
        *orders(found["@sampleCount"], is_descending=True),
        *orders(found["@pattern"], is_descending=False),
    )


def count_patterns(pipeline: Pipeline, source: Field) -> Expression:
    """Group the events by their pattern, called `@pattern`; gives how many each has."""
    pipeline.end_of_matching()
    text = pipeline.column(call("ifNull", as_text(pipeline.field(source)), string("")))
    pipeline.flush()
    pattern = pipeline.column(call("replaceRegexpAll", text, string(_VARYING), string(_VARIABLE)))
    pipeline.flush()
    columns: Columns = []
    found = pipeline.new_column(columns, Value(pattern, Kind.TEXT))
    events = Value(call("toFloat64", call("count")), Kind.NUMBER)
    count = pipeline.new_column(columns, events)
    grouped = Select(tuple(columns), pipeline.source, group_by=(pattern,))
    pipeline.begin_table(Rows.PATTERNS, grouped, {"@pattern": found, "@sampleCount": count})
    return count.expression


def severity(pattern: Expression) -> Value:
    """How grave a pattern sounds, by the words in it."""
    branches: list[Expression] = []
    for name, regex in _SEVERITIES:
        branches += [call("match", pattern, string(regex)), string(name)]
    return Value(call("multiIf", *branches, string("NONE")), Kind.TEXT)

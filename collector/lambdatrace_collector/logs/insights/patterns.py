"""`pattern`: what texts have in common once the parts that vary are taken out.

A part varies when it is an id, an address, a time, a number or a quoted value; it is written <*>.
Texts with the same rest are one pattern. CloudWatch finds patterns with a model that it does not
publish; these rules find those of the lines that programs write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.values import Kind, Value, call, string
from lambdatrace_collector.store.compiled_query import Total

if TYPE_CHECKING:
    from lambdatrace_collector.store.compiled_query import Column, Expression

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


def pattern_of(text: Column) -> Expression:
    """The pattern of a text."""
    return call("replaceRegexpAll", text, string(_VARYING), string(_VARIABLE))


def grouped_columns(pattern: Column) -> dict[str, Value]:
    """Of the records that share a pattern: what it is, how many they are, how grave it sounds."""
    branches: list[Expression] = []
    for name, regex in _SEVERITIES:
        branches += [call("match", pattern, string(regex)), string(name)]
    return {
        "@pattern": Value(pattern, Kind.TEXT),
        "@sampleCount": Value(call("toFloat64", call("count")), Kind.NUMBER),
        "@severityLabel": Value(call("multiIf", *branches, string("NONE")), Kind.TEXT),
    }


def ratio(sample_count: Expression) -> Expression:
    """The part of all records that a pattern has, given how many it has, over all patterns."""
    return call("divide", sample_count, Total(sample_count))

"""Targets of the languages that users write: filter patterns, metric math, SEARCH."""

from __future__ import annotations

from random import Random

from benchmarks.hostile.insights_texts import query_text
from benchmarks.hostile.targets import Target, as_text, register
from lambdatrace_collector.logs.filter_pattern import parse_filter_pattern, parse_selector
from lambdatrace_collector.logs.filter_pattern_sql import matches
from lambdatrace_collector.logs.insights.parser import parse_query
from lambdatrace_collector.logs.insights.planner import plan_query
from lambdatrace_collector.logs.insights.selection import Selection
from lambdatrace_collector.logs.insights.syntax import QuerySyntaxError
from lambdatrace_collector.metrics.math_syntax import ExpressionSyntaxError, parse_expression
from lambdatrace_collector.metrics.search_syntax import SearchSyntaxError, parse_search

PATTERN_CHARACTERS_MAX = 1024
EXPRESSION_CHARACTERS_MAX = 2048
QUERY_CHARACTERS_MAX = 10_000

_SELECTION = Selection("123456789012", "eu-west-1", ("g",), 0, 3_600_000, 3600)


def _compiled_pattern(text: str) -> object:
    return matches(parse_filter_pattern(text))


def _planned_query(text: str) -> object:
    return plan_query(parse_query(text), text, _SELECTION, 1000)


def _generated_query(content: bytes) -> object:
    return _planned_query(query_text(Random(content)))


register(
    Target(
        "Insights queries",
        as_text(_planned_query, QUERY_CHARACTERS_MAX),
        [
            b"fields @timestamp, ms | filter level = 'ERROR' and ms > 5 | sort ms desc | limit 20",
            b"stats count(*) as n, avg(@duration), pct(ms, 99) by bin(5m), user.id | filter n > 2",
            b'parse @message "user=* took *ms" as user, took | display user, took * 2',
            b"filter @message like /(?i)error [0-9]+/ | fields strcontains(a, 'b') as c, a.b.`d e`",
            b"fields a | dedup a, b | limit 5",
            b"filter isPresent(a) or b in [1, 'x'] | parse @message /(?<x>[a-z]+)/ | fields x",
            b"filter a not like 'b' | pattern @message",
        ],
        (QuerySyntaxError,),
    )
)
register(
    Target(
        "generated Insights queries",  # the bytes are the seed of a text that the grammar makes
        _generated_query,
        [b"seed 183"],
        (QuerySyntaxError,),
    )
)
register(
    Target(
        "filter patterns",
        as_text(_compiled_pattern, PATTERN_CHARACTERS_MAX),
        [
            b'ERROR -"not this" ?one ?two',
            b"%^[0-9][a-z]+.?$%",
            b'{ ($.level = "ERROR" && $.n.m[0] >= 5.5e1) || $.x NOT EXISTS || $.y IS NULL }',
            b"[ip, user != a*, time, status = 4* || status = 5*, bytes > 1000, ...]",
        ],
    )
)
register(
    Target(
        "selectors",
        as_text(parse_selector, PATTERN_CHARACTERS_MAX),
        [b"$.a.b[0].c", b"$['a b'][\"c\"]"],
    )
)
register(
    Target(
        "metric math",
        as_text(parse_expression, EXPRESSION_CHARACTERS_MAX),
        [
            b"SUM([m1, m2]) / IF(m3 > 5 AND m4 != 0, -m5 ^ 2, RATE(METRICS('errors')))",
            b"SEARCH('{AWS/Lambda,FunctionName} MetricName=\"Errors\"', 'Sum', 300)",
            b"SORT(ANOMALY_DETECTION_BAND(m1, 2), MAX, DESC, 10)",
        ],
        (ExpressionSyntaxError,),
    )
)
register(
    Target(
        "searches",
        as_text(parse_search, EXPRESSION_CHARACTERS_MAX),
        [
            b'{AWS/Lambda,FunctionName} MetricName="Errors" (NOT a OR b AND "c d")',
            b'{"Custom/App", "a b"} :aws.AccountId = 123456789012 Namespace=x',
        ],
        (SearchSyntaxError,),
    )
)

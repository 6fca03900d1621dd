"""The tree of an Insights query's text, or where and why it is not in the language."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import cast

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from lambdatrace_collector.logs.insights.syntax import Query, QuerySyntaxError, Span
from lambdatrace_collector.logs.insights.tree_builder import TreeBuilder

COMMANDS_MAX = 30

# Commands of the language that are not here, and why or what to use.
REFUSED_COMMANDS = {
    "accum": "there are no running sums here",
    "anomaly": "it needs a trained model of the log group",
    "appendcols": "query one source at a time",
    "autoregress": "rows cannot name earlier ones here",
    "cidrlookup": "there are no lookup tables here: use isIpInSubnet()",
    "count_frequent": "use stats count(*) and sort",
    "countfrequent": "use stats count(*) and sort",
    "expand": "use unnest",
    "filldown": "rows cannot name earlier ones here",
    "fillmissing": "rows are of events only",
    "filterindex": "there are no field indexes here: use filter",
    "join": "query one source at a time",
    "logcompare": "use diff",
    "lookup": "there are no lookup tables here",
    "head": "it is deprecated: use limit",
    "outlier": "use stats with pct() and filter",
    "relevantfields": "which fields matter is not found out here",
    "sessionize": "rows cannot name earlier ones here",
    "tail": "it is deprecated: use sort and limit",
}

_WORD = re.compile(r"[\w@]+")
_WORDS = {
    "$END": "the end of the query",
    "_PIPE": "|",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "COMMA": ",",
    "COLON": ":",
    "DOT": ".",
    "PLUS": "+",
    "MINUS": "-",
    "STAR": "*",
    "SLASH": "/",
    "PERCENT": "%",
    "CARET": "^",
    "COMPARISON": "a comparison",
    "DIRECTION": "asc or desc",
    "NUMBER": "a number",
    "DURATION": "a period such as 5m",
    "STRING": "a quoted string",
    "REGEX": "a regular expression between slashes",
    "NAME": "a name",
    "QUOTED_NAME": "a name in back-ticks",
    "SEGMENT": "a name",
    "INDEX": "an index in brackets",
    "OPTION": "an option",
    "_LOG_GROUPS": "logGroups(",
    "_SOURCE": "SOURCE",
}


def parse_query(text: str) -> Query:
    """The tree of `text`. Raises QuerySyntaxError."""
    try:
        tree = _grammar().parse(text)
        query: Query = TreeBuilder(text).transform(tree)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, QuerySyntaxError):
            raise error.orig_exc from None
        raise
    if len(query.commands) > COMMANDS_MAX:
        raise QuerySyntaxError(
            f"{len(query.commands)} commands: at most {COMMANDS_MAX} are allowed",
            query.commands[COMMANDS_MAX][1],
        )
    return query


@cache
def _grammar() -> Lark:
    text = (files("lambdatrace_collector.logs.insights") / "grammar.lark").read_text("utf-8")
    return Lark(text, parser="lalr", lexer="contextual", propagate_positions=True)


def _unexpected(text: str, error: UnexpectedInput) -> QuerySyntaxError:
    """The error for what cannot stand where it stands."""
    if isinstance(error, UnexpectedToken):
        token = error.token
        is_end = token.type == "$END"
        start = len(text) if is_end else token.start_pos or 0
        end = len(text) if is_end else token.end_pos or start
        expected = error.accepts or error.expected
    elif isinstance(error, UnexpectedCharacters):
        # lark gives its class an attribute of None and each error a number.
        start = cast("int", error.pos_in_stream)
        is_end, expected = False, error.allowed
        word = _WORD.match(text, start)
        end = start + 1 if word is None else word.end()
    else:
        start = end = len(text)
        is_end, expected = True, set()
    found = "the end of the query" if is_end else repr(text[start:end])
    refusal = REFUSED_COMMANDS.get(text[start:end].lower())
    if refusal is not None and "_FIELDS" in expected:
        return QuerySyntaxError(
            f"the command {found} is not supported by this collector: {refusal}", Span(start, end)
        )
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    return QuerySyntaxError(
        f"unexpected symbol found {found} at line {line} and position {column}:"
        f" expected {_one_of(expected)}",
        Span(start, end),
    )


def _one_of(terminals: set[str]) -> str:
    words = {_WORDS.get(name, name.strip("_").lower()) for name in terminals}
    words -= {"whitespace", "comment"}
    if {"fields", "filter"} <= words:
        return "a command, such as fields, filter, stats or sort"
    if "a number" in words and "a name" in words:
        words -= {"a name", "a name in back-ticks", "a number", "a quoted string", "-", "not", "("}
        words -= {"a period such as 5m"}
        words.add("an expression")
    return " or ".join(sorted(words)) or "nothing more"

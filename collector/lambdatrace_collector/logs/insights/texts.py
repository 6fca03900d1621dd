"""Functions of text.

Source: CloudWatch Logs user guide, "String functions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.function_table import Function, condition
from lambdatrace_collector.logs.insights.syntax import NOWHERE, QuerySyntaxError
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    call,
    integer,
    is_true,
    string,
)
from lambdatrace_collector.store.compiled_query import Null, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.compiled_query import Expression

_SPACE = " \t\r\n\f\v"


def contains(text: Value, part: Value) -> Expression:
    """Whether `part` is found in `text`."""
    return call("greater", call("position", as_text(text), as_text(part)), integer(0))


def _of_text(function: str) -> Callable[[Value], Value]:
    def make(value: Value) -> Value:
        return Value(call(function, as_text(value)), Kind.TEXT)

    return make


def _trim(function: str) -> Callable[..., Value]:
    def make(value: Value, characters: Value | None = None) -> Value:
        removed = string(_SPACE) if characters is None else as_text(characters)
        if not isinstance(removed, Parameter):
            raise QuerySyntaxError(f"{function}() takes the characters as a quoted string", NOWHERE)
        return Value(call(function, as_text(value), removed), Kind.TEXT)

    return make


def _concat(*values: Value) -> Value:
    return Value(call("concat", string(""), *map(as_text, values)), Kind.TEXT)


def _substring(text: Value, start: Value, length: Value | None = None) -> Value:
    def whole(value: Value, least: int) -> Expression:
        floored = call("accurateCastOrNull", call("floor", as_number(value)), string("Int64"))
        return call(
            "if", call("isNull", floored), Null(), call("greatest", floored, integer(least))
        )

    first = call("plus", whole(start, 0), integer(1))
    arguments = [as_text(text), first] + ([whole(length, 0)] if length is not None else [])
    return Value(call("substringUTF8", *arguments), Kind.TEXT)


def _replace(text: Value, old: Value, new: Value) -> Value:
    return Value(call("replaceAll", as_text(text), as_text(old), as_text(new)), Kind.TEXT)


def _str_contains(text: Value, part: Value, is_caseless: Value | None = None) -> Expression:
    exact = contains(text, part)
    if is_caseless is None:
        return exact
    place = call("positionCaseInsensitive", as_text(text), as_text(part))
    return call("if", is_true(is_caseless), call("greater", place, integer(0)), exact)


def _edge(function: str) -> Callable[[Value, Value], Expression]:
    return lambda text, part: call(function, as_text(text), as_text(part))


def _regex_replace(text: Value, pattern: Value, replacement: Value) -> Value:
    for given in (pattern, replacement):
        if not isinstance(given.expression, Parameter):
            raise QuerySyntaxError(
                "regexReplace() takes the pattern and the replacement as quoted strings", NOWHERE
            )
    replaced = call("replaceRegexpAll", as_text(text), as_text(pattern), as_text(replacement))
    return Value(replaced, Kind.TEXT)


def _message_size(text: Value) -> Value:
    return Value(call("toFloat64", call("length", as_text(text))), Kind.NUMBER)


def _string_length(text: Value) -> Value:
    return Value(call("toFloat64", call("lengthUTF8", as_text(text))), Kind.NUMBER)


def _is_empty(value: Value) -> Expression:
    return call("empty", call("ifNull", as_text(value), string("")))


def _is_blank(value: Value) -> Expression:
    text = call("ifNull", as_text(value), string(""))
    return call("match", text, string(r"^\s*$"))


TEXTS: dict[str, Function] = {
    "isempty": Function(condition(_is_empty), 1, 1),
    "isblank": Function(condition(_is_blank), 1, 1),
    "concat": Function(_concat, 1, None),
    "ltrim": Function(_trim("trimLeft"), 1, 2),
    "rtrim": Function(_trim("trimRight"), 1, 2),
    "trim": Function(_trim("trimBoth"), 1, 2),
    "strlen": Function(_string_length, 1, 1),
    "toupper": Function(_of_text("upperUTF8"), 1, 1),
    "tolower": Function(_of_text("lowerUTF8"), 1, 1),
    "substr": Function(_substring, 2, 3),
    "replace": Function(_replace, 3, 3),
    "strcontains": Function(condition(_str_contains), 2, 3),
    "startswith": Function(condition(_edge("startsWith")), 2, 2),
    "endswith": Function(condition(_edge("endsWith")), 2, 2),
    "regexreplace": Function(_regex_replace, 3, 3),
    "messagesize": Function(_message_size, 1, 1),
}

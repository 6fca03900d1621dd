"""Functions that write text in another way, read it back, or make a hash of it.

What cannot be read back is NULL. Source: CloudWatch Logs user guide, "String functions", "Hashing
functions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.function_table import Function
from lambdatrace_collector.logs.insights.syntax import NOWHERE, QuerySyntaxError
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    bound,
    call,
    finite,
    integer,
    number,
    string,
)
from lambdatrace_collector.store.compiled_query import Lambda, Null, Parameter, Variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.compiled_query import Expression

_HEX = r"^(?:0[xX])?(?:[0-9a-fA-F]{2})+$"
_HEX_NUMBER = r"^-?(?:0[xX])?[0-9a-fA-F]{1,15}$"  # fits Int64


def _of_text(make: Callable[[Expression], Expression]) -> Callable[[Value], Value]:
    return lambda value: Value(bound(as_text(value), make), Kind.TEXT)


def _hash(function: str) -> Callable[[Value], Value]:
    return _of_text(lambda text: call("lower", call("hex", call(function, text))))


def _where(pattern: str, text: Expression, value: Expression) -> Expression:
    return call("if", call("match", text, string(pattern)), value, Null())


def _digits(text: Expression) -> Expression:
    return call("replaceRegexpOne", text, string(r"^(-?)0[xX]"), string(r"\1"))


def _hex_to_ascii(text: Expression) -> Expression:
    return _where(_HEX, text, call("unhex", _digits(text)))


def _hex_to_dec(value: Value) -> Value:
    def body(text: Expression) -> Expression:
        digits = call("lower", call("extract", text, string(r"^-?(?:0[xX])?([0-9a-fA-F]+)$")))
        place = call("position", string("0123456789abcdef"), Variable("digit"))
        step = Lambda(
            ("sum", "digit"),
            call(
                "plus",
                call("multiply", Variable("sum"), integer(16)),
                call("minus", call("toInt64", place), integer(1)),
            ),
        )
        each = call("extractAll", digits, string("."))
        absolute = call("arrayFold", step, each, call("toInt64", integer(0)))
        is_negative = call("startsWith", text, string("-"))
        signed = call("if", is_negative, call("negate", absolute), absolute)
        return _where(_HEX_NUMBER, text, call("toFloat64", signed))

    # Not nullable within: the engine folds over no nullable list.
    text = as_text(value)
    found = bound(call("ifNull", text, string("")), body)
    return Value(found, Kind.NUMBER)


def _dec_to_hex(value: Value) -> Value:
    def body(whole: Expression) -> Expression:
        digits = call("lower", call("hex", call("toUInt64", call("abs", whole))))
        short = call("replaceRegexpOne", digits, string("^0+([0-9a-f])"), string(r"\1"))
        sign = call("if", call("less", whole, integer(0)), string("-0x"), string("0x"))
        return call("concat", sign, short)

    truncated = call("accurateCastOrNull", call("trunc", as_number(value)), string("Int64"))
    return Value(bound(truncated, body), Kind.TEXT)


def _split(text: Value, delimiter: Value) -> Value:
    if delimiter.kind is not Kind.TEXT or not isinstance(delimiter.expression, Parameter):
        raise QuerySyntaxError("split() takes the delimiter as a quoted string", NOWHERE)

    def body(whole: Expression) -> Expression:
        parts = call("splitByString", delimiter.expression, call("assumeNotNull", whole))
        return call("if", call("isNull", whole), Null(), call("toJSONString", parts))

    return Value(bound(as_text(text), body), Kind.JSON)


def _decoded(function: str) -> Callable[[Value], Value]:
    def make(text: Expression) -> Expression:
        return bound(call(function, text), lambda found: call("nullIf", found, string("")))

    return _of_text(make)


def _round(value: Value, digits: Value | None = None) -> Value:
    def body(places: Expression) -> Expression:
        factor = call("pow", number(10), places)
        scaled = call("multiply", as_number(value), factor)
        # Halves go away from zero, as people round; the engine rounds them to the even neighbour.
        half = call("plus", call("abs", scaled), number(0.5))
        away = call("multiply", call("sign", scaled), call("floor", half))
        return call("divide", away, factor)

    places = number(0) if digits is None else call("floor", as_number(digits))
    return Value(finite(bound(places, body)), Kind.NUMBER)


def _whole(kind: str) -> Callable[[Value], Value]:
    def make(value: Value) -> Value:
        cut = call("accurateCastOrNull", call("trunc", as_number(value)), string(kind))
        return Value(call("toFloat64", cut), Kind.NUMBER)

    return make


def _number(value: Value) -> Value:
    return Value(as_number(value), Kind.NUMBER)


ENCODINGS: dict[str, Function] = {
    "md5": Function(_hash("MD5"), 1, 1),
    "sha256": Function(_hash("SHA256"), 1, 1),
    "base64encode": Function(_of_text(lambda text: call("base64Encode", text)), 1, 1),
    "base64decode": Function(_decoded("tryBase64Decode"), 1, 1),
    "urlencode": Function(_of_text(lambda text: call("encodeURLComponent", text)), 1, 1),
    "urldecode": Function(_of_text(lambda text: call("decodeURLComponent", text)), 1, 1),
    "hextoascii": Function(_of_text(_hex_to_ascii), 1, 1),
    "hextodec": Function(_hex_to_dec, 1, 1),
    "dectohex": Function(_dec_to_hex, 1, 1),
    "split": Function(_split, 2, 2),
    "round": Function(_round, 1, 2),
    "tonumber": Function(_number, 1, 1),
    "todouble": Function(_number, 1, 1),
    "toint": Function(_whole("Int32"), 1, 1),
    "tolong": Function(_whole("Int64"), 1, 1),
}

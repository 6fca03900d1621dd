"""The functions of the language: what each takes, and what it is in the engine.

Source: CloudWatch Logs user guide, "Boolean, comparison, numeric, datetime, and other functions".
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.logs.insights.syntax import (
    NOWHERE,
    Call,
    Duration,
    Field,
    Node,
    QuerySyntaxError,
    Text,
)
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_number,
    as_text,
    as_time,
    bound,
    call,
    finite,
    integer,
    number,
    string,
)
from lambdatrace_collector.store.compiled_query import Null, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.selection import Selection
    from lambdatrace_collector.store.compiled_query import Expression


class Function(NamedTuple):
    """A function of `at_least` to `at_most` values; None when there is no most."""

    make: Callable[..., Value]
    at_least: int
    at_most: int | None


class Context(NamedTuple):
    """What a function may ask for besides its arguments."""

    compile: Callable[[Node], Value]
    timestamp: Callable[[Call], Value]
    selection: Selection


MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
MONTHS = {"mo": 1, "q": 3, "y": 12}
PERIODS_MAX = 1_000_000
# 1970-01-01 is a Thursday; weeks begin on Monday.
_MONDAY_MS = 4 * MILLISECONDS["d"]
_SPACE = " \t\r\n\f\v"
SUBNETS = {"isipinsubnet": (4, 6), "isipv4insubnet": (4,), "isipv6insubnet": (6,)}


def compile_call(node: Call, context: Context) -> Value:
    """The value of a function's call. Raises QuerySyntaxError."""
    name = node.function
    if name in _OF_TIME:
        return _OF_TIME[name](node, context)
    if name in SUBNETS:
        return _in_subnet(node, context)
    function = FUNCTIONS.get(name)
    if function is None:
        raise QuerySyntaxError(f"there is no function {name}()", node.span)
    count = len(node.arguments)
    if count < function.at_least or (function.at_most is not None and count > function.at_most):
        raise QuerySyntaxError(
            f"{name}() takes {_counts(function)}, not {count}: see the function's reference",
            node.span,
        )
    values = [context.compile(argument) for argument in node.arguments]
    try:
        return function.make(*values)
    except QuerySyntaxError as error:
        raise QuerySyntaxError(error.message, node.span) from None


def floor_to(time: Expression, period: Duration) -> Expression:
    """The time, in ms, rounded down to a multiple of the period, in UTC."""
    if not 1 <= period.count <= PERIODS_MAX:
        raise QuerySyntaxError(
            f"{period.count} is not a number of periods from 1 to {PERIODS_MAX}", period.span
        )
    if period.unit in MONTHS:
        months = call("toIntervalMonth", integer(period.count * MONTHS[period.unit]))
        moment = call("fromUnixTimestamp64Milli", time, string("UTC"))
        start = call("toStartOfInterval", moment, months)
        seconds = call("toUnixTimestamp", call("toDateTime", start, string("UTC")))
        return call("multiply", call("toInt64", seconds), integer(1000))
    length = integer(period.count * MILLISECONDS[period.unit])
    if period.unit != "w":
        return call("minus", time, call("positiveModulo", time, length))
    since = call("minus", time, integer(_MONDAY_MS))
    return call("minus", time, call("positiveModulo", since, length))


def _counts(function: Function) -> str:
    if function.at_most is None:
        return f"{function.at_least} or more values"
    if function.at_least == function.at_most:
        return f"{function.at_least} value{'s' if function.at_least != 1 else ''}"
    return f"{function.at_least} to {function.at_most} values"


def _numeric(function: str) -> Callable[[Value], Value]:
    def make(value: Value) -> Value:
        return Value(finite(call(function, as_number(value))), Kind.NUMBER)

    return make


def _extreme(function: str) -> Callable[..., Value]:
    def make(*values: Value) -> Value:
        return Value(call(function, *map(as_number, values)), Kind.NUMBER)

    return make


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


def _condition(make: Callable[..., Expression]) -> Callable[..., Value]:
    return lambda *values: Value(make(*values), Kind.BOOLEAN)


def _is_present(value: Value) -> Expression:
    return call("isNotNull", value.expression)


def _is_empty(value: Value) -> Expression:
    return call("empty", call("ifNull", as_text(value), string("")))


def _is_blank(value: Value) -> Expression:
    text = call("ifNull", as_text(value), string(""))
    return call("match", text, string(r"^\s*$"))


def _coalesce(*values: Value) -> Value:
    kinds = {value.kind for value in values}
    if len(kinds) == 1:
        return Value(call("coalesce", *(value.expression for value in values)), values[0].kind)
    return Value(call("coalesce", *map(as_text, values)), Kind.TEXT)


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


def contains(text: Value, part: Value) -> Expression:
    """Whether `part` is found in `text`."""
    return call("greater", call("position", as_text(text), as_text(part)), integer(0))


def _string_length(text: Value) -> Value:
    return Value(call("toFloat64", call("lengthUTF8", as_text(text))), Kind.NUMBER)


def _json_parse(value: Value) -> Value:
    if value.kind is Kind.JSON:
        return value
    valid = bound(as_text(value), lambda text: call("if", call("isValidJSON", text), text, Null()))
    return Value(valid, Kind.JSON)


def _json_stringify(value: Value) -> Value:
    if value.kind is Kind.JSON:
        return Value(value.expression, Kind.TEXT)
    if value.kind.is_numeric:
        return Value(as_text(value), Kind.TEXT)
    return Value(call("toJSONString", value.expression), Kind.TEXT)


def _is_address(*functions: str) -> Callable[[Value], Expression]:
    def make(value: Value) -> Expression:
        def body(text: Expression) -> Expression:
            tests = [call(function, text) for function in functions]
            return tests[0] if len(tests) == 1 else call("or", *tests)

        return bound(as_text(value), body)

    return make


def _in_subnet(node: Call, context: Context) -> Value:
    if len(node.arguments) != 2 or not isinstance(node.arguments[1], Text):  # noqa: PLR2004 -- an address, a subnet
        raise QuerySyntaxError(
            f"{node.function}() takes an address and a subnet as a quoted string", node.span
        )
    subnet = node.arguments[1]
    try:
        network = ipaddress.ip_network(subnet.value, strict=False)
    except ValueError:
        network = None
    if network is None or network.version not in SUBNETS[node.function]:
        raise QuerySyntaxError(
            f"{subnet.value!r} is not a subnet for {node.function}(), such as 10.0.0.0/8",
            subnet.span,
        )
    is_address = "isIPv4String" if network.version == 4 else "isIPv6String"  # noqa: PLR2004 -- IPv4
    never = "0.0.0.0" if network.version == 4 else "::"  # noqa: PLR2004, S104 -- IPv4; no socket
    prefix = string(str(network))

    def body(text: Expression) -> Expression:
        is_valid = call("ifNull", call(is_address, text), Parameter(0, "UInt8"))
        # The engine's function fails for what is no address, so that it is never given one.
        address = call("assumeNotNull", call("if", is_valid, text, string(never)))
        return call("and", is_valid, call("isIPAddressInRange", address, prefix))

    return Value(bound(as_text(context.compile(node.arguments[0])), body), Kind.BOOLEAN)


def _bin(node: Call, context: Context) -> Value:
    if len(node.arguments) != 1:
        raise QuerySyntaxError("bin() takes a period, such as 5m", node.span)
    period = _period(node.arguments[0])
    return Value(floor_to(context.timestamp(node).expression, period), Kind.TIME)


def _date_floor(node: Call, context: Context) -> Value:
    time, period = _time_and_period(node, context)
    return Value(bound(time, lambda moment: floor_to(moment, period)), Kind.TIME)


def _date_ceil(node: Call, context: Context) -> Value:
    time, period = _time_and_period(node, context)

    def body(moment: Expression) -> Expression:
        floored = floor_to(moment, period)
        return call("if", call("equals", floored, moment), moment, _next(floored, period))

    return Value(bound(time, body), Kind.TIME)


def _next(floored: Expression, period: Duration) -> Expression:
    if period.unit not in MONTHS:
        return call("plus", floored, integer(period.count * MILLISECONDS[period.unit]))
    moment = call("fromUnixTimestamp64Milli", floored, string("UTC"))
    later = call("addMonths", moment, integer(period.count * MONTHS[period.unit]))
    return call("toUnixTimestamp64Milli", later)


def _time_and_period(node: Call, context: Context) -> tuple[Expression, Duration]:
    if len(node.arguments) != 2:  # noqa: PLR2004 -- a time, a period
        raise QuerySyntaxError(f"{node.function}() takes a time and a period", node.span)
    return as_time(context.compile(node.arguments[0])), _period(node.arguments[1])


def _period(node: Node) -> Duration:
    if isinstance(node, Field) and len(node.path) == 1 and node.path[0] in {*MILLISECONDS, *MONTHS}:
        return Duration(1, node.path[0], span=node.span)
    if not isinstance(node, Duration):
        raise QuerySyntaxError(
            "expected a period: a number and one of ms s m h d w mo q y, such as 5m", node.span
        )
    return node


def _from_millis(value: Value) -> Value:
    return Value(as_time(value), Kind.TIME)


def _to_millis(value: Value) -> Value:
    return Value(call("toFloat64", as_time(value)), Kind.NUMBER)


def _now(node: Call, context: Context) -> Value:
    if node.arguments:
        raise QuerySyntaxError("now() takes no value", node.span)
    return Value(number(context.selection.now_s), Kind.NUMBER)


_OF_TIME: dict[str, Callable[[Call, Context], Value]] = {
    "bin": _bin,
    "datefloor": _date_floor,
    "dateceil": _date_ceil,
    "now": _now,
}
FUNCTIONS: dict[str, Function] = {
    "abs": Function(_numeric("abs"), 1, 1),
    "ceil": Function(_numeric("ceil"), 1, 1),
    "floor": Function(_numeric("floor"), 1, 1),
    "log": Function(_numeric("log"), 1, 1),
    "sqrt": Function(_numeric("sqrt"), 1, 1),
    "greatest": Function(_extreme("greatest"), 1, None),
    "least": Function(_extreme("least"), 1, None),
    "frommillis": Function(_from_millis, 1, 1),
    "tomillis": Function(_to_millis, 1, 1),
    "ispresent": Function(_condition(_is_present), 1, 1),
    "coalesce": Function(_coalesce, 1, None),
    "isempty": Function(_condition(_is_empty), 1, 1),
    "isblank": Function(_condition(_is_blank), 1, 1),
    "concat": Function(_concat, 1, None),
    "ltrim": Function(_trim("trimLeft"), 1, 2),
    "rtrim": Function(_trim("trimRight"), 1, 2),
    "trim": Function(_trim("trimBoth"), 1, 2),
    "strlen": Function(_string_length, 1, 1),
    "toupper": Function(_of_text("upperUTF8"), 1, 1),
    "tolower": Function(_of_text("lowerUTF8"), 1, 1),
    "substr": Function(_substring, 2, 3),
    "replace": Function(_replace, 3, 3),
    "strcontains": Function(_condition(contains), 2, 2),
    "jsonparse": Function(_json_parse, 1, 1),
    "jsonstringify": Function(_json_stringify, 1, 1),
    "isvalidip": Function(_condition(_is_address("isIPv4String", "isIPv6String")), 1, 1),
    "isvalidipv4": Function(_condition(_is_address("isIPv4String")), 1, 1),
    "isvalidipv6": Function(_condition(_is_address("isIPv6String")), 1, 1),
    "unmask": Function(lambda value: value, 1, 1),
}
FUNCTION_NAMES = frozenset({*FUNCTIONS, *_OF_TIME, *SUBNETS})

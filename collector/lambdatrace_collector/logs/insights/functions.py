"""The functions of the language: what each takes, and what it is in the engine.

Source: CloudWatch Logs user guide, "Boolean, comparison, numeric, datetime, and other functions".
"""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.encodings import ENCODINGS
from lambdatrace_collector.logs.insights.function_table import Context, Function
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
    as_boolean,
    as_number,
    as_text,
    as_time,
    bound,
    call,
    finite,
    integer,
    json_text,
    number,
    string,
)
from lambdatrace_collector.store.compiled_query import Lambda, Null, Parameter, Variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.compiled_query import Expression


MILLISECONDS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
MONTHS = {"mo": 1, "q": 3, "y": 12}
# The most of a unit that a period has; more is taken for that. Source: "Datetime functions".
COUNTS_MAX = {"ms": 1000, "s": 60, "m": 60, "h": 24}
PERIODS_MAX = 1_000_000
# 1970-01-01 is a Thursday; weeks begin on Monday.
_MONDAY_MS = 4 * MILLISECONDS["d"]
_SPACE = " \t\r\n\f\v"
CASES_MAX = 10  # source: "General functions"
EARTH_RADIUS_KM = 6371.0
PRIVATE_SUBNETS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")  # RFC 1918
SUBNETS = {"isipinsubnet": (4, 6), "isipv4insubnet": (4,), "isipv6insubnet": (6,)}


def compile_call(node: Call, context: Context) -> Value:
    """The value of a function's call. Raises QuerySyntaxError."""
    name = node.function
    if name in _OF_CONTEXT:
        return _OF_CONTEXT[name](node, context)
    if name in SUBNETS:
        return _in_subnet(node, context)
    function = FUNCTIONS.get(name)
    if function is None:
        raise QuerySyntaxError(f"there is no function {name}()", node.span)
    count = len(node.arguments)
    if count < function.at_least or (function.at_most is not None and count > function.at_most):
        raise QuerySyntaxError(
            f"{name}() takes {function.counts}, not {count}: see the function's reference",
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
    period = _capped(period)
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


def _of_one_kind(values: tuple[Value, ...]) -> tuple[list[Expression], Kind]:
    """The values as they are when all are of one kind, else as text."""
    if len({value.kind for value in values}) == 1:
        return [value.expression for value in values], values[0].kind
    return [as_text(value) for value in values], Kind.TEXT


def _coalesce(*values: Value) -> Value:
    expressions, kind = _of_one_kind(values)
    return Value(call("coalesce", *expressions), kind)


def _if(condition: Value, *values: Value) -> Value:
    expressions, kind = _of_one_kind(values)
    return Value(call("if", _is_true(condition), *expressions), kind)


def _case(*arguments: Value) -> Value:
    """The value after the first condition that is true; the last one is for when none is."""
    conditions, values = arguments[:-1:2], arguments[1::2]
    if len(conditions) > CASES_MAX:
        raise QuerySyntaxError(f"case() takes at most {CASES_MAX} conditions", NOWHERE)
    expressions, kind = _of_one_kind((*values, *arguments[2 * len(values) :]))
    default = expressions[len(values)] if len(expressions) > len(values) else Null()
    branches = [
        part
        for condition, value in zip(conditions, expressions, strict=False)
        for part in (_is_true(condition), value)
    ]
    return Value(call("multiIf", *branches, default), kind)


def _is_true(condition: Value) -> Expression:
    """A condition that is neither true nor false counts as false."""
    return call("ifNull", as_boolean(condition), Parameter(0, "UInt8"))


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


def _str_contains(text: Value, part: Value, is_caseless: Value | None = None) -> Expression:
    exact = contains(text, part)
    if is_caseless is None:
        return exact
    place = call("positionCaseInsensitive", as_text(text), as_text(part))
    return call("if", _is_true(is_caseless), call("greater", place, integer(0)), exact)


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


def _is_numeric(value: Value) -> Expression:
    return call("isNotNull", as_number(value))


def _json_array_size(value: Value) -> Value:
    def body(text: Expression) -> Expression:
        is_list = call("equals", call("JSONType", text), string("Array"))
        return call("if", is_list, call("toFloat64", call("JSONLength", text)), Null())

    return Value(bound(_raw_json(value), body), Kind.NUMBER)


def _json_array_contains(value: Value, item: Value) -> Expression:
    def body(text: Expression) -> Expression:
        is_list = call("equals", call("JSONType", text), string("Array"))
        empty = call("emptyArrayString")
        items = call("if", is_list, call("JSONExtractArrayRaw", text), empty)
        own_text = Lambda(("item",), call("assumeNotNull", json_text(Variable("item"))))
        found = call("has", call("arrayMap", own_text, items), call("assumeNotNull", wanted))
        return call("and", found, call("isNotNull", wanted))

    wanted = as_text(item)
    return bound(call("ifNull", _raw_json(value), string("")), body)


def _raw_json(value: Value) -> Expression:
    return value.expression if value.kind is Kind.JSON else as_text(value)


def _haversine(*degrees: Value) -> Value:
    first_latitude, first_longitude, latitude, longitude = (
        call("multiply", as_number(value), number(math.pi / 180)) for value in degrees
    )

    def half_square(a: Expression, b: Expression) -> Expression:
        half = call("divide", call("minus", b, a), number(2))
        return call("pow", call("sin", half), number(2))

    cosines = call("multiply", call("cos", first_latitude), call("cos", latitude))
    across = call("multiply", cosines, half_square(first_longitude, longitude))
    root = call("sqrt", call("plus", half_square(first_latitude, latitude), across))
    # Rounding may take the root of opposite points over 1.
    at_most_1 = bound(root, lambda x: call("if", call("greater", x, number(1)), number(1), x))
    angle = call("asin", at_most_1)
    return Value(finite(call("multiply", number(2 * EARTH_RADIUS_KM), angle)), Kind.NUMBER)


def _ipv4_to_number(value: Value) -> Value:
    found = call("IPv4StringToNumOrNull", as_text(value))
    return Value(call("toFloat64", found), Kind.NUMBER)


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


def _capped(period: Duration) -> Duration:
    most = COUNTS_MAX.get(period.unit, PERIODS_MAX)
    return Duration(min(period.count, most), period.unit, span=period.span)


def _next(floored: Expression, period: Duration) -> Expression:
    period = _capped(period)
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


def _query_time(node: Call, context: Context) -> Value:
    if node.arguments:
        raise QuerySyntaxError(f"{node.function}() takes no value", node.span)
    start_ms, end_ms = context.selection.start_ms, context.selection.end_ms
    times = {"querystarttime": start_ms, "queryendtime": end_ms}
    return Value(number(times.get(node.function, end_ms - start_ms)), Kind.NUMBER)


def _is_private_ip(node: Call, context: Context) -> Value:
    if len(node.arguments) != 1:
        raise QuerySyntaxError(f"{node.function}() takes 1 value", node.span)
    tests = [
        _in_subnet(Call("isipv4insubnet", (*node.arguments, Text(subnet))), context).expression
        for subnet in PRIVATE_SUBNETS
    ]
    return Value(call("or", *tests), Kind.BOOLEAN)


_OF_CONTEXT: dict[str, Callable[[Call, Context], Value]] = {
    "bin": _bin,
    "datefloor": _date_floor,
    "dateceil": _date_ceil,
    "now": _now,
    "querystarttime": _query_time,
    "queryendtime": _query_time,
    "querytimerange": _query_time,
    "isprivateip": _is_private_ip,
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
    "strcontains": Function(_condition(_str_contains), 2, 3),
    "startswith": Function(_condition(_edge("startsWith")), 2, 2),
    "endswith": Function(_condition(_edge("endsWith")), 2, 2),
    "regexreplace": Function(_regex_replace, 3, 3),
    "if": Function(_if, 3, 3),
    "case": Function(_case, 2, 2 * CASES_MAX + 1),
    "isnumeric": Function(_condition(_is_numeric), 1, 1),
    "messagesize": Function(_message_size, 1, 1),
    "jsonarraysize": Function(_json_array_size, 1, 1),
    "jsonarraycontains": Function(_condition(_json_array_contains), 2, 2),
    "haversine": Function(_haversine, 4, 4),
    "ipv4tonumber": Function(_ipv4_to_number, 1, 1),
    "jsonparse": Function(_json_parse, 1, 1),
    "jsonstringify": Function(_json_stringify, 1, 1),
    "isvalidip": Function(_condition(_is_address("isIPv4String", "isIPv6String")), 1, 1),
    "isvalidipv4": Function(_condition(_is_address("isIPv4String")), 1, 1),
    "isvalidipv6": Function(_condition(_is_address("isIPv6String")), 1, 1),
    "unmask": Function(lambda value: value, 1, 1),
    **ENCODINGS,
}
FUNCTION_NAMES = frozenset({*FUNCTIONS, *_OF_CONTEXT, *SUBNETS})

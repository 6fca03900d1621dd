"""Functions of JSON.

Source: CloudWatch Logs user guide, "JSON functions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.function_table import Function, condition
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_text,
    bound,
    call,
    json_text,
    string,
)
from lambdatrace_collector.store.compiled_query import Lambda, Null, Variable

if TYPE_CHECKING:
    from lambdatrace_collector.store.compiled_query import Expression


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


JSON_VALUES: dict[str, Function] = {
    "jsonparse": Function(_json_parse, 1, 1),
    "jsonstringify": Function(_json_stringify, 1, 1),
    "jsonarraysize": Function(_json_array_size, 1, 1),
    "jsonarraycontains": Function(condition(_json_array_contains), 2, 2),
}

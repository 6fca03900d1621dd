"""What a filter pattern means: a condition on a message, for the engine.

A JSON selector is read as the raw text that it points to, which tells its type by its first
character; one reading serves every condition on it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.filter_pattern import (
    AllOf,
    AnyOf,
    Comparison,
    Existence,
    FieldsPattern,
    Literal,
    Number,
    Regex,
    Terms,
    Text,
)
from lambdatrace_collector.store.compiled_query import Apply, Column, Lambda, Parameter, Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace_collector.logs.filter_pattern import (
        Condition,
        Field,
        FilterPattern,
        Selector,
        Term,
    )
    from lambdatrace_collector.store.compiled_query import Expression

MESSAGE = Column("message")

# "…" and […] are one field each, without their marks.
_FIELD = r'"[^"]*"|\[[^\]]*\]|\S+'
_MARKED = r'^(?:"([^"]*)"|\[([^\]]*)\])$'
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_PLAIN = re.compile(r"[ !#-.0-\[\]-~]*")  # what is the same inside of JSON's quotes, but for \u
# A text without a letter may be a number's, which can be written in many ways.
_SEARCHED = re.compile(r"(?=.*[A-DF-Za-df-z]) *[ !#-.0-\[\]-~]+")
_OPERATORS = {
    "=": "equals",
    "!=": "notEquals",
    "<": "less",
    "<=": "lessOrEquals",
    ">": "greater",
    ">=": "greaterOrEquals",
}


def matches(pattern: FilterPattern) -> Expression | None:
    """Whether the column `message` matches; None when every message does."""
    if isinstance(pattern, Terms):
        return _terms(pattern)
    if isinstance(pattern, FieldsPattern):
        return _fields_match(pattern)
    wanted = _necessary(pattern.condition)
    condition = _json(pattern.condition)
    return condition if wanted is None else all_of((wanted, condition))


def raw_json(selector: Selector) -> Expression:
    """The JSON text that a selector points to in the message; empty when there is none."""
    raw = call("JSONExtractRaw", MESSAGE, *_path(selector))
    # The engine takes a place in an object for its n-th member.
    guards = [
        call("equals", call("JSONType", MESSAGE, *_path(selector[:depth])), text("Array"))
        for depth, step in enumerate(selector)
        if isinstance(step, int)
    ]
    return call("if", all_of(guards), raw, text("")) if guards else raw


def json_value(selector: Selector) -> Expression:
    """The text of the string, number or boolean that a selector points to; else empty."""
    raw = raw_json(selector)
    return call(
        "if", call("match", raw, text('^["0-9tf-]')), call("JSONExtractString", raw), text("")
    )


def message_fields() -> Expression:
    """The message's fields, as space-delimited patterns split it."""
    split = call("extractAll", MESSAGE, text(_FIELD))
    field = Variable("field")
    strip = call("replaceRegexpOne", field, text(_MARKED), text(r"\1\2"))
    return call("arrayMap", Lambda(("field",), strip), split)


def field_places(pattern: FieldsPattern) -> dict[str, int]:
    """The place of each named field: from 1, or from -1 for those after `...`."""
    last = pattern.last or ()
    places = {field.name: place for place, field in enumerate(pattern.first, start=1)}
    places |= {field.name: place - len(last) for place, field in enumerate(last)}
    places.pop("", None)
    return places


def as_number(value: Expression) -> Expression:
    """A text as number, NULL when it is none."""
    return call(
        "if",
        call("match", value, text(_NUMBER)),
        call("toFloat64OrNull", value),
        call("toFloat64OrNull", text("")),
    )


def all_of(parts: Iterable[Expression]) -> Expression:
    """Whether every one of `parts`, at least one, holds."""
    return _joined("and", tuple(parts))


def any_of(parts: Iterable[Expression]) -> Expression:
    """Whether one of `parts`, at least one, holds."""
    return _joined("or", tuple(parts))


def call(function: str, *arguments: Expression) -> Expression:
    """A function of its arguments."""
    return Apply(function, arguments)


def text(value: str) -> Parameter:
    """A text that is bound."""
    return Parameter(value, "String")


def _joined(function: str, parts: tuple[Expression, ...]) -> Expression:
    return parts[0] if len(parts) == 1 else Apply(function, parts)


def _terms(terms: Terms) -> Expression | None:
    parts = [_occurs(term) for term in terms.every]
    parts += [call("not", _occurs(term)) for term in terms.no]
    if terms.some:
        parts.append(any_of(_occurs(term) for term in terms.some))
    return all_of(parts) if parts else None


def _occurs(term: Term) -> Expression:
    if isinstance(term, Regex):
        return call("match", MESSAGE, text(term.source))
    return _contains(MESSAGE, term.value)


def _json(condition: Condition) -> Expression:
    if isinstance(condition, AllOf):
        return all_of(_json(part) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any_of(_json(part) for part in condition.parts)
    raw = raw_json(condition.selector)
    if isinstance(condition, Literal):
        return call("equals", raw, text(condition.text))
    if isinstance(condition, Existence):
        if condition.is_there:
            return call("notEmpty", raw)
        is_json = call("match", MESSAGE, text(r"^\s*[{\[]"))
        return all_of((is_json, call("isValidJSON", MESSAGE), call("empty", raw)))
    return _json_comparison(condition, raw)


def _json_comparison(comparison: Comparison, raw: Expression) -> Expression:
    """Numbers are compared with numbers, texts with strings and the text of numbers."""
    value, operator = comparison.value, comparison.operator
    if isinstance(value, Number):
        number = call("toFloat64OrZero", raw)
        is_number = call("match", raw, text("^[0-9-]"))
        return all_of((is_number, call(_OPERATORS[operator], number, _number(value))))
    is_value = call("match", raw, text('^["0-9-]'))
    found = _text_matches(call("JSONExtractString", raw), value)
    return all_of((is_value, found if operator == "=" else call("not", found)))


def _fields_match(pattern: FieldsPattern) -> Expression | None:
    fields = message_fields()
    last = pattern.last or ()
    count = Parameter(len(pattern.first) + len(last), "UInt64")
    counted = "equals" if pattern.last is None else "greaterOrEquals"
    parts = [call(counted, call("length", fields), count)]
    if pattern.last is not None and not pattern.first and not last:
        return None
    for place, field in enumerate(pattern.first, start=1):
        parts += _field_conditions(fields, place, field)
    for place, field in enumerate(last):
        parts += _field_conditions(fields, place - len(last), field)
    return all_of(parts)


def _field_conditions(fields: Expression, place: int, field: Field) -> list[Expression]:
    if field.condition is None:
        return []
    value = call("arrayElement", fields, Parameter(place, "Int64"))
    return [_field_condition(value, field.condition)]


def _field_condition(field: Expression, condition: Condition) -> Expression:
    if isinstance(condition, AllOf):
        return all_of(_field_condition(field, part) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any_of(_field_condition(field, part) for part in condition.parts)
    if not isinstance(condition, Comparison):
        raise TypeError(f"{condition} is no condition of a field")
    value, operator = condition.value, condition.operator
    if isinstance(value, Number):
        is_number = call("match", field, text(_NUMBER))
        number = call("toFloat64OrZero", field)
        if operator not in ("=", "!="):
            return all_of((is_number, call(_OPERATORS[operator], number, _number(value))))
        same = all_of((is_number, call("equals", number, _number(value))))
        found = any_of((call("equals", field, text(value.text)), same))
    else:
        found = _text_matches(field, value)
    return found if operator == "=" else call("not", found)


def _text_matches(found: Expression, value: Term) -> Expression:
    if isinstance(value, Regex):
        return call("match", found, text(value.source))
    if value.any_before and value.any_after:
        return _contains(found, value.value)
    if value.any_before:
        return call("endsWith", found, text(value.value))
    if value.any_after:
        return call("startsWith", found, text(value.value))
    return call("equals", found, text(value.value))


def _necessary(condition: Condition) -> Expression | None:
    r"""What a message must hold for the condition, by search alone: JSON is read of few messages.

    Names and texts stand in JSON as they are, or with a `\u` somewhere in the message.
    """
    needed = _needed(condition)
    if needed is None:
        return None
    return any_of((needed, _contains(MESSAGE, "\\u")))


def _needed(condition: Condition) -> Expression | None:
    if isinstance(condition, AllOf):
        parts = [needed for part in condition.parts if (needed := _needed(part)) is not None]
        return all_of(parts) if parts else None
    if isinstance(condition, AnyOf):
        choices = [_needed(part) for part in condition.parts]
        known = [choice for choice in choices if choice is not None]
        return any_of(known) if len(known) == len(choices) else None
    if isinstance(condition, Existence) and not condition.is_there:
        return None
    parts = [
        _contains(MESSAGE, f'"{step}"')
        for step in condition.selector[-1:]
        if isinstance(step, str) and _PLAIN.fullmatch(step)
    ]
    if (
        isinstance(condition, Comparison)
        and condition.operator == "="
        and isinstance(condition.value, Text)
        and _SEARCHED.fullmatch(condition.value.value)
    ):
        parts.append(_contains(MESSAGE, condition.value.value))
    return all_of(parts) if parts else None


def _contains(where: Expression, part: str) -> Expression:
    if not part:
        return call("equals", Parameter(1, "UInt8"), Parameter(1, "UInt8"))
    return call("greater", call("position", where, text(part)), Parameter(0, "UInt64"))


def _path(selector: Selector) -> list[Expression]:
    """The engine counts places from 1."""
    return [
        Parameter(step + 1, "Int64") if isinstance(step, int) else text(step) for step in selector
    ]


def _number(number: Number) -> Parameter:
    return Parameter(number.value, "Float64")

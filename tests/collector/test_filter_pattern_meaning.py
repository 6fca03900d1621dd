"""The engine's answer for a filter pattern is that of a small evaluator of its own, below.

Patterns are made with their meaning beside them: the evaluator reads no pattern, and knows nothing
of the parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable  # noqa: TC003 - NamedTuple's fields are resolved
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.collector.conftest import Collector


class Made(NamedTuple):
    """A pattern's text, and whether a message matches it."""

    text: str
    holds: Callable[[str], bool]


ABSENT = object()
RUNS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def logs(collector: Collector) -> Any:
    return collector.client("logs")


def matched(logs: Any, pattern: str, messages: list[str]) -> list[str]:
    answer = logs.test_metric_filter(filterPattern=pattern, logEventMessages=messages)
    return [match["eventMessage"] for match in answer["matches"]]


# Terms

WORDS = st.sampled_from(["a", "b", "ab", "A", "é", "x y", 'q"q', "\\", "-", "?", "{", "[", "a.b"])
LINES = st.lists(WORDS | st.sampled_from([" ", "\n", "c"]), min_size=1, max_size=6).map("".join)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@st.composite
def term_patterns(draw: Any) -> Made:
    terms = draw(
        st.lists(st.tuples(st.sampled_from(["", "?", "-"]), WORDS), min_size=1, max_size=4)
    )
    text = " ".join(sign + quoted(word) for sign, word in terms)
    every = [word for sign, word in terms if sign == ""]
    some = [word for sign, word in terms if sign == "?"]
    no = [word for sign, word in terms if sign == "-"]

    def holds(message: str) -> bool:
        if not every and not no:
            return any(word in message for word in some)
        return all(word in message for word in every) and not any(word in message for word in no)

    return Made(text, holds)


@RUNS
@given(made=term_patterns(), lines=st.lists(LINES, min_size=1, max_size=10))
def test_terms_mean_the_same_to_the_engine(logs: Any, made: Made, lines: list[str]) -> None:
    assert matched(logs, made.text, lines) == [line for line in lines if made.holds(line)]


# JSON

KEYS = st.sampled_from(["a", "b", "c-d", "e f", "é"])
TEXTS = st.sampled_from(["x", "xyz", "yx", "404", "", "x/y", 'x"', "\\", "é", "\n", "12.5", "Ev*t"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 12.5, -2.25, 404, 2**53 + 2])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.tuples(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans()).map(
    lambda made: json.dumps(made[0], ensure_ascii=made[1])
)
MESSAGES = DOCUMENTS | st.sampled_from(["a", "{", '{"a": 1} b', "[1]", '"a"', '["x", {"a": 1}]'])
SELECTORS = st.lists(KEYS | st.integers(0, 2), min_size=1, max_size=3)


def shown(selector: list[Any]) -> str:
    def step(part: Any) -> str:
        if isinstance(part, int):
            return f"[{part}]"
        return f".{part}" if re.fullmatch("[a-z-]+", part) else f"[{quoted(part)}]"

    return "$" + "".join(step(part) for part in selector)


def pointed(document: Any, selector: list[Any]) -> Any:
    for part in selector:
        if isinstance(part, int):
            if not isinstance(document, list) or part >= len(document):
                return ABSENT
        elif not isinstance(document, dict) or part not in document:
            return ABSENT
        document = document[part]
    return document


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


ORDERS: dict[str, Callable[[float, float], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def wild(text: str, value: str) -> bool:
    """`*` stands for anything at both ends, and for itself inside."""
    start, end = text.startswith("*"), text.endswith("*")
    core = text[start : len(text) - end] if len(text) > 1 else ""
    if start and end:
        return core in value
    if start:
        return value.endswith(core)
    return value.startswith(core) if end else value == text


@st.composite
def json_conditions(draw: Any, depth: int = 0) -> tuple[str, Callable[[Any], bool]]:
    if depth < 2 and draw(st.booleans()):
        operator = draw(st.sampled_from(["&&", "||"]))
        parts = draw(st.lists(json_conditions(depth + 1), min_size=2, max_size=3))
        joined = f"({f' {operator} '.join(text for text, _ in parts)})"
        together = all if operator == "&&" else any
        return joined, lambda document: bool(together(holds(document) for _, holds in parts))
    selector = draw(SELECTORS)
    name = shown(selector)
    kind = draw(st.sampled_from(["number", "text", "exists", "absent", "null", "true", "false"]))
    if kind == "number":
        operator, number = draw(st.sampled_from(sorted(ORDERS))), draw(NUMBERS)

        def compares(document: Any) -> bool:
            value = pointed(document, selector)
            return bool(is_number(value) and ORDERS[operator](float(value), float(number)))

        return f"{name} {operator} {number}", compares
    if kind == "text":
        operator = draw(st.sampled_from(["=", "!="]))
        text = draw(st.sampled_from(["", "*"])) + draw(TEXTS.filter(bool))
        text += draw(st.sampled_from(["", "*"]))

        def is_text(document: Any) -> bool:
            value = pointed(document, selector)
            if is_number(value):
                value = f"{value:g}" if isinstance(value, float) else str(value)
            if not isinstance(value, str):
                return False
            return wild(text, value) == bool(operator == "=")

        return f"{name} {operator} {quoted(text)}", is_text
    if kind in ("exists", "absent"):
        text = f"{name} = *" if kind == "exists" else f"{name} NOT EXISTS"
        return (
            text,
            lambda document: (pointed(document, selector) is not ABSENT) == (kind == "exists"),
        )
    literal = {"null": None, "true": True, "false": False}[kind]
    return f"{name} IS {kind.upper()}", lambda document: pointed(document, selector) is literal


@st.composite
def json_patterns(draw: Any) -> Made:
    text, condition = draw(json_conditions())

    def holds(message: str) -> bool:
        try:
            document = json.loads(message)
        except ValueError:
            return False
        return isinstance(document, (dict, list)) and bool(condition(document))

    return Made(f"{{ {text} }}", holds)


@RUNS
@given(
    made=json_patterns().filter(lambda made: len(made.text) <= 1024),
    messages=st.lists(MESSAGES, min_size=1, max_size=10),
)
def test_conditions_on_json_mean_the_same_to_the_engine(
    logs: Any, made: Made, messages: list[str]
) -> None:
    assert matched(logs, made.text, messages) == [each for each in messages if made.holds(each)]


# Space-delimited fields

TOKENS = st.sampled_from(["a", "ab", "404", "4", "4.0", "-", "1e2", "é"])
FIELDS = TOKENS | TOKENS.map(lambda text: f"[{text} x]") | TOKENS.map(lambda text: f'"x {text}"')
SPACED = st.tuples(
    st.lists(FIELDS, min_size=1, max_size=5), st.sampled_from([" ", "  ", "\t"])
).map(lambda made: made[1].join(made[0]))


@st.composite
def field_conditions(draw: Any, name: str) -> tuple[str, Callable[[str], bool]]:
    if draw(st.booleans()):
        operator = draw(st.sampled_from(["&&", "||"]))
        parts = draw(st.lists(field_comparisons(name), min_size=2, max_size=2))
        together = all if operator == "&&" else any
        text = f" {operator} ".join(text for text, _ in parts)
        return text, lambda field: bool(together(holds(field) for _, holds in parts))
    comparison: tuple[str, Callable[[str], bool]] = draw(field_comparisons(name))
    return comparison


@st.composite
def field_comparisons(draw: Any, name: str) -> tuple[str, Callable[[str], bool]]:
    if draw(st.booleans()):
        operator, number = draw(st.sampled_from(sorted(ORDERS))), draw(st.sampled_from([4, 100]))

        def compares(field: str) -> bool:
            if not re.fullmatch(r"[+-]?[0-9.]+(e[0-9]+)?", field):
                return bool(operator == "!=")
            return bool(ORDERS[operator](float(field), number))

        return f"{name} {operator} {number}", compares
    operator = draw(st.sampled_from(["=", "!="]))
    text = draw(st.sampled_from(["a", "a*", "*b", "*x*", "*4*", '"x a"', '"é"']))
    wanted = text.strip('"')
    return f"{name} {operator} {text}", lambda field: wild(wanted, field) == (operator == "=")


def split(message: str) -> list[str]:
    fields, rest = [], message.strip()
    while rest:
        end = {'"': '"', "[": "]"}.get(rest[0])
        place = rest.find(end, 1) if end else -1
        if place > 0:
            fields.append(rest[1:place])
            rest = rest[place + 1 :].lstrip()
        else:
            field = rest.split(maxsplit=1)[0]
            fields.append(field)
            rest = rest[len(field) :].lstrip()
    return fields


@st.composite
def field_patterns(draw: Any) -> Made:
    names = [f"w{place}" for place in range(draw(st.integers(1, 4)))]
    ellipsis = draw(st.none() | st.integers(0, len(names)))
    slots: list[tuple[str, Callable[[str], bool]]] = [
        draw(field_conditions(name)) if draw(st.booleans()) else (name, lambda _field: True)
        for name in names
    ]
    shown_slots = [text for text, _ in slots]
    if ellipsis is not None:
        shown_slots.insert(ellipsis, "...")
    conditions = [holds for _, holds in slots]

    def holds(message: str) -> bool:
        fields = split(message)
        if ellipsis is None:
            return len(fields) == len(conditions) and all(
                condition(field) for condition, field in zip(conditions, fields, strict=True)
            )
        if len(fields) < len(conditions):
            return False
        first, last = conditions[:ellipsis], conditions[ellipsis:]
        ends = fields[len(fields) - len(last) :]
        return all(
            condition(field) for condition, field in zip(first, fields, strict=False)
        ) and all(condition(field) for condition, field in zip(last, ends, strict=True))

    return Made(f"[{', '.join(shown_slots)}]", holds)


@RUNS
@given(made=field_patterns(), messages=st.lists(SPACED, min_size=1, max_size=10))
def test_space_delimited_fields_mean_the_same_to_the_engine(
    logs: Any, made: Made, messages: list[str]
) -> None:
    assert matched(logs, made.text, messages) == [each for each in messages if made.holds(each)]

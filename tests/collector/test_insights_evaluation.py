"""Filters and aggregates of generated queries over generated events, against a small evaluator.

The evaluator is written from the documentation alone: a missing field is neither true nor false,
texts that are numbers compare as numbers, aggregates leave out what is no number.
LAMBDATRACE_TEST_EXAMPLES says how many are tried of each property.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import math
import operator
import os
import re
import statistics
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lambdatrace_collector.logs.insights.parser import parse_query
from lambdatrace_collector.logs.insights.planner import plan_query
from lambdatrace_collector.logs.insights.results import shown_rows
from lambdatrace_collector.logs.insights.selection import Selection
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.url import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse

Event: TypeAlias = "dict[str, Any]"
Condition: TypeAlias = "tuple[Any, ...]"
Truth: TypeAlias = "bool | None"

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FIELDS = ("level", "n", "tag")
GROUPS = itertools.count()

VALUES = st.sampled_from(
    ["ERROR", "INFO", "10", "9.5", "9", "abc", "", " 7", "1e3", "nan", -3, 0, 2.5, 1000, True, None]
)
EVENTS = st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES), min_size=1, max_size=8)
TEXTS = st.sampled_from(["ERROR", "10", "9.50", "abc", "", "B", "nan"])
OPERANDS = st.one_of(
    st.sampled_from(FIELDS).map(lambda name: ("field", name)),
    TEXTS.map(lambda text: ("text", text)),
    st.sampled_from([0, 9, 10.5, 1000]).map(lambda value: ("number", value)),
)
LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.tuples(st.just("compare"), st.sampled_from([*OPERATORS]), OPERANDS, OPERANDS),
    st.tuples(st.just("compare"), st.sampled_from([*OPERATORS]), st.just(("field", "n")), OPERANDS),
    st.tuples(st.just("ispresent"), st.sampled_from(FIELDS)),
    st.tuples(st.just("like"), st.sampled_from(FIELDS), st.sampled_from(["R", "1", "b", ""])),
    st.tuples(st.just("in"), st.sampled_from(FIELDS), st.lists(TEXTS, max_size=3)),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=4,
)


def written(node: Condition) -> str:
    """The condition in the language."""
    kind = node[0]
    if kind == "field":
        return str(node[1])
    if kind in ("text", "number"):
        return json.dumps(node[1])
    if kind == "compare":
        return f"{written(node[2])} {node[1]} {written(node[3])}"
    if kind == "ispresent":
        return f"ispresent({node[1]})"
    if kind == "like":
        return f"{node[1]} like {json.dumps(node[2])}"
    if kind == "in":
        return f"{node[1]} in {json.dumps(node[2])}"
    if kind == "not":
        return f"not ({written(node[1])})"
    return f"({written(node[1])}) {kind} ({written(node[2])})"


def field(event: Event, name: str) -> str | None:
    value = event.get(name)
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else str(value)


def number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) else None


def operand(event: Event, node: Condition) -> str | float | None:
    return field(event, node[1]) if node[0] == "field" else node[1]


# The functions of numbers and of texts: what each gives for arguments that are not missing.
NUMERIC: dict[str, tuple[int, Callable[..., float | None]]] = {
    "abs": (1, abs),
    "ceil": (1, math.ceil),
    "floor": (1, math.floor),
    "sqrt": (1, lambda a: math.sqrt(a) if a >= 0 else None),
    "log": (1, lambda a: math.log(a) if a > 0 else None),
    "round": (1, lambda a: math.copysign(math.floor(abs(a) + 0.5), a)),
    "tonumber": (1, float),
    "toint": (1, lambda a: math.trunc(a) if abs(a) < 2**31 else None),
    "+": (2, operator.add),
    "-": (2, operator.sub),
    "*": (2, operator.mul),
    "/": (2, lambda a, b: a / b if b else None),
    "%": (2, lambda a, b: math.fmod(a, b) if b else None),
}
OF_TEXT: dict[str, tuple[int, Callable[..., str]]] = {
    "concat": (2, operator.add),
    "toupper": (1, str.upper),
    "tolower": (1, str.lower),
    "trim": (1, lambda a: a.strip(" ")),
    "ltrim": (2, lambda a, b: a.lstrip(b) if b else a),
    "rtrim": (2, lambda a, b: a.rstrip(b) if b else a),
    "md5": (1, lambda a: hashlib.md5(a.encode(), usedforsecurity=False).hexdigest()),
    "sha256": (1, lambda a: hashlib.sha256(a.encode()).hexdigest()),
    "base64encode": (1, lambda a: base64.b64encode(a.encode()).decode()),
}
MEASURES: dict[str, tuple[int, Callable[..., float]]] = {
    "strlen": (1, len),
    "messagesize": (1, lambda a: len(a.encode())),
    "strcontains": (2, lambda a, b: b in a),
    "startswith": (2, str.startswith),
    "endswith": (2, str.endswith),
}
ASKS = {
    "ispresent": lambda text: text is not None,
    "isempty": lambda text: not text,
    "isblank": lambda text: not (text or "").strip(),
    "isnumeric": lambda text: text is not None and number(text) is not None,
}
# Functions whose last argument is a quoted string, short so that it is found now and then.
CONSTANT_TEXT = ("ltrim", "rtrim", "strcontains", "startswith", "endswith")


def calls(
    table: dict[str, tuple[int, Any]], arguments: st.SearchStrategy[Condition]
) -> st.SearchStrategy[Condition]:
    """Calls of the table's functions."""

    def of(name: str) -> st.SearchStrategy[Condition]:
        count = table[name][0]
        given = [arguments] * count
        if name in CONSTANT_TEXT:
            given[-1] = st.sampled_from(["E", "R", "1", "0"]).map(lambda text: ("text", text))
        return st.tuples(st.just("call"), st.just(name), *given)

    return st.sampled_from([*table]).flatmap(of)


PLAIN_TEXTS = st.one_of(
    st.sampled_from(FIELDS).map(lambda name: ("field", name)),
    TEXTS.map(lambda text: ("text", text)),
)
TEXT_VALUES = st.recursive(
    PLAIN_TEXTS,
    lambda inner: st.one_of(
        calls(OF_TEXT, inner),
        st.tuples(st.just("if"), CONDITIONS, inner, inner),
        st.tuples(st.just("coalesce"), inner, inner),
    ),
    max_leaves=3,
)
NUMBERS = st.recursive(
    st.one_of(
        st.sampled_from([0, 2.5, -3, 1000]).map(lambda value: ("number", value)),
        st.just(("field", "n")),
        calls(MEASURES, TEXT_VALUES),
    ),
    lambda inner: st.one_of(
        calls(NUMERIC, inner), st.tuples(st.just("if"), CONDITIONS, inner, inner)
    ),
    max_leaves=3,
)
# A call of each function, of values that calls and conditions make too.
EACH_FUNCTION = st.tuples(
    *(calls({name: NUMERIC[name]}, NUMBERS) for name in NUMERIC),
    *(calls({name: table[name]}, TEXT_VALUES) for table in (OF_TEXT, MEASURES) for name in table),
    *(st.tuples(st.just("call"), st.just(name), TEXT_VALUES) for name in ASKS),
)


def expression(node: Condition) -> str:
    """An expression in the language."""
    if node[0] == "call" and node[1] in "+-*/%":
        return f"({expression(node[2])}) {node[1]} ({expression(node[3])})"
    if node[0] == "call":
        return f"{node[1]}({', '.join(map(expression, node[2:]))})"
    if node[0] == "coalesce":
        return f"coalesce({expression(node[1])}, {expression(node[2])})"
    if node[0] == "if":
        return f"if({written(node[1])}, {expression(node[2])}, {expression(node[3])})"
    return written(node)


def evaluated(event: Event, node: Condition) -> Any:
    """The value of an expression; None when it is missing."""
    kind = node[0]
    if kind in ("field", "text", "number"):
        return operand(event, node)
    if kind == "if":
        return evaluated(event, node[2] if truth(event, node[1]) is True else node[3])
    values = [evaluated(event, each) for each in node[1 + (kind == "call") :]]
    if kind == "coalesce":
        return next((value for value in values if value is not None), None)
    if node[1] in ASKS:
        return ASKS[node[1]](values[0])
    if node[1] in NUMERIC:
        values = [number(value) if isinstance(value, str) else value for value in values]
    if None in values:
        return None
    of_numbers = NUMERIC.get(node[1])
    _, function = of_numbers or OF_TEXT.get(node[1]) or MEASURES[node[1]]
    return function(*values)


def shown(value: Any) -> str | None:
    """A value as results show it, up to how numbers are written."""
    if isinstance(value, (bool, int, float)):
        return str(float(value))
    return None if value is None else str(value)


def compared(sign: str, left: str | float | None, right: str | float | None) -> Truth:
    if left is None or right is None:
        return None
    a, b = (number(side) if isinstance(side, str) else side for side in (left, right))
    if a is not None and b is not None:
        return OPERATORS[sign](a, b)
    if isinstance(left, str) and isinstance(right, str):
        return OPERATORS[sign](left, right)
    return {"=": False, "!=": True}.get(sign)


def truth(event: Event, node: Condition) -> Truth:
    kind = node[0]
    if kind == "compare":
        return compared(node[1], operand(event, node[2]), operand(event, node[3]))
    if kind == "ispresent":
        return field(event, node[1]) is not None
    if kind == "like":
        text = field(event, node[1])
        return None if text is None else node[2] in text
    if kind == "in":
        found = [compared("=", field(event, node[1]), item) for item in node[2]]
        return any_of(found)
    if kind == "not":
        value = truth(event, node[1])
        return None if value is None else not value
    sides = [truth(event, side) for side in node[1:]]
    return any_of(sides) if kind == "or" else negated(any_of([negated(side) for side in sides]))


def negated(value: Truth) -> Truth:
    return None if value is None else not value


def any_of(values: Iterable[Truth]) -> Truth:
    given_values = list(values)
    if True in given_values:
        return True
    return None if None in given_values else False


def aggregated(events: list[Event]) -> dict[str, str]:
    """The row of the aggregates below; values that are missing are left out."""
    texts = [text for event in events if (text := field(event, "n")) is not None]
    numbers = [value for text in texts if (value := number(text)) is not None]
    row: dict[str, Any] = {"count(*)": len(events), "count(n)": len(texts)}
    row["count_distinct(n)"] = len(set(texts))
    if numbers:
        row |= {"sum(n)": sum(numbers), "avg(n)": sum(numbers) / len(numbers)}
        ordered = sorted(numbers)
        row["pct(n, 50)"] = statistics.median(ordered)
        if len(numbers) > 1:
            row["stddev(n)"] = statistics.stdev(numbers)
    if texts:
        row |= {"earliest(n)": texts[0], "latest(n)": texts[-1]}
    extremes = numbers or texts
    if extremes:
        row |= {"min(n)": min(extremes), "max(n)": max(extremes)}
    return {name: str(value) for name, value in row.items()}


AGGREGATES = (
    "count(*), count(n), count_distinct(n), sum(n), avg(n), min(n), max(n),"
    " pct(n, 50), stddev(n), earliest(n), latest(n)"
)


@pytest.fixture(scope="module")
def store(clickhouse: ClickHouse) -> Iterator[Store]:
    opened = open_store(parse_store_url(clickhouse.url))
    yield opened
    opened.close()


def stored(store: Store, events: list[Event]) -> Selection:
    """The selection of events that are stored in a group of their own, a second apart."""
    group = f"group-{next(GROUPS)}"
    rows = [
        {
            "account": "1",
            "region": "r",
            "log_group": group,
            "timestamp_ms": place * 1000,
            "event_id": str(place + 1),
            "log_stream": "s",
            "ingestion_ms": 0,
            "message": json.dumps(event),
        }
        for place, event in enumerate(events)
    ]
    body = "\n".join(map(json.dumps, rows)).encode()
    asyncio.run(store.insert("log_events", body, "JSONEachRow"))
    return Selection("1", "r", (group,), 0, 10**9, 0)


def results(store: Store, selection: Selection, text: str) -> list[dict[str, str]]:
    plan = plan_query(parse_query(text), text, selection, 1000)
    rows = asyncio.run(store.query_compiled(plan.select))
    return [
        {item["field"]: item["value"] for item in row if item["field"] != "@ptr"}
        for row in shown_rows(plan, rows)
    ]


def comparable(row: dict[str, str]) -> dict[str, Any]:
    """A row whose numbers are equal however they are written, but for their last digits."""
    return {
        name: round(float(value), 9) if NUMBER.fullmatch(value) else value
        for name, value in row.items()
    }


EXAMPLES = settings(
    max_examples=int(os.environ.get("LAMBDATRACE_TEST_EXAMPLES", "12")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@EXAMPLES
@given(EVENTS, st.lists(CONDITIONS, min_size=1, max_size=16))
def test_conditions_are_true_false_or_neither_as_documented(
    store: Store, events: list[Event], conditions: list[Condition]
) -> None:
    columns = ", ".join(f"({written(each)}) as c{place}" for place, each in enumerate(conditions))
    found = results(store, stored(store, events), f"display {columns} | sort @timestamp asc")
    expected = [
        {
            f"c{place}": "1" if value else "0"
            for place, each in enumerate(conditions)
            if (value := truth(event, each)) is not None
        }
        for event in events
    ]
    assert expected == found


# To make a failure of thirty expressions smaller takes minutes.
@settings(EXAMPLES, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(EVENTS, EACH_FUNCTION)
def test_functions_of_functions_give_what_is_documented(
    store: Store, events: list[Event], expressions: tuple[Condition, ...]
) -> None:
    columns = ", ".join(f"{expression(each)} as c{i}" for i, each in enumerate(expressions))
    found = results(store, stored(store, events), f"display {columns} | sort @timestamp asc")
    expected = [
        {
            f"c{i}": value
            for i, each in enumerate(expressions)
            if (value := shown(evaluated(event, each))) is not None
        }
        for event in events
    ]
    assert [*map(comparable, expected)] == [*map(comparable, found)]


@EXAMPLES
@given(EVENTS, st.integers(1, 5))
def test_dedup_and_limit_keep_the_first_in_the_order_of_sort(
    store: Store, events: list[Event], most: int
) -> None:
    selection = stored(store, events)
    placed = [{"place": str(place), **event} for place, event in enumerate(events)]
    seen: set[str] = set()
    first = []
    for event in reversed(placed):
        level = field(event, "level")
        if level is None or level not in seen:
            first.append(event)
            seen.update([level] if level is not None else [])
    query = f"sort @timestamp desc | fields @timestamp as at | dedup level | limit {most}"
    found = [row["at"] for row in results(store, selection, query)]
    moments = [f"1970-01-01 00:00:0{event['place']}.000" for event in first[:most]]
    assert moments == found


@EXAMPLES
@given(EVENTS, CONDITIONS)
def test_a_filter_keeps_the_events_for_which_it_is_true(
    store: Store, events: list[Event], condition: Condition
) -> None:
    text = f"filter {written(condition)} | display @message | sort @timestamp asc"
    found = results(store, stored(store, events), text)
    kept = [event for event in events if truth(event, condition)]
    assert [{"@message": json.dumps(event)} for event in kept] == found


@EXAMPLES
@given(EVENTS)
def test_aggregates_are_of_each_value_of_the_key(store: Store, events: list[Event]) -> None:
    text = f"stats {AGGREGATES} by level"
    found = results(store, stored(store, events), text)
    keys = {field(event, "level") for event in events}
    expected = {
        key: aggregated([event for event in events if field(event, "level") == key]) for key in keys
    }
    by_key = {row.pop("level", None): row for row in found}
    assert by_key.keys() == expected.keys()
    for key, row in expected.items():
        assert comparable(row) == comparable(by_key[key])

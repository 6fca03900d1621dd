from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdatrace_collector.store.compiled_names import FUNCTIONS, PARAMETER_TYPES, TABLES
from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    CompiledQueryError,
    Lambda,
    Null,
    Order,
    Parameter,
    Select,
    Table,
    UnionAll,
    Variable,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse

NOW = (("c", Apply("count")),)


@pytest.fixture
def store(clickhouse: ClickHouse, open_on: Callable[[ClickHouse], Store]) -> Store:
    return open_on(clickhouse)


def rows(store: Store, query: Select) -> list[dict[str, Any]]:
    return asyncio.run(store.query_compiled(query))


def test_a_tree_is_rendered_with_names_of_its_source_and_bound_values() -> None:
    events = Select(
        columns=(("message", Column("message")), ("size", Apply("length", (Column("message"),)))),
        source=Table("log_events", is_final=True),
        where=Apply("equals", (Column("log_group"), Parameter("it's", "String"))),
    )
    query = Select(
        columns=(("size", Column("size")), ("p99", quantile(0.99)), ("missing", Null())),
        source=events,
        group_by=(Column("size"),),
        having=Apply("greater", (Apply("count"), Parameter(2, "UInt64"))),
        order_by=(Order(Column("size"), is_descending=True),),
        limit=2,
    )
    assert render(query) == (
        (
            "SELECT s0.`size` AS `size`, quantile({p0:Float64})(s0.`size`) AS `p99`,"
            " NULL AS `missing`"
            " FROM (SELECT s1.`message` AS `message`, length(s1.`message`) AS `size`"
            " FROM `log_events` AS s1 FINAL WHERE equals(s1.`log_group`, {p1:String})) AS s0"
            " GROUP BY s0.`size` HAVING greater(count(), {p2:UInt64})"
            " ORDER BY s0.`size` DESC NULLS LAST LIMIT {p2:UInt64}"
        ),
        {"p0": 0.99, "p1": "it's", "p2": 2},
    )


def quantile(level: float) -> Apply:
    return Apply("quantile", (Column("size"),), (Parameter(level, "Float64"),))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Select(NOW, Table("system.tables")), "'system.tables' is not a table for compiled"),
        (Select((("c", Column("c")),), Table("log_events")), "there is no column 'c'"),
        (Select((("c", Column("message")),)), "there is no column 'message'"),
        (Select((("c` FROM x --", Null()),)), "is not a name for a column or variable"),
        (Select((("c", Null()), ("c", Null()))), "are not one or more different names"),
        (Select(()), "are not one or more different names"),
        (Select((("c", Apply("file")),)), "'file' is not a function for compiled queries"),
        (Select((("c", Variable("x")),)), "there is no variable 'x'"),
        (Select((("c", Lambda(("x y",), Null())),)), "'x y' is not a name for a column"),
        (Select((("c", Parameter(1, "UInt8}) --")),)), "is not a type for compiled queries"),
        (
            Select(NOW, UnionAll((Select((("a", Null()),)), Select((("b", Null()),))))),
            "the selects of a union have different columns",
        ),
    ],
)
def test_a_tree_that_names_what_it_may_not_is_refused(query: Select, message: str) -> None:
    with pytest.raises(CompiledQueryError, match=message.replace("(", r"\(")) as refusal:
        render(query)
    assert not refusal.value.is_too_large


def test_a_tree_that_is_too_deep_or_too_large_is_refused() -> None:
    deep: Apply | Null = Null()
    for _ in range(5_000):
        deep = Apply("not", (deep,))
    for tree in (deep, Apply("array", (Null(),) * 30_000)):
        with pytest.raises(CompiledQueryError) as refusal:
            render(Select((("c", tree),)))
        assert refusal.value.is_too_large


def test_the_engine_runs_a_tree(store: Store) -> None:
    numbers = Select(
        columns=(("n", Apply("arrayJoin", (Parameter([3, 1, 2, 1], "Array(Int64)"),))),),
    )
    double = Lambda(("x",), Apply("multiply", (Variable("x"), Parameter(2, "Int64"))))
    query = Select(
        columns=(
            ("n", Column("n")),
            ("doubled", Apply("arrayMap", (double, Apply("array", (Column("n"),))))),
        ),
        source=UnionAll((numbers, Select((("n", Null()),)))),
        order_by=(Order(Column("n"), is_descending=True),),
        limit_one_by=(Column("n"),),
        limit=10,
    )
    assert rows(store, query) == [
        {"n": 3, "doubled": [6]},
        {"n": 2, "doubled": [4]},
        {"n": 1, "doubled": [2]},
        {"n": None, "doubled": [None]},
    ]


def test_a_name_given_in_a_select_never_stands_for_the_source_s_column(store: Store) -> None:
    source = Select((("c", Parameter("a", "String")),))
    query = Select(
        columns=(("c", Apply("upper", (Column("c"),))),),
        source=source,
        where=Apply("equals", (Column("c"), Parameter("a", "String"))),
    )
    assert rows(store, query) == [{"c": "A"}]


def test_the_engine_knows_every_name(store: Store) -> None:
    for table, columns in TABLES.items():
        values = tuple((f"c{place}", Column(name)) for place, name in enumerate(sorted(columns)))
        query = Select(values, Table(table, is_final=True))
        assert rows(store, query) == []
    for name in sorted(PARAMETER_TYPES):
        value: Any = [] if name.startswith("Array") else "7" if name == "String" else 1
        assert rows(store, Select((("c", Parameter(value, name)),))) == [{"c": value}]
    unknown = []
    for name in sorted(FUNCTIONS):
        try:
            rows(store, Select((("c", Apply(name)),)))
        except Exception as error:  # noqa: BLE001 -- what is wrong with no arguments is any of many
            if "UNKNOWN_FUNCTION" in str(error) or "does not exist" in str(error):
                unknown.append(name)
    assert unknown == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.text(max_size=9), max_size=4))
def test_any_text_comes_to_the_engine_as_it_is(store: Store, text: str, texts: list[str]) -> None:
    query = Select((("text", Parameter(text, "String")), ("texts", Parameter(texts, ARRAY))))
    assert rows(store, query) == [{"text": text, "texts": texts}]


ARRAY = "Array(String)"

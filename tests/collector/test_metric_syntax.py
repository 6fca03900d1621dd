"""The grammars of metric math and of SEARCH take what they should, and nothing breaks them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace_collector.metrics.math_syntax import (
    Chain,
    ExpressionSyntaxError,
    Function,
    Items,
    Name,
    Negation,
    Number,
    Text,
    Word,
    parse_expression,
)
from lambdatrace_collector.metrics.search_syntax import (
    Search,
    SearchSyntaxError,
    Term,
    parse_search,
)
from lambdatrace_collector.metrics.statistics import parse_statistic

MATH_PARTS = st.sampled_from(
    [
        *("m1", "e_2", "AVG", "IF", "SEARCH", "REPEAT", "AND", "OR", "&&", "||", "==", "!=", "<="),
        *("<", "+", "-", "*", "/", "^", "(", ")", "[", "]", ",", "1", "2.5", ".5", "1e3", " "),
        *("'a b'", '"x"', "'", '"', "&", "$", "é", "\x00", "\n"),
    ]
)
SEARCH_PARTS = st.sampled_from(
    [
        *("{", "}", "(", ")", "AWS/Lambda", "Function", ",", "=", '"', '"Errors"', "\\", '\\"'),
        *("AND", "OR", "NOT", "ANDY", "MetricName", ":aws.AccountId", "x1", "-", " ", "é", "\x00"),
    ]
)


@given(st.lists(MATH_PARTS, max_size=40).map("".join) | st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    with contextlib.suppress(ExpressionSyntaxError):
        parse_expression(text)


@given(st.lists(SEARCH_PARTS, max_size=40).map("".join) | st.text(max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_search_or_is_refused(text: str) -> None:
    with contextlib.suppress(SearchSyntaxError):
        search = parse_search(text)
        named = {abs(place) for clause in search.clauses for place in clause}
        assert named == set(range(1, len(search.terms) + 1))


@given(st.text(alphabet="pTMtmwcsPRIQ(%:)0123456789. ", max_size=14))
def test_any_text_is_a_statistic_or_is_none(text: str) -> None:
    statistic = parse_statistic(text)
    assert statistic is None or statistic.name == text


def test_operators_bind_as_in_other_languages() -> None:
    one, m1, m2 = Number(1.0), Name("m1"), Name("m2")
    product = Chain(m1, (("*", m2), ("/", Negation(m1))))
    assert parse_expression("1 + m1 * m2 / -m1 - 1 >= m2 && m1 OR m2") == Chain(
        Chain(Chain(Chain(one, (("+", product), ("-", one))), ((">=", m2),)), (("AND", m1),)),
        (("OR", m2),),
    )
    assert parse_expression("-m1 ^ 2") == Negation(Chain(m1, (("^", Number(2.0)),)))
    assert parse_expression("SORT([m1, METRICS('x')], MAX, ASC)") == Function(
        "SORT",
        (Items((m1, Function("METRICS", (Text("x"),)))), Word("MAX"), Word("ASC")),
    )


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("a b", ((1,), (2,))),
        ("a OR b c", ((1, 2), (1, 3))),
        ("(a OR b) c", ((1, 2), (3,))),
        ("NOT (a OR NOT b)", ((-1,), (2,))),
        ("NOT (a b) OR c", ((-1, -2, 3),)),
    ],
)
def test_terms_are_joined_in_clauses_that_all_hold(
    text: str, clauses: tuple[tuple[int, ...], ...]
) -> None:
    assert parse_search(text).clauses == clauses


def test_a_schema_and_terms_are_read() -> None:
    text = '{"My Ns", Zone, Api} MetricName="a\\"b" Stage=liveTwo'
    assert parse_search(text) == Search(
        namespace="My Ns",
        dimension_names=("Api", "Zone"),
        terms=(
            Term("MetricName", is_exact=True, text='a"b'),
            Term("Stage", False, "livetwo", ("live", "Two"), (True, True)),
        ),
        clauses=((1,), (2,)),
    )


def test_a_search_that_would_grow_without_end_is_refused() -> None:
    text = " OR ".join(f"(a{n} b{n} c{n})" for n in range(12))
    with pytest.raises(SearchSyntaxError, match="too many alternatives"):
        parse_search(text)

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.wire.plain_json import CUT, json_text

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_json_can_say_is_read_back(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert text.isascii()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), '"nan"'),
        (float("-inf"), '"-inf"'),
        (1 << 63, '"9223372036854775808"'),
        (Decimal("1.5"), '"1.5"'),
        (date(2026, 11, 21), '"2026-11-21"'),
        ("\ud800", '"?"'),
        ((1, "a"), '[1,"a"]'),
        ({1: None}, '{"1":null}'),
    ],
)
def test_what_json_cannot_say_becomes_text(value: Any, text: str) -> None:
    assert json_text(value) == text


def test_huge_integers_cycles_and_endless_lists_end() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    assert len(json_text(cycle)) < 200_000
    assert CUT in json.loads(json_text([0] * 10_000))
    assert json_text(10**5000).startswith('"0x')

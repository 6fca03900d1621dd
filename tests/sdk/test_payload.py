"""Event and response as attributes: off by default, as they were, bounded, redacted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.payload import payload_text
from lambdatrace.plain import bounded, plain_copy
from lambdatrace.redaction import Redaction
from lambdatrace.testing import LambdaContext, recording

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def captured(
    event: Any, *, environment: Any = None, capture_payload: bool | None = None
) -> dict[str, Any]:
    with recording(environment) as recorded:

        @lambdatrace.instrument(capture_payload=capture_payload)
        def handler(event: Any, _context: Any) -> Any:
            event["seen"] = True
            return {"ok": True, "token": "t"}

        handler(event, LambdaContext())
        lambdatrace.flush()
    attributes = recorded.span("orders").attributes
    return {key: attributes[key] for key in ("faas.event", "faas.response") if key in attributes}


BOTH = {
    "faas.event": '{"id":7,"password":"REDACTED"}',
    "faas.response": '{"ok":true,"token":"REDACTED"}',
}


def test_nothing_is_captured_by_default() -> None:
    assert captured({"id": 7}) == {}


def test_the_event_is_captured_as_it_came_and_the_response_both_redacted() -> None:
    assert captured({"id": 7, "password": "x"}, capture_payload=True) == BOTH


def test_json_in_a_body_is_redacted_by_its_keys_even_where_it_is_cut() -> None:
    event = {"body": '{"user": "me", "password": "hunter2", "rest": "' + "x" * 5000 + '"}'}
    shown = json.loads(captured(event, capture_payload=True)["faas.event"])["body"]
    assert shown.startswith('{"user": "me", "password": "REDACTED", "rest": "xxx')
    assert shown.endswith("x…")


def test_the_setting_captures_and_the_argument_wins() -> None:
    environment = {"LAMBDATRACE_CAPTURE_PAYLOAD": "true"}
    event = {"id": 7, "password": "x"}
    assert captured(dict(event), environment=environment) == BOTH
    assert captured(dict(event), environment=environment, capture_payload=False) == {}


def test_a_handler_that_fails_has_an_event_and_no_response() -> None:
    with recording() as recorded:

        @lambdatrace.instrument(capture_payload=True)
        def handler(_event: Any, _context: Any) -> Any:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            handler({"id": 7}, LambdaContext())
        lambdatrace.flush()
    attributes = recorded.span("orders").attributes
    assert attributes["faas.event"] == '{"id":7}'
    assert "faas.response" not in attributes


@given(json_values)
def test_a_payload_that_fits_is_captured_whole(value: Any) -> None:
    whole = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _depth(value) <= 10 and len(whole) < 2000:
        assert json.loads(payload_text(plain_copy(value, 100_000), None, 100_000)) == value


@given(json_values, st.integers(1, 300))
def test_no_text_is_longer_than_allowed(value: Any, size_max: int) -> None:
    text = payload_text(plain_copy(value, size_max), Redaction(), size_max)
    assert len(text.encode()) <= max(size_max, 3)


def test_a_large_event_is_copied_only_as_far_as_it_is_shown() -> None:
    event = {"Records": [{"body": "x" * 100, "n": n} for n in range(10_000)]}
    copied = plain_copy(event, 1000)
    assert len(copied["Records"]) < 20
    assert copied["Records"][-1] == f"… {10_000 - len(copied['Records']) + 1} more"


def test_what_json_has_no_type_for_is_told_by_its_type_and_no_code_of_it_is_run() -> None:
    class Odd:
        def __str__(self) -> str:
            raise AssertionError

        __repr__ = __str__

    text = payload_text(plain_copy({"odd": Odd(), 1: float("inf")}, 1000), None, 1000)
    assert text.startswith('{"odd":"<tests.sdk.test_payload.')
    assert text.endswith(':"inf"}')


def test_keys_are_as_json_writes_them_and_bytes_are_text() -> None:
    value = {b"a": 1, b"\xff": 2, 3: 4, None: 5, True: 6, 1.5: 7, (8, 9): 10}
    assert plain_copy(value, 1000) == {
        "a": 1,
        "\ufffd": 2,
        "3": 4,
        "null": 5,
        "true": 6,
        "1.5": 7,
        "<builtins.tuple>": 10,
    }
    assert bounded({"a": {b"key": 1}}) == {"a": {"key": 1}}


def test_a_secret_under_a_key_in_bytes_is_redacted() -> None:
    assert captured({b"password": "x", "id": 7}, capture_payload=True)["faas.event"] == (
        '{"password":"REDACTED","id":7}'
    )


def test_a_list_that_holds_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert json.loads(payload_text(plain_copy(loop, 1000), None, 1000)) == [[[[[[[[[["…"]]]]]]]]]]


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    is_container = isinstance(value, (dict, list))
    return max(map(_depth, inner), default=0) + 1 if is_container else 0

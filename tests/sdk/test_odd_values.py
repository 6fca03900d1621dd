"""Attributes that cannot be written as they are cost themselves only, and bounded time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace.journal import Journal
from lambdatrace.journal_entries import read_entries
from lambdatrace.records import Span, SpanContext
from lambdatrace.redaction import Redaction
from lambdatrace.sinks.console import ConsoleSink
from lambdatrace.testing import recording
from lambdatrace.wire.otlp_json import span_object
from lambdatrace.wire.otlp_protobuf import encode_span
from lambdatrace.wire.x_ray import segment_document

if TYPE_CHECKING:
    from pathlib import Path


class LazyValue:
    def __str__(self) -> str:
        raise RuntimeError("not now")


class LazyText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("not now")


def cycle() -> Any:
    order: dict[str, Any] = {"id": 1, "lines": []}
    order["lines"] += [{"order": order}] * 3
    return order


def fan_out() -> Any:
    value: Any = ["lol"]
    for _ in range(8):
        value = [value] * 10
    return value


ODD = [LazyValue(), LazyText("late"), 10**5000, cycle(), fan_out()]
NAMES = ["no text", "text without text", "long number", "cycle", "fan out"]


def span_with(value: Any) -> Span:
    span = Span("pay", SpanContext("1" * 32, "2" * 16), None, 1_000_000_000)
    span.set_attributes({"odd": value, "good": "kept"})
    span.end(2_000_000_000)
    return span


@pytest.mark.parametrize("value", ODD, ids=NAMES)
def test_a_span_with_an_odd_attribute_is_noted_with_its_others(value: Any, tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.span_ended(span_with(value))
    journal.attributes_set(span_with(1), {"odd": value, "good": "kept"})
    ended, was_set = read_entries((tmp_path / journal.name).read_bytes())
    assert (ended[9]["good"], was_set[2]["good"], journal.dropped) == ("kept", "kept", 0)
    assert ended[9].keys() == {"odd", "good"}
    journal.close()


@pytest.mark.parametrize("value", ODD, ids=NAMES)
def test_a_span_with_an_odd_attribute_is_sent_with_its_others(
    value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    span = span_with(value)
    assert b"kept" in encode_span(span)
    assert '"kept"' in json.dumps(span_object(span))
    assert len(json.dumps(span_object(span))) < 100_000
    assert segment_document(span)["metadata"]["default"]["good"] == "kept"
    ConsoleSink().send([span], 1.0, lambda: None)
    assert json.loads(capsys.readouterr().out)["attributes"]["good"] == "kept"


def test_what_stands_for_an_odd_attribute_says_what_it_was() -> None:
    def written(value: Any) -> Any:
        return span_object(span_with(value))["attributes"][0]["value"]

    assert written(LazyValue()) == {"stringValue": "<tests.sdk.test_odd_values.LazyValue>"}
    assert written(LazyText("late")) == {"stringValue": "late"}
    assert written(10**5000)["stringValue"].startswith("0x")
    items = written(list(range(1_500)))["arrayValue"]["values"]
    assert (len(items), items[-1]) == (1_001, {"stringValue": "… 500 more"})


def test_a_value_without_text_is_redacted_to_its_type_and_its_span_leaves() -> None:
    redacted = Redaction().record(span_with(LazyValue()))
    assert redacted.attributes == {
        "odd": "<tests.sdk.test_odd_values.LazyValue>",
        "good": "kept",
    }


class Order:
    def __init__(self, total: int) -> None:
        self.total = total

    def __str__(self) -> str:
        return f"order of {self.total}"


def test_an_attribute_is_what_its_value_was_when_it_was_set() -> None:
    buffer, lines, tags, order = bytearray(b"one"), [1], {"a"}, Order(1)
    values = {"buffer": buffer, "lines": (lines,), "tags": tags, "order": order}
    with recording() as recorded:
        with lambdatrace.span("pay", attributes=values) as span:
            span.set_attribute("later", order)
            span.add_event("event", values)
        buffer[:] = b"two"
        lines.append(2)
        tags.clear()
        order.total = 2
        recorded.telemetry.flush()
        pay = recorded.span("pay")
        was = {"buffer": b"one", "lines": [[1]], "tags": "{'a'}", "order": "order of 1"}
        assert pay.attributes == {**was, "later": "order of 1"}
        assert pay.events[0].attributes == was

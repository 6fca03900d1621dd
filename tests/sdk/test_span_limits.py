from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace import records
from lambdatrace.log_record import LogRecord
from lambdatrace.records import Event, Link, Span, SpanContext
from lambdatrace.span_limits import LIMIT_TABLE, Limits
from lambdatrace.telemetry import COUNT_LIMITS
from lambdatrace.testing import LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTEXT = SpanContext("1" * 32, "2" * 16)
MANY = {f"key {number}": number for number in range(200)}


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    """Whatever a test had held in this process, the defaults hold after it."""
    yield
    Limits({}).hold()


def numbers(environ: dict[str, str]) -> dict[str, Any]:
    limits = Limits(environ)
    assert limits.errors == []
    return {name: getattr(limits, name) for name in Limits.__slots__ if name != "errors"}


DEFAULTS = {
    "span_attributes": 128,
    "span_events": 128,
    "span_links": 128,
    "event_attributes": 128,
    "link_attributes": 128,
    "log_attributes": 128,
    "span_value_length": None,
    "log_value_length": None,
}


@pytest.mark.parametrize(
    ("environ", "other"),
    [
        ({}, {}),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": ""}, {}),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "3"}, {"span_attributes": 3, "log_attributes": 3}),
        (
            {"OTEL_ATTRIBUTE_COUNT_LIMIT": "3", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "4"},
            {"span_attributes": 4, "log_attributes": 3},
        ),
        (
            {"OTEL_ATTRIBUTE_COUNT_LIMIT": "3", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "0"},
            {"span_attributes": 3, "log_attributes": 0},
        ),
        (
            {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9"},
            {"span_value_length": 9, "log_value_length": 9},
        ),
        (
            {
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9",
                "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "8",
                "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": "7",
            },
            {"span_value_length": 8, "log_value_length": 7},
        ),
        (
            {
                "OTEL_SPAN_EVENT_COUNT_LIMIT": "1",
                "OTEL_SPAN_LINK_COUNT_LIMIT": "2",
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "3",
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "4",
            },
            {"span_events": 1, "span_links": 2, "event_attributes": 3, "link_attributes": 4},
        ),
    ],
)
def test_a_limit_of_spans_or_logs_goes_before_the_general_one(
    environ: dict[str, str], other: dict[str, Any]
) -> None:
    assert numbers(environ) == {**DEFAULTS, **other}


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1", "128"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "9" * 30, "128"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long", "no limit"),
    ],
)
def test_a_limit_that_is_none_is_said(name: str, value: str, taken: str) -> None:
    limits = Limits({name: value})
    assert [str(error) for error in limits.errors] == [
        f"{name} is '{value}': expected a whole number from 0 to 1000000; taken: {taken}"
    ]


def test_a_record_within_the_limits_is_the_same_object() -> None:
    span = Span("s", CONTEXT, None, 1, attributes={"a": "x" * 1000})
    span.add_event("e", 2, {"b": 1})
    log = LogRecord("text", 1, attributes={"a": 1})
    assert Limits({}).record(span) is span
    assert Limits({}).record(log) is log


def test_texts_are_cut_in_copies_at_any_depth_and_numbers_stay() -> None:
    nested = {"l": ["abcdef", 1], "d": {"k": ("abcdef",)}}
    attributes = {"t": "abcdef", "b": b"abcdef", **nested, "n": 1}
    span = Span("a long name", CONTEXT, None, 1, attributes=attributes)
    span.add_event("an event", 2, attributes)
    span.add_link(Link(CONTEXT, attributes))
    span.end(3)
    limits = Limits({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"})
    cut = {"t": "abc", "b": b"abc", "l": ["abc", 1], "d": {"k": ["abc"]}, "n": 1}
    for _ in range(2):  # as when a batch is sent again
        found = limits.record(span)
        assert (found.name, found.attributes, found.dropped_attributes) == ("a long name", cut, 0)
        assert [event.attributes for event in found.events] == [cut]
        assert [link.attributes for link in found.links] == [cut]
    assert span.attributes == attributes
    log = limits.record(LogRecord("a long body", 1, attributes=attributes))
    assert (log.body, log.attributes) == ("a long body", cut)


def test_what_an_event_a_link_or_a_log_record_has_too_many_of_is_counted() -> None:
    span = Span("s", CONTEXT, None, 1)
    span.events.append(Event("e", 2, MANY))
    span.links.append(Link(CONTEXT, MANY))
    found = Limits({"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "2"}).record(span)
    (event,), (link,) = found.events, found.links
    assert (len(event.attributes), event.dropped_attributes) == (128, 72)
    assert (link.attributes, link.dropped_attributes) == ({"key 0": 0, "key 1": 1}, 198)
    log = Limits({"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "1"}).record(
        LogRecord("t", 1, attributes=MANY)
    )
    assert (log.attributes, log.dropped_attributes) == ({"key 0": 0}, 199)


def test_an_event_or_a_link_holds_no_more_than_it_may_have() -> None:
    span = Span("s", CONTEXT, None, 1, links=[Link(CONTEXT, MANY)])
    span.add_event("e", 2, MANY)
    for part in (span.events[0], span.links[0]):
        assert list(part.attributes) == list(MANY)[:128]
        assert part.dropped_attributes == 72
    sent = Limits({"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "3"}).record(span)
    assert [(len(part.attributes), part.dropped_attributes) for part in sent.events] == [(3, 197)]


def test_the_limits_of_one_telemetry_are_not_those_of_the_next() -> None:
    with recording({"OTEL_SPAN_EVENT_COUNT_LIMIT": "1"}):
        assert records.EVENT_COUNT_MAX == 1
    with recording():
        assert records.EVENT_COUNT_MAX == 128


def test_every_limit_of_a_count_is_looked_for_when_the_environment_starts() -> None:
    assert {name for name, _, _ in LIMIT_TABLE if "COUNT" in name} == set(COUNT_LIMITS)


def test_a_function_records_more_or_less_as_its_variables_say() -> None:
    environ = {
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "150",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "1",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "2",
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "160",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "4",
        "OTEL_LOGS_EXPORTER": "otlp",
    }

    def handler(_event: object, _context: object) -> None:
        with lambdatrace.span("work", attributes=MANY) as span:
            span.add_event("first", {"a": "abcdef", "b": 2, "c": 3})
            span.add_event("second")
            span.set_attribute("key 0", "abcdef")
        logging.getLogger("shop").warning("many", extra=MANY)

    sink = MemorySink()
    with recording(environ, sink=sink) as recorded:
        lambdatrace.instrument(handler)({}, LambdaContext())
        found = recorded.span("work")
    assert (len(found.attributes), found.dropped_attributes) == (150, 50)
    assert found.attributes["key 0"] == "abcd"
    assert [(event.attributes, event.dropped_attributes) for event in found.events] == [
        ({"a": "abcd", "b": 2}, 1)
    ]
    assert found.dropped_events == 1
    (log,) = sink.log_records
    assert (len(log.attributes), log.dropped_attributes) == (160, 44)

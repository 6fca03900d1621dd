"""What an invocation has open or holds back, and what becomes of more than it has room for."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

import lambdatrace
from lambdatrace import invocation_spans
from lambdatrace.records import Span, SpanContext
from lambdatrace.testing import START_NS, LambdaContext, recording

if TYPE_CHECKING:
    import pytest


def test_open_spans_beyond_the_limit_are_sent_if_they_end_and_counted_if_they_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lambdatrace.tracing.OPEN_SPANS_MAX", 3)
    with recording() as recorded:

        @lambdatrace.instrument
        def handler(event: object, context: object) -> None:
            for name in "abcde":
                lambdatrace.span(name).__enter__()
            with lambdatrace.span("ends"):
                pass

        copy_context().run(handler, {}, LambdaContext())  # what it leaves current stays there
        names = {span.name for span in recorded.spans}
        assert {"a", "b", "ends"} < names, "with the invocation's own these are three"
        assert names.isdisjoint("cde")
        assert lambdatrace.statistics()["traces"]["dropped"]["buffer_full"] == 3


def test_what_is_held_back_has_a_limit_and_the_rest_is_counted_when_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invocation_spans, "HELD_SPANS_MAX", 2)
    spans = invocation_spans.InvocationSpans()

    def hold(name: str) -> None:
        context = SpanContext("1" * 32, "2" * 16, is_sampled=False)
        spans.hold(Span(name, context, None, START_NS))

    for name in "abc":
        hold(name)
    held, dropped = spans.take_held()
    assert [(span.name, span.context.is_sampled) for span in held] == [("b", True), ("c", True)]
    assert dropped == 1
    hold("later")
    held, dropped = spans.take_held()
    assert [span.name for span in held] == ["later"]
    assert dropped == 0


def test_stack_traces_are_written_out_as_long_as_there_is_time_the_last_first() -> None:
    spans = invocation_spans.InvocationSpans()
    traces = []

    def fail(number: int) -> None:
        raise ValueError(number)

    for number in range(4):
        try:
            fail(number)
        except ValueError as error:
            traces.append(spans.stack_trace(error))
    times = iter((0, 0, 39_999_999, 40_000_000, 40_000_001))
    spans.format_stack_traces(lambda: next(times), deadline_ns=80_000_000)
    texts = [trace.written for trace in traces]
    assert texts[:2] == ["ValueError: 0\n", "ValueError: 1\n"]
    for number in (2, 3):
        assert texts[number].startswith("Traceback (most recent call last):")
        assert texts[number].endswith(f"ValueError: {number}\n")

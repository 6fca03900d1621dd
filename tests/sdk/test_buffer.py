from __future__ import annotations

from lambdatrace.buffer import Buffer
from lambdatrace.records import Span, SpanContext


def spans(count: int) -> list[Span]:
    return [Span(f"s{n}", SpanContext("1" * 32, "2" * 16), None, 1) for n in range(count)]


def names(taken: list[Span]) -> list[str]:
    return [span.name for span in taken]


def test_spans_come_out_oldest_first_in_batches() -> None:
    buffer = Buffer(10)
    for span in spans(3):
        buffer.append(span)
    assert names(buffer.take(2)) == ["s0", "s1"]
    assert names(buffer.take(2)) == ["s2"]
    assert buffer.take(2) == []


def test_a_full_buffer_drops_the_oldest_and_counts_it() -> None:
    buffer = Buffer(2)
    for span in spans(5):
        buffer.append(span)
    assert buffer.dropped == 3
    assert names(buffer.take(9)) == ["s3", "s4"]


def test_what_is_put_back_comes_first_again_and_gives_way_to_newer_spans() -> None:
    buffer = Buffer(3)
    first, second, third, fourth = spans(4)
    buffer.append(third)
    buffer.append(fourth)
    buffer.put_back([first, second])
    assert buffer.dropped == 1
    assert names(buffer.take(9)) == ["s1", "s2", "s3"]


def test_nothing_is_put_back_into_a_buffer_that_is_full_of_newer_spans() -> None:
    buffer = Buffer(1)
    first, second = spans(2)
    buffer.append(second)
    buffer.put_back([first])
    assert buffer.dropped == 1
    assert names(buffer.take(9)) == ["s1"]


def test_what_is_discarded_is_not_taken_any_more() -> None:
    buffer = Buffer(3)
    first, second = spans(2)
    buffer.append(first)
    buffer.append(second)
    buffer.discard(first)
    buffer.discard(first)
    assert names(buffer.take(9)) == ["s1"]
    assert buffer.dropped == 0

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.buffer import Buffer
from lambdatrace.records import Span, SpanContext

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@given(
    size_max=st.integers(1, 5),
    steps=st.lists(st.tuples(st.sampled_from(("append", "take", "put_back")), st.integers(1, 7))),
)
def test_every_record_is_taken_dropped_and_counted_or_waits(
    size_max: int, steps: list[tuple[str, int]]
) -> None:
    buffer = Buffer(size_max)
    recorded = 0
    taken: list[int] = []
    for step, count in steps:
        if step == "append":
            for number in range(recorded, recorded + count):
                buffer.append(number)
            recorded += count
        elif step == "take":
            taken += buffer.take(count)
        else:
            buffer.put_back(taken[-count:])
            del taken[-count:]
        assert recorded == len(taken) + buffer.dropped + len(buffer)
        assert len(buffer) <= size_max
    rest = buffer.take(size_max)
    assert rest == sorted(rest)
    assert len({*taken, *rest}) == len(taken) + len(rest)


class BetweenTwoSteps(list[int]):
    """Records that are put back while another thread adds one, just before they go in."""

    def __init__(self, records: list[int], buffer: Buffer) -> None:
        super().__init__(records)
        self._buffer = buffer

    def __reversed__(self) -> Iterator[int]:
        self._buffer.append(99)
        return super().__reversed__()


def test_a_record_that_comes_while_others_are_put_back_is_not_lost_uncounted() -> None:
    buffer = Buffer(3)
    buffer.put_back(BetweenTwoSteps([1, 2, 3], buffer))
    assert (buffer.take(9), buffer.dropped) == ([2, 3, 99], 1)


def test_the_count_holds_whatever_threads_do_at_the_same_time() -> None:
    buffer = Buffer(8)
    taken: list[int] = []

    def add() -> None:
        for number in range(2_000):
            buffer.append(number)

    def send() -> None:
        for number in range(2_000):
            records = buffer.take(5)
            if number % 2:
                buffer.put_back(records)
            else:
                taken.extend(records)

    threads = [threading.Thread(target=work) for work in (add, add, send, send)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert len(taken) + buffer.dropped + len(buffer) == 4_000
    assert len(buffer) <= 8

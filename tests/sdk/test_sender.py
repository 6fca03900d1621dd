from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from lambdatrace.buffer import Buffer
from lambdatrace.errors import SendError
from lambdatrace.records import Span, SpanContext
from lambdatrace.sender import Sender
from lambdatrace.sinks import Outcome
from lambdatrace.testing import START_NS, MemorySink, SettableClock

if TYPE_CHECKING:
    from collections.abc import Sequence

S = 1_000_000_000


class Bench:
    """A sender over a memory sink, with its reports kept."""

    def __init__(
        self, outcomes: Sequence[Outcome | BaseException] | None = None, spans: int = 3
    ) -> None:
        self.clock = SettableClock()
        self.sink = MemorySink(outcomes)
        self.buffer = Buffer(10)
        self.reports: list[str] = []
        self.sender = Sender(
            self.buffer,
            self.sink,
            self.clock,
            batch_size_max=2,
            timeout_ms_max=10_000,
            on_error=lambda place, error: self.reports.append(f"{place}: {error}"),
            random=lambda: 0.0,
        )
        for number in range(spans):
            context = SpanContext("1" * 32, f"{number + 1:016x}")
            self.buffer.append(Span(f"s{number}", context, None, 1))

    def sent(self) -> list[str]:
        return [span.name for span in self.sink.spans]


def test_everything_that_waits_is_sent_in_batches() -> None:
    bench = Bench()
    assert bench.sender.send_pending(START_NS + 3 * S)
    assert bench.sent() == ["s0", "s1", "s2"]
    assert bench.sink.timeouts_s == [2.98, 2.98]
    assert (bench.sender.sent, bench.sender.retried, bench.sender.rejected) == (3, 0, 0)


def test_spans_wait_in_order_when_the_endpoint_cannot_be_reached_and_go_when_it_can() -> None:
    bench = Bench([SendError("refused")])
    assert not bench.sender.send_pending(0)
    assert not bench.sender.send_pending(0), "it is left alone for a second"
    bench.clock.advance(1000)
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s0", "s1", "s2"]
    assert len(bench.sink.timeouts_s) == 3
    assert bench.reports == ["spans could not be sent and wait: refused"]
    assert (bench.sender.sent, bench.sender.retried) == (3, 2)


def test_an_answer_that_may_be_retried_is_retried_after_what_it_says() -> None:
    bench = Bench([Outcome(is_accepted=False, retry_after_s=5, message="HTTP 503")])
    assert not bench.sender.send_pending(0)
    bench.clock.advance(4999)
    assert not bench.sender.send_pending(0)
    bench.clock.advance(1)
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s0", "s1", "s2"]


def test_a_refused_batch_is_counted_and_does_not_hold_up_the_next() -> None:
    bench = Bench([Outcome(is_accepted=True, rejected=2, message="HTTP 400 no")])
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s2"]
    assert (bench.sender.sent, bench.sender.rejected) == (1, 2)
    assert bench.reports == ["spans were refused by the endpoint: HTTP 400 no"]


def test_the_part_of_a_batch_that_was_not_sent_waits_alone() -> None:
    settled: list[str] = []
    bench = Bench([Outcome(is_accepted=False, unsent=1, message="no time")])
    bench.sender._on_settled = lambda spans: settled.extend(span.name for span in spans)
    assert not bench.sender.send_pending(0)
    assert (bench.sender.sent, bench.sender.retried, settled) == (1, 1, ["s0"])
    assert [span.name for span in bench.buffer.take(10)] == ["s1", "s2"]
    assert bench.reports == ["spans could not be sent and wait: no time"]


def test_nothing_is_sent_when_no_time_is_left() -> None:
    bench = Bench()
    assert not bench.sender.send_pending(START_NS + 1)
    assert bench.sink.timeouts_s == []
    assert len(bench.buffer) == 3


def test_given_spans_go_before_what_waits() -> None:
    bench = Bench(spans=1)
    late = Span("late", SpanContext("1" * 32, "f" * 16), None, 1)
    assert bench.sender.send_now([late], START_NS + 3 * S)
    assert bench.sender.send_pending(START_NS + 3 * S)
    assert bench.sent() == ["late", "s0"]


def test_a_batch_that_is_too_large_is_sent_in_halves() -> None:
    bench = Bench([Outcome(is_accepted=False, is_too_large=True)])
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s0", "s1", "s2"]
    assert len(bench.sink.timeouts_s) == 4
    assert bench.sender.sent == 3


def test_a_sink_that_fails_in_its_own_way_costs_its_batch_which_is_counted() -> None:
    bench = Bench([ValueError("odd")])
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s2"]
    assert (bench.sender.sent, bench.sender.unwritable) == (1, 2)
    assert bench.reports == ["spans could not be written: odd"]


def test_what_ends_the_thread_meanwhile_leaves_its_batch_waiting() -> None:
    ends = [Outcome(is_accepted=False, is_too_large=True), Outcome(is_accepted=True)]
    bench = Bench([*ends, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        bench.sender.send_pending(0)
    assert (bench.sender.sent, bench.sender.retried, len(bench.buffer)) == (1, 1, 2)
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s0", "s1", "s2"]
    assert bench.reports == []


def test_who_interrupts_a_send_of_its_own_thread_is_told_so_at_once() -> None:
    bench = Bench()
    within: list[object] = []
    other = Span("other", SpanContext("1" * 32, "f" * 16), None, 1)

    def signal_handler() -> None:
        bench.buffer.append(other)
        within.append(bench.sender.send_pending(0))
        within.append(bench.sender.send_now([other], 0))
        within.append(bench.sender.is_sending())
        bench.buffer.discard(other)

    started_s = time.monotonic()
    assert bench.sender.send_pending(0, signal_handler)
    assert time.monotonic() - started_s < 5, "another thread's send is waited for 10 s"
    assert within == [False, False, True] * 2
    assert bench.sent() == ["s0", "s1", "s2"]
    assert not bench.sender.is_sending()


def test_given_spans_go_in_batches_too() -> None:
    bench = Bench(spans=0)
    spans = [Span(f"o{n}", SpanContext("1" * 32, f"{n + 1:016x}"), None, 1) for n in range(5)]
    assert bench.sender.send_now(spans, START_NS + 3 * S)
    assert bench.sent() == ["o0", "o1", "o2", "o3", "o4"]
    assert len(bench.sink.timeouts_s) == 3


def test_of_a_batch_sent_in_halves_only_what_was_not_stored_is_sent_again() -> None:
    busy = Outcome(is_accepted=False, retry_after_s=1, message="HTTP 503")
    bench = Bench([Outcome(is_accepted=False, is_too_large=True), Outcome(is_accepted=True), busy])
    assert not bench.sender.send_pending(0)
    assert (bench.sent(), len(bench.buffer)) == (["s0"], 2)
    bench.clock.advance(1000)
    assert bench.sender.send_pending(0)
    assert bench.sent() == ["s0", "s1", "s2"]
    assert (bench.sender.sent, bench.sender.retried) == (3, 1)


def test_what_could_not_be_encoded_is_counted_apart_from_what_was_refused() -> None:
    bench = Bench([Outcome(is_accepted=True, unencodable=1)])
    assert bench.sender.send_pending(0)
    assert (bench.sender.sent, bench.sender.rejected, bench.sender.unencodable) == (2, 0, 1)


def test_senders_that_failed_together_try_again_at_different_times() -> None:
    bench = Bench([SendError("refused")])
    bench.sender._random = lambda: 1.0
    assert not bench.sender.send_pending(0)
    bench.clock.advance(799)
    assert not bench.sender.send_pending(0)
    bench.clock.advance(1)
    assert bench.sender.send_pending(0)

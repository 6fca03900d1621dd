from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import EventInvokeConfig
from lambdatrace.harness.clock import VirtualClock
from lambdatrace.harness.concurrency import Concurrency
from lambdatrace.harness.errors import DeliveryError, InvokeError
from lambdatrace.harness.event_queue import EventQueue
from lambdatrace.harness.invocation import Invocation, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lambdatrace.harness.destinations import AwsCall
    from lambdatrace.harness.metrics import Sample

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:"
OK, FAILED = Outcome(b"1"), Outcome(b'{"errorMessage":"no"}', "Unhandled")
THROTTLED = InvokeError(429, "TooManyRequestsException", "Rate Exceeded.")


class Bench:
    """An EventQueue whose function gives `results` one after the other, at once."""

    def __init__(
        self, results: Sequence[Outcome | ValueError | InvokeError | None], **config: Any
    ) -> None:
        self.results = list(results)
        self.config = EventInvokeConfig(**config)
        self.target = ""
        self.is_without_concurrency = False
        self.samples: list[tuple[str, float]] = []
        self.attempts: list[tuple[float, Invocation]] = []
        self.calls: list[AwsCall] = []
        self.settled: list[Callable[[DeliveryError | None], None]] = []
        self.clock = VirtualClock(0.0)
        self.queue = EventQueue(self.submit, self, self.clock, self)

    def submit(self, invocation: Invocation) -> None:
        self.attempts.append((self.clock.now_s(), invocation))
        result = self.results.pop(0)
        if isinstance(result, ValueError):
            raise result
        if isinstance(result, Outcome):
            invocation.answer(result)
        elif result is not None:
            invocation.refuse(result)

    def send(self, call: AwsCall, settled: Callable[[DeliveryError | None], None]) -> None:
        self.calls.append(call)
        self.settled.append(settled)

    def event_invoke_config(self, _: Invocation) -> EventInvokeConfig:
        return self.config

    def dead_letter_target(self, _: Invocation) -> str:
        return self.target

    def has_no_concurrency(self, _: Invocation) -> bool:
        return self.is_without_concurrency

    def sampled(self, sample: Sample) -> None:
        self.samples.append((sample.metric, sample.value))

    async def put(self, payload: bytes = b"{}") -> Invocation:
        invocation = event(payload)
        self.queue.put(invocation)
        await asyncio.sleep(0)
        return invocation

    @property
    def times_s(self) -> list[float]:
        return [at_s for at_s, _ in self.attempts]


def event(payload: bytes = b"{}") -> Invocation:
    def unexpected(value: object) -> None:
        raise AssertionError(value)

    return Invocation(payload, ARN, answer=unexpected, refuse=unexpected)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


def test_an_event_that_succeeds_is_executed_once() -> None:
    async def scene() -> None:
        bench = Bench([OK])
        invocation = await bench.put()
        assert [i.request_id for _, i in bench.attempts] == [invocation.request_id]
        assert bench.queue.pending == 0
        assert bench.samples == [
            ("AsyncEventsReceived", 1.0),
            ("AsyncEventAge", 0.0),
            ("AsyncEventsDropped", 0.0),
        ]

    play(scene)


def test_a_failing_event_is_tried_again_after_one_minute_and_two_with_the_same_request_id() -> None:
    async def scene() -> None:
        bench = Bench([FAILED, FAILED, FAILED])
        await bench.put()
        bench.clock.move_to(1000.0)
        assert bench.times_s == [0.0, 60.0, 180.0]
        assert len({invocation.request_id for _, invocation in bench.attempts}) == 1
        assert bench.queue.pending == 0
        assert bench.samples == [
            ("AsyncEventsReceived", 1.0),
            ("AsyncEventAge", 0.0),
            ("AsyncEventAge", 60_000.0),
            ("AsyncEventAge", 180_000.0),
            ("AsyncEventsDropped", 1.0),
        ]

    play(scene)


def test_a_throttled_event_goes_back_to_the_queue_until_it_is_too_old() -> None:
    async def scene() -> None:
        bench = Bench([THROTTLED] * 20, maximum_event_age_in_seconds=60)
        await bench.put()
        bench.clock.move_to(1000.0)
        assert bench.times_s == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
        assert bench.samples[-1] == ("AsyncEventsDropped", 1.0)

    play(scene)


def test_throttles_are_no_attempts() -> None:
    async def scene() -> None:
        bench = Bench([THROTTLED, FAILED, THROTTLED, OK], maximum_retry_attempts=1)
        await bench.put()
        bench.clock.move_to(1000.0)
        assert bench.times_s == [0.0, 1.0, 61.0, 62.0]
        assert bench.samples[-1] == ("AsyncEventsDropped", 0.0)

    play(scene)


def test_an_event_cut_short_by_its_environments_end_goes_back_to_the_queue() -> None:
    async def scene() -> None:
        bench = Bench([Outcome(b"{}", "Unhandled", is_cut_short=True), OK])
        await bench.put()
        bench.clock.move_to(1.0)
        assert bench.times_s == [0.0, 1.0]
        assert bench.queue.pending == 0

    play(scene)


def test_a_function_without_concurrency_is_not_tried() -> None:
    async def scene() -> None:
        bench = Bench([])
        bench.is_without_concurrency = True
        await bench.put()
        assert bench.samples == [("AsyncEventsReceived", 1.0), ("AsyncEventsDropped", 1.0)]

    play(scene)


def test_a_fault_in_starting_an_event_does_not_lose_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        bench = Bench([ValueError("of the harness"), OK])
        await bench.put()
        bench.clock.move_to(1000.0)
        assert bench.times_s == [0.0, 1.0]
        assert bench.samples[-1] == ("AsyncEventsDropped", 0.0)

    play(scene)
    assert caplog.messages == [f"an event of {ARN}:$LATEST could not be started"]


def test_an_event_that_calls_itself_in_a_loop_is_dropped_at_once() -> None:
    async def scene() -> None:
        bench = Bench([InvokeError(400, "RecursiveInvocationException", "Recursive")])
        await bench.put()
        assert bench.queue.pending == 0
        assert bench.samples[-1] == ("AsyncEventsDropped", 1.0)

    play(scene)


def test_a_failure_is_told_to_the_destination_and_to_the_dead_letter_queue() -> None:
    async def scene() -> None:
        bench = Bench([FAILED], maximum_retry_attempts=0, on_failure=f"{QUEUE}failed")
        bench.target = f"{QUEUE}dead"
        await bench.put()
        assert [call.queue[0] for call in bench.calls] == ["failed", "dead"]
        assert (bench.queue.pending, bench.queue.undelivered) == (1, 1)
        bench.settled[0](None)
        bench.settled[1](DeliveryError("sqs", "send_message", "no such queue"))
        await asyncio.wait_for(bench.queue.wait_settled(), 10)
        assert bench.queue.pending == 0
        assert bench.samples[-2:] == [("AsyncEventsDropped", 1.0), ("DeadLetterErrors", 1.0)]

    play(scene)


def test_a_success_is_told_to_its_destination_alone() -> None:
    async def scene() -> None:
        bench = Bench([OK], on_failure=f"{QUEUE}failed", on_success=f"{QUEUE}done")
        bench.target = f"{QUEUE}dead"
        await bench.put()
        assert [call.queue[0] for call in bench.calls] == ["done"]
        bench.settled[0](DeliveryError("sqs", "send_message", "no such queue"))
        await asyncio.wait_for(bench.queue.wait_settled(), 10)
        assert bench.samples[-1] == ("DestinationDeliveryFailures", 1.0)

    play(scene)


@pytest.mark.parametrize(
    ("bound", "value", "payload"), [("QUEUED_MAX", 2, b"{}"), ("QUEUED_BYTES_MAX", 5, b"{}")]
)
def test_a_full_queue_refuses_the_event_and_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int, payload: bytes
) -> None:
    monkeypatch.setattr(f"lambdatrace.harness.event_queue.{bound}", value)

    async def scene() -> None:
        bench = Bench([OK, OK])
        bench.queue.put(event(payload))
        bench.queue.put(event(payload))
        with pytest.raises(InvokeError, match="queue of this local Lambda is full") as caught:
            bench.queue.put(event(payload))
        assert (caught.value.status, caught.value.code) == (429, "TooManyRequestsException")
        assert bench.queue.pending == 2
        await asyncio.sleep(0)
        assert bench.queue.pending == 0

    play(scene)


def test_a_closed_queue_attempts_nothing_more_and_keeps_the_count_of_what_it_holds() -> None:
    async def scene() -> None:
        bench = Bench([THROTTLED, None, None])
        await bench.put()  # waits for its next attempt
        await bench.put()  # is executed, to the end
        await bench.put()  # is executed, and cut short
        bench.queue.put(event())
        bench.queue.close()
        bench.attempts[1][1].answer(OK)
        bench.attempts[2][1].answer(Outcome(b"{}", "Unhandled", is_cut_short=True))
        await asyncio.sleep(0)
        bench.clock.move_to(1000.0)
        assert len(bench.attempts) == 3
        assert (bench.queue.pending, bench.queue.undelivered) == (3, 0)

    play(scene)


def test_concurrency_counts_per_function_and_in_all() -> None:
    concurrency = Concurrency(limit=3)
    assert [concurrency.enter(name) for name in ("a", "b", "a")] == [(1, 1), (1, 2), (2, 3)]
    with pytest.raises(InvokeError, match="Rate Exceeded") as caught:
        concurrency.enter("c")
    assert caught.value.reason == "ConcurrentInvocationLimitExceeded"
    concurrency.leave("a")
    assert concurrency.enter("b") == (2, 3)


def test_a_function_has_its_reserved_concurrency_and_no_more() -> None:
    concurrency = Concurrency(limit=3)
    concurrency.reserve("a", 1)
    concurrency.enter("a")
    with pytest.raises(InvokeError, match="Rate Exceeded") as caught:
        concurrency.enter("a")
    assert caught.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"

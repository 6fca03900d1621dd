from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness.concurrency import Concurrency
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.event_queue import EventQueue, throttle_delay_s
from lambdatrace.harness.invocation import Invocation, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


def event(payload: bytes = b"{}") -> Invocation:
    def unexpected(value: object) -> None:
        raise AssertionError(value)

    return Invocation(payload, "arn", answer=unexpected, refuse=unexpected)


def with_queue(play: Callable[[EventQueue, list[Invocation]], None]) -> list[Invocation]:
    """Runs `play` with a queue; gives the invocations that were submitted, in order."""
    submitted: list[Invocation] = []

    async def main() -> None:
        queue = EventQueue(submitted.append)
        play(queue, submitted)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for invocation in submitted:
            invocation.answer(Outcome(b"1"))
        assert queue.pending == 0
        queue.close()

    asyncio.run(main())
    return submitted


def test_an_event_is_submitted_once_and_done_when_executed() -> None:
    wanted = event()
    assert with_queue(lambda queue, _: queue.put(wanted)) == [wanted]


@pytest.mark.parametrize(
    ("bound", "value", "payload"), [("QUEUED_MAX", 2, b"{}"), ("QUEUED_BYTES_MAX", 5, b"{}")]
)
def test_a_full_queue_refuses_the_event_and_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int, payload: bytes
) -> None:
    monkeypatch.setattr(f"lambdatrace.harness.event_queue.{bound}", value)

    def play(queue: EventQueue, _: list[Invocation]) -> None:
        queue.put(event(payload))
        queue.put(event(payload))
        with pytest.raises(InvokeError, match="queue of this local Lambda is full") as caught:
            queue.put(event(payload))
        assert (caught.value.status, caught.value.code) == (429, "TooManyRequestsException")
        assert queue.pending == 2

    assert len(with_queue(play)) == 2


def test_a_throttled_event_waits_and_is_submitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdatrace.harness.event_queue.THROTTLE_FIRST_S", 0.001)
    attempts = 0

    async def main() -> None:
        done = asyncio.Event()

        def submit(invocation: Invocation) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                invocation.refuse(InvokeError(429, "TooManyRequestsException", "Rate Exceeded."))
            else:
                invocation.answer(Outcome(b"1"))
                done.set()

        queue = EventQueue(submit)
        queue.put(event())
        await asyncio.wait_for(done.wait(), 10)
        assert queue.pending == 0

    asyncio.run(main())
    assert attempts == 3


def test_a_closed_queue_submits_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdatrace.harness.event_queue.THROTTLE_FIRST_S", 0.0)
    submitted: list[Invocation] = []

    async def main() -> None:
        queue = EventQueue(submitted.append)
        waiting, throttled = event(), event()
        queue.put(throttled)
        await asyncio.sleep(0)
        queue.put(waiting)
        assert queue.close() == 2
        throttled.refuse(InvokeError(429, "TooManyRequestsException", "Rate Exceeded."))
        await asyncio.sleep(0.01)
        assert submitted == [throttled]

    asyncio.run(main())


def test_the_delay_doubles_from_one_second_to_five_minutes() -> None:
    assert [throttle_delay_s(n) for n in (1, 2, 3, 9, 10, 99)] == [1, 2, 4, 256, 300, 300]


def test_concurrency_counts_per_function_and_in_all() -> None:
    concurrency = Concurrency(limit=3)
    assert [concurrency.enter(name) for name in ("a", "b", "a")] == [(1, 1), (1, 2), (2, 3)]
    with pytest.raises(InvokeError, match="Rate Exceeded") as caught:
        concurrency.enter("c")
    assert caught.value.reason == "ConcurrentInvocationLimitExceeded"
    concurrency.leave("a")
    assert concurrency.enter("b") == (2, 3)

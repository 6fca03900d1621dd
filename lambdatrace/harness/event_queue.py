"""Asynchronous invokes: accepted at once, executed when there is room, told of when they end.

`async_event` decides what follows an attempt; here it is done: timers, attempts, deliveries and
their samples for `AWS/Lambda`. An event is held until its last delivery is settled.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness import async_event
from lambdatrace.harness.async_event import AsyncEvent, Response
from lambdatrace.harness.destinations import AwsCall, dead_letter_call, destination_call
from lambdatrace.harness.errors import DeliveryError, InvokeError
from lambdatrace.harness.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.clock import Clock, Timer
    from lambdatrace.harness.event_invoke_config import EventInvokeConfig
    from lambdatrace.harness.invocation import Invocation, Outcome

_log = logging.getLogger("lambdatrace.harness")

QUEUED_MAX = 10_000  # events held, over all functions
QUEUED_BYTES_MAX = 64 * 1024 * 1024  # of their payloads: what a harness may hold in memory for them

# No later attempt would be taken: the function was deleted, or it calls itself in a loop.
FINAL_REFUSALS = {
    "ResourceNotFoundException": async_event.RETRIES_EXHAUSTED,
    "RecursiveInvocationException": async_event.RECURSIVE_INVOCATION,
}


class Settings(Protocol):
    """What an EventQueue needs to know of functions, asked anew for each decision."""

    def event_invoke_config(self, invocation: Invocation) -> EventInvokeConfig:
        """The settings for the function and qualifier that the event was for."""

    def dead_letter_target(self, invocation: Invocation) -> str:
        """The ARN for an event given up; empty for none."""

    def has_no_concurrency(self, invocation: Invocation) -> bool:
        """Whether zero concurrent executions are reserved for the function."""

    def sampled(self, sample: Sample) -> None:
        """Takes one sample."""


class Sender(Protocol):
    """Who makes the calls that tell of an event's end."""

    def send(self, call: AwsCall, settled: Callable[[DeliveryError | None], None]) -> None:
        """Makes `call` and then calls `settled`, in whatever thread."""


class EventQueue:
    """Events that wait for an environment. `submit` gives one to its function."""

    def __init__(
        self,
        submit: Callable[[Invocation], None],
        settings: Settings,
        clock: Clock,
        delivery: Sender,
    ) -> None:
        self._submit = submit
        self._settings = settings
        self._clock = clock
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()
        self._bytes = 0
        self._is_closed = False
        self._timers: dict[str, Timer] = {}
        self._pending: dict[str, AsyncEvent] = {}
        self._changed = asyncio.Event()

    @property
    def pending(self) -> int:
        """Events accepted and not yet executed, and told of, to the end."""
        return len(self._pending)

    @property
    def undelivered(self) -> int:
        """Of these, those that have ended, but a destination or dead-letter queue is not told."""
        return sum(bool(event.deliveries) for event in self._pending.values())

    def put(self, invocation: Invocation) -> None:
        """Accepts an event. Raises InvokeError (429) when the queue is full."""
        size = len(invocation.payload)
        if len(self._pending) >= QUEUED_MAX or self._bytes + size > QUEUED_BYTES_MAX:
            raise InvokeError(
                429,
                "TooManyRequestsException",
                f"The queue of this local Lambda is full ({QUEUED_MAX} events or "
                f"{QUEUED_BYTES_MAX} bytes): retry later",
                "ConcurrentInvocationLimitExceeded",
            )
        self._bytes += size
        event = AsyncEvent(invocation, self._clock.now_s())
        self._pending[invocation.request_id] = event
        self._sample(event, "AsyncEventsReceived", 1.0)
        self._loop.call_soon(self._attempt, event)

    async def wait_settled(self) -> None:
        """Returns when every event held waits for its time: none is executed or being told of."""
        while any(
            request_id not in self._timers or event.deliveries
            for request_id, event in self._pending.items()
        ):
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Nothing is attempted any more; what is being delivered may go on."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def wait_delivered(self) -> None:
        """Returns when nothing is being delivered."""
        while any(event.deliveries for event in self._pending.values()):
            self._changed.clear()
            await self._changed.wait()

    # Attempts

    def _attempt(self, event: AsyncEvent) -> None:
        self._timers.pop(event.invocation.request_id, None)
        if self._is_closed:
            return
        now_s = self._clock.now_s()
        if async_event.is_too_old(event, self._config(event), now_s):
            self._end(event, async_event.EVENT_AGE_EXCEEDED)
            return
        if self._settings.has_no_concurrency(event.invocation):
            event.response = None
            self._end(event, async_event.ZERO_RESERVED_CONCURRENCY)
            return
        self._sample(event, "AsyncEventAge", (now_s - event.accepted_s) * 1000, "Milliseconds")
        attempt = event.invocation.attempt(event.attempts + 1)
        attempt.answer = lambda outcome: self._executed(event, outcome, attempt.executed_version)
        attempt.refuse = lambda error: self._refused(event, error)
        try:
            self._submit(attempt)
        except Exception:  # noqa: BLE001 - a fault of the harness is no reason to lose an event
            _log.exception("an event of %s could not be started", event.function_arn)
            self._refused(event, InvokeError(500, "ServiceException", "Internal error"))

    def _executed(self, event: AsyncEvent, outcome: Outcome, executed_version: str) -> None:
        if outcome.is_cut_short:  # the service's fault, or its end: no attempt of the function's
            self._refused(event, InvokeError(500, "ServiceException", "The environment was ended"))
            return
        event.attempts += 1
        event.refusals = 0
        is_failed = bool(outcome.function_error)
        event.response = Response(
            200,
            async_event.error_message(outcome.payload) if is_failed else "",
            outcome.payload,
            outcome.function_error,
            executed_version,
        )
        if is_failed:
            decide = async_event.after_function_error
            self._wait_or_end(event, *decide(event, self._config(event), self._clock.now_s()))
        else:
            self._end(event, async_event.SUCCESS)

    def _refused(self, event: AsyncEvent, error: InvokeError) -> None:
        if self._is_closed:
            return
        event.refusals += 1
        event.response = Response(error.status, error.message)
        if error.code in FINAL_REFUSALS:
            self._end(event, FINAL_REFUSALS[error.code])
            return
        decide = async_event.after_refusal
        self._wait_or_end(event, *decide(event, self._config(event), self._clock.now_s()))

    def _wait_or_end(self, event: AsyncEvent, delay_s: float, condition: str) -> None:
        if condition:
            self._end(event, condition)
        elif not self._is_closed:
            request_id = event.invocation.request_id
            self._timers[request_id] = self._clock.call_later(delay_s, lambda: self._attempt(event))
            self._changed.set()

    # The end

    def _end(self, event: AsyncEvent, condition: str) -> None:
        """The event is decided: tells the destination and the dead-letter queue."""
        event.condition = condition
        is_dropped = condition != async_event.SUCCESS
        self._sample(event, "AsyncEventsDropped", float(is_dropped))
        config = self._config(event)
        destination = config.on_failure if is_dropped else config.on_success
        if destination:
            call = destination_call(event, destination, self._clock.now_s())
            self._deliver(event, call, "DestinationDeliveryFailures")
        target = self._settings.dead_letter_target(event.invocation) if is_dropped else ""
        if target:
            self._deliver(event, dead_letter_call(event, target), "DeadLetterErrors")
        if not event.deliveries:
            self._release(event)

    def _deliver(self, event: AsyncEvent, call: AwsCall, failure_metric: str) -> None:
        event.deliveries += 1

        def settled(error: DeliveryError | None) -> None:
            self._loop.call_soon_threadsafe(self._delivered, event, failure_metric, error)

        self._delivery.send(call, settled)

    def _delivered(
        self, event: AsyncEvent, failure_metric: str, error: DeliveryError | None
    ) -> None:
        event.deliveries -= 1
        if error:
            self._sample(event, failure_metric, 1.0)
        if not event.deliveries:
            self._release(event)

    def _release(self, event: AsyncEvent) -> None:
        del self._pending[event.invocation.request_id]
        self._bytes -= len(event.invocation.payload)
        self._changed.set()

    def _config(self, event: AsyncEvent) -> EventInvokeConfig:
        return self._settings.event_invoke_config(event.invocation)

    def _sample(self, event: AsyncEvent, metric: str, value: float, unit: str = "Count") -> None:
        at_ms = self._clock.now_s() * 1000
        arn = event.invocation.invoked_function_arn
        self._settings.sampled(Sample.of_invoke(arn, metric, value, at_ms, unit))

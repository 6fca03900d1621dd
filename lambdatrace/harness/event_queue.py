"""Asynchronous invokes: accepted at once, executed when there is room.

Each event is executed once. What follows a failed execution (retries, destinations, a dead-letter
queue) is decided where `after_execution` is called.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import InvokeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.invocation import Invocation, Outcome

QUEUED_MAX = 10_000  # events waiting, over all functions
QUEUED_BYTES_MAX = 64 * 1024 * 1024  # of their payloads: what a harness may hold in memory for them
THROTTLE_FIRST_S, THROTTLE_LAST_S = 1.0, 300.0  # Lambda's own backoff for throttled events


def throttle_delay_s(attempts: int) -> float:
    """How long a throttled event waits before its next attempt: 1 s, doubled up to 5 minutes."""
    return min(THROTTLE_LAST_S, THROTTLE_FIRST_S * 2.0 ** (attempts - 1))


class EventQueue:
    """Events that wait for an environment. `submit` gives one to its function."""

    def __init__(self, submit: Callable[[Invocation], None]) -> None:
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        self._bytes = 0
        self._is_closed = False
        self._delayed: dict[str, asyncio.TimerHandle] = {}
        self._attempts: dict[str, int] = {}
        self._pending: dict[str, Invocation] = {}

    @property
    def pending(self) -> int:
        """Events accepted and not yet executed to the end."""
        return len(self._pending)

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
        self._pending[invocation.request_id] = invocation
        invocation.answer = lambda outcome: self.after_execution(invocation, outcome)
        invocation.refuse = lambda _: self._throttled(invocation)
        self._loop.call_soon(self._attempt, invocation)

    def after_execution(
        self,
        invocation: Invocation,
        outcome: Outcome,  # noqa: ARG002 - what follows a failed execution would be decided by it
    ) -> None:
        """The event was executed, well or not: it is done."""
        if self._pending.pop(invocation.request_id, None):
            self._bytes -= len(invocation.payload)
            self._attempts.pop(invocation.request_id, None)

    def close(self) -> int:
        """Gives up what waits; gives the number of events lost, those being executed included."""
        self._is_closed = True
        for timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()
        return len(self._pending)

    def _attempt(self, invocation: Invocation) -> None:
        self._delayed.pop(invocation.request_id, None)
        if not self._is_closed:
            self._submit(invocation)

    def _throttled(self, invocation: Invocation) -> None:
        if self._is_closed:
            return
        attempts = self._attempts.get(invocation.request_id, 0) + 1
        self._attempts[invocation.request_id] = attempts
        self._delayed[invocation.request_id] = self._loop.call_later(
            throttle_delay_s(attempts), self._attempt, invocation
        )

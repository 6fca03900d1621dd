"""Time for what waits minutes or hours on AWS: the system's, or one that a test moves.

Every method belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """It will not come; no error if it has."""


class Clock(Protocol):
    """What waits asks it for the time and to be called."""

    def now_s(self) -> float:
        """Unix time in seconds."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Has `callback` called in `delay_s` seconds."""

    def ahead_s(self) -> float:
        """What to add to the machine's time for the time stamps of what really runs."""


class SystemClock:
    """The machine's time and the running event loop's timers."""

    def now_s(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Has `callback` called by the event loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)

    def ahead_s(self) -> float:
        """Nothing: it is the machine's time."""
        return 0.0


class _VirtualTimer:
    """An entry of a VirtualClock."""

    def __init__(self, due_s: float, callback: Callable[[], None]) -> None:
        self.due_s = due_s
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Stands still until it is moved; starts at `start_s`, by default now.

    Functions take their real time: what they log and are measured by is stamped with that time
    after the clock's own.
    """

    def __init__(self, start_s: float | None = None) -> None:
        self._made_s = time.time()
        self._now_s = self._made_s if start_s is None else start_s
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._order = itertools.count()

    def now_s(self) -> float:
        """Unix time in seconds."""
        return self._now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Has `callback` called when the clock is moved there."""
        timer = _VirtualTimer(self._now_s + delay_s, callback)
        heapq.heappush(self._timers, (timer.due_s, next(self._order), timer))
        return timer

    def ahead_s(self) -> float:
        """By how much it was moved, or started at another time than the machine's."""
        return self._now_s - self._made_s

    @property
    def next_due_s(self) -> float | None:
        """When the next call comes; None when nothing waits."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def move_to(self, time_s: float) -> None:
        """Moves on to `time_s`, making each call that is due at its own time, in order."""
        while (due_s := self.next_due_s) is not None and due_s <= time_s:
            _, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            self._now_s = max(self._now_s, due_s)
            if callback:
                callback()
        self._now_s = max(self._now_s, time_s)

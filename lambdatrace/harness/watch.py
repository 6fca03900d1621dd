"""Time and memory of an init or invoke that is under way: what goes over its limit is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lambdatrace.harness.sandbox import Sandbox

SAMPLE_S = 0.1  # how often a running invoke's processes are measured
SAMPLE_NEAR_S = 0.01  # and when they have this share of what they may have
NEAR_SHARE = 0.7


class Watch:
    """Watches one environment's processes, between `begin` and `end`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, memory_bytes_max: int) -> None:
        self._loop = loop
        self._memory_bytes_max = memory_bytes_max
        self._sandbox: Sandbox | None = None
        self._deadline: float | None = None
        self._timed_out: Callable[[], None] = _nothing
        self._timer: asyncio.TimerHandle | None = None
        self._is_out_of_memory = False

    def begin(
        self,
        sandbox: Sandbox,
        left_s: float | None = None,
        timed_out: Callable[[], None] | None = None,
    ) -> None:
        """Measures memory from now on, and calls `timed_out` in `left_s`."""
        self._sandbox = sandbox
        self._is_out_of_memory = False  # of one that timed out before its end was noticed
        self._timed_out = timed_out or _nothing
        self._deadline = None if left_s is None else self._loop.time() + left_s
        first_s = SAMPLE_S if left_s is None else min(left_s, SAMPLE_S)
        self._timer = self._loop.call_later(first_s, self._look)

    def end(self) -> None:
        """It is over."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def take_out_of_memory(self) -> bool:
        """Whether the runtime that has just ended was killed for its memory; told once."""
        is_it, self._is_out_of_memory = self._is_out_of_memory, False
        return is_it

    def _look(self) -> None:
        left_s = SAMPLE_S if self._deadline is None else self._deadline - self._loop.time()
        if left_s <= 0:
            self._timed_out()
        else:
            next_s = min(left_s, self._measure_memory())
            self._timer = self._loop.call_later(next_s, self._look)

    def _measure_memory(self) -> float:
        """Kills a runtime that has taken more than it may; seconds until it is to be seen again."""
        sandbox = self._sandbox
        if sandbox is None:
            return SAMPLE_S
        used_bytes = sandbox.memory.sample()
        if used_bytes > self._memory_bytes_max:
            self._is_out_of_memory = True
            sandbox.kill_runtime()  # as the kernel does; its exit ends the init or invoke
        return SAMPLE_NEAR_S if used_bytes > self._memory_bytes_max * NEAR_SHARE else SAMPLE_S


def _nothing() -> None: ...

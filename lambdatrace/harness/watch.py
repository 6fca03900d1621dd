"""Time and memory of an init or invoke that is under way: what goes over its limit is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lambdatrace.harness.sandbox import Sandbox

SAMPLE_S = 0.1  # how often a running invoke's processes are measured at least
SAMPLE_NEAR_S = 0.005  # and at most
# They are measured again before they can have taken what is left to them. The kernel gave one
# thread 1.5 to 1.8 GB per CPU second in pages of 4 KB; two threads may have a CPU each.
FILL_BYTES_PER_S = 4e9


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
        first_s = self._next_sample_s(sandbox.memory.peak_bytes)
        if left_s is not None:
            first_s = min(left_s, first_s)
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
        return self._next_sample_s(used_bytes)

    def _next_sample_s(self, used_bytes: int) -> float:
        left_s = (self._memory_bytes_max - used_bytes) / FILL_BYTES_PER_S
        return min(max(left_s, SAMPLE_NEAR_S), SAMPLE_S)


def _nothing() -> None: ...

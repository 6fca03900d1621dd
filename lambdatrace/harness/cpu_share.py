"""A share of a CPU for an environment's processes where no control group can give it.

Every few milliseconds their CPU time is read from the kernel's clocks and compared with what they
may have had by now; those that had more are stopped (SIGSTOP) until their share has caught up. The
share is right over tenths of a second, whatever the number of threads; it is less even than a
group's, and a process that was stopped in a system call may see EINTR.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from lambdatrace.harness.memory import descendants

TICK_S = 0.005
BURST_S = 0.02  # CPU time that an invoke finds saved up: a control group's period
CATCH_UP_S = 0.1  # and what it may catch up on while other programs had the machine


class Stoppable(Protocol):
    """The processes whose time is shared out."""

    def leaders(self) -> list[int]:
        """The ids of the running processes; their descendants are found by themselves."""

    def stop_all(self) -> None:
        """Lets no process run."""

    def continue_all(self) -> None:
        """Lets every process run."""


class CpuBudget:
    """How much CPU time may be used: `share` of what passes, with bounds on what is saved up."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left_s = share * BURST_S

    def begin(self) -> None:
        """An invoke begins: no more than the share of BURST_S is left of the time before."""
        self._left_s = min(self._left_s, self._share * BURST_S)

    def charge(self, passed_s: float, used_s: float) -> bool:
        """Adds the share of `passed_s`, takes off `used_s`; whether more was used than there is."""
        saved_s = self._left_s + passed_s * self._share
        self._left_s = min(saved_s, self._share * CATCH_UP_S) - used_s
        return self._left_s < 0


class DutyCycle:
    """Stops and continues the processes of one environment while they are thawed."""

    def __init__(self, processes: Stoppable, share: float) -> None:
        self._processes = processes
        self._budget = CpuBudget(share)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0
        self._used_s: dict[int, float] = {}
        self._is_stopped = False

    def begin(self) -> None:
        """The processes run from now on."""
        if self._timer is None:
            now = time.monotonic()
            self._budget.charge(now - self._looked_at, 0.0)
            self._budget.begin()
            self._looked_at = now
            self._is_stopped = False
            self._timer = self._loop.call_later(TICK_S, self._tick)

    def end(self) -> None:
        """They are frozen, or about to end: whoever says so stops or continues them from here."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
            now = time.monotonic()
            self._budget.charge(now - self._looked_at, self._used())
            self._looked_at = now

    def _tick(self) -> None:
        now = time.monotonic()
        is_over = self._budget.charge(now - self._looked_at, self._used())
        self._looked_at = now
        if is_over and not self._is_stopped:
            self._processes.stop_all()
        elif self._is_stopped and not is_over:
            self._processes.continue_all()
        self._is_stopped = is_over
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _used(self) -> float:
        """The CPU seconds used since the last look."""
        leaders = self._processes.leaders()
        used_s = {pid: _cpu_s(pid) for leader in leaders for pid in (leader, *descendants(leader))}
        before, self._used_s = self._used_s, used_s
        return sum(max(0.0, total_s - before.get(pid, 0.0)) for pid, total_s in used_s.items())


def _cpu_s(pid: int) -> float:
    """The CPU time of a process, all its threads, in seconds; 0 for one that has gone."""
    try:
        # The id of a process's CPU clock, as glibc's clock_getcpuclockid makes it.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0

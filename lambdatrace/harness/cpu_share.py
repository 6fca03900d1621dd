"""A share of a CPU for an environment's processes where no control group can give it.

Every few milliseconds their CPU time is read from the kernel's clocks and compared with what they
may have had by now; those that had more are stopped (SIGSTOP) until their share has caught up. The
share is right over tenths of a second, whatever the number of threads; it is less even than a
group's, and a process that was stopped in a system call may see EINTR.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol

from lambdatrace.harness.memory import descendants

TICK_S = 0.005
BURST_S = 0.02  # CPU time that an invoke finds saved up: a control group's period
CATCH_UP_S = 0.1  # and what it may catch up on while other programs had the machine
_KERNEL_TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # what /proc counts CPU time in
_STAT_BYTES = 4096


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
        self._total_s = self._measure()  # an init's CPU time is not the invokes' to pay for
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
        """The CPU seconds used since the last look.

        A little less than none where a child was reaped, whose time is rounded down then; none
        where a process has left the tree, and has taken its time along.
        """
        before, self._total_s = self._total_s, self._measure()
        used_s = self._total_s - before
        return used_s if used_s > -2 * _KERNEL_TICK_S else 0.0  # user and system time

    def _measure(self) -> float:
        """The CPU seconds of the processes, and of their children that are no more."""
        leaders = self._processes.leaders()
        return sum(cpu_s(pid) for leader in leaders for pid in (leader, *descendants(leader)))


def cpu_s(pid: int) -> float:
    """The CPU time of a process, all its threads and the children it has reaped, in seconds.

    0 for one that has gone.
    """
    try:
        # The id of a process's CPU clock, as glibc's clock_getcpuclockid makes it.
        own_s = time.clock_gettime(~pid << 3 | 2)
        stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            fields = os.read(stat, _STAT_BYTES).rpartition(b")")[2].split()
        finally:
            os.close(stat)
    except OSError:
        return 0.0
    user, system = fields[13:15]  # cutime and cstime of proc_pid_stat(5)
    return own_s + (int(user) + int(system)) * _KERNEL_TICK_S

"""When the process started and what its init was spent on.

The kernel tells the start of a process in ticks of 10 ms; the CPU time used so far tells how long
ago it was at least. Starting up is almost all CPU, so the start is taken as "now minus CPU time",
kept within the kernel's tick.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.clock import Clock

_START_TIME_FIELD = 22  # of /proc/PID/stat, counted from 1 (proc_pid_stat(5))
_ENDED = (b"Z", b"X")  # states: a zombie, dead
_NS = 1_000_000_000
_INIT_NS_MAX = 15 * 60 * _NS  # the longest init Lambda allows anything; beyond, clocks disagree

# An invocation that waits for an init begins right after it. Lambda also initializes environments
# on its own account ahead of time; Datadog's layer takes the same limit to tell the two apart.
WAITED_FOR_NS_MAX = 10 * _NS
IDLE_PER_BUSY = 4  # loading takes more of a processor than this share, waiting takes none

# Linux's, in which /proc tells the start of a process; elsewhere there is no /proc either.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def start_ticks(pid: int) -> int:
    """When the kernel started a process, in its ticks since boot. Raises OSError if it is gone.

    One that has ended and that its parent has not asked for yet is gone.
    """
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    try:
        # The command's name, in parentheses, may hold spaces.
        fields = os.read(descriptor, 1024).rpartition(b")")[2].split()
    finally:
        os.close(descriptor)
    if fields[0] in _ENDED:
        raise ProcessLookupError(pid)
    return int(fields[_START_TIME_FIELD - 3])


class Initialization:
    """The moments of this process's init, in Unix nanoseconds.

    `import_started_ns` is when the handler's module began to be imported, `import_ended_ns` when it
    was there. With a handler redirect both are exact. With the decorator alone, they are when
    lambdatrace was imported and when the last handler was decorated: what the module imported
    before lambdatrace then counts as environment. So import lambdatrace first. The two of a restore
    are 0 where the environment was not made from a snapshot.
    """

    __slots__ = (
        "_boot_ns",
        "_cpu_ns",
        "_ended_cpu_ns",
        "import_ended_ns",
        "import_started_ns",
        "loaded_ns",
        "restore_ended_ns",
        "restore_started_ns",
    )

    def __init__(self, clock: Clock) -> None:
        self.loaded_ns = clock.time_ns()
        self._cpu_ns = time.process_time_ns()
        self._boot_ns = time.clock_gettime_ns(_BOOT_CLOCK)
        self.import_started_ns = self.loaded_ns
        self.import_ended_ns = self.loaded_ns
        self.restore_started_ns = self.restore_ended_ns = 0
        self._ended_cpu_ns = self._cpu_ns

    def end_import(self, now_ns: int) -> None:
        """A handler is there: the import is over, as far as is known yet."""
        self.import_ended_ns = now_ns
        self._ended_cpu_ns = time.process_time_ns()

    def is_long_before(self, invocation_ns: int) -> bool:
        """Whether the first invocation, at `invocation_ns`, came too late to have waited for it.

        Not when the process was busy in between: then its module went on to load behind the
        handler's decorator.
        """
        idle_ns = invocation_ns - (self.restore_ended_ns or self.import_ended_ns)
        busy_ns = time.process_time_ns() - self._ended_cpu_ns
        return idle_ns > WAITED_FOR_NS_MAX and busy_ns < idle_ns // IDLE_PER_BUSY

    def duration_ns(self) -> int:
        """How long the init took, or the restore where there was one."""
        if self.restore_ended_ns:
            return self.restore_ended_ns - self.restore_started_ns
        return self.import_ended_ns - self.process_started_ns()

    def process_started_ns(self) -> int:
        """When the kernel started this process."""
        estimate_ns = self.loaded_ns - self._cpu_ns
        try:
            return self.started_ns(start_ticks(os.getpid()))
        except OSError:
            return estimate_ns

    def started_ns(self, ticks: int) -> int:
        """When this process started, which the kernel says was so many ticks after boot."""
        estimate_ns = self.loaded_ns - self._cpu_ns
        tick_ns = _NS // os.sysconf("SC_CLK_TCK")
        age_ns = self._boot_ns - ticks * tick_ns
        if not 0 <= age_ns <= _INIT_NS_MAX:
            return estimate_ns
        tick_start_ns = self.loaded_ns - age_ns
        return min(max(estimate_ns, tick_start_ns), tick_start_ns + tick_ns)

"""The watchdog: an invocation that nears its deadline gets its open spans sent before it is killed.

Where an extension would be told of each invocation by an event, this is a thread that sleeps: it
looks at the clock as often as a timeout lasts, and costs an invocation nothing.
"""

from __future__ import annotations

import _thread
import time

from lambdatrace.flushing import watchdog_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.handler import RunningInvocation
    from lambdatrace.telemetry import Telemetry

# How long it sleeps when it does not know an invocation's deadline.
UNKNOWN_S = 1.0
# Of the time from begin to warning: an invocation may begin a little after Lambda counts it from.
SHARE = 0.9
_S_MIN = 0.005


class Watchdog:
    """Looks after the one invocation at a time of an execution environment, in its own thread."""

    __slots__ = ("_asleep_s", "_telemetry", "_told")

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._asleep_s = UNKNOWN_S
        self._told: RunningInvocation | None = None  # the last that was cut short

    def start(self) -> None:
        """Begin to watch; raises RuntimeError if the process may have no more threads."""
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        # Until a fork or a test puts another in its place.
        while self._telemetry.watchdog is self:
            left_s = self._telemetry.guard.run(self.look)
            time.sleep(max(left_s or UNKNOWN_S, _S_MIN))

    def look(self) -> float:
        """See to the invocation under way, if it is time; how many seconds to sleep after that.

        No longer than until the next warning, even if another invocation begins in this moment.
        """
        telemetry = self._telemetry
        running = telemetry.running
        if running is None or running.end_ns or running is self._told:
            return self._asleep_s
        deadline_ns = running.facts.deadline_ns
        if not deadline_ns:
            return UNKNOWN_S
        warn_ns = watchdog_ns(running.start_ns, deadline_ns)
        self._asleep_s = (warn_ns - running.start_ns) / 1e9 * SHARE
        left_ns = warn_ns - telemetry.clock.time_ns()
        if left_ns > 0:
            return left_ns / 1e9
        self._told = running
        telemetry.invocation_times_out(deadline_ns)
        return self._asleep_s

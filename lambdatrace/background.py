"""Sending in the background, where nothing freezes the environment between invocations.

Managed Instances run on between invocations and give no extension an INVOKE event, so a thread of
each worker process sends: soon after an invocation that follows a pause, and else once an interval.
It is started at the first invocation, which comes after the runtime client has forked its workers.
Source: Lambda Developer Guide, "Understanding the Lambda Managed Instances execution environment".
"""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.guard import Guard

# From the end of a handler until its records are made: the response goes first.
RESPONSE_S = 0.005
EXIT_S_MAX = 2.0


class BackgroundSender:
    """Calls `send` in a thread of its own, at least once in `interval_s` once it is started.

    `send` is given the seconds it may take, 0 where nothing bounds it but its own settings; what
    it is called for at the exit of the process is bounded.
    """

    __slots__ = ("_guard", "_interval_s", "_is_started", "_send", "_sent_s", "_woken")

    def __init__(self, send: Callable[[float], object], interval_s: float, guard: Guard) -> None:
        self._send = send
        self._interval_s = interval_s
        self._guard = guard
        self._is_started = False
        self._sent_s = 0.0
        self._woken = _thread.allocate_lock()  # a signal: held until there is reason to send
        self._woken.acquire()

    def start(self) -> bool:
        """Have the thread run; False if there can be none."""
        if not self._is_started:
            self._is_started = True
            import atexit

            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError as error:
                self._is_started = False
                self._guard.report("spans are sent before the response", error)
                return False
            atexit.register(self._guard.run, self._send, EXIT_S_MAX)
        return True

    def wake(self, *, is_urgent: bool) -> None:
        """There is something to send; unless urgent, it may wait until the interval is over."""
        is_due = is_urgent or time.monotonic() - self._sent_s >= self._interval_s
        if is_due and self._woken.locked():
            try:  # noqa: SIM105 - contextlib is not loaded on 3.10
                self._woken.release()
            except RuntimeError:  # another thread was quicker
                pass

    def _run(self) -> None:
        while True:
            self._woken.acquire(timeout=self._interval_s)
            time.sleep(RESPONSE_S)
            self._sent_s = time.monotonic()
            self._guard.run(self._send, 0.0)

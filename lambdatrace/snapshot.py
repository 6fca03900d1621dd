"""Living through a SnapStart snapshot: what is done before it and after each restore from it.

Many environments go on from one snapshot, minutes or days later. So before it, what waits is sent
and connections are closed; after it, the environment's facts are read again, it gets a name of its
own, and what is told of its start is the restore, not the init that happened once for all of them.
The ids need nothing: each is asked of the kernel. Nor does an extension: it is registered with an
API inside of the snapshot, and its request for the next event waits there, as the runtime's does.
Source: AWS Lambda Developer Guide, "Implement code before or after SnapStart snapshots": hooks of
`snapshot_restore_py` run last registered first before the snapshot, first registered first after.
"""

from __future__ import annotations

import time
from importlib import import_module

from lambdatrace.invocation import Function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.telemetry import Telemetry

SEND_NS_MAX = 2_000_000_000  # what waits is a few spans of the init; a snapshot takes minutes
RESTORE_NS_MAX = 10_000_000_000  # Lambda's limit for a restore with its hooks
_JUMP_NS = 1_000_000_000  # clocks that differ by more were not both running


class Moment:
    """One moment in the three clocks that a snapshot treats differently, in nanoseconds."""

    __slots__ = ("cpu_ns", "monotonic_ns", "unix_ns")

    def __init__(self, unix_ns: int, monotonic_ns: int, cpu_ns: int) -> None:
        self.unix_ns = unix_ns
        self.monotonic_ns = monotonic_ns
        self.cpu_ns = cpu_ns


def restore_started_ns(taken: Moment, now: Moment) -> int:
    """When the restore began, in Unix time, of a snapshot that was `taken` and runs again `now`.

    Unix time goes on while a snapshot lies, monotonic time does not: where they differ, what
    monotonic time went on by is the restore. Where both went on, the processor time used since is
    the best there is; it leaves out what was waited for.
    """
    unix_ns = now.unix_ns - taken.unix_ns
    monotonic_ns = now.monotonic_ns - taken.monotonic_ns
    if unix_ns - monotonic_ns > _JUMP_NS and monotonic_ns <= RESTORE_NS_MAX:
        return now.unix_ns - monotonic_ns
    return max(now.unix_ns - (now.cpu_ns - taken.cpu_ns), min(taken.unix_ns, now.unix_ns))


class SnapshotHooks:
    """The hooks of one environment. `register` first thing; `register_last` when all is loaded."""

    __slots__ = ("_hooks", "_taken", "_telemetry")

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._taken: Moment | None = None
        # Part of Lambda's runtime, which loads it in any case when it is to be a snapshot.
        self._hooks: Any = import_module("snapshot_restore_py")

    def register(self) -> None:
        """Be last before the snapshot and first after the restore."""
        self._hooks.register_before_snapshot(self.before_snapshot)
        self._hooks.register_after_restore(self.after_restore)

    def register_last(self) -> None:
        """Count the hooks that the function's own code has registered as part of the restore."""
        self._hooks.register_after_restore(self.end_restore)

    def before_snapshot(self) -> None:
        """Leave nothing behind that every environment made of the snapshot would have."""
        guard = self._telemetry.guard
        guard.run(self._telemetry.flush, self._telemetry.clock.time_ns() + SEND_NS_MAX)
        guard.run(self._telemetry.delivery.forget_connections)
        self._taken = guard.run(self._now)

    def after_restore(self) -> None:
        """Begin as the environment that this is now."""
        self._telemetry.guard.run(self._restore)

    def _restore(self) -> None:
        telemetry, now = self._telemetry, self._now()
        telemetry.begin_again(Function(telemetry.environ))
        started_ns = restore_started_ns(self._taken or now, now)
        telemetry.initialization.restore_started_ns = started_ns
        self.end_restore()

    def end_restore(self) -> None:
        """The restore is over, as far as is known yet."""
        telemetry = self._telemetry
        ended_ns = telemetry.guard.run(telemetry.clock.time_ns)
        telemetry.initialization.restore_ended_ns = ended_ns or 0

    def _now(self) -> Moment:
        return Moment(self._telemetry.clock.time_ns(), time.monotonic_ns(), time.process_time_ns())

"""The one source of time and of ids, so that a test can own both."""

from __future__ import annotations

import os
import time


class Clock:
    """Unix time in nanoseconds."""

    __slots__ = ()

    time_ns = staticmethod(time.time_ns)


class Ids:
    """Random trace and span ids as lower-case hex.

    From the kernel (`os.urandom`), not from `random`: the clones of a SnapStart snapshot would
    replay the same `random` state and give the same ids. An id of only zeros is invalid in
    W3C trace context; its chance (2^-64) is below that of any collision, so it is not checked.
    """

    __slots__ = ()

    def trace_id(self) -> str:
        """32 hex digits."""
        return os.urandom(16).hex()

    def span_id(self) -> str:
        """16 hex digits."""
        return os.urandom(8).hex()

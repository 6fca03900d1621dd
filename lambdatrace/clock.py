"""The one source of time and of ids, so that a test can own both."""

from __future__ import annotations

import os
import time


class Clock:
    """Unix time in nanoseconds."""

    __slots__ = ()

    time_ns = staticmethod(time.time_ns)


SPAN_IDS_STOCK = 32


class Ids:
    """Random trace and span ids as lower-case hex.

    From the kernel (`os.urandom`), not from `random`: the clones of a SnapStart snapshot would
    replay the same `random` state and give the same ids. Span ids are fetched `stock` at a time,
    since a call of the kernel's for each takes a tenth of what a span costs; who may be cloned
    keeps none in stock, and whoever was must `forget` them. An id of only zeros is invalid in W3C
    trace context; its chance (2^-64) is below that of any collision, so it is not checked.
    """

    __slots__ = ("_span_ids", "_stock")

    def __init__(self, stock: int = SPAN_IDS_STOCK) -> None:
        self._stock = stock
        self._span_ids: list[str] = []

    def trace_id(self) -> str:
        """32 hex digits."""
        return os.urandom(16).hex()

    def span_id(self) -> str:
        """16 hex digits."""
        try:
            return self._span_ids.pop()  # one step, whatever other threads do
        except IndexError:
            digits = os.urandom(8 * self._stock).hex()
            self._span_ids += [digits[at : at + 16] for at in range(16, len(digits), 16)]
            return digits[:16]

    def forget(self) -> None:
        """In another process than before, or another environment: take none that it may have."""
        self._span_ids = []

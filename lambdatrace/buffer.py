"""Finished records of one signal, waiting to be sent."""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Buffer:
    """Finished records, oldest first; when full, the oldest is dropped and counted.

    Spans, log records or metrics, each in a buffer of their own. Safe to use from several threads
    without a lock, which a record made in a signal handler could wait for in vain: each step is one
    operation of `deque`, which CPython makes atomic. Who adds one too many takes the oldest out
    again, so that each record is taken out once: sent, or counted in `dropped`.
    """

    __slots__ = ("_records", "_size_max", "dropped")

    def __init__(self, size_max: int) -> None:
        self._records: deque[Any] = deque()
        self._size_max = size_max
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Any) -> None:
        """Add a finished record."""
        records = self._records
        records.append(record)
        if len(records) > self._size_max:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        try:
            self._records.popleft()
        except IndexError:  # it has been taken meanwhile
            return
        self.dropped += 1  # CPython changes threads at calls and loops, of which this has none

    def take(self, count_max: int) -> list[Any]:
        """Remove and return up to `count_max` records, oldest first."""
        records: list[Any] = []
        try:
            while len(records) < count_max:
                records.append(self._records.popleft())
        except IndexError:
            pass  # empty: what was there is taken
        return records

    def put_back(self, records: list[Any]) -> None:
        """Return what could not be sent to the front; what has no room is dropped, the oldest."""
        self._records.extendleft(reversed(records))
        while len(self._records) > self._size_max:
            self._drop_oldest()

    def discard(self, record: Any) -> None:
        """Remove a record that is not to be sent any more, if it still waits."""
        try:  # noqa: SIM105 - contextlib is not loaded on 3.10
            self._records.remove(record)
        except (ValueError, IndexError):
            pass  # it has been taken; or another thread was at work, and it is sent all the same

    def clear(self) -> None:
        """Forget what waits, without counting it."""
        self._records.clear()

"""Finished records of one signal, waiting to be sent."""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Buffer:
    """Finished records, oldest first; when full, the oldest is dropped and counted.

    Spans, log records or metrics, each in a buffer of their own. Safe to use from several threads:
    each step is one operation of `deque`, which CPython makes atomic. `dropped` may undercount
    under such races, never overcount.
    """

    __slots__ = ("_records", "dropped")

    def __init__(self, size_max: int) -> None:
        self._records: deque[Any] = deque(maxlen=size_max)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: Any) -> None:
        """Add a finished record."""
        if len(self._records) == self._records.maxlen:
            self.dropped += 1
        self._records.append(record)

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
        room = (self._records.maxlen or 0) - len(self._records)
        kept = records[max(0, len(records) - room) :] if room > 0 else []
        self.dropped += len(records) - len(kept)
        self._records.extendleft(reversed(kept))

    def discard(self, record: Any) -> None:
        """Remove a record that is not to be sent any more, if it still waits."""
        try:  # noqa: SIM105 - contextlib is not loaded on 3.10
            self._records.remove(record)
        except (ValueError, IndexError):
            pass  # it has been taken; or another thread was at work, and it is sent all the same

    def clear(self) -> None:
        """Forget what waits, without counting it."""
        self._records.clear()

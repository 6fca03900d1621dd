"""Records that one thread puts and another one sends: bounded, and counted without a lock."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Records on their way, oldest first; when full, a new one is refused and counted.

    `put` belongs to one thread, `take` and `settle` to another. Each counter is written by one of
    them only, because `+=` is a read and a write: between them the other's change would be lost.
    `lost` are records that were taken and could not be delivered. Records of up to `small_bytes`
    are bounded by their number alone: megabytes of others do not push them out.
    """

    def __init__(self, records_max: int, bytes_max: int, small_bytes: int = 0) -> None:
        self.accepted = 0
        self.refused = 0
        self.settled = 0
        self.lost = 0
        self._records: deque[tuple[T, int]] = deque()
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._small_bytes = small_bytes
        self._accepted_bytes = 0
        self._settled_bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def waiting_bytes(self) -> int:
        """The size of what was put and is not settled."""
        return self._accepted_bytes - self._settled_bytes

    @property
    def dropped(self) -> int:
        """Records that will not be delivered."""
        return self.refused + self.lost

    def put(self, record: T, size: int = 0) -> None:
        """Takes a record of `size` bytes, or refuses it."""
        is_room = size <= self._small_bytes or self.waiting_bytes + size <= self._bytes_max
        if len(self._records) >= self._records_max or not is_room:
            self.refused += 1
            return
        self.accepted += 1
        self._accepted_bytes += size
        self._records.append((record, size))

    def take(self, records_max: int) -> tuple[list[T], int]:
        """The oldest records and their size; they count as waiting until they are settled."""
        taken = [self._records.popleft() for _ in range(min(len(self._records), records_max))]
        return [record for record, _ in taken], sum(size for _, size in taken)

    def settle(self, records: int, size: int, lost: int) -> None:
        """So many records of those taken were delivered, but for the lost ones."""
        self.lost += lost
        self._settled_bytes += size
        self.settled += records

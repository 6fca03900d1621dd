"""Which log events have arrived: what follows a log group is told here, and reads the store then.

An event's id is taken when its request arrives, and rises. Requests are stored in any order, so
what is stored whole is everything up to just before the oldest request that is still on its way.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.ingest.record_ids import IDS_PER_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambdatrace_collector.ingest.record_ids import RecordIds


class GroupKey(NamedTuple):
    """A log group of an account in a region."""

    account: str
    region: str
    log_group: str


class Follower:
    """What waits for the events of some log groups."""

    def __init__(self, keys: frozenset[GroupKey]) -> None:
        self.keys = keys
        self._arrived = asyncio.Event()

    def wake(self) -> None:
        """Something has arrived."""
        self._arrived.set()

    def has_arrived(self) -> bool:
        """Whether something has arrived since this was asked, or waited for, the last time."""
        arrived = self._arrived.is_set()
        self._arrived.clear()
        return arrived

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return once something has arrived since the last return, or after `timeout_s`."""
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            return
        self._arrived.clear()


class Arrivals:
    """Requests on their way into the store, and who follows their groups."""

    def __init__(self, record_ids: RecordIds) -> None:
        self._record_ids = record_ids
        self._last_id = record_ids.take()  # what is stored already has lower ids
        self._on_the_way: dict[
            int, tuple[GroupKey, ...]
        ] = {}  # by first event id, so the oldest is in front
        # Stored, with ids above those of a request that is still on its way.
        self._unannounced: list[tuple[int, GroupKey]] = []
        self._followers: dict[GroupKey, set[Follower]] = {}
        self._one_left = asyncio.Event()

    @property
    def stored_until(self) -> int:
        """Every event with an id up to this one is stored, or never will be."""
        for first_event_id in self._on_the_way:
            return first_event_id - 1
        return self._last_id

    def take(self, *keys: GroupKey) -> int:
        """The first id for the events of a request, which go to `keys`; `leave` must follow."""
        first_event_id = self._record_ids.take()
        self._on_the_way[first_event_id] = keys
        return first_event_id

    def leave(self, first_event_id: int) -> None:
        """The request of `take` is stored or has failed."""
        keys = self._on_the_way.pop(first_event_id)
        self._one_left.set()
        self._one_left = asyncio.Event()
        last_id = first_event_id + IDS_PER_REQUEST - 1
        self._last_id = max(self._last_id, last_id)
        self._unannounced += [(last_id, key) for key in keys if key in self._followers]
        stored_until = self.stored_until
        announced = [entry for entry in self._unannounced if entry[0] <= stored_until]
        if announced:
            self._unannounced = [entry for entry in self._unannounced if entry[0] > stored_until]
            for follower in {each for _, key in announced for each in self._followers.get(key, ())}:
                follower.wake()

    async def settled(self, key: GroupKey) -> None:
        """Return once no request for the group is on its way."""
        while any(key in keys for keys in self._on_the_way.values()):
            await self._one_left.wait()

    async def stored(self, event_id: int) -> None:
        """Return once no request is on its way whose events have lower ids than `event_id`."""
        while self._on_the_way and self.stored_until < event_id - 1:
            await self._one_left.wait()

    @contextmanager
    def follow(self, keys: Iterable[GroupKey]) -> Iterator[Follower]:
        """A follower of the groups `keys`, until the context ends."""
        follower = Follower(frozenset(keys))
        for key in follower.keys:
            self._followers.setdefault(key, set()).add(follower)
        try:
            yield follower
        finally:
            for key in follower.keys:
                self._followers[key].discard(follower)
                if not self._followers[key]:
                    del self._followers[key]

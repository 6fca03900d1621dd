"""One task per filter of a log group, which handles what arrives there, in order of arrival.

How far a filter has come is kept in the store, so that a collector that starts again goes on from
there: what is handled twice around a crash must settle to one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import CollectorError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.definitions import CURSOR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from lambdatrace_collector.logs.arrivals import Arrivals
    from lambdatrace_collector.logs.definitions import Definitions

    # Handles a filter's events with ids above the first and up to the second number; gives the last
    # id that it has handled.
    Handle = Callable[[GroupKey, Mapping[str, Any], int, int], Awaitable[int]]


logger = logging.getLogger(__name__)

# Written less often than each group of events: what is handled again after a crash is this much.
CURSOR_INTERVAL_S = 1
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 30


class FilterFollowers:
    """The tasks of all filters of one kind. `start` before use, `close` at the end."""

    def __init__(
        self, kind: str, definitions: Definitions, arrivals: Arrivals, handle: Handle
    ) -> None:
        self._kind = kind
        self._definitions = definitions
        self._arrivals = arrivals
        self._handle = handle
        self._followed: dict[tuple[GroupKey, str], _Followed] = {}

    async def start(self) -> None:
        """Go on with the filters that are in the store."""
        for row in await self._definitions.of_kind(self._kind):
            key = GroupKey(row["account"], row["region"], row["log_group"])
            if (key, row["name"]) in self._followed:
                continue
            cursor = await self._definitions.get(key, self._cursor_kind, row["name"], key.log_group)
            after_id = int(cursor["event_id"]) if cursor else self._arrivals.stored_until
            self._run(key, row["document"], after_id)

    async def put(self, key: GroupKey, definition: Mapping[str, Any]) -> None:
        """Make or change a filter; a new one handles what arrives from now on."""
        name = definition["filterName"]
        followed = self._followed.get((key, name))
        after_id = self._arrivals.stored_until
        if followed is None:
            await self._save(key, name, after_id)
        await self._definitions.put(key, self._kind, name, definition, key.log_group)
        if followed is None:
            self._run(key, definition, after_id)
        else:
            followed.definition = definition

    async def delete(self, key: GroupKey, name: str) -> None:
        """Drop a filter."""
        await self._stop(key, name)
        await self._definitions.delete(key, self._kind, name, key.log_group)
        await self._definitions.delete(key, self._cursor_kind, name, key.log_group)

    async def drop_group(self, key: GroupKey) -> None:
        """Stop the filters of a group whose definitions are being deleted."""
        for group, name in [each for each in self._followed if each[0] == key]:
            await self._stop(group, name)

    def forget(self) -> None:
        """Drop all filters: the store is empty."""
        for followed in self._followed.values():
            if followed.task is not None:
                followed.task.cancel()
        self._followed.clear()

    async def close(self) -> None:
        """Stop all, and keep how far they have come."""
        for (key, name), followed in list(self._followed.items()):
            await self._stop(key, name)
            await self._save(key, name, followed.after_id)

    def definitions(self) -> list[tuple[GroupKey, Mapping[str, Any]]]:
        """Every filter and its group."""
        return [(key, followed.definition) for (key, _), followed in self._followed.items()]

    @property
    def _cursor_kind(self) -> str:
        return f"{CURSOR} of {self._kind}"

    def _run(self, key: GroupKey, definition: Mapping[str, Any], after_id: int) -> None:
        followed = _Followed(definition, after_id)
        self._followed[key, definition["filterName"]] = followed
        followed.task = asyncio.create_task(self._follow(key, followed))

    async def _stop(self, key: GroupKey, name: str) -> None:
        followed = self._followed.pop((key, name), None)
        if followed is not None and followed.task is not None:
            followed.task.cancel()
            await asyncio.gather(followed.task, return_exceptions=True)

    async def _follow(self, key: GroupKey, followed: _Followed) -> None:
        loop = asyncio.get_running_loop()
        saved_id, saved_at, retry_s = followed.after_id, loop.time(), RETRY_FIRST_S
        with self._arrivals.follow((key,)) as follower:
            while True:
                until_id = self._arrivals.stored_until
                try:
                    if until_id > followed.after_id:
                        followed.after_id = await self._handle(
                            key, followed.definition, followed.after_id, until_id
                        )
                        retry_s = RETRY_FIRST_S
                    is_due = loop.time() - saved_at >= CURSOR_INTERVAL_S
                    if followed.after_id > saved_id and is_due:
                        await self._save(key, followed.definition["filterName"], followed.after_id)
                        saved_id, saved_at = followed.after_id, loop.time()
                except CollectorError as error:
                    logger.warning("%s of %s waits: %s", self._kind, key.log_group, error)
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
                except Exception:
                    # The task must outlive a mistake of ours: the filter would stop without a word.
                    logger.exception("%s of %s failed", self._kind, key.log_group)
                    await asyncio.sleep(RETRY_MAX_S)
                else:
                    if followed.after_id >= until_id:
                        await follower.wait(CURSOR_INTERVAL_S if saved_id < until_id else None)

    async def _save(self, key: GroupKey, name: str, event_id: int) -> None:
        await self._definitions.put(
            key, self._cursor_kind, name, {"event_id": str(event_id)}, key.log_group
        )


class _Followed:
    """A filter, how far it has come, and its task."""

    def __init__(self, definition: Mapping[str, Any], after_id: int) -> None:
        self.definition = definition
        self.after_id = after_id
        self.task: asyncio.Task[None] | None = None

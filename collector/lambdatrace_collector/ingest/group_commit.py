"""Requests that arrive together are written together.

An INSERT into the engine costs some 20 ms however small it is, so the bodies that wait become one
INSERT, and each request is answered when the INSERT that holds it has returned. Bodies of one kind
may be joined because their concatenation is a valid body: protobuf messages merge their repeated
fields, JSON rows follow one another.

A group that fails is split in half until its bad members stand alone, so that one bad body never
harms the others: 2 log2(n) INSERTs find one among n. Whatever failed, for the engine does not
always say whose fault it is; only when nothing at all can be written is the whole group told so.
What a failed try left behind settles, since every record has an identity.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.errors import (
    CollectorError,
    StoreDownError,
    StoreRejectedError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger(__name__)

# For requests that were sent together to arrive together; while an INSERT runs, the rest gathers.
LINGER_S = 0.005
GROUP_BYTES_MAX = 16 * 1024 * 1024  # decoded, a body takes some five times its size in the engine
GROUPS_IN_FLIGHT = 2  # the store has two writers
# A group that fails for other reasons than its data is not split for longer: an engine that has
# trouble with everything would be asked twice per body.
SPLIT_DEADLINE_S = 10


class _Waiting(NamedTuple):
    body: bytes
    since: float
    done: asyncio.Future[None]


class GroupCommit:
    """Bodies of one kind on their way into the store. `commit` waits until its body is written."""

    def __init__(
        self,
        insert: Callable[[bytes], Awaitable[None]],
        *,
        linger_s: float = LINGER_S,
        group_bytes_max: int = GROUP_BYTES_MAX,
        groups_in_flight: int = GROUPS_IN_FLIGHT,
    ) -> None:
        self._insert = insert
        self._linger_s = linger_s
        self._group_bytes_max = group_bytes_max
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(groups_in_flight)
        self._writing: set[asyncio.Task[None]] = set()
        self._pump = asyncio.create_task(self._run(), name="group-commit")
        self._is_draining = False

    async def commit(self, body: bytes) -> None:
        """Return once `body` is stored.

        Raises StoreRejectedError when the engine refuses this body, StoreDownError when it takes
        nothing, StoreUnavailableError when it failed or the collector is stopping.
        """
        if self._is_draining:
            raise StoreUnavailableError("the collector is stopping: send this again later")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(body, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += len(body)
        self._changed.set()
        await waiting.done

    async def drain(self) -> None:
        """Refuse new bodies, write those that wait, and end. Safe to call twice."""
        self._is_draining = True
        self._changed.set()
        await self._pump
        if self._writing:
            await asyncio.wait(self._writing)

    async def _run(self) -> None:
        while await self._something_waits():
            await self._linger()
            await self._slots.acquire()
            task = asyncio.create_task(self._write(self._take_group()))
            self._writing.add(task)
            task.add_done_callback(self._written)

    async def _something_waits(self) -> bool:
        while not self._waiting:
            if self._is_draining:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    async def _linger(self) -> None:
        """Wait until the oldest body has waited long enough, or a full group has gathered."""
        loop = asyncio.get_running_loop()
        deadline = self._waiting[0].since + self._linger_s
        while not self._is_draining and self._waiting_bytes < self._group_bytes_max:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), remaining)
            except (asyncio.TimeoutError, TimeoutError):
                return

    def _take_group(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size = len(group[0].body)
        while self._waiting and size + len(self._waiting[0].body) <= self._group_bytes_max:
            group.append(self._waiting.popleft())
            size += len(group[-1].body)
        self._waiting_bytes -= size
        return group

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._slots.release()

    async def _write(self, group: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SPLIT_DEADLINE_S
        parts = [group]  # the next one last
        while parts:
            part = parts.pop()
            error = await self._failure(part)
            if isinstance(error, StoreDownError):
                for waiting in (part, *parts):
                    _settle(waiting, error)
                return
            is_hopeless = not isinstance(error, StoreRejectedError) and loop.time() > deadline
            if error is None or len(part) == 1 or is_hopeless:
                _settle(part, error)
            else:
                half = len(part) // 2
                parts += part[half:], part[:half]

    async def _failure(self, group: Sequence[_Waiting]) -> CollectorError | None:
        """Why `group` could not be written; None once it is."""
        try:
            await self._insert(b"".join(member.body for member in group))
        except CollectorError as error:
            return error
        except Exception:
            logger.exception("a group of %d bodies could not be written", len(group))
            return StoreUnavailableError("the store failed: send this again later")
        return None


def _settle(group: Sequence[_Waiting], error: CollectorError | None) -> None:
    for member in group:
        if member.done.done():
            continue
        if error is None:
            member.done.set_result(None)
        else:
            member.done.set_exception(error)

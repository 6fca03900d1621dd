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
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import (
    CollectorError,
    StoreDownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from lambdatrace_collector.metering import SIZE_BOUNDARIES, Counter, Histogram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from lambdatrace_collector.metering import Instrument

logger = logging.getLogger(__name__)

# For requests that were sent together to arrive together; while an INSERT runs, the rest gathers.
LINGER_S = 0.005
GROUP_BYTES_MAX = 16 * 1024 * 1024  # decoded, a body takes some five times its size in the engine
GROUPS_IN_FLIGHT = 2  # the store has two writers
# A group that fails for other reasons than its data is not split for longer: an engine that has
# trouble with everything would be asked twice per body.
SPLIT_DEADLINE_S = 10
# A disk may hang for as long as it likes; who waits for it is told, and the bytes are given back.
# All that may wait is written in 2 s; boto3 gives up after 60 s.
COMMIT_DEADLINE_S = 15


class _Waiting:
    """A body that waits, or is being written, and who is to be told."""

    __slots__ = ("body", "done", "records", "since")

    def __init__(self, body: bytes, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self.body = body
        self.records = records
        self.since = loop.time()
        self.done: asyncio.Future[None] = loop.create_future()


class GroupMeters:
    """The instruments of all groups, told apart by their signal."""

    def __init__(self) -> None:
        self._stored = Counter(
            "lambdatrace.collector.records", "", "Records acknowledged as stored."
        )
        self._records = Histogram(
            "lambdatrace.collector.group.records", "", "Records of one INSERT.", SIZE_BOUNDARIES
        )
        self._bodies = Histogram(
            "lambdatrace.collector.group.bodies", "", "Bodies of one INSERT.", SIZE_BOUNDARIES
        )
        self._sizes = Histogram(
            "lambdatrace.collector.group.size", "By", "Bytes of one INSERT.", SIZE_BOUNDARIES
        )
        self.instruments: tuple[Instrument, ...] = (
            self._stored,
            self._records,
            self._bodies,
            self._sizes,
        )

    def stored(self, signal: str, records: int, bodies: int, size_bytes: int) -> None:
        """Count one INSERT that succeeded."""
        attribute = ("lambdatrace.signal", signal)
        self._stored.add(records, attribute)
        self._records.record(records, attribute)
        self._bodies.record(bodies, attribute)
        self._sizes.record(size_bytes, attribute)


class GroupCommit:
    """Bodies of one kind on their way into the store. `commit` waits until its body is written."""

    def __init__(
        self,
        insert: Callable[[bytes], Awaitable[None]],
        *,
        linger_s: float = LINGER_S,
        group_bytes_max: int = GROUP_BYTES_MAX,
        groups_in_flight: int = GROUPS_IN_FLIGHT,
        commit_deadline_s: float = COMMIT_DEADLINE_S,
        signal: str = "",
        meters: GroupMeters | None = None,
    ) -> None:
        self._insert = insert
        self._signal = signal
        self._meters = meters or GroupMeters()
        self._commit_deadline_s = commit_deadline_s
        self._linger_s = linger_s
        self._group_bytes_max = group_bytes_max
        self._waiting: deque[_Waiting] = deque()
        self.waiting_bytes = 0
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(groups_in_flight)
        self._writing: set[asyncio.Task[None]] = set()
        self._pump = asyncio.create_task(self._run(), name="group-commit")
        self._is_draining = False

    async def commit(self, body: bytes, records: int = 0) -> None:
        """Return once `body` is stored, which holds `records` records.

        Raises StoreRejectedError when the engine refuses this body, StoreDownError when it takes
        nothing, StoreUnavailableError when it failed, took too long or the collector is stopping.
        """
        if self._is_draining:
            raise StoreUnavailableError("the collector is stopping: send this again later")
        waiting = _Waiting(body, records, asyncio.get_running_loop())
        self._waiting.append(waiting)
        self.waiting_bytes += len(body)
        self._changed.set()
        await asyncio.wait((waiting.done,), timeout=self._commit_deadline_s)
        if waiting.done.done():
            return waiting.done.result()
        if waiting in self._waiting:  # else it is being written, and may yet be stored
            self._waiting.remove(waiting)
            self.waiting_bytes -= len(body)
        waiting.done.cancel()
        raise StoreUnavailableError(
            f"the store did not take this within {self._commit_deadline_s} s: send it again later"
        )

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
            if not self._waiting:  # all of them have waited too long
                self._slots.release()
                continue
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
        while (
            self._waiting and not self._is_draining and self.waiting_bytes < self._group_bytes_max
        ):
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
        self.waiting_bytes -= size
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
        self._meters.stored(
            self._signal,
            sum(member.records for member in group),
            len(group),
            sum(len(member.body) for member in group),
        )
        return None


def _settle(group: Sequence[_Waiting], error: CollectorError | None) -> None:
    for member in group:
        if member.done.done():
            continue
        if error is None:
            member.done.set_result(None)
        else:
            member.done.set_exception(error)

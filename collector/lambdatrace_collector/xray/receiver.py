"""UDP: datagrams into a bounded queue, and from there into the store.

Nobody sends a datagram again: while the store cannot be written, the queue holds what it can, and
what it cannot is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.call import ACCOUNT, REGION_DEFAULT
from lambdatrace_collector.errors import (
    CollectorError,
    RequestError,
    StoreDownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from lambdatrace_collector.otlp.signals import Origin
from lambdatrace_collector.xray.datagrams import read_datagram
from lambdatrace_collector.xray.documents import SegmentError
from lambdatrace_collector.xray.segments import read_segment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.otlp.ingestion import Ingest
    from lambdatrace_collector.xray.segment_store import SegmentStore

logger = logging.getLogger(__name__)

QUEUE_BYTES_MAX = 16 * 1024 * 1024  # some 10,000 segments
BATCH_MAX = 500  # reading a segment takes 50 µs: the event loop is held for 25 ms
SOCKET_BYTES = 4 * 1024 * 1024  # the kernel's queue; it allows less unless net.core.rmem_max is set
RETRY_S = 1.0
GATHER_S = 0.02  # datagrams that are sent together are written together


@dataclass
class Counts:
    """Datagrams: each received one is stored, rejected or dropped in the end."""

    received: int = 0
    stored: int = 0
    rejected: int = 0  # it is no segment and no OTLP
    dropped: int = 0  # the queue was full, or the store refused it


class DatagramReceiver(asyncio.DatagramProtocol):
    """Takes datagrams and stores them. `drain` it before the store closes."""

    def __init__(self, segments: SegmentStore, ingests: Mapping[str, Ingest]) -> None:
        self._segments = segments
        self._ingests = ingests
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._arrived = asyncio.Event()
        self._is_draining = False
        self.counts = Counts()
        self._told = Counts()
        self._pump = asyncio.create_task(self._run(), name="datagrams")

    def datagram_received(self, data: bytes, _address: Any) -> None:
        """Keep a datagram, or drop it when the queue is full."""
        self.counts.received += 1
        if self._queue_bytes + len(data) > QUEUE_BYTES_MAX or self._is_draining:
            self.counts.dropped += 1
            return
        self._queue.append(data)
        self._queue_bytes += len(data)
        self._arrived.set()

    def error_received(self, error: Exception) -> None:
        """An earlier answer of the kernel's; datagrams have none of ours."""
        logger.info("UDP: %s", error)

    def shown(self) -> dict[str, int]:
        """The counts, to be read."""
        return {**asdict(self.counts), "waiting": len(self._queue)}

    async def drain(self) -> None:
        """Take no more, write what waits once, and end."""
        self._is_draining = True
        self._arrived.set()
        await self._pump

    async def _run(self) -> None:
        while await self._something_waits():
            await asyncio.sleep(0 if self._is_draining else GATHER_S)
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
            self._queue_bytes -= sum(map(len, batch))
            try:
                await self._store(batch)
            except Exception:
                # The border to bugs of ours: the next datagrams are not to blame.
                logger.exception("%d datagrams could not be stored", len(batch))
            self._tell()

    async def _something_waits(self) -> bool:
        while not self._queue:
            if self._is_draining:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def _store(self, batch: Sequence[bytes]) -> None:
        origin = Origin(ACCOUNT, REGION_DEFAULT, {}, time.time_ns() // 1_000_000)
        segments, exports = [], []
        for data in batch:
            try:
                datagram = read_datagram(data)
                if datagram.kind == "segment":
                    document = datagram.body.decode("utf-8", "replace")
                    segments.append((read_segment(document), document))
                else:
                    exports.append(datagram)
            except (RequestError, SegmentError) as error:
                self._reject(error)
        if segments:
            write = partial(self._segments.put, segments, origin.account, origin.region)
            await self._write(len(segments), write)
        await asyncio.gather(
            *(self._write(1, partial(self._ingests[own.kind], own.body, origin)) for own in exports)
        )

    async def _write(self, count: int, write: Callable[[], Awaitable[Any]]) -> None:
        """Write, again and again while the store cannot be written."""
        while True:
            try:
                await write()
            except (StoreDownError, StoreUnavailableError) as error:
                if self._is_draining:
                    self.counts.dropped += count
                    logger.warning("%d datagrams are lost: %s", count, error)
                    return
                await asyncio.sleep(RETRY_S)
            except RequestError as error:
                self._reject(error)
                return
            except (StoreRejectedError, CollectorError) as error:
                self.counts.dropped += count
                logger.warning("%d datagrams are lost: %s", count, error)
                return
            else:
                self.counts.stored += count
                return

    def _reject(self, error: Exception) -> None:
        self.counts.rejected += 1
        logger.debug("a datagram was rejected: %s", error)

    def _tell(self) -> None:
        """Say in the log what was lost since it was last said."""
        counts, told = self.counts, self._told
        if (counts.dropped, counts.rejected) != (told.dropped, told.rejected):
            logger.warning(
                "UDP: %d datagrams dropped and %d rejected of %d",
                *(counts.dropped, counts.rejected, counts.received),
            )
            self._told = Counts(**asdict(counts))


def udp_socket(address: Any, family: int) -> socket.socket:
    """A bound UDP socket with room for a burst. Raises OSError."""
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        bound.setblocking(False)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound

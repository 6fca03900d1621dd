"""From a subscriber's buffer to where the extension listens, by HTTP or TCP.

Nothing is sent while the environment is frozen or has no processes. A batch that could not be
handed over is tried again, the same to a listener of the next process generation; one that the
listener refuses with an error status, or takes and does not answer while the processes run, is
given up after some tries.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from lambdatrace.harness.telemetry_buffer import TelemetryBuffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.telemetry_api import Destination, Subscription

RETRY_FIRST_S, RETRY_LAST_S = 0.05, 1.0
REFUSALS_MAX = 3
HAND_OVER_S = 2.0  # for connection, batch and answer, while the processes run
_STEP_S = 0.1  # in which that time is counted
ANSWER_BYTES_MAX = 65536
# Lambda's name for itself to the listener: what it connects to, and with what.
_HOST = "169.254.100.6"
_USER_AGENT = "awslambda-worker/1.0"


class RefusedBatchError(Exception):
    """The listener answered with an error status."""


class Subscriber:
    """A subscription, what waits for it, and the task that sends it. For the event loop's thread.

    `on_dropped` is told of records and bytes that were lost, when there is room for it again.
    """

    def __init__(
        self,
        subscription: Subscription,
        address: str,
        on_dropped: Callable[[Subscriber, int, int], None],
    ) -> None:
        self.subscription = subscription
        self._buffer = TelemetryBuffer(subscription.buffering)
        self._on_dropped = on_dropped
        self._loop = asyncio.get_running_loop()
        self._line = _line_to(subscription.destination, address)
        self._running = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = self._loop.create_task(self._run())

    def put(self, event: bytes) -> None:
        """Takes an encoded event; never waits."""
        self._buffer.put(event, self._loop.time())
        self._changed.set()

    def resume(self) -> None:
        """The processes run."""
        self._running.set()

    def pause(self) -> None:
        """The processes are stopped, or gone."""
        self._running.clear()

    def flush(self) -> None:
        """Everything that waits is sent at once."""
        self._buffer.flush()
        self._changed.set()

    async def close(self) -> None:
        """Gives up what was not sent."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._line.close()

    async def _run(self) -> None:
        while True:
            await self._running.wait()
            batch = self._buffer.take(self._loop.time())
            if not batch:
                await self._wait()
                continue
            if not await self._deliver(batch):
                self._buffer.dropped_records += len(batch)
                self._buffer.dropped_bytes += sum(map(len, batch))
            if self._buffer.dropped_records:
                self._on_dropped(self, *self._buffer.take_dropped())

    async def _wait(self) -> None:
        """Until something changed or the next batch is due."""
        self._changed.clear()
        due_s = self._buffer.due_s
        left_s = None if due_s is None else max(0.0, due_s - self._loop.time())
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), left_s)

    async def _deliver(self, batch: list[bytes]) -> bool:
        """Hands a batch over; False when the listener does not want it."""
        delay_s = RETRY_FIRST_S
        refusals = 0
        while refusals < REFUSALS_MAX:
            await self._running.wait()
            try:
                await self._hand_over(batch)
            except RefusedBatchError:
                refusals += 1
            except asyncio.TimeoutError:
                self._line.close()
                refusals += 1
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                self._line.close()  # nobody listens, or it was no HTTP: again, on a new connection
            else:
                return True
            await asyncio.sleep(delay_s)
            delay_s = min(RETRY_LAST_S, delay_s * 2)
        return False

    async def _hand_over(self, batch: list[bytes]) -> None:
        """Raises what the line does, and TimeoutError; a listener that is frozen has time."""
        sending = self._loop.create_task(self._line.send(batch))
        try:
            left_s = HAND_OVER_S
            while not (await asyncio.wait({sending}, timeout=_STEP_S))[0]:
                left_s -= _STEP_S if self._running.is_set() else 0.0
                if left_s <= 0:
                    raise asyncio.TimeoutError
            await sending
        finally:
            sending.cancel()


def _line_to(destination: Destination, address: str) -> _HttpLine | _TcpLine:
    if destination.protocol == "TCP":
        return _TcpLine(address, destination.port)
    return _HttpLine(address, destination)


class _HttpLine:
    """One request for each batch, as a JSON array, on a connection of its own."""

    def __init__(self, host: str, destination: Destination) -> None:
        self._host = host
        self._destination = destination

    async def send(self, batch: list[bytes]) -> None:
        """Raises RefusedBatchError, or OSError and EOFError where there is no answer."""
        destination = self._destination
        reader, writer = await asyncio.open_connection(
            self._host, destination.port, limit=ANSWER_BYTES_MAX
        )
        try:
            writer.write(http_request(destination, batch))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1][:3])
        except IndexError as error:
            raise ValueError("no status line") from error
        finally:
            writer.close()
        if status >= HTTPStatus.BAD_REQUEST:
            raise RefusedBatchError(status)

    def close(self) -> None:
        """Nothing is kept between requests."""


class _TcpLine:
    """One connection for all batches, an event a line."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, batch: list[bytes]) -> None:
        """Raises OSError where nobody listens."""
        if self._writer is None or self._writer.is_closing():
            _, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(b"".join(event + b"\n" for event in batch))
        await self._writer.drain()

    def close(self) -> None:
        """The next batch opens a new connection."""
        if self._writer:
            self._writer.close()
            self._writer = None


def http_request(destination: Destination, batch: list[bytes]) -> bytes:
    """The request that carries a batch, with Lambda's headers."""
    body = b"[" + b",".join(batch) + b"]"
    digest = base64.b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    head = (
        f"{destination.method} {destination.path} HTTP/1.1\r\n"
        f"host: {_HOST}:{destination.port}\r\n"
        f"user-agent: {_USER_AGENT}\r\n"
        f"sequence-id: {digest}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body

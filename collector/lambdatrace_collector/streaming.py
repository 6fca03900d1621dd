"""Answers without an end of their own, sent piece by piece."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import OverloadedError
from lambdatrace_collector.exchange import Response, response_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from lambdatrace_collector.exchange import Message, Receive, Send

logger = logging.getLogger(__name__)

# A client that takes nothing for so long is gone, or will be told so by its socket.
SEND_DEADLINE_S = 30
STREAMS_MAX = 100  # each holds a connection and what it reads: no client needs so many at once


@dataclass(frozen=True)
class StreamingResponse:
    """What goes back piece by piece. `chunks` is closed when the client leaves."""

    status: int
    chunks: AsyncIterator[bytes]
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    error_type: str = ""


class Streams:
    """The streams being sent; `end` ends them all."""

    def __init__(self, streams_max: int = STREAMS_MAX) -> None:
        self._streams_max = streams_max
        self._ending = asyncio.Event()
        self.count = 0

    def admitted(self, response: Response | StreamingResponse) -> Response | StreamingResponse:
        """The response, where it may be sent.

        Raises OverloadedError when there are as many streams as we allow, or we are stopping.
        """
        if isinstance(response, Response):
            return response
        if self.count >= self._streams_max or self._ending.is_set():
            raise OverloadedError(
                f"{self.count} streams are open and {self._streams_max} are allowed:"
                " try again later"
            )
        return response

    def end(self) -> None:
        """End all streams; each client gets what it was being sent, then the end."""
        self._ending.set()

    async def send(self, response: StreamingResponse, receive: Receive, send: Send) -> None:
        """Send `response` until its chunks end, the client leaves or stalls, or `end` is called.

        A chunk is asked for when the one before it is with the network: a slow client slows the
        stream down, and takes no memory.
        """
        self.count += 1
        sender = _Sender(response, send)
        pieces = asyncio.create_task(sender.run())
        others = {
            asyncio.create_task(_departure(receive)),
            asyncio.create_task(self._ending.wait()),
        }
        try:
            while not sender.is_stalled():
                done, _ = await asyncio.wait(
                    {pieces, *others},
                    timeout=SEND_DEADLINE_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if done:
                    break
        finally:
            self.count -= 1
            for task in (pieces, *others):
                task.cancel()
            outcomes = await asyncio.gather(pieces, *others, return_exceptions=True)
            await _close(response.chunks)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        if sender.is_stalled():
            logger.info("a stream ends: its client took nothing for %d s", SEND_DEADLINE_S)
        else:
            # After a departure too: what is sent to nobody is dropped.
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Sender:
    """Sends a response piece by piece, and knows since when the client has taken nothing.

    Not `asyncio.wait_for`, which before Python 3.12 may keep a cancellation to itself.
    """

    def __init__(self, response: StreamingResponse, send: Send) -> None:
        self._response = response
        self._send = send
        self._sending_since: float | None = None

    async def run(self) -> None:
        response = self._response
        start = response_start(response.status, response.content_type, response.headers)
        await self._send_piece(start)
        async for chunk in response.chunks:
            await self._send_piece({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _send_piece(self, message: Message) -> None:
        self._sending_since = _now()
        await self._send(message)
        self._sending_since = None

    def is_stalled(self) -> bool:
        """Whether the client has taken nothing for too long."""
        since = self._sending_since
        return since is not None and _now() - since >= SEND_DEADLINE_S


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _departure(receive: Receive) -> None:
    """Return when the client is gone; what it still sends is not read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(chunks: AsyncIterator[Any]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()

"""What becomes of batches whose listener does not do its part."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lambdatrace.harness import telemetry_delivery
from lambdatrace.harness.telemetry_api import Buffering, Destination, Subscription
from lambdatrace.harness.telemetry_delivery import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

WAIT_S = 20.0


class Listener:
    """Takes connections and reads what comes; answers only once it is told to."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.received = b""
        self.writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(65536):
            await self.answering.wait()
            self.received += data
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def until(condition: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


def test_a_listener_that_never_answers_is_told_what_it_has_lost_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry_delivery, "HAND_OVER_S", 0.1)
    dropped: list[tuple[int, int]] = []

    def told(subscriber: Subscriber, records: int, dropped_bytes: int) -> None:
        dropped.append((records, dropped_bytes))

    async def main() -> None:
        listener = Listener()
        destination = Destination("HTTP", "127.0.0.1", await listener.listen(), "/")
        subscription = Subscription(
            "x", "Telemetry", "2022-12-13", ("platform",), Buffering(1000, 262144, 25), destination
        )
        subscriber = Subscriber(subscription, "127.0.0.1", told)
        subscriber.put(b'"lost"')
        await asyncio.sleep(0.5)
        assert dropped == [], "nothing is sent while the processes are stopped"
        subscriber.resume()
        await until(lambda: bool(dropped))
        listener.answering.set()
        subscriber.put(b'"sent"')
        await until(lambda: b"sent" in listener.received)
        await subscriber.close()
        await listener.close()

    asyncio.run(main())
    assert dropped == [(1, 6)]


def test_a_listener_that_is_stopped_while_it_answers_has_its_time_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry_delivery, "HAND_OVER_S", 0.3)
    dropped: list[int] = []

    async def main() -> None:
        listener = Listener()
        destination = Destination("HTTP", "127.0.0.1", await listener.listen(), "/")
        subscription = Subscription(
            "x", "Telemetry", "2022-12-13", ("platform",), Buffering(1000, 262144, 25), destination
        )
        subscriber = Subscriber(subscription, "127.0.0.1", lambda *_: dropped.append(1))
        subscriber.resume()
        subscriber.put(b'"sent"')
        await until(lambda: bool(listener.writers))
        subscriber.pause()
        await asyncio.sleep(1.0)
        listener.answering.set()
        subscriber.resume()
        await until(lambda: b"sent" in listener.received)
        await asyncio.sleep(0.3)  # another attempt would be made by now
        assert len(listener.writers) == 1
        await subscriber.close()
        await listener.close()

    asyncio.run(main())
    assert dropped == []

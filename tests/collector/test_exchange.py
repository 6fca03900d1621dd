from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace_collector.errors import (
    BadRequestError,
    BodyTooLargeError,
    OverloadedError,
    RequestTimeoutError,
)
from lambdatrace_collector.exchange import BODY_BYTES_MAX, read_body
from lambdatrace_collector.ingest.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Coroutine, MutableMapping

HALF = b"12345"


class Client:
    """A client that sends a body of two halves, each when the test says so."""

    def __init__(self, admission: Admission, *, is_chunked: bool = False) -> None:
        self._messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.lease = admission.lease()
        headers = {} if is_chunked else {"content-length": str(2 * len(HALF))}
        self.answer = asyncio.create_task(self._read(headers))

    async def _read(self, headers: dict[str, str]) -> bytes:
        with self.lease:
            return await read_body(headers, self._messages.get, self.lease)

    async def send(self, body: bytes = HALF, *, is_last: bool = False) -> None:
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not is_last})
        for _ in range(5):  # turns of the loop, for the reader to take it
            await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


async def one_body(
    parts: list[bytes], headers: dict[str, str], admission: Admission | None = None
) -> bytes:
    messages = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    with (admission or Admission()).lease() as lease:
        return await read_body(headers, receive, lease)


@pytest.mark.parametrize(
    ("is_chunked", "expected"),
    [
        (False, (7, 7)),
        # Without a length, by what has come: the first that needs more than there is makes room.
        (True, (13, 1)),
    ],
)
def test_of_more_bodies_than_there_is_room_for_as_many_as_fit_are_served(
    *, is_chunked: bool, expected: tuple[int, int]
) -> None:
    async def test() -> None:
        admission = Admission(bytes_max=7 * 2 * len(HALF))
        clients = [Client(admission, is_chunked=is_chunked) for _ in range(14)]
        for client in clients:
            await client.send()
        for client in clients:
            await client.send(is_last=True)
        answers = await asyncio.gather(
            *(client.answer for client in clients), return_exceptions=True
        )
        served = answers.count(HALF + HALF)
        refused = sum(isinstance(answer, OverloadedError) for answer in answers)
        assert (served, refused) == expected
        assert admission.bytes_admitted == 0

    run(test())


def test_a_refused_body_holds_nothing_while_its_client_still_sends() -> None:
    async def test() -> None:
        admission = Admission(bytes_max=3 * len(HALF))
        first, refused = Client(admission), Client(admission, is_chunked=True)
        await refused.send()
        await first.send()
        await refused.send()
        assert admission.bytes_admitted == 2 * len(HALF)
        assert not refused.answer.done()
        other = Client(admission, is_chunked=True)
        await other.send(is_last=True)
        assert await other.answer == HALF
        await refused.send(is_last=True)
        with pytest.raises(OverloadedError):
            await refused.answer
        await first.send(is_last=True)
        assert await first.answer == HALF + HALF

    run(test())


def test_a_body_that_is_refused_once_it_is_complete_is_answered_at_once() -> None:
    async def test() -> None:
        refused = Client(Admission(bytes_max=0))
        await refused.send(HALF + HALF, is_last=True)
        with pytest.raises(OverloadedError):
            await asyncio.wait_for(refused.answer, 1)

    run(test())


def test_a_silent_connection_holds_nothing_and_a_body_that_stops_gives_its_room_back() -> None:
    async def test() -> None:
        admission = Admission(bytes_max=2 * len(HALF))
        silent, stops = Client(admission), Client(admission)
        await stops.send()
        assert (silent.lease.body_bytes, stops.lease.body_bytes) == (0, 2 * len(HALF))
        with pytest.raises(RequestTimeoutError, match="nothing more of the body arrived for 5 s"):
            await stops.answer
        assert admission.bytes_admitted == 0
        await silent.send()
        await silent.send(is_last=True)
        assert await silent.answer == HALF + HALF

    run(test())


def test_an_unpacked_body_holds_its_content_and_no_more_its_packed_bytes() -> None:
    async def test() -> None:
        packed = gzip.compress(bytes(1000))
        headers = {"content-encoding": "gzip", "content-length": str(len(packed))}
        assert await one_body([packed], headers, Admission(1000 + len(packed))) == bytes(1000)
        with pytest.raises(OverloadedError):
            await one_body([packed], headers, Admission(1000 + len(packed) - 1))

        admission = Admission()

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": packed}

        with admission.lease() as lease:
            await read_body(headers, receive, lease)
            assert admission.bytes_admitted == 1000

    run(test())


def test_a_body_that_is_announced_or_grows_too_large_is_refused() -> None:
    too_large = {"content-length": str(BODY_BYTES_MAX + 1)}
    for parts, headers in (([b""], too_large), ([bytes(BODY_BYTES_MAX), b"x"], {})):
        with pytest.raises(BodyTooLargeError, match="is over 20971520 bytes"):
            asyncio.run(one_body(parts, headers))


def test_a_connection_that_closes_before_the_end_is_a_bad_request() -> None:
    async def closed() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def test() -> None:
        with Admission().lease() as lease:
            await read_body({}, closed, lease)

    with pytest.raises(BadRequestError, match="the connection closed before the body was"):
        asyncio.run(test())

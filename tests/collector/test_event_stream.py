from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.parsers import EventStreamCBORParser, EventStreamJSONParser
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace_collector.aws.cbor_protocol import CborProtocol
from lambdatrace_collector.aws.event_stream import encode_message, event_messages
from lambdatrace_collector.aws.json_protocol import JsonProtocol
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import AwsError, OverloadedError
from lambdatrace_collector.exchange import Response
from lambdatrace_collector.streaming import StreamingResponse, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping, MutableMapping

    from lambdatrace_collector.aws.protocol import WireProtocol

    Message = MutableMapping[str, Any]

LOGS = next(service for service in load_services() if service.name == "logs")
LIVE_TAIL = LOGS.operation("StartLiveTail")
START = {"requestId": "r", "sessionId": "s", "logGroupIdentifiers": ["g"]}
UPDATE = {
    "sessionMetadata": {"sampled": False},
    "sessionResults": [{"message": "hé", "timestamp": 5, "logStreamName": "st"}],
}
header_names = st.text("abc:-", min_size=1, max_size=20)
header_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def messages(content: bytes) -> list[Any]:
    """What botocore reads, its checksums verified."""
    buffer = EventStreamBuffer()
    buffer.add_data(content)
    return list(buffer)


def read(protocol: WireProtocol, events: AsyncGenerator[Mapping[str, Any], None]) -> list[Any]:
    """What botocore makes of a live tail: headers and the parsed event."""
    kinds = {"application/json": EventStreamJSONParser, "application/cbor": EventStreamCBORParser}
    parser = kinds[protocol.document_type]()
    assert LIVE_TAIL is not None
    shape = LIVE_TAIL.get_event_stream_output()

    async def content() -> bytes:
        stream = event_messages(protocol, LIVE_TAIL, {"responseStream": events})
        return b"".join([message async for message in stream])

    return [
        (message.headers, parser.parse(message.to_response_dict(), shape))
        for message in messages(asyncio.run(content()))
    ]


@given(st.dictionaries(header_names, header_values, max_size=5), st.binary(max_size=1000))
def test_a_message_is_what_botocore_reads(headers: dict[str, str], payload: bytes) -> None:
    (message,) = messages(encode_message(headers, payload))
    assert (message.headers, message.payload) == (headers, payload)


def test_the_bytes_of_a_message_are_those_of_the_specification() -> None:
    assert encode_message({}, b"") == bytes.fromhex("000000100000000005c248eb7d98c8ff")
    assert encode_message({}, b"{'foo':'bar'}") == bytes.fromhex(
        "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936"
    )


@pytest.mark.parametrize("protocol", [JsonProtocol(LOGS, ()), CborProtocol(LOGS)])
def test_a_stream_begins_with_the_initial_response_and_has_each_event(
    protocol: WireProtocol,
) -> None:
    async def events() -> AsyncGenerator[Mapping[str, Any], None]:
        yield {"sessionStart": START}
        yield {"sessionUpdate": UPDATE}

    kinds = [
        (headers[":event-type"], headers[":message-type"], headers[":content-type"], parsed)
        for headers, parsed in read(protocol, events())
    ]
    kind = protocol.document_type
    assert kinds == [
        ("initial-response", "event", kind, {}),
        ("sessionStart", "event", kind, {"sessionStart": START}),
        ("sessionUpdate", "event", kind, {"sessionUpdate": UPDATE}),
    ]


@pytest.mark.parametrize(
    ("raised", "headers", "code", "message"),
    [
        (
            AwsError("SessionTimeoutException", "three hours"),
            {
                ":exception-type": "SessionTimeoutException",
                ":content-type": "application/json",
                ":message-type": "exception",
            },
            "SessionTimeoutException",
            "three hours",
        ),
        (
            AwsError("LimitExceededException", "too many"),
            {
                ":error-code": "LimitExceededException",
                ":error-message": "too many",
                ":message-type": "error",
            },
            "LimitExceededException",
            "too many",
        ),
        (
            KeyError("a mistake"),
            {
                ":error-code": "InternalFailure",
                ":error-message": "internal error of the collector",
                ":message-type": "error",
            },
            "InternalFailure",
            "internal error of the collector",
        ),
    ],
)
def test_what_goes_wrong_in_a_stream_is_its_last_message(
    raised: Exception, headers: dict[str, str], code: str, message: str
) -> None:
    async def events() -> AsyncGenerator[Mapping[str, Any], None]:
        yield {"sessionStart": START}
        raise raised

    found, parsed = read(JsonProtocol(LOGS, ()), events())[-1]
    assert (found, parsed["Error"]) == (headers, {"Code": code, "Message": message})


class Peer:
    """The other side of an ASGI connection: takes what is sent as fast as the test says."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.is_complete = False
        self.has_left = asyncio.Event()
        self.may_take = asyncio.Event()
        self.may_take.set()

    async def receive(self) -> Message:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.may_take.wait()
        if message["type"] == "http.response.body":
            self.taken.append(message["body"])
            self.is_complete = not message["more_body"]


class Source:
    """Chunks as fast as they are asked for, and how many were."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_closed = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.asked += 1
                yield b"%d" % self.asked
                await asyncio.sleep(0)
        finally:
            self.is_closed = True


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def sending(streams: Streams, source: Source, peer: Peer) -> asyncio.Task[None]:
    response = StreamingResponse(200, source.chunks(), "text/plain")
    assert streams.admitted(response) is response
    return asyncio.create_task(streams.send(response, peer.receive, peer.send))


def test_a_slow_client_slows_the_stream_down() -> None:
    async def test() -> None:
        streams, source, peer = Streams(), Source(), Peer()
        task = sending(streams, source, peer)
        await turns()
        peer.may_take.clear()
        await turns()
        asked = source.asked
        await turns(200)
        assert source.asked == asked
        peer.may_take.set()
        await turns()
        assert source.asked > asked
        peer.has_left.set()
        await task

    run(test())


def test_a_client_that_leaves_ends_the_stream_and_closes_its_source() -> None:
    async def test() -> None:
        streams, source, peer = Streams(), Source(), Peer()
        task = sending(streams, source, peer)
        await turns()
        assert streams.count == 1
        peer.has_left.set()
        await task
        assert (streams.count, source.is_closed) == (0, True)

    run(test())


def test_stopping_ends_every_stream_as_a_whole_response_and_admits_no_more() -> None:
    async def test() -> None:
        streams, source, peer = Streams(), Source(), Peer()
        task = sending(streams, source, peer)
        await turns()
        streams.end()
        await task
        assert (peer.is_complete, peer.taken[0], peer.taken[-1]) == (True, b"1", b"")
        with pytest.raises(OverloadedError):
            streams.admitted(StreamingResponse(200, source.chunks(), "text/plain"))

    run(test())


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdatrace_collector.streaming.SEND_DEADLINE_S", 0.05)

    async def test() -> None:
        streams, source, peer = Streams(), Source(), Peer()
        peer.may_take.clear()
        await sending(streams, source, peer)
        assert (streams.count, peer.is_complete) == (0, False)

    run(test())


def test_there_are_no_more_streams_at_once_than_allowed() -> None:
    async def test() -> None:
        streams, source, peer = Streams(streams_max=1), Source(), Peer()
        task = sending(streams, source, peer)
        await turns()
        with pytest.raises(OverloadedError, match="1 streams are open and 1 are allowed"):
            streams.admitted(StreamingResponse(200, Source().chunks(), "text/plain"))
        whole = Response(200)
        assert streams.admitted(whole) is whole
        peer.has_left.set()
        await task

    run(test())

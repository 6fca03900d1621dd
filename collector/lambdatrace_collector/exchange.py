"""One HTTP request and its response, and how a body is taken in within its limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from lambdatrace_collector.errors import (
    RETRIED_STATUSES,
    RETRY_AFTER_S,
    BadRequestError,
    BodyTooLargeError,
    OverloadedError,
    RequestTimeoutError,
    UnsupportedMediaError,
)

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Coroutine,
        Mapping,
        MutableMapping,
    )

    from lambdatrace_collector.errors import RequestError, ServiceError
    from lambdatrace_collector.ingest.admission import Lease

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

BODY_BYTES_MAX = (
    20 * 1024 * 1024
)  # as sent and once decompressed: the OpenTelemetry Collector's limit
BODY_DEADLINE_S = 30  # a client that sends slower than this would hold its bytes against all others
# A body that has begun holds all it announced: a client that then falls silent must not keep that.
BODY_SILENCE_MAX_S = 5
LENGTH_DIGITS_MAX = 19  # Python refuses to read thousands
# Nor one that sends a byte now and then: twice the silence allowed, then this much must come.
BODY_BYTES_PER_S_MIN = 16 * 1024
DISCARD_BYTES_MAX = 4 * BODY_BYTES_MAX
DISCARD_DEADLINE_S = 5
GZIP_WINDOW = 31  # zlib: gzip framing with the largest window


@dataclass(frozen=True)
class Request:
    """A request with its whole body, decompressed. Header names are lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    path_parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        """The media type without its parameters, lower case; empty when none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter; None when it is missing or empty."""
        return self.query.get(name, [""])[0] or None


@dataclass(frozen=True)
class Response:
    """What goes back; Content-Length is added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    error_type: str = ""  # what went wrong, for our own measurements


def json_response(value: Any, status: int = 200) -> Response:
    """A response whose body is `value` as JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode())


def retry_headers(error: RequestError | ServiceError) -> dict[str, str]:
    """Retry-After, when the same request may be sent again after `error`."""
    return {"Retry-After": str(RETRY_AFTER_S)} if error.status in RETRIED_STATUSES else {}


def request_head(scope: Mapping[str, Any]) -> Request:
    """The request of an ASGI scope, without its body."""
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return Request(scope["method"], scope["path"], query, headers, b"")


async def read_body(headers: Mapping[str, str], receive: Receive, lease: Lease) -> bytes:
    """The request's body, decompressed, its bytes taken from `lease`.

    Raises BodyTooLargeError, UnsupportedMediaError, BadRequestError (broken gzip, connection
    closed), RequestTimeoutError or OverloadedError.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip"):
        raise UnsupportedMediaError(f"Content-Encoding is {encoding!r}: expected gzip or none")
    arrival = _Arrival()
    try:
        await _in_time(_receive_all(headers, receive, lease, arrival), arrival)
    except (BodyTooLargeError, OverloadedError):
        # First, so that others have the room while this client sends the rest.
        arrival.chunks.clear()
        lease.release()
        if not arrival.is_complete:
            await _discard(receive)
        raise
    body = arrival.chunks[0] if len(arrival.chunks) == 1 else b"".join(arrival.chunks)
    return _gunzip(body, lease) if encoding == "gzip" else body


class _ExactName(bytes):
    """A header's name that is sent as it is written.

    uvicorn lowers names; some AWS clients look for `x-amzn-RequestId` to the letter.
    """

    __slots__ = ()

    def lower(self) -> bytes:
        return self


async def send_response(send: Send, response: Response) -> None:
    """Send `response` over ASGI."""
    length = {"content-length": str(len(response.body))}
    headers = {**length, **response.headers}
    await send(response_start(response.status, response.content_type, headers))
    await send({"type": "http.response.body", "body": response.body})


def response_start(status: int, content_type: str, headers: Mapping[str, str]) -> Message:
    """The ASGI message that begins a response; an empty `content_type` is not sent."""
    named = [(b"content-type", content_type.encode("latin-1"))] if content_type else []
    named += [
        (_ExactName(name.encode("latin-1")), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {"type": "http.response.start", "status": status, "headers": named}


@dataclass
class _Arrival:
    """What has come of a body, and whether the client has sent all of it."""

    chunks: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    is_complete: bool = False


async def _in_time(receiving: Coroutine[Any, Any, None], arrival: _Arrival) -> None:
    """Await `receiving`, which fills `arrival`. Raises RequestTimeoutError, or what it raises."""
    task = asyncio.ensure_future(receiving)
    began = asyncio.get_running_loop().time()
    try:
        while True:
            seen = len(arrival.chunks)
            elapsed = asyncio.get_running_loop().time() - began
            remaining = BODY_DEADLINE_S - elapsed
            await asyncio.wait((task,), timeout=min(BODY_SILENCE_MAX_S, remaining))
            if task.done():
                return task.result()
            if remaining <= BODY_SILENCE_MAX_S:
                raise RequestTimeoutError(f"the body did not arrive within {BODY_DEADLINE_S} s")
            if seen and len(arrival.chunks) == seen:
                raise RequestTimeoutError(
                    f"nothing more of the body arrived for {BODY_SILENCE_MAX_S} s"
                )
            if seen and arrival.size_bytes < elapsed * BODY_BYTES_PER_S_MIN:
                raise RequestTimeoutError(
                    f"the body arrives at less than {BODY_BYTES_PER_S_MIN} bytes/s"
                )
    finally:
        task.cancel()


async def _receive_all(
    headers: Mapping[str, str], receive: Receive, lease: Lease, arrival: _Arrival
) -> None:
    """Fill `arrival` with the body, its bytes taken from `lease`.

    What is announced is taken with the first bytes: bodies that each hold a part and wait for
    each other's would all be refused. Not before: silent connections must hold nothing.
    """
    announced = _announced_bytes(headers.get("content-length", ""))
    _check_size(announced)
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("the connection closed before the body was complete")
        chunk = message.get("body", b"")
        arrival.is_complete = not message.get("more_body", False)
        size += len(chunk)
        _check_size(size)
        if chunk and size > lease.body_bytes:
            lease.grow(max(announced, size) - lease.body_bytes)
        arrival.chunks.append(chunk)
        arrival.size_bytes = size
        if arrival.is_complete:
            return


def _announced_bytes(length: str) -> int:
    """What Content-Length says; 0 where it is missing or no number."""
    if not (length.isascii() and length.isdecimal()):
        return 0
    return int(length) if len(length) <= LENGTH_DIGITS_MAX else BODY_BYTES_MAX + 1


async def _discard(receive: Receive) -> None:
    """Read what is left of a refused body and keep nothing of it.

    A client that is still sending when the connection closes gets a reset, not our answer.
    """
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(_receive_none(receive), DISCARD_DEADLINE_S)


async def _receive_none(receive: Receive) -> None:
    size = 0
    while size < DISCARD_BYTES_MAX:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def _gunzip(body: bytes, lease: Lease) -> bytes:
    """The content of a gzip body; several members in a row are one content, as gzip has it.

    The lease of the body becomes one of its content.
    """
    body_bytes = len(body)
    content: list[bytes] = []
    size = 0
    while body:
        stream = zlib.decompressobj(GZIP_WINDOW)
        try:
            part = stream.decompress(body, BODY_BYTES_MAX + 1 - size)
        except zlib.error as error:
            raise BadRequestError(f"the body is not valid gzip: {error}") from error
        size += len(part)
        _check_size(size)
        if not stream.eof:
            raise BadRequestError("the body is not valid gzip: it ends too early")
        lease.grow(len(part))
        content.append(part)
        body = stream.unused_data
    lease.shrink(body_bytes)
    return b"".join(content)


def _check_size(size_bytes: int) -> None:
    if size_bytes > BODY_BYTES_MAX:
        raise BodyTooLargeError(
            f"the body is over {BODY_BYTES_MAX} bytes: send it in smaller requests"
        )

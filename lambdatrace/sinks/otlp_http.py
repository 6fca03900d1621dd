"""Records of any signal to an OTLP/HTTP endpoint, as an encoder writes them.

Source: OpenTelemetry protocol specification, "OTLP/HTTP": 429, 502, 503 and 504 may be sent again,
any other failure may not; the answer comes in the format of the request.
"""

from __future__ import annotations

import time

from lambdatrace import __version__
from lambdatrace.errors import SendError
from lambdatrace.http1 import post_head
from lambdatrace.sinks import Outcome
from lambdatrace.sinks.retry_after import retry_after_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from lambdatrace.http1 import Address, Connection, Response
    from lambdatrace.redaction import Redaction
    from lambdatrace.sinks import Encoder

TOO_LARGE = 413
RETRYABLE = frozenset((429, 502, 503, 504))
_SUCCESS_FIRST, _SUCCESS_LAST = 200, 299


class OtlpHttpSink:
    """Posts what `encoder` makes of a batch to `address` over one kept-alive `connection`.

    Through a proxy for plain HTTP, `target` is the whole URL, and `on_the_way` what the proxy is
    called. `sign` gives, of the headers and the body of a request, those that are still missing.
    What an endpoint says is told without the request's credentials and what `redaction` finds.
    """

    def __init__(
        self,
        address: Address,
        connection: Connection,
        headers: Mapping[str, str],
        encoder: Encoder,
        *,
        is_gzip: bool = False,
        target: str = "",
        on_the_way: str = "",
        redaction: Redaction | None = None,
        sign: Callable[[Mapping[str, str], bytes], Mapping[str, str]] | None = None,
    ) -> None:
        self._address = address
        self._connection = connection
        self._encoder = encoder
        self._is_gzip = is_gzip
        self._target = target or address.path
        self._on_the_way = on_the_way
        self._redaction = redaction
        self._sign = sign
        # What says how to read the body is ours alone. Who sends it may be told as the user likes.
        self._headers = merged(
            {"User-Agent": f"lambdatrace/{__version__}"},
            headers,
            {"Content-Type": encoder.content_type},
            {"Content-Encoding": "gzip"} if is_gzip else {},
        )
        self._head = post_head(address, self._target, self._headers)

    def send(self, records: list[Any], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """Post one request. Raises SendError if no whole answer came within `timeout_s`."""
        body, unencodable = self._encoder.encode(records)
        if unencodable == len(records):
            return Outcome(is_accepted=True, unencodable=unencodable)
        if self._is_gzip:
            import zlib

            # wbits 31: deflate in gzip's frame; the gzip module costs 1 ms and adds nothing here.
            compressor = zlib.compressobj(wbits=31)
            body = compressor.compress(body) + compressor.flush()
        head, headers = self._head, self._headers
        if self._sign is not None:
            headers = merged(headers, self._sign(headers, body))
            head = post_head(self._address, self._target, headers)
        try:
            response = self._connection.post(head, body, timeout_s, meanwhile)
        except SendError as error:
            from lambdatrace.sinks.send_failure import unreachable

            raise SendError(unreachable(self._address, error, self._on_the_way)) from error
        return self._outcome(response, headers, len(records) - unencodable, unencodable)

    def close(self) -> None:
        """Close the connection; a later `send` opens another."""
        self._connection.close()

    def _outcome(
        self, response: Response, headers: Mapping[str, str], sent: int, unencodable: int
    ) -> Outcome:
        if _SUCCESS_FIRST <= response.status <= _SUCCESS_LAST:
            rejected, said = _partial_success(response)
            rejected = max(0, min(rejected, sent))  # whatever an endpoint says
            message = self._told(said, headers) if said else ""
            return Outcome(
                is_accepted=True, rejected=rejected, unencodable=unencodable, message=message
            )
        if response.status == TOO_LARGE and sent > 1:
            return Outcome(is_accepted=False, is_too_large=True)
        from lambdatrace.sinks.send_failure import refused

        text = self._told(response.body, headers)
        message = refused(self._address, response.status, text, self._on_the_way)
        if response.status in RETRYABLE:
            wait_s = retry_after_s(response.header(b"retry-after"), time.time())
            return Outcome(is_accepted=False, retry_after_s=wait_s, message=message)
        return Outcome(is_accepted=True, rejected=sent, unencodable=unencodable, message=message)

    def _told(self, said: bytes, headers: Mapping[str, str]) -> str:
        from lambdatrace.sinks.send_failure import told

        return told(said, self._address, headers, self._redaction)


def merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Headers of all `parts`, each name once in whatever case; a later part goes before."""
    found = {name.lower(): (name, value) for part in parts for name, value in part.items()}
    return dict(found.values())


def _partial_success(response: Response) -> tuple[int, bytes]:
    """How many an Export…ServiceResponse says were rejected, and why; the same for all signals."""
    if "json" in response.header(b"content-type"):
        return _partial_success_json(response.body)
    rejected, message = 0, b""
    for number, partial_success in _fields(response.body):
        if number == 1 and isinstance(partial_success, bytes):
            for inner, value in _fields(partial_success):
                if inner == 1 and isinstance(value, int):  # rejected_spans and its like
                    rejected = value
                elif inner == 2 and isinstance(value, bytes):  # noqa: PLR2004 - error_message
                    message = value
            break
    return _signed(rejected), message


def _partial_success_json(body: bytes) -> tuple[int, bytes]:
    import json

    try:
        partial = json.loads(body)["partialSuccess"]
        counts = [int(partial[name]) for name in partial if name.startswith("rejected")]
        return sum(counts), str(partial.get("errorMessage", "")).encode("utf-8", "replace")
    except (ValueError, OverflowError, RecursionError, KeyError, TypeError, AttributeError):
        return 0, b""  # there is none, or it says nothing that can be read


def _signed(number: int) -> int:
    """The int64 that a varint stands for."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _fields(body: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The varint and length-delimited fields of a protobuf message; what is malformed ends it."""
    position = 0
    while position < len(body):
        tag, position = _varint(body, position)
        value, position = _varint(body, position)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2:  # noqa: PLR2004 - wire type: length-delimited
            yield tag >> 3, body[position : position + value]
            position += value
        else:
            break


def _varint(body: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(body):
        byte = body[position]
        position += 1
        number |= (byte & 0x7F) << shift
        # The high bit says that more follows; a varint has ten bytes at most.
        if byte < 0x80 or shift >= 63:  # noqa: PLR2004
            break
        shift += 7
    return number, position

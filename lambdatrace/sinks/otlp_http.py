"""Spans to an OTLP/HTTP endpoint as protobuf.

Source: OpenTelemetry protocol specification, "OTLP/HTTP": 429, 502, 503 and 504 may be sent again,
any other failure may not.
"""

from __future__ import annotations

from lambdatrace import __version__
from lambdatrace.http1 import Address, Connection, post_head
from lambdatrace.sinks import Outcome
from lambdatrace.wire.otlp_protobuf import encode_resource, encode_span, encode_spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.http1 import Response
    from lambdatrace.records import Span

TOO_LARGE = 413
RETRYABLE = frozenset((429, 502, 503, 504))
_SUCCESS_FIRST, _SUCCESS_LAST = 200, 299
_MESSAGE_LENGTH_MAX = 200


class OtlpHttpSink:
    """Posts batches to one URL over one kept-alive connection.

    Raises ValueError if `url` is not an http or https URL. A span that cannot be encoded is
    reported to `on_error` and left out; the others of its batch go.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        resource_attributes: Mapping[str, Any],
        *,
        is_gzip: bool,
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        address = Address(url)
        self._connection = Connection(address)
        self._resource = encode_resource(resource_attributes)
        self._on_error = on_error
        self._is_gzip = is_gzip
        own_headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"lambdatrace/{__version__}",
        }
        if is_gzip:
            own_headers["Content-Encoding"] = "gzip"
        self._head = post_head(address, address.path, {**own_headers, **headers})

    def send(self, spans: list[Span], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """Post one request. Raises SendError if no whole answer came within `timeout_s`."""
        encoded = self._encode(spans)
        if not encoded:
            return Outcome(
                is_accepted=True, rejected=len(spans), message="nothing could be encoded"
            )
        body = encode_spans(self._resource, "lambdatrace", __version__, encoded)
        if self._is_gzip:
            import zlib

            # wbits 31: deflate in gzip's frame; the gzip module costs 1 ms and adds nothing here.
            compressor = zlib.compressobj(wbits=31)
            body = compressor.compress(body) + compressor.flush()
        response = self._connection.post(self._head, body, timeout_s, meanwhile)
        return _outcome(response, len(encoded), len(spans) - len(encoded))

    def close(self) -> None:
        """Close the connection; a later `send` opens another."""
        self._connection.close()

    def _encode(self, spans: list[Span]) -> list[bytes]:
        encoded = []
        for span in spans:
            try:
                encoded.append(encode_span(span))
            except BaseException as error:  # noqa: BLE001 - one span's odd values, not the batch's
                self._on_error("a span cannot be encoded", error)
        return encoded


def _outcome(response: Response, sent: int, unencodable: int) -> Outcome:
    if _SUCCESS_FIRST <= response.status <= _SUCCESS_LAST:
        rejected, message = _partial_success(response.body)
        if unencodable and not message:
            message = f"{unencodable} could not be encoded"
        return Outcome(
            is_accepted=True, rejected=min(rejected, sent) + unencodable, message=message
        )
    if response.status == TOO_LARGE and sent > 1:
        return Outcome(is_accepted=False, is_too_large=True)
    message = f"HTTP {response.status} {_readable(response.body)}".rstrip()
    if response.status in RETRYABLE:
        retry_after = response.header(b"retry-after")
        return Outcome(
            is_accepted=False,
            retry_after_s=float(retry_after[:9]) if retry_after.isdecimal() else None,
            message=message,
        )
    return Outcome(is_accepted=True, rejected=sent + unencodable, message=message)


def _partial_success(body: bytes) -> tuple[int, str]:
    """`rejected_spans` and `error_message` of an ExportTraceServiceResponse."""
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):  # partial_success = 1
            inner = dict(_fields(value))
            rejected, message = inner.get(1, 0), inner.get(2, b"")
            return (
                rejected if isinstance(rejected, int) else 0,
                _readable(message) if isinstance(message, bytes) else "",
            )
    return 0, ""


def _fields(body: bytes) -> list[tuple[int, int | bytes]]:
    """The varint and length-delimited fields of a protobuf message; what is malformed ends it."""
    fields: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(body):
        tag, position = _varint(body, position)
        value, position = _varint(body, position)
        if tag & 7 == 0:
            fields.append((tag >> 3, value))
        elif tag & 7 == 2:  # noqa: PLR2004 - wire type: length-delimited
            fields.append((tag >> 3, body[position : position + value]))
            position += value
        else:
            break
    return fields


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


def _readable(body: bytes) -> str:
    text = body[:_MESSAGE_LENGTH_MAX].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()

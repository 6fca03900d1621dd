"""Event streams: `application/vnd.amazon.eventstream`, the answer of StartLiveTail.

A message is its length, the length of its headers, a checksum of these two, the headers, the
payload, and a checksum of all before it; numbers are big-endian.
Source: Smithy, "Amazon Event Stream specification" and "Event stream" of the AWS JSON protocols.
"""

from __future__ import annotations

import logging
import struct
import zlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.error_answer import error_answer
from lambdatrace_collector.errors import InternalError, RequestError, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from lambdatrace_collector.aws.protocol import WireProtocol

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
_STRING = 7  # the type of a header whose value is text
_STRING_HEADER = struct.Struct(">BH")


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message; header names have at most 255 bytes, values 32,767."""
    encoded = b"".join(_encode_header(name, value) for name, value in headers.items())
    total = _PRELUDE.size + 2 * _CHECKSUM.size + len(encoded) + len(payload)
    prelude = _PRELUDE.pack(total, len(encoded))
    message = prelude + _CHECKSUM.pack(zlib.crc32(prelude)) + encoded + payload
    return message + _CHECKSUM.pack(zlib.crc32(message))


async def event_messages(
    protocol: WireProtocol, model: Any, result: Mapping[str, Any]
) -> AsyncIterator[bytes]:
    """The messages of a streaming operation's answer: its other members, then each event.

    The streaming member of `result` is an async generator of events, each of one member: its name
    and its value. What it raises is the stream's last message; it is closed when the client leaves.
    """
    stream_shape = model.get_event_stream_output()
    name = model.output_shape.event_stream_name
    rest = {key: value for key, value in result.items() if key != name}
    yield _event(protocol, "initial-response", model.output_shape, rest)
    try:
        async with aclosing(result[name]) as events:
            async for event in events:
                for kind, value in event.items():
                    yield _event(protocol, kind, stream_shape.members[kind], value)
    except (RequestError, ServiceError) as error:
        yield _failure(protocol, stream_shape, error)
    except Exception:
        # The border to bugs of ours, as for answers that are no streams.
        logger.exception("the event stream of %s failed", model.name)
        failure = InternalError("internal error of the collector")
        yield _failure(protocol, stream_shape, failure)


def _event(protocol: WireProtocol, kind: str, shape: Any, value: Mapping[str, Any]) -> bytes:
    headers = {
        ":event-type": kind,
        ":content-type": protocol.document_type,
        ":message-type": "event",
    }
    return encode_message(headers, protocol.write_document(shape, value))


def _failure(
    protocol: WireProtocol, stream_shape: Any, error: RequestError | ServiceError
) -> bytes:
    """An exception where the stream's model has it, else an error that no model needs."""
    answer = error_answer(protocol.service, error)
    shape = stream_shape.members.get(answer.code)
    if shape is None:
        headers = {
            ":error-code": answer.code,
            ":error-message": answer.message[:1000],
            ":message-type": "error",
        }
        return encode_message(headers, b"")
    headers = {
        ":exception-type": answer.code,
        ":content-type": protocol.document_type,
        ":message-type": "exception",
    }
    return encode_message(headers, protocol.write_document(shape, answer.members))


def _encode_header(name: str, value: str) -> bytes:
    name_bytes, value_bytes = name.encode(), value.encode()
    prefix = bytes((len(name_bytes),)) + name_bytes
    return prefix + _STRING_HEADER.pack(_STRING, len(value_bytes)) + value_bytes

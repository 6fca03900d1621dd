"""The message around a request that says to the engine whose it is.

Requests of a group are one message for the engine; an envelope each keeps them apart, and keeps
what we add apart from what the sender chose.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_VARINT, _I64, _LEN = 0, 1, 2  # wire types. Source: protobuf, "Encoding"
_PAYLOAD_BITS = 7
_PAYLOAD_MAX = 0x7F
_UINT64_MAX = 2**64 - 1


def logs_envelope(
    data: bytes,
    places: Sequence[tuple[str, str]],
    owner: tuple[str, str],
    received_ms: int,
    first_event_id: int,
) -> bytes:
    """A LogsInput of one request; `places` are the group and stream of each of its resources.

    `owner` is account and region.
    """
    request = b"".join(
        (
            _bytes(1, data),
            *(_bytes(2, group.encode()) for group, _ in places),
            *(_bytes(3, stream.encode()) for _, stream in places),
            _bytes(4, owner[0].encode()),
            _bytes(5, owner[1].encode()),
            _varint(6 << 3 | _VARINT) + _varint(received_ms),
            _fixed64(7, first_event_id >> 64),
            _fixed64(8, first_event_id & _UINT64_MAX),
        )
    )
    return _bytes(1, request)


def metrics_envelope(
    data: bytes, namespaces: Sequence[str], owner: tuple[str, str], received_ms: int
) -> bytes:
    """A MetricsInput of one request; `namespaces` are those of its resources."""
    request = b"".join(
        (
            _bytes(1, data),
            *(_bytes(2, namespace.encode()) for namespace in namespaces),
            _bytes(3, owner[0].encode()),
            _bytes(4, owner[1].encode()),
            _varint(5 << 3 | _VARINT) + _varint(received_ms),
        )
    )
    return _bytes(1, request)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LEN) + _varint(len(value)) + value


def _fixed64(number: int, value: int) -> bytes:
    return _varint(number << 3 | _I64) + struct.pack("<Q", value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > _PAYLOAD_MAX:
        encoded.append(value & _PAYLOAD_MAX | _PAYLOAD_MAX + 1)
        value >>= _PAYLOAD_BITS
    encoded.append(value)
    return bytes(encoded)

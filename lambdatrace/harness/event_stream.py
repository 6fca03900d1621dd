"""Messages of AWS's event streams, as InvokeWithResponseStream answers with.

A message is `length(4) | length of headers(4) | CRC-32 of these(4) | headers | payload | CRC-32 of
all before it(4)`, big-endian; a header is `length(1) | name | 7 | length(2) | value`.
Source: AWS SDKs, "application/vnd.amazon.eventstream"; botocore's `eventstream.py` reads it.
"""

from __future__ import annotations

import struct
from binascii import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
_AROUND_BYTES = 16  # two lengths and two checksums


def event(event_type: str, content_type: str, payload: bytes) -> bytes:
    """One event of a stream."""
    headers = b"".join(
        struct.pack(">B", len(name)) + name + struct.pack(">BH", _STRING, len(value)) + value
        for name, value in (
            (b":event-type", event_type.encode()),
            (b":content-type", content_type.encode()),
            (b":message-type", b"event"),
        )
    )
    lengths = struct.pack(">II", len(headers) + len(payload) + _AROUND_BYTES, len(headers))
    message = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return message + struct.pack(">I", crc32(message))

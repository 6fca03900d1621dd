"""What comes by UDP: the X-Ray daemon's protocol, and AWS's OTLP in Lambda.

A datagram is a header, a line break and what follows: a segment's JSON, or one of three marks and
base64 of an OTLP request. Source: aws-xray-daemon, `tracesegment.go`;
aws-otel-python-instrumentation, `otlp_udp_exporter.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple

from lambdatrace_collector.errors import BadRequestError

HEADER_BYTES_MAX = 256

# Sampled spans, spans that are not sampled, metrics. All are stored.
_MARKS = {b"T1S": "traces", b"T1U": "traces", b"M1": "metrics"}


class Datagram(NamedTuple):
    """`kind` is `segment` (the body is its document), or a signal of OTLP (an export request)."""

    kind: str
    body: bytes


def read_datagram(data: bytes) -> Datagram:
    """What a datagram holds. Raises BadRequestError."""
    header, separator, body = data.partition(b"\n")
    if not separator or not _is_header(header):
        raise BadRequestError("the datagram does not begin with the daemon's header")
    for mark, kind in _MARKS.items():
        if body.startswith(mark):
            try:
                return Datagram(kind, base64.b64decode(body[len(mark) :].strip(), validate=True))
            except binascii.Error as error:
                raise BadRequestError(f"{mark.decode()} is not followed by base64") from error
    return Datagram("segment", body)


def _is_header(header: bytes) -> bool:
    if len(header) > HEADER_BYTES_MAX:
        return False
    try:
        value = json.loads(header)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, dict)
        and str(value.get("format")).lower() == "json"
        and value.get("version") == 1
    )

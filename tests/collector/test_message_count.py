"""What is refused before it is parsed, since it would be a hundred times its size."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.errors import BodyTooLargeError
from lambdatrace_collector.exchange import BODY_BYTES_MAX
from lambdatrace_collector.otlp.message_count import may_hold_too_many_fields
from lambdatrace_collector.otlp.signals import TRACES, parse_request

BODY_BYTES = 18_000_000


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def one_span(content: bytes) -> bytes:
    """A request whose only span has `content` as its encoded fields."""
    for field in (2, 2, 1):
        content = bytes((field << 3 | 2,)) + varint(len(content)) + content
    return content


@pytest.mark.parametrize(
    "unit",
    [
        b"\x4a\x00",  # an empty attribute
        b"\xca\x00\x00",  # with a tag of needless length
        b"\x5a\x00",  # an event
        b"\x6a\x00",  # a link
        b"\x4a\x02\x0a\x00",  # an attribute with an empty key
    ],
)
def test_a_span_of_millions_of_empty_parts_is_refused_unparsed(unit: bytes) -> None:
    body = one_span(unit * (BODY_BYTES // len(unit)))
    with pytest.raises(BodyTooLargeError, match="holds over 2500000 attributes"):
        parse_request(TRACES, body)


def test_the_largest_bodies_that_are_sent_in_earnest_are_taken() -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    while request.ByteSize() < BODY_BYTES:
        for number in range(50_000):
            span.attributes.add(key="http.route").value.string_value = f"/{number}"
    line = {
        "level": "INFO",
        "message": "charged the card",
        "requestId": "8f0ab1c2-93e7-4c6f-a1b4-1f52c7d81e09",
        "path": "/orders/7919",
        "latency_ms": 1048.5,
    }
    lines = json.dumps(line) + "\n"
    text = one_span(b"\x2a" + varint(len(lines) * 130_000) + lines.encode() * 130_000)

    assert len(text) > BODY_BYTES * 0.9
    assert len(text) < BODY_BYTES_MAX
    assert not may_hold_too_many_fields(request.SerializeToString())
    assert not may_hold_too_many_fields(text)

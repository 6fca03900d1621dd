"""Spans → OTLP protobuf, by hand: `google.protobuf` and its generated classes cost tens of ms.

Source: opentelemetry/proto/trace/v1/trace.proto and collector/trace/v1/trace_service.proto; the
field numbers stand beside each field's name. Tests decode what comes out with
`opentelemetry-proto`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from lambdatrace.records import Event, Link, Span, SpanContext

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
_KNOWN_LENGTH_MAX = 128  # of values kept encoded, so that they take at most 100 kB
_DEPTH_MAX = 16  # of nested attribute values; a self-referring list must end

# SpanFlags: the low byte is W3C's; the next bits say whether `is_remote` is known, and is.
_FLAG_SAMPLED, _FLAG_HAS_REMOTE, _FLAG_REMOTE = 0x01, 0x100, 0x200

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


def encode_resource(attributes: Mapping[str, Any]) -> bytes:
    """A Resource, to be encoded once and given to each `encode_spans`."""
    return b"".join(_attributes(1, attributes))  # attributes = 1


def encode_spans(
    resource: bytes, scope_name: str, scope_version: str, spans: Iterable[bytes]
) -> bytes:
    """An ExportTraceServiceRequest with one resource and one scope; `spans` from `encode_span`."""
    scope = _text(1, scope_name) + _text(2, scope_version)  # name = 1, version = 2
    scope_spans = _message(1, scope) + b"".join(_message(2, span) for span in spans)
    resource_spans = (
        _message(1, resource)  # resource = 1
        + _message(2, scope_spans)  # scope_spans = 2
        + _text(3, SCHEMA_URL)  # schema_url = 3
    )
    return _message(1, resource_spans)  # resource_spans = 1


def encode_span(span: Span) -> bytes:
    """A Span. Attribute values of no OTLP type are written as their `str`."""
    context, parent = span.context, span.parent
    parts = [
        _message(1, bytes.fromhex(context.trace_id)),  # trace_id = 1
        _message(2, bytes.fromhex(context.span_id)),  # span_id = 2
        _text(3, context.trace_state),  # trace_state = 3
        _message(4, bytes.fromhex(parent.span_id)) if parent is not None else b"",
        _text(5, span.name),  # name = 5
        b"\x30" + _varint(span.kind),  # kind = 6
        b"\x39" + pack("<Q", span.start_ns),  # start_time_unix_nano = 7
        b"\x41" + pack("<Q", span.end_ns),  # end_time_unix_nano = 8
    ]
    parts += _attributes(9, span.attributes)  # attributes = 9
    parts.append(_count(10, span.dropped_attributes))  # dropped_attributes_count = 10
    parts += [_message(11, _event(event)) for event in span.events]  # events = 11
    parts.append(_count(12, span.dropped_events))  # dropped_events_count = 12
    parts += [_message(13, _link(link)) for link in span.links]  # links = 13
    parts.append(_count(14, span.dropped_links))  # dropped_links_count = 14
    if span.status_code:
        status = _text(2, span.status_message) + _count(3, span.status_code)  # message, code
        parts.append(_message(15, status))  # status = 15
    flags = _flags(context.is_sampled, parent)
    parts.append(b"\x85\x01" + pack("<I", flags))  # flags = 16, fixed32
    return b"".join(parts)


def _event(event: Event) -> bytes:
    return (
        b"\x09"
        + pack("<Q", event.time_ns)  # time_unix_nano = 1
        + _text(2, event.name)  # name = 2
        + b"".join(_attributes(3, event.attributes))  # attributes = 3
    )


def _link(link: Link) -> bytes:
    context = link.context
    return (
        _message(1, bytes.fromhex(context.trace_id))  # trace_id = 1
        + _message(2, bytes.fromhex(context.span_id))  # span_id = 2
        + _text(3, context.trace_state)  # trace_state = 3
        + b"".join(_attributes(4, link.attributes))  # attributes = 4
        + b"\x35"
        + pack("<I", _flags(context.is_sampled, context))  # flags = 6, fixed32
    )


def _flags(is_sampled: bool, remote: SpanContext | None) -> int:
    flags = _FLAG_SAMPLED if is_sampled else 0
    if remote is not None:
        flags |= _FLAG_HAS_REMOTE | (_FLAG_REMOTE if remote.is_remote else 0)
    return flags


def _attributes(field: int, attributes: Mapping[str, Any]) -> list[bytes]:
    return [
        _known_attribute(field, key, value)
        if type(value) is str and len(value) <= _KNOWN_LENGTH_MAX
        else _message(field, _key_value(key, value, 0))
        for key, value in attributes.items()
    ]


@lru_cache(maxsize=512)
def _known_attribute(field: int, key: str, value: str) -> bytes:
    """Most attributes are the same for each invocation: the ARN, the route, the queue."""
    return _message(field, _key_value(key, value, 0))


def _key_value(key: Any, value: Any, depth: int) -> bytes:
    return _text(1, str(key)) + _message(2, _any_value(value, depth))  # key = 1, value = 2


def _any_value(value: Any, depth: int) -> bytes:
    if isinstance(value, str):
        # A oneof must be written even when empty: string_value = 1.
        return b"\x0a" + _sized(value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"  # bool_value = 2
    if isinstance(value, int) and _INT64_MIN <= value <= _INT64_MAX:
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # int_value = 3
    if isinstance(value, float):
        return b"\x21" + pack("<d", value)  # double_value = 4
    if isinstance(value, bytes):
        return b"\x3a" + _sized(value)  # bytes_value = 7
    if value is None:
        return b""
    if depth < _DEPTH_MAX:
        if isinstance(value, (list, tuple)):
            return b"\x2a" + _sized(_array(value, depth + 1))  # array_value = 5
        if isinstance(value, dict):  # kvlist_value = 6; its `values` = 1
            pairs = [_message(1, _key_value(key, item, depth + 1)) for key, item in value.items()]
            return b"\x32" + _sized(b"".join(pairs))
    return b"\x0a" + _sized(str(value).encode("utf-8", "replace"))


def _array(values: Sequence[Any], depth: int) -> bytes:
    return b"".join(_message(1, _any_value(value, depth)) for value in values)  # values = 1


def _text(field: int, text: Any) -> bytes:
    if not isinstance(text, str):
        text = str(text)
    return _message(field, text.encode("utf-8", "replace")) if text else b""


def _count(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number) if number else b""


def _message(field: int, body: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    return _varint(field << 3 | 2) + _sized(body)


def _sized(body: bytes) -> bytes:
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    if number < 0x80:  # noqa: PLR2004 - one byte holds seven bits
        return _ONE_BYTE[number]
    encoded = bytearray()
    while number >= 0x80:  # noqa: PLR2004
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_ONE_BYTE = [bytes([number]) for number in range(0x80)]

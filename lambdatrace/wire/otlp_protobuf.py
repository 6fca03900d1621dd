"""Records → OTLP protobuf, by hand: `google.protobuf` and its generated classes cost tens of ms.

The primitives and the frame of a request serve every signal; spans are encoded here too. Source:
opentelemetry/proto/trace/v1/trace.proto, common.proto and collector/*/v1/*_service.proto; the field
numbers stand beside each field's name. Tests decode what comes out with `opentelemetry-proto`.
"""

from __future__ import annotations

from functools import lru_cache
from struct import pack

from lambdatrace.plain import INT64_MAX, INT64_MIN, bounded, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from lambdatrace.records import Event, Link, Scope, Span, SpanContext

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"
_KNOWN_LENGTH_MAX = 128  # of values kept encoded, so that they take at most 100 kB

# SpanFlags: the low byte is W3C's; the next bits say whether `is_remote` is known, and is.
_FLAG_SAMPLED, _FLAG_HAS_REMOTE, _FLAG_REMOTE = 0x01, 0x100, 0x200

_SCALARS = frozenset((str, bool, int, float, bytes))


class ProtobufEncoder:
    """Records of one signal → the body of its Export…ServiceRequest, by resource and scope.

    `encode_record` gives the message of one record, which has a `scope`. A record it fails on is
    reported to `on_error` and left out.
    """

    content_type = "application/x-protobuf"

    def __init__(
        self,
        encode_record: Callable[[Any], bytes],
        resource_attributes: Mapping[str, Any],
        on_error: Callable[[str, BaseException], None],
    ) -> None:
        self._encode_record = encode_record
        resource = b"".join(attribute_fields(1, resource_attributes))  # attributes = 1
        self._resource = message_field(1, resource)  # resource = 1
        self._last_scope: tuple[Scope | None, bytes] = (None, b"")  # and its message
        self._on_error = on_error

    def encode(self, records: Sequence[Any]) -> tuple[bytes, int]:
        """The body for `records` and how many of them could not be encoded."""
        groups: dict[tuple[bytes, str], list[bytes]] = {}
        last: Scope | None = None
        group: list[bytes] = []
        failed = 0
        for record in records:
            try:
                encoded = self._encode_record(record)
                if record.scope is not last:
                    scope = record.scope
                    group = groups.setdefault((self._scope(scope), scope.schema_url), [])
                    last = scope
            except Exception as error:  # noqa: BLE001 - one record's odd values, not the batch's
                self._on_error("a record cannot be encoded", error)
                failed += 1
            else:
                group.append(encoded)
        return encode_request(self._resource, groups), failed

    def _scope(self, scope: Scope) -> bytes:
        """The message of `scope`; the same again for the next request, which mostly has it."""
        known, encoded = self._last_scope
        if known is not scope:
            encoded = encode_scope(scope)
            self._last_scope = (scope, encoded)
        return encoded


def span_encoder(
    resource_attributes: Mapping[str, Any], on_error: Callable[[str, BaseException], None]
) -> ProtobufEncoder:
    """What encodes spans."""
    return ProtobufEncoder(encode_span, resource_attributes, on_error)


def encode_request(resource: bytes, groups: Mapping[tuple[bytes, str], Iterable[bytes]]) -> bytes:
    """An Export…ServiceRequest of any signal, whose messages have the same fields in all.

    `resource` is the field of it. `groups` has the records by scope, from `encode_scope`, and the
    scope's schema URL.
    """
    parts = [resource]
    for (scope, schema_url), records in groups.items():
        scope_records = [message_field(1, scope)]  # scope = 1
        scope_records += [message_field(2, record) for record in records]  # spans, metrics, … = 2
        if schema_url:
            scope_records.append(text_field(3, schema_url))  # schema_url = 3
        parts.append(message_field(2, b"".join(scope_records)))  # scope_spans, … = 2
    parts.append(_SCHEMA)  # schema_url = 3
    return message_field(1, b"".join(parts))  # resource_spans, … = 1


def encode_scope(scope: Scope) -> bytes:
    """An InstrumentationScope."""
    return b"".join(
        (
            text_field(1, scope.name),  # name = 1
            text_field(2, scope.version),  # version = 2
            *attribute_fields(3, scope.attributes),  # attributes = 3
        )
    )


def encode_span(span: Span) -> bytes:
    """A Span. Attribute values of no OTLP type are written as their `str`."""
    context, parent = span.context, span.parent
    parts = [
        # trace_id = 1, of 16 bytes, and span_id = 2, of 8
        b"\x0a\x10"
        + bytes.fromhex(context.trace_id)
        + b"\x12\x08"
        + bytes.fromhex(context.span_id),
        text_field(3, context.trace_state) if context.trace_state else b"",  # trace_state = 3
        b"\x22\x08" + bytes.fromhex(parent.span_id) if parent is not None else b"",  # parent = 4
        text_field(5, span.name),  # name = 5
        # kind = 6, start_time_unix_nano = 7, end_time_unix_nano = 8
        pack("<BBBQBQ", 0x30, span.kind, 0x39, span.start_ns, 0x41, span.end_ns),
    ]
    parts += attribute_fields(9, span.attributes)  # attributes = 9
    parts += [message_field(11, _event(event)) for event in span.events]  # events = 11
    parts += [message_field(13, _link(link)) for link in span.links]  # links = 13
    if span.dropped_attributes or span.dropped_events or span.dropped_links:
        parts += (
            count_field(10, span.dropped_attributes),  # dropped_attributes_count = 10
            count_field(12, span.dropped_events),  # dropped_events_count = 12
            count_field(14, span.dropped_links),  # dropped_links_count = 14
        )
    if span.status_code:
        status = text_field(2, span.status_message) + count_field(
            3, span.status_code
        )  # message, code
        parts.append(message_field(15, status))  # status = 15
    flags = trace_flags(context.is_sampled, parent)
    parts.append(b"\x85\x01" + pack("<I", flags))  # flags = 16, fixed32
    return b"".join(parts)


def _event(event: Event) -> bytes:
    return (
        b"\x09"
        + pack("<Q", event.time_ns)  # time_unix_nano = 1
        + text_field(2, event.name)  # name = 2
        + b"".join(attribute_fields(3, event.attributes))  # attributes = 3
        + count_field(4, event.dropped_attributes)  # dropped_attributes_count = 4
    )


def _link(link: Link) -> bytes:
    context = link.context
    return (
        message_field(1, bytes.fromhex(context.trace_id))  # trace_id = 1
        + message_field(2, bytes.fromhex(context.span_id))  # span_id = 2
        + text_field(3, context.trace_state)  # trace_state = 3
        + b"".join(attribute_fields(4, link.attributes))  # attributes = 4
        + count_field(5, link.dropped_attributes)  # dropped_attributes_count = 5
        + b"\x35"
        + pack("<I", trace_flags(context.is_sampled, context))  # flags = 6, fixed32
    )


def trace_flags(is_sampled: bool, remote: SpanContext | None) -> int:
    """SpanFlags: whether sampled and, of the context `remote`, whether it is."""
    flags = _FLAG_SAMPLED if is_sampled else 0
    if remote is not None:
        flags |= _FLAG_HAS_REMOTE | (_FLAG_REMOTE if remote.is_remote else 0)
    return flags


def attribute_fields(field: int, attributes: Mapping[str, Any]) -> list[bytes]:
    """Each attribute as the KeyValue `field`."""
    return [
        _known_attribute(field, key, value)
        if type(value) is str and len(value) <= _KNOWN_LENGTH_MAX
        else message_field(field, _key_value(key, value))
        for key, value in attributes.items()
    ]


@lru_cache(maxsize=512)
def _known_attribute(field: int, key: str, value: str) -> bytes:
    """Most attributes are the same for each invocation: the ARN, the route, the queue."""
    return message_field(field, _key_value(key, value))


def _key_value(key: Any, value: Any) -> bytes:
    return text_field(1, text_of(key)) + message_field(2, any_value(value))  # key = 1, value = 2


def any_value(value: Any) -> bytes:
    """An AnyValue, within `bounded`; a value of no OTLP type is written as its `str`."""
    return _bounded_value(value if type(value) in _SCALARS else bounded(value))


def _bounded_value(value: Any) -> bytes:
    if isinstance(value, str):
        # A oneof must be written even when empty: string_value = 1.
        return b"\x0a" + sized(value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"  # bool_value = 2
    if isinstance(value, int):
        if INT64_MIN <= value <= INT64_MAX:
            return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # int_value = 3
        return _bounded_value(str(bounded(value)))
    if isinstance(value, float):
        return b"\x21" + pack("<d", value)  # double_value = 4
    if isinstance(value, bytes):
        return b"\x3a" + sized(value)  # bytes_value = 7
    if value is None:
        return b""
    if isinstance(value, dict):  # kvlist_value = 6; its `values` = 1
        pairs = [
            message_field(1, text_field(1, key) + message_field(2, _bounded_value(item)))
            for key, item in value.items()
        ]
        return b"\x32" + sized(b"".join(pairs))
    return b"\x2a" + sized(_array(value))  # array_value = 5


def _array(values: Sequence[Any]) -> bytes:
    return b"".join(message_field(1, _bounded_value(value)) for value in values)  # values = 1


def text_field(field: int, text: Any) -> bytes:
    """A string field; nothing when it is empty."""
    if not isinstance(text, str):
        text = str(text)
    return message_field(field, text.encode("utf-8", "replace")) if text else b""


def count_field(field: int, number: int) -> bytes:
    """A varint field; nothing when it is 0."""
    return varint(field << 3) + varint(number) if number else b""


def message_field(field: int, body: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    size = len(body)
    if field < _TAGS_MAX:
        return _TAGS[field] + (_ONE_BYTE[size] if size < 0x80 else varint(size)) + body  # noqa: PLR2004
    return varint(field << 3 | 2) + varint(size) + body


def sized(body: bytes) -> bytes:
    """`body` after its length."""
    return varint(len(body)) + body


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; `number` is not negative."""
    if number < 0x80:  # noqa: PLR2004 - one byte holds seven bits
        return _ONE_BYTE[number]
    encoded = bytearray()
    while number >= 0x80:  # noqa: PLR2004
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_ONE_BYTE = [bytes([number]) for number in range(0x80)]
_TAGS_MAX = 16  # fields below it have tags of one byte
_TAGS = [bytes([field << 3 | 2]) for field in range(_TAGS_MAX)]  # length-delimited
_SCHEMA = text_field(3, SCHEMA_URL)

"""Log records → OTLP protobuf.

Source: opentelemetry/proto/logs/v1/logs.proto; the field numbers stand beside each field's name.
"""

from __future__ import annotations

from struct import pack

from lambdatrace.wire.otlp_protobuf import (
    ProtobufEncoder,
    any_value,
    attribute_fields,
    count_field,
    message_field,
    text_field,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.log_record import LogRecord

_FLAG_SAMPLED = 0x01


def log_encoder(
    resource_attributes: Mapping[str, Any], on_error: Callable[[str, BaseException], None]
) -> ProtobufEncoder:
    """What encodes log records."""
    return ProtobufEncoder(encode_log_record, resource_attributes, on_error)


def encode_log_record(record: LogRecord) -> bytes:
    """A LogRecord. A body or an attribute of no OTLP type is written as its `str`."""
    parts = [
        b"\x09" + pack("<Q", record.time_ns) if record.time_ns else b"",  # time_unix_nano = 1
        count_field(2, record.severity_number),  # severity_number = 2
        text_field(3, record.severity_text),  # severity_text = 3
        message_field(5, any_value(record.body)) if record.body is not None else b"",  # body = 5
    ]
    parts += attribute_fields(6, record.attributes)  # attributes = 6
    parts.append(count_field(7, record.dropped_attributes))  # dropped_attributes_count = 7
    context = record.context
    if context is not None:
        if context.is_sampled:
            parts.append(b"\x45" + pack("<I", _FLAG_SAMPLED))  # flags = 8, fixed32
        parts.append(message_field(9, bytes.fromhex(context.trace_id)))  # trace_id = 9
        parts.append(message_field(10, bytes.fromhex(context.span_id)))  # span_id = 10
    parts.append(b"\x59" + pack("<Q", record.observed_ns))  # observed_time_unix_nano = 11
    parts.append(text_field(12, record.event_name))  # event_name = 12
    return b"".join(parts)

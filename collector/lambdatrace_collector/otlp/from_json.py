"""OTLP/JSON → the protobuf message it stands for.

protobuf's own JSON mapping but for the ids, which are hex instead of base64. This is Python's work
for each record, about 0.1 ms a span: the SDKs send protobuf, JSON is what people and browsers send.
Source: OTLP specification, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict, ParseError

from lambdatrace_collector.errors import BadRequestError, BodyTooLargeError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from lambdatrace_collector.otlp.signals import Signal

# Of one body: 10,000 spans, as many as AWS's endpoint takes, with six attributes each; read in 4 s.
JSON_OBJECTS_MAX = 200_000
JSON_BYTES_MAX = 10 * 1024 * 1024
NESTING_MAX = 100  # protobuf's own

# protobuf's mapping raises what Python raises on values of types it did not expect, and a
# SystemError on a name with half of a surrogate pair.
_NOT_OF_THE_MESSAGE = (
    *(ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError),
    SystemError,
)

_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


def request_from_json(signal: Signal, body: bytes) -> bytes:
    """The request in `body` as protobuf. Unknown members are ignored, as OTLP has it.

    Raises BadRequestError or BodyTooLargeError.
    """
    if len(body) > JSON_BYTES_MAX or body.count(b"{") + body.count(b"[") > JSON_OBJECTS_MAX:
        raise BodyTooLargeError(
            f"the JSON body is over {JSON_BYTES_MAX} bytes or {JSON_OBJECTS_MAX} objects and"
            " arrays: send it in smaller requests, or as protobuf"
        )
    name = signal.request.DESCRIPTOR.name
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            raise BadRequestError(f"the body is not a JSON {name}: expected an object")
        message = signal.request()
        described = _with_base64_ids(value, signal.request.DESCRIPTOR)
        ParseDict(described, message, ignore_unknown_fields=True, max_recursion_depth=NESTING_MAX)
    except _NOT_OF_THE_MESSAGE as error:
        reason = str(error)[:300].encode("utf-8", "replace").decode()
        raise BadRequestError(f"the body is not a JSON {name}: {reason}") from error
    encoded: bytes = message.SerializeToString()
    return encoded


def _with_base64_ids(value: Any, message: Descriptor) -> Any:
    if isinstance(value, list):
        return [_with_base64_ids(item, message) for item in value]
    if not isinstance(value, dict):
        return value
    fields = _fields_with_ids(message)
    return {
        key: _converted(item, fields[key]) if key in fields else item for key, item in value.items()
    }


def _converted(value: Any, field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return _with_base64_ids(value, field.message_type)
    if not isinstance(value, str):
        raise BadRequestError(f"{field.json_name} is not text: expected hex digits")
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except ValueError as error:
        raise BadRequestError(
            f"{field.json_name} is {value[:64]!r}: expected hex digits"
        ) from error


@cache
def _fields_with_ids(message: Descriptor) -> dict[str, FieldDescriptor]:
    """The members of a message that are ids or hold some, by their name in JSON."""
    return {
        field.json_name: field
        for field in message.fields
        if field.json_name in _IDS
        or (
            field.message_type is not None
            and field.message_type.file.name != "opentelemetry/proto/common/v1/common.proto"
            and _fields_with_ids(field.message_type)
        )
    }

"""Arrays and maps in log records as JSON, beside what they are made of.

The engine makes a log event's message from the record, but SQL has no recursion: what is nested is
rendered here, in a field of our own (`nested_json`, by attribute key; the body's key is empty).
Only requests that may hold something nested are looked through: 1 µs a record, 10 µs a nested
value.
"""

from __future__ import annotations

import base64
import json
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

FIELD = "nested_json"
FIELD_NUMBER = 1001  # as in otlp_logs.proto
_OWNERS = ("LogRecord", "Resource", "InstrumentationScope")
_NESTED = ("array_value", "kvlist_value")

# An AnyValue that is an array or a map, as the value of a KeyValue (0x12), the body of a record
# (0x2a) or a member of an array (0x0a): tag, length, and the tag of the value. Text may look like
# it, which costs a look.
_MAY_NEST = re.compile(rb"[\x0a\x12\x2a](?:[\x80-\xff]{0,4}[\x00-\x7f])[\x2a\x32]")


def with_nested_json(request: bytes) -> bytes:
    """The ExportLogsServiceRequest with the JSON of what is nested in it."""
    if _MAY_NEST.search(request) is None:
        return request
    message = _request_class().FromString(request)
    is_nested = False
    for resource_logs in message.resource_logs:
        is_nested |= _render(resource_logs.resource, ())
        for scope_logs in resource_logs.scope_logs:
            is_nested |= _render(scope_logs.scope, ())
            for record in scope_logs.log_records:
                is_nested |= _render(record, (("", record.body),))
    encoded: bytes = message.SerializeToString()
    return encoded if is_nested else request


def _render(owner: Any, more: Iterable[tuple[str, Any]]) -> bool:
    is_nested = False
    for key, value in (*((pair.key, pair.value) for pair in owner.attributes), *more):
        if value.WhichOneof("value") in _NESTED:
            owner.nested_json[key] = json.dumps(plain(value), ensure_ascii=False)
            is_nested = True
    return is_nested


def plain(value: Any) -> Any:
    """An AnyValue as Python has it; bytes as base64, and numbers that JSON lacks as text."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "bytes_value":
        return base64.b64encode(found).decode()
    if kind == "double_value" and not math.isfinite(found):
        return "NaN" if math.isnan(found) else "Infinity" if found > 0 else "-Infinity"
    return found


@cache
def _request_class() -> Any:
    """ExportLogsServiceRequest, its records, resources and scopes with our field."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, logs_pb2, logs_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            if message.name in _OWNERS:
                _add_field(message, file.package)
        pool.Add(file)
    name = logs_service_pb2.ExportLogsServiceRequest.DESCRIPTOR.full_name
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _add_field(message: Any, package: str) -> None:
    """Add `map<string, string> nested_json`, which protobuf describes as a list of entries."""
    field = descriptor_pb2.FieldDescriptorProto
    entry = message.nested_type.add(name="NestedJsonEntry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        entry.field.add(
            name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL
        )
    message.field.add(
        name=FIELD,
        number=FIELD_NUMBER,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=f".{package}.{message.name}.NestedJsonEntry",
    )

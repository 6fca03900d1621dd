from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.store import sql_files

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

# Only read with the message that holds them, so kept as the encoded message they come as.
KEPT_ENCODED = {"AnyValue", "Event", "Link", "EntityRef"}
# The profiles signal's own: "reserved for profiling, must not be used by other signals".
PROFILES_ONLY = {"KeyValue.key_strindex"}
WIRE_TYPES = {9: "string", 12: "bytes", 13: "uint32", 14: "int32", 6: "fixed64", 7: "fixed32"}
MESSAGE = 11


def our_messages() -> dict[str, dict[int, str]]:
    """The fields of the engine's description: message → number → `[repeated] type name`."""
    text = re.sub(r"//.*", "", sql_files.format_schema("otlp_traces"))
    return {
        name: {
            int(number): declared.strip()
            for declared, number in re.findall(r"([^;{}]+?)=\s*(\d+)\s*;", body)
        }
        for name, body in re.findall(r"message (\w+) \{([^}]*)\}", text)
    }


def missing(descriptor: Descriptor, name: str, ours: dict[str, dict[int, str]]) -> list[str]:
    """The fields of an OTLP message, and of those inside it, that the engine does not read."""
    found = []
    for field in descriptor.fields:
        declared = ours[name].get(field.number, "")
        repeated = "repeated " if field.is_repeated else ""
        inner = field.message_type
        if inner is not None and inner.name == "KeyValue":
            expected = f"map<string, bytes> {field.name}"
        elif inner is not None and inner.name in KEPT_ENCODED:
            expected = f"{repeated}bytes {field.name}"
        elif inner is not None:
            expected = f"{repeated}{inner.name} {field.name}"
            if declared == expected:
                found += missing(inner, inner.name, ours)
        else:
            expected = f"{repeated}{WIRE_TYPES[field.type]} {field.name}"
        if declared != expected and f"{descriptor.name}.{field.name}" not in PROFILES_ONLY:
            found.append(f"{descriptor.name}.{field.name}: expected {expected!r}, is {declared!r}")
    return found


def test_the_engine_reads_every_field_of_otlp_traces() -> None:
    assert missing(ExportTraceServiceRequest.DESCRIPTOR, "TracesData", our_messages()) == []


def test_a_field_without_a_place_is_found() -> None:
    ours = our_messages()
    del ours["Span"][3]
    assert missing(ExportTraceServiceRequest.DESCRIPTOR, "TracesData", ours) == [
        "Span.trace_state: expected 'string trace_state', is ''"
    ]


@pytest.mark.parametrize(
    ("message", "table", "prefix"),
    [
        ("Span", "spans", ""),
        ("Status", "spans", "status_"),
        ("Resource", "span_sources", "resource_"),
        ("InstrumentationScope", "span_sources", "scope_"),
    ],
)
def test_every_field_that_is_read_has_a_column(message: str, table: str, prefix: str) -> None:
    statements = [text for file in sql_files.schema_files() for text in file.statements]
    (created,) = [text for text in statements if f"CREATE TABLE IF NOT EXISTS {table} (" in text]
    columns = set(re.findall(r"^ {4}(\w+) ", created, re.MULTILINE))
    fields = {declared.split()[-1] for declared in our_messages()[message].values()} - {"status"}
    assert {prefix + field for field in fields} <= columns

"""Every field of OTLP's messages has a place in the store: the descriptors are walked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from lambdatrace_collector.otlp.signals import LOGS, METRICS, TRACES
from lambdatrace_collector.store import sql_files

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from lambdatrace_collector.otlp.signals import Signal

# Only read with the message that holds them, so kept as the encoded message they come as.
KEPT_ENCODED = {"AnyValue", "Event", "Link", "EntityRef", "Exemplar"}
# The profiles signal's own: "reserved for profiling, must not be used by other signals".
PROFILES_ONLY = {"KeyValue.key_strindex"}
WIRE_TYPES = {
    1: "double",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
    14: "int32",
    16: "sfixed64",
    17: "sint32",
}
ROOTS = {TRACES: "TracesData", LOGS: "LogsData", METRICS: "MetricsData"}
OURS = {"nested_json"}  # fields that the receiver adds


def our_messages(signal: Signal) -> dict[str, dict[int, str]]:
    """The fields of the engine's description: message → number → `[repeated] type name`."""
    text = re.sub(r"//.*", "", sql_files.format_schema(f"otlp_{signal.name}"))
    return {
        name: {
            int(number): " ".join(declared.split())
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
            # Whether it is there is part of what was sent.
            optional = "optional " if field.has_presence else ""
            expected = f"{repeated}{optional}{WIRE_TYPES[field.type]} {field.name}"
        if declared != expected and f"{descriptor.name}.{field.name}" not in PROFILES_ONLY:
            found.append(f"{descriptor.name}.{field.name}: expected {expected!r}, is {declared!r}")
    return found


@pytest.mark.parametrize("signal", ROOTS, ids=lambda signal: signal.name)
def test_the_engine_reads_every_field_of_a_signal(signal: Signal) -> None:
    assert missing(signal.request.DESCRIPTOR, ROOTS[signal], our_messages(signal)) == []


@pytest.mark.parametrize(
    ("signal", "message", "number", "found"),
    [
        (TRACES, "Span", 3, "Span.trace_state: expected 'string trace_state', is ''"),
        (LOGS, "LogRecord", 12, "LogRecord.event_name: expected 'string event_name', is ''"),
        (
            METRICS,
            "NumberDataPoint",
            6,
            "NumberDataPoint.as_int: expected 'optional sfixed64 as_int', is ''",
        ),
    ],
)
def test_a_field_without_a_place_is_found(
    signal: Signal, message: str, number: int, found: str
) -> None:
    ours = our_messages(signal)
    del ours[message][number]
    assert found in missing(signal.request.DESCRIPTOR, ROOTS[signal], ours)


RESOURCE = ("Resource", "otlp_sources", "resource_")
SCOPE = ("InstrumentationScope", "otlp_sources", "scope_")


@pytest.mark.parametrize(
    ("signal", "message", "table", "prefix"),
    [
        *((signal, *place) for signal in ROOTS for place in (RESOURCE, SCOPE)),
        (TRACES, "Span", "spans", ""),
        (TRACES, "Status", "spans", "status_"),
        (LOGS, "LogRecord", "log_records", ""),
        (METRICS, "Metric", "metric_points", ""),
        (METRICS, "Sum", "metric_points", ""),
        (METRICS, "Histogram", "metric_points", ""),
        (METRICS, "ExponentialHistogram", "metric_points", ""),
        (METRICS, "NumberDataPoint", "metric_points", ""),
        (METRICS, "HistogramDataPoint", "metric_points", ""),
        (METRICS, "ExponentialHistogramDataPoint", "metric_points", ""),
        (METRICS, "SummaryDataPoint", "metric_points", ""),
    ],
)
def test_every_field_that_is_read_has_a_column(
    signal: Signal, message: str, table: str, prefix: str
) -> None:
    statements = [text for file in sql_files.schema_files() for text in file.statements]
    (created,) = [text for text in statements if f"CREATE TABLE IF NOT EXISTS {table} (" in text]
    columns = set(re.findall(r"^ {4}(\w+) ", created, re.MULTILINE))
    fields = {declared.split()[-1] for declared in our_messages(signal)[message].values()} - OURS
    # Messages whose fields have columns of their own: status, and a metric's points by kind.
    own = {"status", "data_points", "gauge", "histogram", "exponential_histogram", "summary"}
    assert {prefix + field for field in fields - own} <= columns


@pytest.mark.parametrize("column", ["positive", "negative"])
def test_buckets_are_kept_with_their_offset(column: str) -> None:
    statements = [text for file in sql_files.schema_files() for text in file.statements]
    (created,) = [text for text in statements if "EXISTS metric_points (" in text]
    assert f"{column} Tuple(offset Int32, bucket_counts Array(UInt64))" in created
    assert set(our_messages(METRICS)["Buckets"].values()) == {
        "sint32 offset",
        "repeated uint64 bucket_counts",
    }
    assert "quantile_values Array(Tuple(quantile Float64, value Float64))" in created

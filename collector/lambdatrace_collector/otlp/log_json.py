from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from lambdatrace_collector.otlp.json import any_value_json, attributes_json, int64, present, text

if TYPE_CHECKING:
    from collections.abc import Mapping


def log_record_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A LogRecord in OTLP's JSON, of a row of `log_records`."""
    record = present(
        timeUnixNano=int64(row["time_unix_nano"]),
        observedTimeUnixNano=int64(row["observed_time_unix_nano"]),
        severityNumber=row["severity_number"],
        severityText=text(row["severity_text"]),
        attributes=attributes_json(row["attributes"]),
        droppedAttributesCount=row["dropped_attributes_count"],
        flags=row["flags"],
        traceId=row["trace_id"].hex(),
        spanId=row["span_id"].hex(),
        eventName=text(row["event_name"]),
    )
    if row["body"]:
        record["body"] = any_value_json(AnyValue.FromString(row["body"]))
    return record

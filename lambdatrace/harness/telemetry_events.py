"""The events of the Telemetry and Logs APIs, and how a schema version shows them.

An event is made once, with every field; what an older schema does not have is taken out for its
subscribers. In the JSON log format, the same events are the platform's log records.
Source: AWS Lambda developer guide, "Telemetry API Event schema reference" (2022-07-01, 2022-12-13,
2025-01-29) and "Logs API" (2020-08-15, 2021-03-18); for levels "Log level filtering".
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace.harness.logging_config import json_object

if TYPE_CHECKING:
    from lambdatrace.harness.invocation import Invocation
    from lambdatrace.harness.platform_logs import Report

SUCCESS = "success"
TELEMETRY_SCHEMAS = ("2022-07-01", "2022-12-13", "2025-01-29")
LOGS_SCHEMAS = ("2020-08-15", "2021-03-18")
_JSON_RECORDS_FROM = "2022-12-13"  # function and extension records as objects
_LATEST = "2025-01-29"

# Of a record's fields, those that only the latest Telemetry schema has.
_LATEST_FIELDS = {"platform.start": {"functionArn"}, "platform.initReport": {"status"}}
# The platform events of the Logs API, and the fields it has of them (None: all).
_LOGS_FIELDS: dict[str, set[str] | None] = {
    "platform.start": {"requestId", "version"},
    "platform.end": None,
    "platform.report": {"requestId", "metrics"},
    "platform.extension": None,
    "platform.logsSubscription": None,
    "platform.logsDropped": None,
    "platform.fault": None,
    "platform.runtimeDone": {"requestId", "status"},
}
_LOGS_ONLY = {"platform.end", "platform.fault"}
_EXTENSION_OK = {"Ready", "Registered", "Running"}


class TelemetryEvent(NamedTuple):
    """One event: a record of the platform, or what the function or an extension wrote."""

    time_ms: int
    type: str
    record: dict[str, Any] | str

    @property
    def category(self) -> str:
        """What one subscribes to: platform, function or extension."""
        return self.type.partition(".")[0]

    def log_line(self) -> str:
        """The record as the JSON log format has it."""
        return _encode(self.time_ms, self.type, self.record) + "\n"


def encode(event: TelemetryEvent, schema: str, *, is_json: bool) -> bytes | None:
    """An event for a subscriber, or None where its schema has no such event.

    With the JSON log format (`is_json`), lines that are JSON objects are sent as objects.
    """
    record: Any = event.record
    if isinstance(record, str):
        if is_json and event.category != "platform" and schema >= _JSON_RECORDS_FROM:
            record = json_object(record) or record
    elif schema in LOGS_SCHEMAS:
        if event.type not in _LOGS_FIELDS:
            return None
        if event.type == "platform.runtimeDone" and schema == LOGS_SCHEMAS[0]:
            return None
        fields = _LOGS_FIELDS[event.type]
        record = {k: v for k, v in record.items() if fields is None or k in fields}
    elif schema != _LATEST and event.type in _LATEST_FIELDS:
        record = {k: v for k, v in record.items() if k not in _LATEST_FIELDS[event.type]}
    if event.type in _LOGS_ONLY and schema not in LOGS_SCHEMAS:
        return None
    return _encode(event.time_ms, event.type, record).encode("utf-8", "replace")


def system_level(event: TelemetryEvent) -> str:
    """The level of a platform record: DEBUG, INFO or WARN."""
    record = event.record if isinstance(event.record, dict) else {}
    name = event.type.removeprefix("platform.")
    if name == "logsDropped" or record.get("status", SUCCESS) != SUCCESS:
        return "WARN"
    if name == "extension":
        is_ok = record["state"] in _EXTENSION_OK and "errorType" not in record
        return "INFO" if is_ok else "WARN"
    if name in ("initRuntimeDone", "restoreRuntimeDone", "runtimeDone"):
        return "DEBUG"
    if name in ("initStart", "restoreStart"):
        return "INFO" if record.get("runtimeVersion") else "DEBUG"
    if name == "initReport":
        return "DEBUG" if record["initializationType"] == "on-demand" else "INFO"
    return "INFO"


# Records


def start(invocation: Invocation, version: str) -> dict[str, Any]:
    """platform.start."""
    return {
        "requestId": invocation.request_id,
        "functionArn": invocation.invoked_function_arn,
        "version": version,
        **_tenant(invocation),
        **_tracing(invocation),
    }


def runtime_done(invocation: Invocation, ended_ns: int, result_began_ns: int) -> dict[str, Any]:
    """platform.runtimeDone of a function that answered, be it with an error of its own."""
    responded_ns = invocation.responded_ns
    first_ns = min(max(result_began_ns, invocation.started_ns), responded_ns)
    produced_bytes = len(invocation.outcome.payload) if invocation.outcome else 0
    return {
        "requestId": invocation.request_id,
        "status": SUCCESS,
        **_tenant(invocation),
        **_tracing(invocation),
        "spans": [
            _span("responseLatency", invocation, invocation.started_ns, first_ns),
            _span("responseDuration", invocation, first_ns, responded_ns),
            _span("runtimeOverhead", invocation, responded_ns, ended_ns),
        ],
        "metrics": {
            "durationMs": _milliseconds(invocation.started_ns, ended_ns),
            "producedBytes": produced_bytes,
        },
    }


def runtime_failed(invocation: Invocation, figures: Report, ended_ns: int) -> dict[str, Any]:
    """platform.runtimeDone of an invoke that ended before the runtime was done with it."""
    return {
        "requestId": invocation.request_id,
        **outcome(figures.status or SUCCESS, figures.error_type),
        **_tenant(invocation),
        **_tracing(invocation),
        "metrics": {"durationMs": _milliseconds(invocation.started_ns, ended_ns)},
    }


def report(invocation: Invocation, figures: Report, extensions_ended_ns: int) -> dict[str, Any]:
    """platform.report. `extensions_ended_ns` is 0 where no extension is registered."""
    metrics: dict[str, Any] = {
        "durationMs": round(figures.duration_ms, 3),
        "billedDurationMs": figures.billed_duration_ms,
        "memorySizeMB": figures.memory_size_mb,
        "maxMemoryUsedMB": figures.max_memory_used_mb,
    }
    if figures.init_duration_ms is not None:
        metrics["initDurationMs"] = round(figures.init_duration_ms, 3)
    if figures.restore_duration_ms is not None:
        metrics["restoreDurationMs"] = round(figures.restore_duration_ms, 3)
        metrics["billedRestoreDurationMs"] = figures.billed_restore_duration_ms
    record: dict[str, Any] = {"requestId": invocation.request_id, "metrics": metrics}
    if extensions_ended_ns and invocation.runtime_done_ns:
        ended = _span(
            "extensionOverhead", invocation, invocation.runtime_done_ns, extensions_ended_ns
        )
        record["spans"] = [ended]
    record.update(_tenant(invocation))
    record.update(_tracing(invocation))
    record.update(outcome(figures.status or SUCCESS, figures.error_type))
    return record


def managed_report(invocation: Invocation, figures: Report) -> dict[str, Any]:
    """platform.report on Managed Instances: an invoke's own time, and no runtimeDone beside it."""
    return {
        "requestId": invocation.request_id,
        "metrics": {"durationMs": round(figures.duration_ms, 3)},
        **_tracing(invocation),
        **outcome(figures.status or SUCCESS, figures.error_type),
    }


def outcome(status: str, error_type: str = "") -> dict[str, str]:
    """The fields that tell how something ended."""
    return {"status": status, "errorType": error_type} if error_type else {"status": status}


def _tenant(invocation: Invocation) -> dict[str, str]:
    return {"tenantId": invocation.tenant_id} if invocation.tenant_id else {}


def _tracing(invocation: Invocation) -> dict[str, Any]:
    if not invocation.trace_header:
        return {}
    return {"tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_header}}


def _span(name: str, invocation: Invocation, start_ns: int, end_ns: int) -> dict[str, Any]:
    start_ms = invocation.started_ms + (start_ns - invocation.started_ns) / 1e6
    return {
        "name": name,
        "start": timestamp(int(start_ms)),
        "durationMs": _milliseconds(start_ns, end_ns),
    }


def _milliseconds(start_ns: int, end_ns: int) -> float:
    return round((end_ns - start_ns) / 1e6, 3)


def timestamp(time_ms: int) -> str:
    """Unix time in milliseconds as these APIs write it: 2006-01-02T15:04:05.000Z."""
    whole = datetime.fromtimestamp(time_ms // 1000, timezone.utc)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _encode(time_ms: int, type_: str, record: Any) -> str:
    event = {"time": timestamp(time_ms), "type": type_, "record": record}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))

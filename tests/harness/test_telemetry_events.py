"""Events as Datadog's extension and the OpenTelemetry collector's receiver read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambdatrace.harness import telemetry_events
from lambdatrace.harness.invocation import Invocation, Outcome
from lambdatrace.harness.platform_logs import Report
from lambdatrace.harness.telemetry_events import (
    LOGS_SCHEMAS,
    TELEMETRY_SCHEMAS,
    TelemetryEvent,
    encode,
    system_level,
)

HEADER = "Root=1-6352a70e-1e2c502e358361800241fd45;Parent=35465b3a9e2f7c6a;Sampled=1"
TRACING = {"type": "X-Amzn-Trace-Id", "value": HEADER}
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"


def invocation() -> Invocation:
    """One that began at 2022-10-21T14:05:03.165Z and answered after 2,598 ms."""
    return Invocation(
        b"{}",
        ARN,
        answer=lambda _: None,
        refuse=lambda _: None,
        request_id="459921b5-681c-4a96-beb0-81e0aa586026",
        trace_header=HEADER,
        started_ns=1_000_000_000,
        started_ms=1666361103165.0,
        responded_ns=3_598_000_000,
        runtime_done_ns=3_599_000_000,
        outcome=Outcome(b'"hello!"'),
    )


def decoded(event: TelemetryEvent, schema: str, *, is_json: bool = False) -> Any:
    encoded = encode(event, schema, is_json=is_json)
    return None if encoded is None else json.loads(encoded)


def test_a_start_has_the_functions_arn_in_the_latest_schema_alone() -> None:
    record = telemetry_events.start(invocation(), "$LATEST")
    event = TelemetryEvent(1666361103165, "platform.start", record)
    known = {
        "requestId": "459921b5-681c-4a96-beb0-81e0aa586026",
        "version": "$LATEST",
        "tracing": TRACING,
    }
    expected = {"time": "2022-10-21T14:05:03.165Z", "type": "platform.start", "record": known}
    assert [decoded(event, schema) for schema in TELEMETRY_SCHEMAS] == [
        expected,
        expected,
        {**expected, "record": {**known, "functionArn": ARN}},
    ]
    del known["tracing"]
    assert [decoded(event, schema) for schema in LOGS_SCHEMAS] == [expected, expected]


def test_a_runtime_that_is_done_has_metrics_and_spans() -> None:
    record = telemetry_events.runtime_done(invocation(), 3_599_000_000, 3_500_000_000)
    assert record == {
        "requestId": "459921b5-681c-4a96-beb0-81e0aa586026",
        "status": "success",
        "tracing": TRACING,
        "spans": [
            {
                "name": "responseLatency",
                "start": "2022-10-21T14:05:03.165Z",
                "durationMs": 2500.0,
            },
            {"name": "responseDuration", "start": "2022-10-21T14:05:05.665Z", "durationMs": 98.0},
            {"name": "runtimeOverhead", "start": "2022-10-21T14:05:05.763Z", "durationMs": 1.0},
        ],
        "metrics": {"durationMs": 2599.0, "producedBytes": 8},
    }


def test_a_runtime_that_failed_has_neither_spans_nor_produced_bytes() -> None:
    figures = Report("id", 2599.0, 128, 94, status="error", error_type="Runtime.ExitError")
    record = telemetry_events.runtime_failed(invocation(), figures, 3_599_000_000)
    assert record == {
        "requestId": "459921b5-681c-4a96-beb0-81e0aa586026",
        "status": "error",
        "errorType": "Runtime.ExitError",
        "tracing": TRACING,
        "metrics": {"durationMs": 2599.0},
    }


def test_a_report_has_what_datadogs_extension_requires() -> None:
    figures = Report("459921b5-681c-4a96-beb0-81e0aa586026", 2599.4, 128, 94, 549.04)
    cold = telemetry_events.report(invocation(), figures, 0)
    assert cold == {
        "requestId": "459921b5-681c-4a96-beb0-81e0aa586026",
        "metrics": {
            "durationMs": 2599.4,
            "billedDurationMs": 3149,
            "memorySizeMB": 128,
            "maxMemoryUsedMB": 94,
            "initDurationMs": 549.04,
        },
        "tracing": TRACING,
        "status": "success",
    }
    restored = Report("id", 10.0, 128, 94, None, "error", "Runtime.ExitError", 302.6)
    failed = telemetry_events.report(invocation(), restored, 3_600_500_000)
    assert failed["metrics"] == {
        "durationMs": 10.0,
        "billedDurationMs": 313,
        "memorySizeMB": 128,
        "maxMemoryUsedMB": 94,
        "restoreDurationMs": 302.6,
        "billedRestoreDurationMs": 303,
    }
    assert failed["spans"] == [
        {"name": "extensionOverhead", "start": "2022-10-21T14:05:05.764Z", "durationMs": 1.5}
    ]
    assert (failed["status"], failed["errorType"]) == ("error", "Runtime.ExitError")
    logs = decoded(TelemetryEvent(0, "platform.report", failed), "2020-08-15")
    assert sorted(logs["record"]) == ["metrics", "requestId"]


@pytest.mark.parametrize(
    ("type_", "record", "schemas"),
    [
        ("platform.end", {"requestId": "id"}, LOGS_SCHEMAS),
        ("platform.fault", "RequestId: id\tStatus: timeout\n", LOGS_SCHEMAS),
        ("platform.initStart", {"phase": "init"}, TELEMETRY_SCHEMAS),
        ("platform.restoreReport", {"status": "success"}, TELEMETRY_SCHEMAS),
        (
            "platform.runtimeDone",
            {"requestId": "id", "status": "success"},
            (*TELEMETRY_SCHEMAS, "2021-03-18"),
        ),
        ("platform.extension", {"name": "a"}, (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS)),
        ("platform.logsDropped", {"reason": "a"}, (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS)),
        ("function", "line\n", (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS)),
        ("extension", "line\n", (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS)),
    ],
)
def test_each_schema_has_its_events(
    type_: str, record: dict[str, Any] | str, schemas: tuple[str, ...]
) -> None:
    event = TelemetryEvent(1, type_, record)
    expected = {"time": "1970-01-01T00:00:00.001Z", "type": type_, "record": record}
    for schema in (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS):
        assert decoded(event, schema) == (expected if schema in schemas else None), schema


def test_the_report_of_an_init_has_a_status_in_the_latest_schema_alone() -> None:
    record = {"phase": "init", "status": "success"}
    event = TelemetryEvent(1, "platform.initReport", record)
    shown = [decoded(event, schema)["record"] for schema in TELEMETRY_SCHEMAS]
    assert shown == [{"phase": "init"}, {"phase": "init"}, record]


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('{"level":"INFO","message":"é"}\n', {"level": "INFO", "message": "é"}),
        ("[1]\n", "[1]\n"),
        ("{no json\n", "{no json\n"),
        ('{"a": NaN}\n', '{"a": NaN}\n'),
        ('{"a": "\\ud800"}', {"a": "?"}),
    ],
)
def test_with_json_logs_a_line_that_is_an_object_is_sent_as_one(line: str, record: Any) -> None:
    event = TelemetryEvent(1, "function", line)
    shown = [
        decoded(event, schema, is_json=True)["record"]
        for schema in (*TELEMETRY_SCHEMAS, *LOGS_SCHEMAS)
    ]
    assert shown == [line, record, record, line, line]
    assert decoded(event, "2022-12-13", is_json=False)["record"] == line


@pytest.mark.parametrize(
    ("name", "record", "level"),
    [
        ("initStart", {"runtimeVersion": "python:3.12.v98"}, "INFO"),
        ("initStart", {}, "DEBUG"),
        ("initRuntimeDone", {"status": "success"}, "DEBUG"),
        ("initRuntimeDone", {"status": "error"}, "WARN"),
        ("initReport", {"initializationType": "on-demand", "status": "success"}, "DEBUG"),
        ("initReport", {"initializationType": "snap-start", "status": "success"}, "INFO"),
        ("initReport", {"initializationType": "on-demand", "status": "timeout"}, "WARN"),
        ("restoreStart", {"runtimeVersion": "python:3.12.v98"}, "INFO"),
        ("restoreStart", {}, "DEBUG"),
        ("restoreRuntimeDone", {"status": "success"}, "DEBUG"),
        ("restoreRuntimeDone", {"status": "error"}, "WARN"),
        ("restoreReport", {"status": "success"}, "INFO"),
        ("restoreReport", {"status": "timeout"}, "WARN"),
        ("start", {"requestId": "id"}, "INFO"),
        ("runtimeDone", {"status": "success"}, "DEBUG"),
        ("runtimeDone", {"status": "timeout"}, "WARN"),
        ("report", {"status": "success"}, "INFO"),
        ("report", {"status": "error"}, "WARN"),
        ("extension", {"state": "Ready"}, "INFO"),
        ("extension", {"state": "Registered"}, "INFO"),
        ("extension", {"state": "InitError", "errorType": "Extension.NoKey"}, "WARN"),
        ("telemetrySubscription", {"state": "Subscribed"}, "INFO"),
        ("logsSubscription", {"state": "Subscribed"}, "INFO"),
        ("logsDropped", {"reason": "a"}, "WARN"),
    ],
)
def test_a_platform_record_has_the_level_of_awss_table(
    name: str, record: dict[str, Any], level: str
) -> None:
    assert system_level(TelemetryEvent(1, f"platform.{name}", record)) == level

"""OTLP logs: whole in the store, and log events of CloudWatch Logs."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord as SdkRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from tests.collector.test_otlp_traces import (
    INT32,
    PROTOBUF,
    TEXT,
    UINT32,
    UINT64,
    VALUES,
    array_of,
    key_values,
    list_of,
    otlp_json,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

DAY_NS = 24 * 3600 * 10**9


def one_record(service: str, **fields: Any) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = service
    fields.setdefault("time_unix_nano", time.time_ns())
    resource_logs.scope_logs.add().log_records.add(**fields)
    return request


def events(collector: Collector, group: str, stream: str = "default") -> list[dict[str, Any]]:
    client = collector.client("logs", "us-east-1")
    answer = client.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
    return cast("list[dict[str, Any]]", answer["events"])


def stored(collector: Collector, parameters: str) -> list[dict[str, Any]]:
    answer = collector.get(f"/_lambdatrace/logs?{parameters}")
    assert answer.status == 200, answer
    return cast("list[dict[str, Any]]", json.loads(answer.body)["resourceLogs"])


def flattened(resource_logs: list[dict[str, Any]]) -> list[str]:
    """Each record with its resource and scope as one text; an empty message counts as absent."""
    rows = [
        {
            "resource": resource_entry.get("resource") or None,
            "resourceSchemaUrl": resource_entry.get("schemaUrl"),
            "scope": scope_entry.get("scope") or None,
            "scopeSchemaUrl": scope_entry.get("schemaUrl"),
            "record": {name: value for name, value in record.items() if value != {}},
        }
        for resource_entry in resource_logs
        for scope_entry in resource_entry["scopeLogs"]
        for record in scope_entry["logRecords"]
    ]
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@st.composite
def requests(draw: st.DrawFn) -> ExportLogsServiceRequest:
    """A request of one trace that uses every field of OTLP's logs."""
    trace_id = secrets.token_bytes(16)
    request = ExportLogsServiceRequest()
    for _ in range(draw(st.integers(1, 2))):
        resource_logs = request.resource_logs.add(schema_url=draw(TEXT))
        resource_logs.resource.attributes.extend(draw(key_values(VALUES)))
        resource_logs.resource.dropped_attributes_count = draw(UINT32)
        resource_logs.resource.entity_refs.extend(
            draw(st.lists(st.builds(EntityRef, type=TEXT, id_keys=st.lists(TEXT)), max_size=1))
        )
        for _ in range(draw(st.integers(1, 2))):
            scope_logs = resource_logs.scope_logs.add(schema_url=draw(TEXT))
            scope_logs.scope.name = draw(TEXT)
            scope_logs.scope.version = draw(TEXT)
            scope_logs.scope.attributes.extend(draw(key_values(VALUES)))
            scope_logs.scope.dropped_attributes_count = draw(UINT32)
            for _ in range(draw(st.integers(1, 2))):
                record = scope_logs.log_records.add(
                    time_unix_nano=time.time_ns() + draw(st.integers(-DAY_NS, 0)),
                    observed_time_unix_nano=draw(UINT64),
                    severity_number=cast("Any", draw(INT32)),
                    severity_text=draw(TEXT),
                    dropped_attributes_count=draw(UINT32),
                    flags=draw(UINT32),
                    trace_id=trace_id,
                    span_id=draw(st.binary(max_size=8)),
                    event_name=draw(TEXT),
                )
                record.attributes.extend(draw(key_values(VALUES)))
                if draw(st.booleans()):
                    record.body.CopyFrom(draw(VALUES))
    return request


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_log_records_come_back_as_they_were_sent(
    collector: Collector, request: ExportLogsServiceRequest
) -> None:
    answer = collector.post("/v1/logs", request.SerializeToString(), PROTOBUF)

    assert (answer.status, answer.body) == (200, b"")
    trace_id = request.resource_logs[0].scope_logs[0].log_records[0].trace_id.hex()
    expected = flattened(otlp_json(cast("Any", request))["resourceLogs"])
    assert expected == flattened(stored(collector, f"trace_id={trace_id}"))


def test_a_record_is_a_log_event_whose_message_is_its_json(
    collector: Collector, unique: str
) -> None:
    now_ns = time.time_ns()
    request = one_record(
        unique,
        time_unix_nano=now_ns,
        observed_time_unix_nano=now_ns + 5,
        severity_number=9,
        severity_text="INFO",
        body=AnyValue(string_value='paid "7" a/b é\n'),
        flags=1,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        event_name="order.paid",
        dropped_attributes_count=2,
    )
    scope_logs = request.resource_logs[0].scope_logs[0]
    scope_logs.scope.name, scope_logs.scope.version = "shop", "1.0"
    for key, value in {
        "text": AnyValue(string_value="x" * 300),
        "whole": AnyValue(int_value=-(2**63)),
        "number": AnyValue(double_value=1.5),
        "infinite": AnyValue(double_value=float("-inf")),
        "yes": AnyValue(bool_value=True),
        "no": AnyValue(bool_value=False),
        "bytes": AnyValue(bytes_value=b"\x00\xff"),
        "empty": AnyValue(),
        "list": array_of([AnyValue(int_value=1), AnyValue(string_value="é")]),
    }.items():
        scope_logs.log_records[0].attributes.add(key=key).value.CopyFrom(value)

    assert collector.post("/v1/logs", request.SerializeToString(), PROTOBUF).status == 200

    (event,) = events(collector, f"/otlp/{unique}")
    assert event["timestamp"] == now_ns // 10**6
    assert json.loads(event["message"]) == {
        "resource": {"attributes": {"service.name": unique}},
        "scope": {"name": "shop", "version": "1.0"},
        "timeUnixNano": now_ns,
        "observedTimeUnixNano": now_ns + 5,
        "severityNumber": 9,
        "severityText": "INFO",
        "body": 'paid "7" a/b é\n',
        "attributes": {
            "text": "x" * 300,
            "whole": -(2**63),
            "number": 1.5,
            "infinite": "-Infinity",
            "yes": True,
            "no": False,
            "bytes": "AP8=",
            "empty": None,
            "list": [1, "é"],
        },
        "droppedAttributesCount": 2,
        "flags": 1,
        "eventName": "order.paid",
        "traceId": "000102030405060708090a0b0c0d0e0f",
        "spanId": "0001020304050607",
    }


def test_a_body_that_is_a_map_is_json_in_the_message(collector: Collector, unique: str) -> None:
    inner = list_of([])
    inner.kvlist_value.values.add(key="n").value.int_value = 7
    body = list_of([])
    body.kvlist_value.values.add(key="items").value.CopyFrom(array_of([inner, AnyValue()]))
    request = one_record(unique, body=body)
    # Text beside it that looks like a nested value is text all the same.
    request.resource_logs[0].scope_logs[0].log_records.add(
        time_unix_nano=time.time_ns(), body=AnyValue(string_value="\n12 * 2")
    )
    collector.post("/v1/logs", request.SerializeToString(), PROTOBUF)

    bodies = [
        json.loads(event["message"])["body"] for event in events(collector, f"/otlp/{unique}")
    ]
    assert bodies == [{"items": [{"n": 7}, None]}, "\n12 * 2"]


def test_events_are_found_by_their_json(collector: Collector, unique: str) -> None:
    for text in ("good", "bad"):
        request = one_record(unique, body=AnyValue(string_value=text))
        collector.post("/v1/logs", request.SerializeToString(), PROTOBUF)
    client = collector.client("logs", "us-east-1")
    found = client.filter_log_events(
        logGroupName=f"/otlp/{unique}", filterPattern='{ $.body = "bad" }'
    )
    assert [json.loads(event["message"])["body"] for event in found["events"]] == ["bad"]


def test_the_headers_name_group_and_stream_and_the_signature_the_region(
    collector: Collector, unique: str
) -> None:
    client = collector.client("logs", "eu-north-1")
    headers = {
        **PROTOBUF,
        "x-aws-log-group": unique,
        "x-aws-log-stream": "s",
        "Authorization": "AWS4-HMAC-SHA256 Credential=key/20260131/eu-north-1/logs/aws4_request",
    }
    body = one_record("orders").SerializeToString()
    missing = collector.post("/v1/logs", body, {**headers, "Content-Type": "application/json"})
    no_group = collector.post("/v1/logs", body, headers)
    client.create_log_group(logGroupName=unique)
    no_stream = collector.post("/v1/logs", body, headers)
    client.create_log_stream(logGroupName=unique, logStreamName="s")
    taken = collector.post("/v1/logs", body, headers)
    one_header = collector.post("/v1/logs", body, {**PROTOBUF, "x-aws-log-group": unique})

    assert [answer.status for answer in (missing, no_group, no_stream, taken, one_header)] == [
        *(400, 400, 400, 200, 400)
    ]
    assert b"The specified log group does not exist." in no_group.body
    assert b"The specified log stream does not exist." in no_stream.body
    assert b"The header x-aws-log-stream is missing: send both." in one_header.body
    found = client.get_log_events(logGroupName=unique, logStreamName="s")["events"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("attributes", "group", "stream"),
    [
        ({"faas.name": "fn", "faas.instance": "2026/01/31/[$LATEST]ab"}, "/aws/lambda/fn", None),
        ({"service.name": "a b:c", "service.instance.id": "x:1*"}, "/otlp/a_b_c", "x_1_"),
    ],
)
def test_without_headers_a_resource_has_its_own_group(
    collector: Collector,
    unique: str,
    attributes: dict[str, str],
    group: str,
    stream: str | None,
) -> None:
    request = ExportLogsServiceRequest()
    for suffix in ("-1", "-2"):
        resource_logs = request.resource_logs.add()
        for key, value in attributes.items():
            text = f"{value}{unique}{suffix}" if key.endswith(".name") else value
            resource_logs.resource.attributes.add(key=key).value.string_value = text
        for number in range(2):
            scope_logs = resource_logs.scope_logs.add()
            for half in range(2):
                scope_logs.log_records.add(
                    time_unix_nano=time.time_ns(),
                    body=AnyValue(string_value=f"{suffix} {number} {half}"),
                )
    assert collector.post("/v1/logs", request.SerializeToString(), PROTOBUF).status == 200

    for suffix in ("-1", "-2"):
        name = stream or attributes["faas.instance"]
        found = events(collector, f"{group}{unique}{suffix}", name)
        assert [json.loads(event["message"])["body"] for event in found] == [
            f"{suffix} {number} {half}" for number in range(2) for half in range(2)
        ]


def test_records_of_other_times_are_rejected_and_counted_as_cloudwatch_does(
    collector: Collector, unique: str
) -> None:
    now_ns = time.time_ns()
    request = one_record(unique, body=AnyValue(string_value="good"))
    records = request.resource_logs[0].scope_logs[0].log_records
    records.add(time_unix_nano=now_ns - 15 * DAY_NS)
    records.add(time_unix_nano=1)
    records.add(observed_time_unix_nano=now_ns + DAY_NS)
    records.add(body=AnyValue(string_value="no time: now"))

    answer = collector.post("/v1/logs", request.SerializeToString(), PROTOBUF)

    success = ExportLogsServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, success.rejected_log_records) == (200, 3)
    assert json.loads(success.error_message) == {
        "tooOldLogEventCount": 2,
        "tooNewLogEventCount": 1,
        "expiredLogEventCount": 0,
    }
    found = events(collector, f"/otlp/{unique}")
    assert [json.loads(event["message"])["body"] for event in found] == ["good", "no time: now"]
    assert len(flattened(stored(collector, f"log_group=/otlp/{unique}"))) == 2


def test_a_field_of_ours_that_a_sender_fills_is_not_taken(
    collector: Collector, unique: str
) -> None:
    request = one_record(unique, body=AnyValue(string_value="true body"))
    record = request.resource_logs[0].scope_logs[0].log_records[0].SerializeToString()
    forged = record + b"\xca\x3e\x0a\x0a\x00\x12\x06forged"  # nested_json, field 1001
    request.resource_logs[0].scope_logs[0].log_records[0].CopyFrom(LogRecord.FromString(forged))
    assert b"forged" in request.SerializeToString()
    collector.post("/v1/logs", request.SerializeToString(), PROTOBUF)

    (event,) = events(collector, f"/otlp/{unique}")
    assert json.loads(event["message"])["body"] == "true body"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_opentelemetry_sdk_s_logs_are_found_by_their_trace(
    collector: Collector, unique: str, protocol: str
) -> None:
    exporter = (
        HttpExporter(f"{collector.url}/v1/logs", compression=Compression.Gzip)
        if protocol == "http"
        else GrpcExporter(collector.address("OTLP/gRPC"), insecure=True)
    )
    provider = LoggerProvider(resource=Resource({"service.name": unique}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with TracerProvider().get_tracer("tests").start_as_current_span("outer") as span:
        record = SdkRecord(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body={"disk": [93, "%"]},
            attributes={"volume": "/tmp"},
        )
        provider.get_logger("tests").emit(record)
    provider.shutdown()

    trace_id = f"{span.get_span_context().trace_id:032x}"
    (resource_logs,) = stored(collector, f"trace_id={trace_id}")
    (kept,) = resource_logs["scopeLogs"][0]["logRecords"]
    assert (kept["severityText"], kept["traceId"]) == ("WARN", trace_id)
    (event,) = events(collector, f"/otlp/{unique}")
    message = json.loads(event["message"])
    assert (message["body"], message["traceId"]) == ({"disk": [93, "%"]}, trace_id)
    assert message["attributes"]["volume"] == "/tmp"


@pytest.mark.parametrize("query", ["", "trace_id=x", "limit=0&log_group=x", "limit=9&unknown=1"])
def test_a_question_for_records_that_cannot_be_meant_is_refused(
    collector: Collector, query: str
) -> None:
    assert collector.get(f"/_lambdatrace/logs?{query}").status == 400

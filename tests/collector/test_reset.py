from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.settings import parse_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Collector

RESET = "/_lambdatrace/reset"
SERVICES = "/api/v3/services"


def fill(collector: Collector) -> None:
    """One record of each kind, twice the same in each test."""
    logs, metrics = (
        collector.client("logs", "us-east-1"),
        collector.client("cloudwatch", "us-east-1"),
    )
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    event = {"timestamp": time.time_ns() // 1_000_000, "message": "m"}
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[event])
    metrics.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1.0}])
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    spans.resource.attributes.add(key="service.name").value.string_value = "resets"
    span = spans.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="x")
    span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
    records = ExportLogsServiceRequest()
    record = records.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value, record.time_unix_nano = "m", span.end_time_unix_nano
    protobuf = {"Content-Type": "application/x-protobuf"}
    assert collector.post("/v1/logs", records.SerializeToString(), protobuf).status == 200
    collector.post("/v1/traces", request.SerializeToString(), protobuf)


def stored(collector: Collector) -> tuple[list[str], list[str], list[str]]:
    """The names of log groups, metrics and services."""
    groups = collector.client("logs", "us-east-1").describe_log_groups()["logGroups"]
    metrics = collector.client("cloudwatch", "us-east-1").list_metrics()["Metrics"]
    return (
        [group["logGroupName"] for group in groups],
        [metric["MetricName"] for metric in metrics],
        json.loads(collector.get(SERVICES).body)["services"],
    )


def test_reset_empties_the_store_and_what_is_remembered_of_it(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "data", "--no-grpc", "--no-xray", "--allow-reset")
    fill(collector)
    assert stored(collector) == (["/otlp/unknown_service", "g"], ["m"], ["resets"])
    answer = collector.post(RESET, b"", {})
    assert (answer.status, answer.body) == (200, b"{}")
    assert stored(collector) == ([], [], [])
    logs = collector.client("logs", "us-east-1")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.put_log_events(
            logGroupName="g", logStreamName="s", logEvents=[{"timestamp": 1, "message": "m"}]
        )
    fill(collector)
    assert stored(collector) == (["/otlp/unknown_service", "g"], ["m"], ["resets"])


def test_without_allow_reset_there_is_nothing_to_call(collector: Collector) -> None:
    answer = collector.post(RESET, b"", {})
    assert (answer.status, answer.body) == (
        404,
        b'{"error":{"httpCode":404,"message":"there is nothing at /_lambdatrace/reset"}}',
    )


def test_the_aws_endpoint_is_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_settings(["--aws-endpoint", "http://localhost:3001/"]).aws_endpoint == (
        "http://localhost:3001"
    )
    assert parse_settings([]).aws_endpoint is None
    for wrong in ("localhost:3001", "ftp://host", "http://", "http://[", "http://h?x=1"):
        with pytest.raises(SystemExit):
            parse_settings(["--aws-endpoint", wrong])
        assert "--aws-endpoint" in capsys.readouterr().err

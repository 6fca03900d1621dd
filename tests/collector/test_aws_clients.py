"""Clients as they are installed, each the way its users call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.collector.one_protocol import session_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.collector.conftest import Collector

PROTOCOLS = ("json", "query", "smithy-rpc-v2-cbor")
NOW = datetime.now(timezone.utc).replace(second=0, microsecond=0)
RANGE = {"StartTime": NOW - timedelta(hours=1), "EndTime": NOW + timedelta(hours=1)}


def cloudwatch(collector: Collector, protocol: str, region: str = "eu-west-1") -> Any:
    """A client that speaks `protocol`; its requests over 1 kB are gzip."""
    client = session_of(protocol).client(
        "cloudwatch",
        endpoint_url=collector.url,
        region_name=region,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, request_min_compression_size_bytes=1000),
    )
    assert client.meta.service_model.resolved_protocol == protocol
    return client


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_boto3_publishes_and_reads_metrics_over_each_protocol(
    collector: Collector, unique: str, protocol: str
) -> None:
    client = cloudwatch(collector, protocol)
    datum = {
        "MetricName": "latency",
        "Dimensions": [{"Name": "route", "Value": "<a&b>"}],
        "Timestamp": NOW,
        "Unit": "Milliseconds",
    }
    put = client.put_metric_data(
        Namespace=unique,
        MetricData=[
            {**datum, "Values": [float(value) for value in range(100)], "Counts": [2.0] * 100},
            {**datum, "Value": 1000.5},
            *({**datum, "MetricName": f"other{place}", "Value": 1.0} for place in range(50)),
        ],
    )
    found = client.get_metric_data(
        MetricDataQueries=[
            {
                "Id": statistic.lower(),
                "MetricStat": {
                    "Metric": {
                        "Namespace": unique,
                        "MetricName": "latency",
                        "Dimensions": datum["Dimensions"],
                    },
                    "Period": 60,
                    "Stat": statistic,
                },
            }
            for statistic in ("Maximum", "SampleCount", "Sum")
        ],
        **RANGE,
    )
    listed = client.list_metrics(Namespace=unique, MetricName="latency")
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    assert [
        (result["Id"], result["Timestamps"], result["Values"], result["StatusCode"])
        for result in found["MetricDataResults"]
    ] == [
        ("maximum", [NOW], [1000.5], "Complete"),
        ("samplecount", [NOW], [201.0], "Complete"),
        ("sum", [NOW], [2 * 4950 + 1000.5], "Complete"),
    ]
    assert listed["Metrics"] == [
        {"Namespace": unique, "MetricName": "latency", "Dimensions": datum["Dimensions"]}
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_errors_have_the_same_code_over_each_protocol(
    collector: Collector, unique: str, protocol: str
) -> None:
    client = cloudwatch(collector, protocol)
    nan = [{"MetricName": "m", "Value": float("nan")}]
    both = [{"MetricName": "m", "Value": 1.0, "Values": [1.0]}]
    unnamed = {"MetricDataQueries": [{"Id": "Upper", "Expression": "1"}], **RANGE}
    found = [
        failure(lambda: client.put_metric_data(Namespace=unique, MetricData=nan)),
        failure(lambda: client.put_metric_data(Namespace=unique, MetricData=both)),
        failure(lambda: client.list_metrics(NextToken="wrong")),
        failure(lambda: client.get_metric_data(**unnamed)),
    ]
    unknown = failure(client.describe_alarms)
    assert [(status, code) for status, code, _ in found] == [
        (400, "InvalidParameterValue"),
        (400, "InvalidParameterCombination"),
        (400, "InvalidParameterValue"),
        (400, "ValidationError"),
    ]
    assert found[0][2] == "The value NaN for parameter MetricData.member.1.Value is invalid."
    assert (
        unknown[:2]
        == {
            "json": (404, "InvalidAction"),
            "query": (400, "InvalidAction"),
            "smithy-rpc-v2-cbor": (404, "InvalidAction"),
        }[protocol]
    )


def failure(call: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as raised:
        call()
    response = raised.value.response
    assert response["ResponseMetadata"]["RequestId"]
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    return status, response["Error"]["Code"], response["Error"]["Message"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_regions_are_apart_over_each_protocol(
    collector: Collector, unique: str, protocol: str
) -> None:
    here, there = (cloudwatch(collector, protocol, region) for region in ("eu-west-1", "us-east-2"))
    here.put_metric_data(Namespace=unique, MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert len(here.list_metrics(Namespace=unique)["Metrics"]) == 1
    assert there.list_metrics(Namespace=unique)["Metrics"] == []


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "AWS_DEFAULT_REGION": "eu-west-1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def aws_cli(collector: Collector, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The AWS CLI v1, as a user calls it."""
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_MAX_ATTEMPTS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [str(Path(sys.executable).parent / "aws"), "--endpoint-url", collector.url]
    return run([*command, "--output", "json", *arguments], environment)


def printed(finished: subprocess.CompletedProcess[str]) -> Any:
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout or "null")


def test_the_aws_cli_writes_reads_and_is_told_what_is_wrong(
    collector: Collector, unique: str
) -> None:
    stream = ["--log-group-name", unique, "--log-stream-name", "s"]
    printed(aws_cli(collector, "logs", "create-log-group", "--log-group-name", unique))
    printed(aws_cli(collector, "logs", "create-log-stream", *stream))
    event = f"timestamp={time.time_ns() // 1_000_000},message=hello"
    printed(aws_cli(collector, "logs", "put-log-events", *stream, "--log-events", event))
    found = printed(aws_cli(collector, "logs", "filter-log-events", "--log-group-name", unique))
    printed(
        aws_cli(
            collector,
            *("cloudwatch", "put-metric-data", "--namespace", unique),
            *("--metric-name", "m", "--value", "1", "--dimensions", "a=b"),
        )
    )
    metrics = printed(aws_cli(collector, "cloudwatch", "list-metrics", "--namespace", unique))
    missing = aws_cli(collector, "logs", "describe-log-streams", "--log-group-name", unique + "x")

    assert [event["message"] for event in found["events"]] == ["hello"]
    assert metrics["Metrics"] == [
        {"Namespace": unique, "MetricName": "m", "Dimensions": [{"Name": "a", "Value": "b"}]}
    ]
    assert (missing.returncode, missing.stderr.strip()) == (
        255,
        (
            "An error occurred (ResourceNotFoundException) when calling the DescribeLogStreams"
            " operation: The specified log group does not exist."
        ),
    )


POWERTOOLS = """
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit
metrics = Metrics(namespace="{namespace}", service="payments")
metrics.add_metric("Orders", MetricUnit.Count, 3)
metrics.add_metric("Orders", MetricUnit.Count, 4)
metrics.add_metadata("order", "o-1")
metrics.flush_metrics()
"""
EMBEDDED = """
import asyncio
from aws_embedded_metrics import metric_scope
@metric_scope
def handler(metrics):
    metrics.set_namespace("{namespace}")
    metrics.set_dimensions({{"service": "payments"}})
    metrics.put_metric("Orders", 3, "Count")
    metrics.put_metric("Orders", 4, "Count")
    metrics.set_property("order", "o-1")
handler()
"""


@pytest.mark.parametrize("program", [POWERTOOLS, EMBEDDED], ids=["powertools", "embedded-metrics"])
def test_what_metrics_libraries_print_in_lambda_becomes_metrics(
    collector: Collector, unique: str, program: str
) -> None:
    environment = {"AWS_EMF_ENVIRONMENT": "Lambda", "AWS_LAMBDA_FUNCTION_NAME": "payments"}
    source = program.format(namespace=unique)
    finished = run([sys.executable, "-c", source], environment)
    assert finished.returncode == 0, finished.stderr
    logs, client = collector.client("logs"), collector.client("cloudwatch")
    logs.create_log_group(logGroupName=unique)
    logs.create_log_stream(logGroupName=unique, logStreamName="s")
    now_ms = time.time_ns() // 1_000_000
    logs.put_log_events(
        logGroupName=unique,
        logStreamName="s",
        logEvents=[
            {"timestamp": now_ms, "message": line} for line in finished.stdout.splitlines() if line
        ],
    )
    metric = {
        "Namespace": unique,
        "MetricName": "Orders",
        "Dimensions": [{"Name": "service", "Value": "payments"}],
    }
    found = client.get_metric_data(
        MetricDataQueries=[
            {"Id": name, "MetricStat": {"Metric": metric, "Period": 3600, "Stat": statistic}}
            for name, statistic in (("n", "SampleCount"), ("total", "Sum"), ("high", "Maximum"))
        ],
        **RANGE,
    )
    assert {result["Id"]: sum(result["Values"]) for result in found["MetricDataResults"]} == {
        "n": 2.0,
        "total": 7.0,
        "high": 4.0,
    }
    (event,) = logs.filter_log_events(logGroupName=unique)["events"]
    assert json.loads(event["message"])["order"] == "o-1"

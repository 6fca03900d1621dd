from __future__ import annotations

import gzip
import json
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.collector.conftest import start
from tests.sdk.patches.conftest import moto_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.collector.conftest import Collector

DEADLINE_S = 20
ROLE = "arn:aws:iam::123456789012:role/r"
SINK = "arn:aws:lambda:eu-west-1:123456789012:function:sink"
HANDLER = """
import base64, gzip, json

def handler(event, context):
    print("GOT", gzip.decompress(base64.b64decode(event["awslogs"]["data"])).decode(), flush=True)
"""


class Sink:
    """The function that gets what Lambda subscriptions send, in a local Lambda of ours."""

    def __init__(self, folder: Path) -> None:
        (folder / "app.py").write_text(textwrap.dedent(HANDLER))
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", "from lambdatrace.cli import main; main()"),
                    *("start", "sink=app.handler", "--port", "0", "--logs"),
                    *("--region", "eu-west-1"),
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        self.url = ""
        self._await(lambda: "Lambda API on " in self._log.read_text())
        self.url = self._log.read_text().split("Lambda API on ")[1].split(": ")[0].strip()

    def got(self, count: int) -> list[dict[str, Any]]:
        """The first `count` messages, once they are there."""
        self._await(lambda: self._log.read_text().count("GOT ") >= count)
        lines = [line for line in self._log.read_text().splitlines() if "GOT {" in line]
        return [json.loads(line.partition("GOT ")[2]) for line in lines]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _await(self, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_there() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_there(), self._log.read_text()


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    running = Sink(tmp_path_factory.mktemp("sink"))
    yield running
    running.stop()


def grouped(collector: Collector, name: str) -> Any:
    """A client, with a log group of two streams."""
    logs = collector.client("logs")
    logs.create_log_group(logGroupName=name)
    for stream in ("one", "two"):
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
    return logs


def put(logs: Any, group: str, stream: str, *messages: str) -> int:
    now_ms = time.time_ns() // 1_000_000
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": now_ms, "message": message} for message in messages],
    )
    return now_ms


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_function_gets_the_events_that_match_in_order_also_after_a_kill(
    start_collector: Callable[..., Collector], sink: Sink, tmp_path: Path
) -> None:
    running = start_collector(tmp_path / "store", "--aws-endpoint", sink.url)
    logs = grouped(running, "g")
    put(logs, "g", "one", "ERROR before")
    logs.put_subscription_filter(
        logGroupName="g", filterName="f", filterPattern="ERROR", destinationArn=SINK
    )
    (control,) = sink.got(1)
    moment = put(logs, "g", "one", "ERROR 1", "fine", "ERROR 2")
    first = sink.got(2)[1]
    running.process.kill()
    running.process.wait()
    again = start_collector(tmp_path / "store", "--aws-endpoint", sink.url)
    logs = again.client("logs")
    put(logs, "g", "two", "ERROR 3")
    deadline = time.monotonic() + DEADLINE_S
    while not any(m["logStream"] == "two" for m in sink.got(3)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (described,) = logs.describe_subscription_filters(logGroupName="g")["subscriptionFilters"]
    logs.delete_subscription_filter(logGroupName="g", filterName="f")

    assert control == {
        "messageType": "CONTROL_MESSAGE",
        "owner": "CloudwatchLogs",
        "logGroup": "",
        "logStream": "",
        "subscriptionFilters": [],
        "logEvents": [
            {
                "id": "",
                "timestamp": control["logEvents"][0]["timestamp"],
                "message": "CWL CONTROL MESSAGE: Checking health of destination Lambda.",
            }
        ],
    }
    ids = [event["id"] for event in first["logEvents"]]
    assert first == {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "g",
        "logStream": "one",
        "subscriptionFilters": ["f"],
        "logEvents": [
            {"id": ids[0], "timestamp": moment, "message": "ERROR 1"},
            {"id": ids[1], "timestamp": moment, "message": "ERROR 2"},
        ],
    }
    assert [len(each) for each in ids] == [56, 56]
    last = sink.got(3)[-1]
    assert (last["logStream"], [event["message"] for event in last["logEvents"]]) == (
        "two",
        ["ERROR 3"],
    )
    assert (described["destinationArn"], described["distribution"]) == (SINK, "ByLogStream")


@pytest.fixture(scope="module")
def delivering(
    moto_url: str,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Collector]:
    """A collector that delivers to moto's services."""
    store = tmp_path_factory.mktemp("delivering") / "store"
    running = start(store, "--no-grpc", "--no-xray", "--aws-endpoint", moto_url)
    yield running
    running.stop()


def aws(url: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def until(read: Callable[[], list[Any]], count: int) -> list[Any]:
    deadline = time.monotonic() + DEADLINE_S
    while len(found := read()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) >= count
    return found


def test_a_kinesis_stream_gets_events_of_a_stream_under_one_key(
    delivering: Collector,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    kinesis = aws(moto_url, "kinesis")
    kinesis.create_stream(StreamName="logs", ShardCount=1)
    shard = kinesis.describe_stream(StreamName="logs")["StreamDescription"]["Shards"][0]["ShardId"]

    def records() -> list[Any]:
        iterator = kinesis.get_shard_iterator(
            StreamName="logs", ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found: list[Any] = kinesis.get_records(ShardIterator=iterator)["Records"]
        return found

    logs = grouped(delivering, "to-kinesis")
    logs.put_destination(
        destinationName="d",
        targetArn="arn:aws:kinesis:eu-west-1:123456789012:stream/logs",
        roleArn=ROLE,
    )
    logs.put_subscription_filter(
        logGroupName="to-kinesis",
        filterName="f",
        filterPattern='{ $.level = "ERROR" }',
        destinationArn="arn:aws:logs:eu-west-1:123456789012:destination:d",
    )
    put(logs, "to-kinesis", "two", '{"level": "ERROR"}', '{"level": "INFO"}')
    control, data = until(records, 2)[:2]
    message = json.loads(gzip.decompress(data["Data"]))
    assert json.loads(gzip.decompress(control["Data"]))["messageType"] == "CONTROL_MESSAGE"
    assert data["PartitionKey"] == message["logStream"] == "two"
    assert [event["message"] for event in message["logEvents"]] == ['{"level": "ERROR"}']


def test_a_firehose_stream_gets_events(
    delivering: Collector,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    s3, firehose = aws(moto_url, "s3"), aws(moto_url, "firehose")
    s3.create_bucket(
        Bucket="firehose-logs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    arn = firehose.create_delivery_stream(
        DeliveryStreamName="logs",
        S3DestinationConfiguration={"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::firehose-logs"},
    )["DeliveryStreamARN"]

    def objects() -> list[Any]:
        found: list[Any] = s3.list_objects_v2(Bucket="firehose-logs").get("Contents", [])
        return sorted(found, key=lambda entry: str(entry["LastModified"]))

    logs = grouped(delivering, "to-firehose")
    logs.put_subscription_filter(
        logGroupName="to-firehose",
        filterName="f",
        filterPattern="",
        destinationArn=arn,
        roleArn=ROLE,
    )
    put(logs, "to-firehose", "one", "a", "b")
    bodies = [
        json.loads(
            gzip.decompress(s3.get_object(Bucket="firehose-logs", Key=entry["Key"])["Body"].read())
        )
        for entry in until(objects, 2)
    ]
    (data,) = [body for body in bodies if body["messageType"] == "DATA_MESSAGE"]
    assert [event["message"] for event in data["logEvents"]] == ["a", "b"]


def test_a_subscription_whose_destination_takes_nothing_is_refused(
    delivering: Collector, collector: Collector, unique: str
) -> None:
    parameters = {"logGroupName": unique, "filterName": "f", "filterPattern": ""}
    stream = "arn:aws:kinesis:eu-west-1:123456789012:stream/absent"
    for running in (delivering, collector):
        logs = grouped(running, unique)
        code, message = refused(
            logs.put_subscription_filter, **parameters, destinationArn=stream, roleArn=ROLE
        )
        assert code == "InvalidParameterException"
        assert message.startswith("Could not deliver test message to specified Kinesis stream.")
    assert "--aws-endpoint" in message
    assert (
        refused(
            collector.client("logs").put_subscription_filter,
            **parameters,
            destinationArn="arn:aws:sqs:eu-west-1:123456789012:q",
        )[0]
        == "InvalidParameterException"
    )


def test_a_group_has_at_most_two_subscription_filters(
    delivering: Collector,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    aws(moto_url, "kinesis").create_stream(StreamName="two", ShardCount=1)
    logs = grouped(delivering, "two-filters")
    parameters = {
        "logGroupName": "two-filters",
        "filterPattern": "",
        "destinationArn": "arn:aws:kinesis:eu-west-1:123456789012:stream/two",
        "roleArn": ROLE,
    }
    for name in ("a", "b", "a"):
        logs.put_subscription_filter(**parameters, filterName=name)
    assert refused(logs.put_subscription_filter, **parameters, filterName="c") == (
        "LimitExceededException",
        "Resource limit exceeded.",
    )

"""Asynchronous invokes from end to end: real functions, boto3, and moto's services."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from lambdatrace.harness import EventInvokeConfig, Function, Harness, LoggingConfig, VirtualClock
from tests.sdk.patches.conftest import moto_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., contextlib.AbstractContextManager[Harness]]

ACCOUNT = "123456789012"
SOURCE = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("no stock")
    return {"charged": event["id"]}
"""


def client(service: str, url: str) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)


def queue(url: str, name: str) -> tuple[str, Callable[[], list[Any]]]:
    """A new queue: its ARN, and what takes the messages that are in it."""
    sqs = client("sqs", url)
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]

    def messages() -> list[Any]:
        found: list[Any] = sqs.receive_message(
            QueueUrl=queue_url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
        ).get("Messages", [])
        return found

    return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}", messages


def sums(harness: Harness, name: str = "app") -> dict[str, float]:
    """The sum of each metric of a function."""
    found: dict[str, float] = {}
    for datum in harness.metrics(name):
        if len(datum["Dimensions"]) == 1:
            pairs = zip(datum["Values"], datum["Counts"], strict=True)
            total = sum(value * count for value, count in pairs)
            found[datum["MetricName"]] = found.get(datum["MetricName"], 0.0) + total
    return found


def test_a_failing_event_is_executed_three_times_and_told_of_with_boto3_alone(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    failed, records = queue(moto_url, "failed")
    dead, dead_letters = queue(moto_url, "dead")
    clock = VirtualClock()
    with run(
        SOURCE,
        event_invoke_config=EventInvokeConfig(on_failure=failed),
        dead_letter_target_arn=dead,
        aws_endpoint_url=moto_url,
        clock=clock,
    ) as harness:
        accepted = client("lambda", harness.endpoint_url).invoke(
            FunctionName="app", InvocationType="Event", Payload=b'{"fail": true}'
        )
        assert harness.wait_events() == 1
        harness.advance(59)
        assert len(harness.executions("app")) == 1
        harness.advance(1)
        assert len(harness.executions("app")) == 2
        harness.advance(120)
        assert harness.wait_events() == 0
        request_ids = {facts.request_id for facts in harness.executions("app")}
        found = sums(harness)
    request_id = accepted["ResponseMetadata"]["RequestId"]
    assert (accepted["StatusCode"], request_ids) == (202, {request_id})
    (message,) = records()
    record = json.loads(message["Body"])
    assert record["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:app:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    assert record["requestPayload"] == {"fail": True}
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorMessage"] == "no stock"
    (letter,) = dead_letters()
    assert letter["Body"] == '{"fail": true}'
    assert {k: v["StringValue"] for k, v in letter["MessageAttributes"].items()} == {
        "RequestID": request_id,
        "ErrorCode": "200",
        "ErrorMessage": "no stock",
    }
    assert found.pop("Duration") > 0
    assert found.pop("AsyncEventAge") == pytest.approx(60_000 + 180_000)
    assert found == {
        "Invocations": 3.0,
        "Errors": 3.0,
        "Throttles": 0.0,
        "ConcurrentExecutions": 3.0,
        "AsyncEventsReceived": 1.0,
        "AsyncEventsDropped": 1.0,
    }


def test_results_reach_a_topic_a_bus_a_bucket_and_another_function(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    sns, events, s3 = (client(name, moto_url) for name in ("sns", "events", "s3"))
    topic = sns.create_topic(Name="done")["TopicArn"]
    from_topic, of_topic = queue(moto_url, "from-topic")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=from_topic)
    bus = events.create_event_bus(Name="results")["EventBusArn"]
    from_bus, of_bus = queue(moto_url, "from-bus")
    events.put_rule(Name="all", EventBusName="results", EventPattern='{"source": ["lambda"]}')
    events.put_targets(Rule="all", EventBusName="results", Targets=[{"Id": "1", "Arn": from_bus}])
    s3.create_bucket(Bucket="failures")
    next_function = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:next"
    configs = {
        "to-topic": EventInvokeConfig(on_success=topic),
        "to-bus": EventInvokeConfig(on_success=bus),
        "to-bucket": EventInvokeConfig(0, on_failure="arn:aws:s3:::failures"),
        "to-function": EventInvokeConfig(on_success=next_function),
        "next": EventInvokeConfig(on_success=topic),
    }
    with run(SOURCE, aws_endpoint_url=moto_url) as harness:
        code = tmp_path / "next"
        code.mkdir()
        (code / "app.py").write_text(
            "def handler(event, context): return event['responsePayload']['charged']"
        )
        for name, config in configs.items():
            folder = code if name == "next" else tmp_path / "code"
            harness.add_function(
                Function(name, "app.handler", code_dir=folder, event_invoke_config=config)
            )
        for number, name in enumerate(("to-topic", "to-bus", "to-bucket", "to-function")):
            event = {"id": number, "fail": name == "to-bucket"}
            harness.invoke(name, event, invocation_type="Event")
        assert harness.wait_events() == 0
    told = {}
    for message in of_topic():
        record = json.loads(json.loads(message["Body"])["Message"])
        told[record["requestContext"]["functionArn"].split(":")[6]] = record["responsePayload"]
    assert told == {"to-topic": {"charged": 0}, "next": 3}
    (message,) = of_bus()
    event = json.loads(message["Body"])
    assert (event["source"], event["detail-type"], event["detail"]["responsePayload"]) == (
        "lambda",
        "Lambda Function Invocation Result - Success",
        {"charged": 1},
    )
    assert event["resources"][0] == bus
    assert event["resources"][1].endswith(":function:to-bus:$LATEST")
    (entry,) = s3.list_objects_v2(Bucket="failures")["Contents"]
    assert entry["Key"].startswith("aws/lambda/async/to-bucket/")
    record = json.loads(s3.get_object(Bucket="failures", Key=entry["Key"])["Body"].read())
    assert record["requestContext"]["condition"] == "RetriesExhausted"


def test_a_dead_letter_topic_gets_the_event_with_its_attributes(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    topic = client("sns", moto_url).create_topic(Name="dead-topic")["TopicArn"]
    from_topic, messages = queue(moto_url, "from-dead-topic")
    client("sns", moto_url).subscribe(TopicArn=topic, Protocol="sqs", Endpoint=from_topic)
    with run(
        SOURCE,
        event_invoke_config=EventInvokeConfig(0),
        dead_letter_target_arn=topic,
        aws_endpoint_url=moto_url,
    ) as harness:
        request_id = harness.invoke("app", {"fail": 1}, invocation_type="Event").request_id
        assert harness.wait_events() == 0
    (message,) = messages()
    letter = json.loads(message["Body"])
    assert letter["Message"] == '{"fail": 1}'
    assert {k: (v["Type"], v["Value"]) for k, v in letter["MessageAttributes"].items()} == {
        "RequestID": ("String", request_id),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "no stock"),
    }


def test_a_queue_that_is_not_there_counts_as_an_error(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = f"arn:aws:sqs:us-east-1:{ACCOUNT}:gone"
    with run(
        SOURCE,
        event_invoke_config=EventInvokeConfig(0, on_failure=gone),
        dead_letter_target_arn=gone,
        aws_endpoint_url=moto_url,
    ) as harness:
        harness.invoke("app", {"fail": 1}, invocation_type="Event")
        assert harness.wait_events() == 0
        found = sums(harness)
    assert (found["DestinationDeliveryFailures"], found["DeadLetterErrors"]) == (1.0, 1.0)
    assert "sqs send_message failed: " in caplog.text


def test_without_an_endpoint_nothing_leaves_the_machine(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config = EventInvokeConfig(on_success=f"arn:aws:sqs:us-east-1:{ACCOUNT}:done")
    with run(SOURCE, event_invoke_config=config) as harness:
        harness.invoke("app", {"id": 1}, invocation_type="Event")
        assert harness.wait_events() == 0
        assert sums(harness)["DestinationDeliveryFailures"] == 1.0
    assert "no endpoint: give the harness an aws_endpoint_url" in caplog.text


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_a_retry_is_logged_and_counted_at_the_time_of_the_clock(run: Run, log_format: str) -> None:
    start_s = 1_800_000_000.0
    with run(
        SOURCE,
        event_invoke_config=EventInvokeConfig(maximum_retry_attempts=1),
        logging_config=LoggingConfig(log_format),
        clock=VirtualClock(start_s),
    ) as harness:
        harness.invoke("app", {"fail": True}, invocation_type="Event")
        harness.advance(60)
        logs, data = harness.logs("app"), harness.metrics("app")
    # What each attempt takes of the machine's time comes after the clock's own.
    first, retry = (range(at, at + 30) for at in (int(start_s), int(start_s) + 60))
    if log_format == "Text":
        starts = [event.timestamp_ms for event in logs if event.message.startswith("START")]
    else:
        lines = [json.loads(event.message) for event in logs if "platform.start" in event.message]
        times = [datetime.fromisoformat(line["time"].replace("Z", "+00:00")) for line in lines]
        starts = [int(time.timestamp() * 1000) for time in times]
    assert [start // 1000 in span for start, span in zip(starts, (first, retry), strict=True)] == [
        True,
        True,
    ]
    times_ms = [event.timestamp_ms for event in logs]
    assert {ms // 1000 in first or ms // 1000 in retry for ms in times_ms} == {True}
    errors = [d for d in data if d["MetricName"] == "Errors" and len(d["Dimensions"]) == 1]
    seconds = [int(datum["Timestamp"].timestamp()) for datum in errors]
    assert [datum["Counts"] for datum in errors] == [[1.0], [1.0]]
    assert [seconds[0] in first, seconds[1] in retry] == [True, True]


def test_a_stopped_harness_says_how_many_events_it_held(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with run(SOURCE, clock=VirtualClock()) as harness:
        for _ in range(3):
            harness.invoke("app", {"fail": 1}, invocation_type="Event")
        harness.invoke("app", {"id": 1}, invocation_type="Event")
        assert harness.wait_events() == 3
    assert "3 events were accepted and not executed to the end" in caplog.text


def test_an_event_for_a_function_without_concurrency_is_told_of_at_once(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    failed, records = queue(moto_url, "zero-failed")
    dead, dead_letters = queue(moto_url, "zero-dead")
    with run(
        SOURCE,
        event_invoke_config=EventInvokeConfig(on_failure=failed),
        dead_letter_target_arn=dead,
        aws_endpoint_url=moto_url,
    ) as harness:
        client("lambda", harness.endpoint_url).put_function_concurrency(
            FunctionName="app", ReservedConcurrentExecutions=0
        )
        harness.invoke("app", {"id": 1}, invocation_type="Event")
        assert harness.wait_events() == 0
        assert harness.executions("app") == []
        assert sums(harness) == {"AsyncEventsReceived": 1.0, "AsyncEventsDropped": 1.0}
    (message,) = records()
    record = json.loads(message["Body"])
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert record.keys() == {"version", "timestamp", "requestContext", "requestPayload"}
    (letter,) = dead_letters()
    assert letter["MessageAttributes"].keys() == {"RequestID", "ErrorMessage"}


def test_an_event_that_is_executed_when_the_harness_stops_is_held_and_not_retried(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    source = "import time\ndef handler(event, context): time.sleep(60)"
    with run(source, timeout_s=60) as harness:
        harness.invoke("app", invocation_type="Event")
        while not any(e.phase == "invoke" for e in harness.environments("app")):
            time.sleep(0.01)
    assert "1 events were accepted and not executed to the end" in caplog.text


def test_events_that_have_ended_are_told_of_before_the_harness_stops(
    run: Run,
    moto_url: str,  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture,
) -> None:
    done, messages = queue(moto_url, "done-in-time")
    with run(
        SOURCE, event_invoke_config=EventInvokeConfig(on_success=done), aws_endpoint_url=moto_url
    ) as harness:
        for number in range(8):
            harness.invoke("app", {"id": number}, invocation_type="Event")
        while len(harness.executions("app")) < 8:
            time.sleep(0.01)
    told = [json.loads(m["Body"])["responsePayload"]["charged"] for m in messages()]
    assert sorted(told) == list(range(8))
    assert "not executed" not in caplog.text

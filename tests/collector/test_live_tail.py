from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

ARN = "arn:aws:logs:eu-west-1:123456789012:log-group"


@pytest.fixture
def logs(collector: Collector) -> Any:
    """An unmodified client, which must not put `stream-` before the address for live tail."""
    return boto3.client(
        "logs",
        endpoint_url=collector.url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def group(logs: Any, unique: str) -> str:
    logs.create_log_group(logGroupName=unique)
    for stream in ("one", "two"):
        logs.create_log_stream(logGroupName=unique, logStreamName=stream)
    return unique


def put(logs: Any, group: str, stream: str, *messages: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    events = [{"timestamp": now_ms, "message": message} for message in messages]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


class Session:
    """A live tail that has begun."""

    def __init__(self, logs: Any, **parameters: Any) -> None:
        self.stream = logs.start_live_tail(**parameters)["responseStream"]
        self._events = iter(self.stream)
        self.start = next(self._events)["sessionStart"]

    def update(self) -> dict[str, Any]:
        """The next update that tells of events."""
        while not (update := next(self._events)["sessionUpdate"])["sessionResults"]:
            pass
        found: dict[str, Any] = update
        return found

    def messages(self) -> list[str]:
        return [event["message"] for event in self.update()["sessionResults"]]

    def close(self) -> None:
        self.stream.close()


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_events_are_told_as_they_arrive(logs: Any, group: str) -> None:
    put(logs, group, "one", "before")
    session = Session(logs, logGroupIdentifiers=[f"{ARN}:{group}"])
    began = time.monotonic()
    put(logs, group, "one", "first", "second")
    update = session.update()
    waited_s = time.monotonic() - began
    put(logs, group, "two", "third")
    later = session.messages()
    session.close()

    assert session.start["logGroupIdentifiers"] == [f"{ARN}:{group}"]
    assert update["sessionMetadata"] == {"sampled": False}
    assert [event["message"] for event in update["sessionResults"]] == ["first", "second"]
    event = update["sessionResults"][0]
    assert (event["logStreamName"], event["logGroupIdentifier"]) == ("one", f"123456789012:{group}")
    assert event["ingestionTime"] >= event["timestamp"]
    assert later == ["third"]
    assert waited_s < 20


def test_events_are_chosen_by_pattern_and_stream(logs: Any, group: str) -> None:
    by_pattern = Session(
        logs, logGroupIdentifiers=[f"{ARN}:{group}"], logEventFilterPattern="{ $.ms > 100 }"
    )
    by_prefix = Session(logs, logGroupIdentifiers=[f"{ARN}:{group}"], logStreamNamePrefixes=["tw"])
    put(logs, group, "one", '{"ms": 5}', '{"ms": 101}')
    put(logs, group, "two", "other")
    assert by_pattern.messages() == ['{"ms": 101}']
    assert by_prefix.messages() == ["other"]
    by_pattern.close()
    by_prefix.close()


def test_of_more_events_than_an_update_holds_a_sample_is_told(logs: Any, group: str) -> None:
    session = Session(logs, logGroupIdentifiers=[f"{ARN}:{group}"])
    put(logs, group, "one", *(str(number) for number in range(700)))
    update = session.update()
    session.close()
    assert update["sessionMetadata"] == {"sampled": True}
    assert [event["message"] for event in update["sessionResults"]] == [
        str(number) for number in range(500)
    ]


def test_what_cannot_be_tailed_is_refused(logs: Any, group: str) -> None:
    arn = f"{ARN}:{group}"
    assert refused(logs.start_live_tail, logGroupIdentifiers=[f"{arn}x"]) == (
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
    for parameters in (
        {"logEventFilterPattern": "{ $.a"},
        {"logStreamNames": ["one"], "logStreamNamePrefixes": ["t"]},
    ):
        code, _ = refused(logs.start_live_tail, logGroupIdentifiers=[arn], **parameters)
        assert code == "InvalidParameterException"

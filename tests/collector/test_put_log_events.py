from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace_collector.logs.ingestion import may_embed_metrics
from lambdatrace_collector.logs.raw_batch import read_raw_batch

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Collector

NAMES = {"logGroupName": "g", "logStreamName": "s"}
HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "Logs_20140328.PutLogEvents",
    "Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/logs/aws4_request",
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def group(collector: Collector, unique: str) -> str:
    logs = collector.client("logs")
    logs.create_log_group(logGroupName=unique)
    logs.create_log_stream(logGroupName=unique, logStreamName="s")
    return unique


def sent(collector: Collector, group: str, events: str, names: str = "") -> Answer:
    """The answer to a body whose `logEvents` are written as `events`."""
    names = names or f'"logGroupName": "{group}", "logStreamName": "s"'
    body = f'{{{names}, "logEvents": {events}}}'
    return collector.post("/", body.encode("utf-8", "surrogatepass"), HEADERS)


def stored(collector: Collector, group: str) -> list[tuple[int, str]]:
    answer = collector.client("logs").filter_log_events(logGroupName=group)
    return [(event["timestamp"], event["message"]) for event in answer["events"]]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ('[{"timestamp": T, "message": "plain"}]', ["plain"]),
        ('\n [ { "message" : "a" ,\n "timestamp" : T } ]\t', ["a"]),
        (
            r'[{"timestamp": T, "message": "q\" \\ \/ \n \u00e9 \ud83d\ude00 \u0000"}]',
            ['q" \\ / \n é 😀 \0'],
        ),
        ('[{"timestamp": T, "message": "é 😀"}]', ["é 😀"]),
        (r'[{"timestamp": T, "message": "half \ud83d"}]', ["half ?"]),
        (r'[{"timestamp": T, "\u006dessage": "escaped name"}]', ["escaped name"]),
        ('[{"timestamp": T, "message": "first", "message": "last"}]', ["last"]),
        ('[{"timestamp": T, "message": "a", "unknown": [1]}]', ["a"]),
        ('[{"timestamp": T.0, "message": "a"}]', ["a"]),
        ('[{"timestamp": T, "message": "{\\"account\\": \\"other\\"}"}]', ['{"account": "other"}']),
    ],
)
def test_a_body_is_stored_as_its_json_says(
    collector: Collector, group: str, events: str, expected: list[str]
) -> None:
    moment = now_ms()
    answer = sent(collector, group, events.replace("T", str(moment)))
    assert answer.status == 200, answer.body
    assert stored(collector, group) == [(moment, message) for message in expected]


def test_members_of_the_engine_s_own_are_never_the_client_s(
    collector: Collector, group: str
) -> None:
    names = f'"account": "999999999999", "logGroupName": "{group}", "logStreamName": "s"'
    answer = sent(collector, group, f'[{{"timestamp": {now_ms()}, "message": "mine"}}]', names)
    assert answer.status == 200
    assert [message for _, message in stored(collector, group)] == ["mine"]


@pytest.mark.parametrize(
    "events",
    [
        "[]",
        "{}",
        '[{"timestamp": 1}]',
        '[{"timestamp": -1, "message": "a"}]',
        '[{"timestamp": true, "message": "a"}]',
        '[{"timestamp": 1, "message": ""}]',
        '[{"timestamp": 1, "message": 5}]',
        '[["timestamp", "message"]]',
        '["timestamp message"]',
        "null",
    ],
)
def test_what_is_no_event_is_refused_as_before(
    collector: Collector, group: str, events: str
) -> None:
    answer = sent(collector, group, events)
    assert answer.status == 400
    assert json.loads(answer.body)["__type"] in (
        "InvalidParameterException",
        "SerializationException",
    )
    assert stored(collector, group) == []


def test_embedded_metrics_are_found_however_the_body_writes_them(
    collector: Collector, group: str
) -> None:
    directive = {"Namespace": group, "Dimensions": [[]], "Metrics": [{"Name": "Orders"}]}
    root = {"Timestamp": now_ms(), "CloudWatchMetrics": [directive]}
    message = json.dumps({"_aws": root, "Orders": 2})
    escaped = "".join(f"\\u{ord(character):04x}" for character in message)
    sent(collector, group, f'[{{"timestamp": {now_ms()}, "message": "{escaped}"}}]')
    metrics = collector.client("cloudwatch").list_metrics(Namespace=group)["Metrics"]
    assert [metric["MetricName"] for metric in metrics] == ["Orders"]


@given(st.sets(st.integers(0, len("CloudWatchMetrics") - 1)), st.text(), st.text())
def test_a_line_that_can_embed_metrics_is_never_taken_for_one_that_cannot(
    escaped: set[int], before: str, after: str
) -> None:
    written = "".join(
        f"\\u{ord(character):04X}" if place in escaped else character
        for place, character in enumerate("CloudWatchMetrics")
    )
    line = f"{json.dumps(before)}{written}{json.dumps(after)}".encode()
    assert may_embed_metrics(line)


def test_log_lines_without_embedded_metrics_are_spared_the_search_for_them() -> None:
    assert not may_embed_metrics(b'{"message": "caf\\u00e9 CloudWatch Metrics \\u2603"}')


def test_an_ordinary_body_is_a_row_with_columns_in_front() -> None:
    events = [{"timestamp": 1, "message": "a é"}]
    body = b" " + json.dumps({**NAMES, "logEvents": events}).encode()
    raw = read_raw_batch(body)
    assert raw is not None
    assert (raw.log_group, raw.log_stream, raw.times_ms, raw.message_bytes) == ("g", "s", [1], 4)
    assert json.loads(raw.line({"account": "1"})) == {
        "account": "1",
        **NAMES,
        "logEvents": events,
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps(NAMES).encode(),
        json.dumps({**NAMES, "logEvents": [{"timestamp": 1, "message": "a"}], "x": 1}).encode(),
        json.dumps({**NAMES, "logGroupName": "a b", "logEvents": [{}]}).encode(),
        json.dumps({**NAMES, "logEvents": [{"timestamp": 1, "message": "a"}]}).encode("utf-16"),
    ],
)
def test_any_other_body_is_left_to_the_codec(body: bytes) -> None:
    assert read_raw_batch(body) is None


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    is_ascii=st.booleans(),
)
def test_no_json_breaks_the_check(value: Any, *, is_ascii: bool) -> None:
    body = json.dumps({**NAMES, "logEvents": value}, ensure_ascii=is_ascii)
    assert read_raw_batch(body.encode("utf-8", "surrogatepass")) is None

"""Logs Insights by an unmodified boto3 client."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

REQUEST_ID = "0fc78b42-f6e0-400a-be91-71c5d1eadb9a"
NOW_MS = (time.time_ns() // 3_600_000_000_000 - 1) * 3_600_000  # an hour that has ended
MESSAGES = (
    f"START RequestId: {REQUEST_ID} Version: $LATEST\n",
    f"[INFO]\t2026-11-21T10:00:00.000Z\t{REQUEST_ID}\tuser=bob, id:7",
    json.dumps({"level": "ERROR", "status": 500, "ok": True, "user": {"name": "ann"}, "@x": "at"}),
    json.dumps({"level": "INFO", "status": 200, "ok": False, "items": [{"id": "a"}, {"id": "b"}]}),
    (
        f"REPORT RequestId: {REQUEST_ID}\tDuration: 1394.60 ms\tBilled Duration: 1395 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 79 MB\tInit Duration: 428.60 ms\t\n"
        "XRAY TraceId: 1-5e1b4151-5ac6c58dc39a6b6f6e7a1b2c\tSegmentId: 0123456789abcdef\t"
        "Sampled: true\t\n"
    ),
    "second group",
)
DEADLINE_S = 30


@pytest.fixture(scope="module")
def logs(collector: Collector) -> Any:
    """A client of a region of its own, with two groups of events a minute apart."""
    client = collector.client("logs", region="eu-insights-1")
    for group, messages in (("/aws/lambda/shop", MESSAGES[:5]), ("/other", MESSAGES[5:])):
        client.create_log_group(logGroupName=group)
        client.create_log_stream(logGroupName=group, logStreamName="stream")
        events = [
            {"timestamp": NOW_MS + place * 60_000, "message": message}
            for place, message in enumerate(messages)
        ]
        client.put_log_events(logGroupName=group, logStreamName="stream", logEvents=events)
    return client


def start(logs: Any, query: str, **parameters: Any) -> str:
    given = {"logGroupName": "/aws/lambda/shop", **parameters}
    answer = logs.start_query(
        queryString=query,
        startTime=given.pop("startTime", NOW_MS // 1000),
        endTime=given.pop("endTime", NOW_MS // 1000 + 3600),
        **{name: value for name, value in given.items() if value is not None},
    )
    return str(answer["queryId"])


def ended(logs: Any, query_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        answer: dict[str, Any] = logs.get_query_results(queryId=query_id)
        if answer["status"] not in ("Scheduled", "Running"):
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{query_id} did not end")


def results(logs: Any, query: str, **parameters: Any) -> list[dict[str, str]]:
    """The rows of a query that completes, by field, without their pointers."""
    answer = ended(logs, start(logs, query, **parameters))
    assert answer["status"] == "Complete"
    return [
        {item["field"]: item["value"] for item in row if item["field"] != "@ptr"}
        for row in answer["results"]
    ]


def shown(place: int) -> str:
    moment = time.gmtime(NOW_MS // 1000 + place * 60)
    return time.strftime("%Y-%m-%d %H:%M:%S.000", moment)


def test_a_query_without_fields_shows_time_and_message_of_the_latest_first(logs: Any) -> None:
    assert results(logs, "limit 2") == [
        {"@timestamp": shown(4), "@message": MESSAGES[4]},
        {"@timestamp": shown(3), "@message": MESSAGES[3]},
    ]


def test_lambda_s_own_fields_are_discovered_and_shown_as_aws_shows_them(logs: Any) -> None:
    query = """
        filter @type = 'REPORT'  # only one
        | display @requestId, @duration, @billedDuration, @initDuration, @memorySize,
                  @maxMemoryUsed, @xrayTraceId, @xraySegmentId, @logStream, @log
    """
    assert results(logs, query) == [
        {
            "@requestId": REQUEST_ID,
            "@duration": "1394.6",
            "@billedDuration": "1395.0",
            "@initDuration": "428.6",
            "@memorySize": "1.28E8",
            "@maxMemoryUsed": "7.9E7",
            "@xrayTraceId": "1-5e1b4151-5ac6c58dc39a6b6f6e7a1b2c",
            "@xraySegmentId": "0123456789abcdef",
            "@logStream": "stream",
            "@log": "123456789012:/aws/lambda/shop",
        }
    ]


def test_fields_of_json_are_discovered_and_missing_ones_left_out(logs: Any) -> None:
    query = "fields level, user.name, items.1.id, ok, @@x, nothing | filter ispresent(level)"
    assert results(logs, query) == [
        {"level": "INFO", "items.1.id": "b", "ok": "0"},
        {"level": "ERROR", "user.name": "ann", "ok": "1", "@@x": "at"},
    ]


def test_stats_by_time_and_field_show_keys_first(logs: Any) -> None:
    query = "stats count(*) as n, max(status) by bin(1h), level | sort n desc, level asc"
    hour = time.strftime("%Y-%m-%d %H:00:00.000", time.gmtime(NOW_MS // 1000))
    both = [row for row in results(logs, query) if row["bin(1h)"] == hour]
    assert {"bin(1h)": hour, "level": "ERROR", "n": "1", "max(status)": "500"} in both


def test_several_groups_are_queried_by_name_identifier_or_source(logs: Any) -> None:
    arn = "arn:aws:logs:eu-insights-1:123456789012:log-group:/other"
    query = "stats count(*) as n"
    names = {"logGroupName": None, "logGroupNames": ["/aws/lambda/shop", "/other"]}
    assert results(logs, query, **names) == [{"n": "6"}]
    identifiers = {"logGroupName": None, "logGroupIdentifiers": [arn]}
    assert results(logs, query, **identifiers) == [{"n": "1"}]
    by_prefix = f"SOURCE logGroups(namePrefix: ['/oth', '/aws']) | {query}"
    assert results(logs, by_prefix, logGroupName=None) == [{"n": "6"}]
    infrequent = f"SOURCE logGroups(class: ['INFREQUENT_ACCESS']) | {query}"
    assert results(logs, infrequent, logGroupName=None) == [{"n": "0"}]


def test_the_statistics_count_what_was_read_and_what_matched(logs: Any) -> None:
    answer = ended(logs, start(logs, "filter @message like /Request/ | limit 1"))
    assert answer["queryLanguage"] == "CWLI"
    assert answer["statistics"] == {
        "recordsMatched": 2.0,
        "recordsScanned": 5.0,
        "estimatedRecordsSkipped": 0.0,
        "bytesScanned": float(sum(len(message) for message in MESSAGES[:5])),
        "estimatedBytesSkipped": 0.0,
        "logGroupsScanned": 1.0,
        "resultCount": 1.0,
    }


def test_the_statistics_of_diff_count_both_ranges(logs: Any) -> None:
    minute = NOW_MS // 1000 + 60
    query = "filter @message like /RequestId|level/ | diff"
    answer = ended(logs, start(logs, query, startTime=minute, endTime=minute + 119))
    assert [answer["statistics"][f"records{what}"] for what in ("Scanned", "Matched")] == [3, 2]
    patterns = {row[0]["value"]: row[2]["value"] for row in answer["results"]}
    assert patterns.pop("START RequestId: <*> Version: $LATEST\n") == "-1"
    assert [*patterns.values()] == ["1"]


def test_the_range_goes_to_the_end_of_its_last_second(logs: Any) -> None:
    second = NOW_MS // 1000 + 60
    assert results(logs, "stats count(*)", startTime=second, endTime=second) == [{"count(*)": "1"}]


def test_results_come_in_pages_when_asked(logs: Any) -> None:
    query_id = start(logs, "fields @message | sort @timestamp asc")
    ended(logs, query_id)
    first = logs.get_query_results(queryId=query_id, maxItems=3)
    second = logs.get_query_results(queryId=query_id, nextToken=first["nextToken"])
    messages = [row[0]["value"] for row in first["results"] + second["results"]]
    assert len(first["results"]) == 3
    assert messages == list(MESSAGES[:5])


def test_a_pointer_gives_all_fields_of_its_event(logs: Any) -> None:
    answer = ended(logs, start(logs, "filter level = 'ERROR'"))
    [row] = answer["results"]
    pointer = row[-1]
    assert pointer["field"] == "@ptr"
    record = logs.get_log_record(logRecordPointer=pointer["value"])["logRecord"]
    assert int(record.pop("@ingestionTime")) >= NOW_MS
    assert record == {
        "@message": MESSAGES[2],
        "@timestamp": str(NOW_MS + 120_000),
        "@logStream": "stream",
        "@log": "123456789012:/aws/lambda/shop",
        "@ptr": pointer["value"],
        "level": "ERROR",
        "status": "500",
        "ok": "1",
        "user.name": "ann",
        "@@x": "at",
    }


@pytest.mark.parametrize("pointer", ["", "x", "MTIz", "MS8yLy9nb25l"])
def test_a_pointer_of_no_event_is_refused(logs: Any, pointer: str) -> None:
    with pytest.raises(ClientError) as refusal:
        logs.get_log_record(logRecordPointer=pointer)
    assert refusal.value.response["Error"]["Code"] in (
        "InvalidParameterException",
        "ResourceNotFoundException",
    )


def test_a_syntax_error_says_where_and_what(logs: Any) -> None:
    with pytest.raises(logs.exceptions.MalformedQueryException) as refusal:
        start(logs, "fields @message\n| filtr level = 'ERROR'")
    message = (
        "unexpected symbol found 'filtr' at line 2 and position 3:"
        " expected a command, such as fields, filter, stats or sort"
    )
    assert refusal.value.response["Error"]["Message"] == message
    assert refusal.value.response["queryCompileError"] == {
        "location": {"startCharOffset": 18, "endCharOffset": 23},
        "message": message,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("fields a | anomaly", "the command 'anomaly' is not supported by this collector"),
        ("filter a like /(?=b)/", "not a regular expression of RE2: invalid perl operator: (?="),
        ("parse @message /(?<a>[)/", "not a regular expression of RE2: missing ]: [)"),
        ("stats sum(*)", "sum() takes a field, not *"),
        ("dedup level | fields level", "only limit can follow dedup"),
    ],
)
def test_what_is_not_supported_is_refused(logs: Any, query: str, message: str) -> None:
    with pytest.raises(logs.exceptions.MalformedQueryException) as refusal:
        start(logs, query)
    assert refusal.value.response["Error"]["Message"].startswith(message)


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"logGroupName": "/none"}, "ResourceNotFoundException", "Log group '/none' does not"),
        ({"logGroupName": None}, "InvalidParameterException", "Exactly one of logGroupName"),
        ({"logGroupNames": ["/other"]}, "InvalidParameterException", "Exactly one of logGroupN"),
        (
            {"logGroupName": None, "logGroupNames": [f"g{i}" for i in range(51)]},
            "InvalidParameterException",
            "",
        ),
        ({"endTime": 1}, "InvalidParameterException", "The start time must not be after"),
        ({"queryLanguage": "SQL"}, "InvalidParameterException", "The query language SQL is not"),
    ],
)
def test_a_call_that_names_no_events_is_refused(
    logs: Any, parameters: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(ClientError) as refusal:
        start(logs, "limit 1", **parameters)
    assert refusal.value.response["Error"]["Code"] == code
    assert refusal.value.response["Error"]["Message"].startswith(message)


def test_queries_are_described_newest_first_and_an_ended_one_cannot_be_stopped(logs: Any) -> None:
    query_id = start(logs, "stats count(*)", logGroupName="/other")
    ended(logs, query_id)
    newest = logs.describe_queries(logGroupName="/other", maxResults=1)["queries"][0]
    assert newest["queryId"] == query_id
    assert newest["status"] == "Complete"
    assert newest["logGroupName"] == "/other"
    assert newest["queryString"] == (
        f'SOURCE "/other" START={NOW_MS} END={NOW_MS + 3_600_999} | stats count(*)'
    )
    with pytest.raises(logs.exceptions.InvalidParameterException):
        logs.stop_query(queryId=query_id)


def test_a_query_of_another_region_is_not_known(logs: Any, collector: Collector) -> None:
    query_id = start(logs, "limit 1")
    elsewhere = collector.client("logs", region="us-east-1")
    with pytest.raises(elsewhere.exceptions.ResourceNotFoundException):
        elsewhere.get_query_results(queryId=query_id)

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def logs(collector: Collector) -> Any:
    return collector.client("logs")


@pytest.fixture
def group(logs: Any, unique: str) -> str:
    """A log group with the streams `one` and `two`."""
    name = f"/aws/lambda/{unique}"
    logs.create_log_group(logGroupName=name)
    for stream in ("one", "two"):
        logs.create_log_stream(logGroupName=name, logStreamName=stream)
    return name


def put(logs: Any, group: str, stream: str, *events: tuple[int, str]) -> dict[str, Any]:
    answer: dict[str, Any] = logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": moment, "message": message} for moment, message in events],
    )
    return answer


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    """The error code and message that a call gets."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_events_come_back_in_order_with_what_was_put(logs: Any, group: str) -> None:
    start = now_ms()
    texts = ["first", "same moment", "quote ' \\ é 😀\n", '{"json": true}']
    put(logs, group, "one", *((start, text) for text in texts))
    put(logs, group, "two", (start - 1, "other stream"))

    answer = logs.get_log_events(logGroupName=group, logStreamName="one")

    assert messages(answer) == texts
    assert {event["timestamp"] for event in answer["events"]} == {start}
    assert all(event["ingestionTime"] >= start for event in answer["events"])


def test_half_of_a_surrogate_pair_in_a_message_does_not_lose_its_batch(
    logs: Any, group: str
) -> None:
    put(logs, group, "one", (now_ms(), "half \ud83d"), (now_ms(), "whole 😀"))
    answer = logs.get_log_events(logGroupName=group, logStreamName="one")
    assert messages(answer) == ["half ?", "whole 😀"]


def test_a_stream_is_read_in_pages_both_ways(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", *((start + number, str(number)) for number in range(5)))

    def page(**parameters: Any) -> dict[str, Any]:
        answer: dict[str, Any] = logs.get_log_events(
            logGroupName=group, logStreamName="one", limit=2, **parameters
        )
        return answer

    latest = page()
    before = page(nextToken=latest["nextBackwardToken"])
    first = page(startFromHead=True)
    second = page(nextToken=first["nextForwardToken"])
    third = page(nextToken=second["nextForwardToken"])
    end = page(nextToken=third["nextForwardToken"])

    pages = [messages(answer) for answer in (latest, before, first, second, third, end)]
    assert pages == [["3", "4"], ["1", "2"], ["0", "1"], ["2", "3"], ["4"], []]
    assert end["nextForwardToken"] == third["nextForwardToken"]
    assert messages(page(nextToken=end["nextBackwardToken"])) == ["3", "4"]
    put(logs, group, "one", (start + 9, "later"))
    assert messages(page(nextToken=end["nextForwardToken"])) == ["later"]


def test_start_is_included_and_end_is_not_when_a_stream_is_read(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", *((start + number, str(number)) for number in range(4)))
    span = {"startTime": start + 1, "endTime": start + 3}
    answer = logs.get_log_events(logGroupName=group, logStreamName="one", **span)
    filtered = logs.filter_log_events(logGroupName=group, **span)
    assert messages(answer) == ["1", "2"]
    assert messages(filtered) == ["1", "2", "3"]


@pytest.mark.parametrize("end", [2**62 - 1, 2**62, 2**63 - 1])
def test_an_end_beyond_all_time_ends_nothing(logs: Any, group: str, end: int) -> None:
    put(logs, group, "one", (now_ms(), "kept"))
    read = logs.get_log_events(logGroupName=group, logStreamName="one", endTime=end)
    filtered = logs.filter_log_events(logGroupName=group, endTime=end)
    assert (messages(read), messages(filtered)) == (["kept"], ["kept"])


@pytest.mark.parametrize("is_from_head", [True, False])
def test_every_token_of_an_empty_stream_may_be_followed(
    logs: Any, group: str, *, is_from_head: bool
) -> None:
    stream = {"logGroupName": group, "logStreamName": "one"}
    tokens, followed = [], set()
    answer = logs.get_log_events(**stream, startFromHead=is_from_head)
    for _ in range(8):
        tokens += [answer["nextForwardToken"], answer["nextBackwardToken"]]
        token = next((token for token in tokens if token not in followed), None)
        if token is None:
            break
        followed.add(token)
        answer = logs.get_log_events(**stream, nextToken=token)
        assert messages(answer) == []
    assert followed == set(tokens)
    forward = next(token for token in tokens if token.startswith("f/"))
    put(logs, group, "one", (now_ms(), "later"))
    assert messages(logs.get_log_events(**stream, nextToken=forward)) == ["later"]


def test_a_page_holds_at_most_a_megabyte(logs: Any, group: str) -> None:
    start = now_ms()
    for number in range(3):
        put(logs, group, "one", (start + number, str(number) * 600_000))
    first = logs.get_log_events(logGroupName=group, logStreamName="one", startFromHead=True)
    second = logs.get_log_events(
        logGroupName=group, logStreamName="one", nextToken=first["nextForwardToken"]
    )
    assert [[text[0] for text in messages(answer)] for answer in (first, second)] == [["0"], ["1"]]


def test_long_messages_come_whole_beside_short_ones(logs: Any, group: str) -> None:
    start = now_ms()
    texts = ["short", "x" + "é" * 3000, "y" * 4096, "z" * 4097]
    put(logs, group, "one", *((start + place, text) for place, text in enumerate(texts)))
    forward = logs.filter_log_events(logGroupName=group)
    backward = logs.filter_log_events(logGroupName=group, startFromHead=False)
    assert (messages(forward), messages(backward)) == (texts, texts[::-1])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["START a", "ERROR one", "error two", "ERROR two: timed out", "REPORT 100%"]),
        ("ERROR", ["ERROR one", "ERROR two: timed out"]),
        ("ERROR two", ["ERROR two: timed out"]),
        ('"two: timed"', ["ERROR two: timed out"]),
        ("ERROR -one", ["ERROR two: timed out"]),
        ("?START ?REPORT", ["START a", "REPORT 100%"]),
        ("%[eE][rR]{2}[oO]R%", ["ERROR one", "ERROR two: timed out"]),
        ("?nothing ERROR one", ["ERROR one"]),
        ("absent", []),
    ],
)
def test_events_of_all_streams_are_filtered_by_terms(
    logs: Any, group: str, pattern: str, expected: list[str]
) -> None:
    start = now_ms()
    put(logs, group, "one", (start, "START a"), (start + 2, "error two"))
    put(logs, group, "two", (start + 1, "ERROR one"), (start + 3, "ERROR two: timed out"))
    put(logs, group, "one", (start + 4, "REPORT 100%"))

    answer = logs.filter_log_events(logGroupName=group, filterPattern=pattern)

    assert messages(answer) == expected


def test_filtered_events_are_paged_by_boto3_s_paginator(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", *((start + number, f"m{number}") for number in range(7)))
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, limit=3, logStreamNamePrefix="on"
    )
    found = [event for page in pages for event in page["events"]]
    assert [event["message"] for event in found] == [f"m{number}" for number in range(7)]
    assert len({event["eventId"] for event in found}) == 7
    assert {event["logStreamName"] for event in found} == {"one"}


def test_filtered_events_are_paged_from_the_latest_backward(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", *((start + number, f"m{number}") for number in range(5)))
    put(logs, group, "two", (start + 2, "same moment"))
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, limit=2, startFromHead=False, filterPattern="m"
    )
    assert [messages(page) for page in pages] == [["m4", "m3"], ["same moment", "m2"], ["m1", "m0"]]


def test_a_token_keeps_the_direction_of_its_page(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", *((start + number, str(number)) for number in range(4)))
    request = {"logGroupName": group, "limit": 2}
    latest = logs.filter_log_events(**request, startFromHead=False)
    earliest = logs.filter_log_events(**request)
    before = logs.filter_log_events(**request, nextToken=latest["nextToken"], startFromHead=True)
    after = logs.filter_log_events(**request, nextToken=earliest["nextToken"], startFromHead=False)
    pages = [messages(page) for page in (latest, before, earliest, after)]
    assert pages == [["3", "2"], ["1", "0"], ["0", "1"], ["2", "3"]]


def test_events_are_filtered_by_their_json_and_by_their_fields(logs: Any, group: str) -> None:
    start = now_ms()
    texts = [
        '{"level": "ERROR", "ms": 1200, "user": {"tags": ["a", "b"]}}',
        '{"level": "INFO", "ms": 5, "ok": true, "gone": null}',
        '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /a.gif HTTP/1.0" 200 1534',
        '10.0.0.7 - ann [10/Oct/2000:13:25:16 -0700] "GET /b HTTP/1.0" 404 12',
    ]
    put(logs, group, "one", *((start + place, text) for place, text in enumerate(texts)))

    def found(pattern: str) -> list[int]:
        answer = logs.filter_log_events(logGroupName=group, filterPattern=pattern)
        return [texts.index(message) for message in messages(answer)]

    assert found('{ $.level = "ERROR" }') == [0]
    assert found("{ $.level != ERROR }") == [1]
    assert found("{ $.ms > 1e3 || $.ok IS TRUE }") == [0, 1]
    assert found('{ $.user.tags[1] = "b" && $.gone NOT EXISTS }') == [0]
    assert found("{ $.gone IS NULL }") == [1]
    assert found("{ $.user = * }") == [0]
    assert found("[ip, id, user, time, request, status = 4*, size]") == [3]
    assert found("[ip = 127.0.*, ..., size > 1000]") == [2]
    assert found("[..., request = *HTTP*, status, size]") == [2, 3]


@pytest.mark.parametrize("pattern", ["{ $.level = }", "[ip, user, ...", '"open', "%(a)%"])
def test_a_pattern_that_is_none_never_matches_silently(logs: Any, group: str, pattern: str) -> None:
    code, message = refused(logs.filter_log_events, logGroupName=group, filterPattern=pattern)
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid filter pattern: ")


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("a{1001}", "invalid repetition size: {1001}"),
        ("a++", "bad repetition operator: ++"),
        ("[[:foo:]]", "invalid character class range: [:foo:]"),
        ("[a", "missing ]: [a"),
        ("*a", "no argument for repetition operator: *"),
        (r"\W{1000}" * 100, "pattern too large - compile failed"),
    ],
)
def test_a_regular_expression_that_cannot_be_run_is_refused_even_without_events(
    logs: Any, group: str, regex: str, reason: str
) -> None:
    pattern = f"%{regex}%"
    assert refused(logs.filter_log_events, logGroupName=group, filterPattern=pattern) == (
        "InvalidParameterException",
        f"Invalid filter pattern: not a regular expression: {reason}",
    )


def test_a_class_of_characters_in_a_regular_expression_may_have_a_name(
    logs: Any, group: str
) -> None:
    start = now_ms()
    put(logs, group, "one", (start, "12"), (start + 1, "ab"))
    answer = logs.filter_log_events(logGroupName=group, filterPattern="%[[:alpha:]]%")
    assert messages(answer) == ["ab"]


def test_fields_of_a_group_are_found_with_how_many_events_have_them(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "one", (start, '{"a": {"b": 1}, "c": [1]}'), (start, '{"c": 2, "c": 3}'))
    put(logs, group, "two", (start, "text"), (start, "[1]"))
    fields = logs.get_log_group_fields(logGroupName=group)["logGroupFields"]
    around = logs.get_log_group_fields(logGroupName=group, time=start // 1000)["logGroupFields"]
    elsewhere = logs.get_log_group_fields(logGroupName=group, time=start // 1000 - 3600)
    always = ("@ingestionTime", "@log", "@logStream", "@message", "@timestamp")
    assert fields == around
    assert [(field["name"], field["percent"]) for field in fields] == [
        *((name, 100) for name in always),
        ("a.b", 25),
        ("c", 50),
    ]
    assert elsewhere["logGroupFields"] == []


def test_groups_and_streams_are_described(logs: Any, group: str) -> None:
    start = now_ms()
    put(logs, group, "two", (start - 5, "a"), (start, "b"))

    (described,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    streams = logs.describe_log_streams(
        logGroupName=group, orderBy="LastEventTime", descending=True
    )["logStreams"]

    arn = f"arn:aws:logs:eu-west-1:123456789012:log-group:{group}"
    assert start - 60_000 < described.pop("creationTime") <= now_ms()
    assert described == {
        "logGroupName": group,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "storedBytes": 54,
        "logGroupClass": "STANDARD",
        "logGroupArn": arn,
        "deletionProtectionEnabled": False,
        "bearerTokenAuthenticationEnabled": False,
    }
    assert [stream["logStreamName"] for stream in streams] == ["two", "one"]
    assert streams[0]["firstEventTimestamp"] == start - 5
    assert streams[0]["lastEventTimestamp"] == start
    assert streams[0]["arn"] == f"{arn}:log-stream:two"
    assert "lastEventTimestamp" not in streams[1]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["a", "b", "c", "one", "two"]),
        ({"descending": True}, ["two", "one", "c", "b", "a"]),
        ({"orderBy": "LastEventTime"}, ["b", "one", "two", "c", "a"]),
        ({"orderBy": "LastEventTime", "descending": True}, ["a", "c", "two", "one", "b"]),
    ],
)
def test_streams_are_paged_in_every_order(
    logs: Any, group: str, parameters: dict[str, Any], expected: list[str]
) -> None:
    start = now_ms()
    for stream in ("c", "b", "a"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    for moment, stream in ((2, "a"), (1, "c"), (-9, "one"), (-8, "two")):
        put(logs, group, stream, (start + moment, "x"))
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=group, PaginationConfig={"PageSize": 2}, **parameters
    )
    assert [stream["logStreamName"] for page in pages for stream in page["logStreams"]] == expected


def test_groups_are_paged_and_found_by_part_of_their_name(logs: Any, unique: str) -> None:
    names = [f"{unique}/{letter}" for letter in "cab"]
    for name in names:
        logs.create_log_group(logGroupName=name, logGroupClass="INFREQUENT_ACCESS")
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix=unique, PaginationConfig={"PageSize": 2}
    )
    found = [entry["logGroupName"] for page in pages for entry in page["logGroups"]]
    by_part = logs.describe_log_groups(logGroupNamePattern=f"{unique}/B".upper())["logGroups"]
    assert found == sorted(names)
    assert [entry["logGroupName"] for entry in by_part] == [f"{unique}/b"]
    assert by_part[0]["logGroupClass"] == "INFREQUENT_ACCESS"


def test_regions_are_kept_apart(collector: Collector, group: str) -> None:
    elsewhere = collector.client("logs", "us-east-2")
    assert elsewhere.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []
    elsewhere.create_log_group(logGroupName=group)
    assert refused(elsewhere.get_log_events, logGroupName=group, logStreamName="one") == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )


def test_too_old_and_too_new_events_are_rejected_and_the_others_stored(
    logs: Any, group: str
) -> None:
    start = now_ms()
    new = put(logs, group, "one", (start, "kept"), (start + 3 * 3600 * 1000, "too new"))
    old = put(logs, group, "one", (start - 15 * DAY_MS, "too old"), (start - 15 * DAY_MS, "too"))
    assert new["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    assert old["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2}
    assert messages(logs.get_log_events(logGroupName=group, logStreamName="one")) == ["kept"]


def test_what_may_not_be_put_is_refused_in_aws_s_words(logs: Any, group: str) -> None:
    start = now_ms()

    def refusal(*events: tuple[int, str], stream: str = "one") -> tuple[str, str]:
        return refused(
            logs.put_log_events,
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": moment, "message": text} for moment, text in events],
        )

    assert refusal((start, "b"), (start - 1, "a")) == (
        "InvalidParameterException",
        "Log events in a single PutLogEvents request must be in chronological order.",
    )
    assert refusal((start - DAY_MS - 1, "a"), (start, "b"))[1].endswith(
        "cannot span more than 24 hours."
    )
    assert refusal((start, "é" * 524_288)) == (
        "InvalidParameterException",
        "Upload too large: 1048602 bytes exceeds limit of 1048576",
    )
    assert refusal((start, "x"), stream="absent") == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )


def test_names_and_tokens_are_checked_in_aws_s_words(logs: Any, group: str) -> None:
    exists = refused(logs.create_log_group, logGroupName=group)
    stream_exists = refused(logs.create_log_stream, logGroupName=group, logStreamName="one")
    absent = refused(logs.create_log_stream, logGroupName=f"{group}x", logStreamName="one")
    bad_token = refused(logs.filter_log_events, logGroupName=group, nextToken="x")
    limit = refused(logs.filter_log_events, logGroupName=group, limit=10_001)
    both = refused(logs.filter_log_events, logGroupName=group, logGroupIdentifier=group)
    prefix = refused(logs.describe_log_groups, logGroupNamePrefix="a", logGroupNamePattern="b")
    name = refused(logs.create_log_group, logGroupName="a b")
    invalid = "InvalidParameterException"
    assert exists == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    assert stream_exists == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    assert absent == ("ResourceNotFoundException", "The specified log group does not exist.")
    assert bad_token == (invalid, "The specified nextToken is invalid.")
    assert limit == (
        invalid,
        (
            "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint:"
            " Member must have value less than or equal to 10000"
        ),
    )
    assert both == (
        "ValidationException",
        "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
    )
    assert prefix == (
        invalid,
        "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
    )
    assert name == (
        invalid,
        (
            "1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy"
            r" constraint: Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+"
        ),
    )


def test_a_group_is_named_by_its_arn_too(logs: Any, group: str) -> None:
    put(logs, group, "one", (now_ms(), "hello"))
    for arn in (
        f"arn:aws:logs:eu-west-1:123456789012:log-group:{group}",
        group,
    ):
        assert messages(logs.filter_log_events(logGroupIdentifier=arn)) == ["hello"]

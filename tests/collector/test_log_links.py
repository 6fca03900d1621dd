"""Which invocation and trace a log event is of, and what is found by that."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.logs.insights.links import link_conditions
from lambdatrace_collector.logs.insights.parser import parse_query
from lambdatrace_collector.store.compiled_query import Apply, Column, Parameter
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.url import parse_store_url

if TYPE_CHECKING:
    from tests.collector.conftest import ClickHouse, Collector

ID = "0fc78b42-f6e0-400a-be91-71c5d1eadb9a"
XRAY = "1-5e1b4151-5ac6c58dc39a6b6f6e7a1b2c"
TRACE = "5e1b41515ac6c58dc39a6b6f6e7a1b2c"
REPORT = f"REPORT RequestId: {ID}\tDuration: 1 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\t\n"
# Message: the request id and the trace id in it.
MESSAGES = {
    f"START RequestId: {ID} Version: $LATEST\n": (ID, ""),
    f"END RequestId: {ID}\n": (ID, ""),
    REPORT: (ID, ""),
    f"{REPORT}XRAY TraceId: {XRAY}\tSegmentId: 0123456789abcdef\tSampled: true\t\n": (ID, TRACE),
    f"2026-11-21T10:00:00.000Z {ID} Task timed out after 3.00 seconds\n\n": (ID, ""),
    f"[INFO]\t2026-11-21T10:00:00.000Z\t{ID}\tcharged": (ID, ""),
    f"2026-11-21T10:00:00.000Z\t{ID}\tINFO\tcharged": (ID, ""),
    json.dumps({"level": "INFO", "requestId": ID}): (ID, ""),
    json.dumps({"AWSRequestId": "own id", "trace_id": TRACE.upper()}): ("own id", TRACE),
    json.dumps({"function_request_id": ID, "xray_trace_id": XRAY}): (ID, TRACE),
    json.dumps({"attributes": {"faas.invocation_id": ID}, "traceId": TRACE}): (ID, TRACE),
    json.dumps(
        {
            "type": "platform.report",
            "record": {"requestId": ID, "tracing": {"value": f"Root={XRAY};Sampled=1"}},
        }
    ): (ID, TRACE),
    json.dumps({"requestId": "", "trace_id": "none"}): ("", ""),
    json.dumps({"nested": {"requestId": ID, "trace_id": TRACE}}): ("", ""),
    f'{{"requestId": "{ID}", broken': ("", ""),
    f"order {ID} of trace {XRAY} charged": ("", ""),
    f"a\tb\tnot {ID}": ("", ""),
    "": ("", ""),
}


def test_the_ids_of_an_event_are_taken_out_of_its_message(clickhouse: ClickHouse) -> None:
    store = open_store(parse_store_url(clickhouse.url))
    try:
        for place, message in enumerate(MESSAGES):
            row = {"account": "1", "region": "r", "log_group": "g", "timestamp_ms": place}
            body = json.dumps({**row, "event_id": "7", "message": message}).encode()
            asyncio.run(store.insert("log_events", body, "JSONEachRow"))
        found = {}
        for place, message in enumerate(MESSAGES):
            key = {"account": "1", "region": "r", "log_group": "g", "timestamp_ms": place}
            [row] = asyncio.run(store.query("log_record", **key, event_id=7))
            found[message] = (row["request_id"], row["trace_id"])
        assert found == MESSAGES
    finally:
        store.close()


def searched(function: str, *texts: str) -> Apply:
    return Apply(function, (Column("message"), Parameter([*texts], "Array(String)")))


ANY, ANY_CASE = "multiSearchAny", "multiSearchAnyCaseInsensitive"
CONDITIONS = {
    f"filter @requestId = '{ID}'": [searched(ANY, ID)],
    f"fields @message | filter '{ID}' = @requestId and n > 1": [searched(ANY, ID)],
    f"filter n > 1 | sort n | filter @requestId in ['{ID}', 'own']": [searched(ANY, ID, "own")],
    f"filter @xrayTraceId = '{XRAY}' and @requestId = 'own'": [
        searched(ANY_CASE, TRACE[8:]),
        searched(ANY, "own"),
    ],
    # Where another event may be meant, texts be equal as numbers, or written with escapes.
    f"filter @requestId = '{ID}' or n > 1": [],
    f"filter @requestId != '{ID}'": [],
    f"filter @requestId not in ['{ID}']": [],
    f"filter not (@requestId = '{ID}')": [],
    "filter @requestId = '10'": [],
    "filter @requestId = 'a/b'": [],
    "filter @requestId = other": [],
    "filter @requestId in []": [],
    "filter @xrayTraceId = 'none'": [],
    f"fields n as `@requestId` | filter @requestId = '{ID}'": [],
    f"limit 1 | filter @requestId = '{ID}'": [],
    f"parse @message '*' as @requestId | filter @requestId = '{ID}'": [],
}


@pytest.mark.parametrize(("text", "conditions"), CONDITIONS.items())
def test_the_text_of_a_filter_on_an_id_is_looked_for_in_messages_where_it_must_hold(
    text: str, conditions: list[Apply]
) -> None:
    assert link_conditions(parse_query(text)) == conditions


def ended(logs: Any, query: str, group: str, start_s: int) -> list[dict[str, str]]:
    """The rows of a query that completes."""
    query_id = logs.start_query(
        logGroupName=group, queryString=query, startTime=start_s, endTime=int(time.time()) + 60
    )["queryId"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = logs.get_query_results(queryId=query_id)
        if answer["status"] not in ("Scheduled", "Running"):
            assert answer["status"] == "Complete"
            return [{item["field"]: item["value"] for item in row} for row in answer["results"]]
        time.sleep(0.02)
    raise AssertionError(f"{query} did not end")


def put(logs: Any, group: str, *events: tuple[int, str]) -> None:
    """Store events, each a time in ms and a message, in a new group."""
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    logs.put_log_events(
        logGroupName=group,
        logStreamName="stream",
        logEvents=[{"timestamp": at_ms, "message": message} for at_ms, message in events],
    )


def put_span(collector: Collector, trace_id: str, request_id: str) -> None:
    """Store a span of an invocation."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=bytes.fromhex(trace_id),
            span_id=secrets.token_bytes(8),
            name="handler",
            start_time_unix_nano=time.time_ns(),
        )
    )
    span.attributes.add(key="faas.invocation_id").value.string_value = request_id
    headers = {"Content-Type": "application/x-protobuf"}
    assert collector.post("/v1/traces", request.SerializeToString(), headers).status == 200


def trace_logs(collector: Collector, trace_id: str) -> list[tuple[str, str, str | None]]:
    answer = collector.get(f"/api/v3/traces/{trace_id}/logs")
    assert answer.status == 200, answer
    document = json.loads(answer.body)
    assert document["isComplete"]
    return [
        (each["logGroupName"], each["message"], each["requestId"]) for each in document["events"]
    ]


def trace_ids(collector: Collector, request_id: str) -> set[str]:
    answer = collector.get(f"/api/v3/traces?query.request_id={request_id}")
    assert answer.status == 200, answer
    return {
        span["traceId"]
        for resource_spans in json.loads(answer.body)["result"]["resourceSpans"]
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    }


def test_logs_are_found_by_their_trace_and_the_trace_by_its_request(
    collector: Collector, unique: str
) -> None:
    logs = collector.client("logs")
    group, trace_id = f"/aws/lambda/{unique}", secrets.token_hex(16)
    xray = f"1-{trace_id[:8]}-{trace_id[8:]}"
    first, second, other = (str(uuid.uuid4()) for _ in range(3))
    now_ms = time.time_ns() // 1_000_000
    start = f"START RequestId: {first} Version: $LATEST\n"
    report = f"REPORT RequestId: {first}\tDuration: 1 ms\t\nXRAY TraceId: {xray}\tSampled: true\t\n"
    own = json.dumps({"requestId": second, "message": "of a span alone"})
    put(
        logs,
        group,
        (now_ms, start),
        (now_ms + 1, report),
        (now_ms + 2, own),
        (now_ms + 3, f"START RequestId: {other} Version: $LATEST\n"),
    )
    put_span(collector, trace_id, second)
    expected = [(group, start, first), (group, report, first), (group, own, second)]
    assert trace_logs(collector, trace_id) == expected
    assert trace_logs(collector, xray) == expected
    assert trace_ids(collector, first) == {trace_id}  # by its REPORT line
    assert trace_ids(collector, second) == {trace_id}  # by its span
    assert trace_ids(collector, other) == set()
    assert trace_logs(collector, secrets.token_hex(16)) == []
    [row] = ended(logs, f"filter @xrayTraceId = '{xray}' | display @requestId", group, 0)
    assert row["@requestId"] == first
    record = logs.get_log_record(logRecordPointer=row["@ptr"])["logRecord"]
    assert (record["@requestId"], record["@xrayTraceId"]) == (first, xray)
    lines = ended(logs, f"filter @requestId = '{first}' | sort @timestamp asc", group, 0)
    assert [line["@message"] for line in lines] == [start, report]


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v3/traces?query.request_id={'x' * 128}",
        f"/api/v3/traces?query.request_id={ID}&query.service_name=shop",
        f"/api/v3/traces/{TRACE}/logs?limit=1",
        "/api/v3/traces/none/logs",
    ],
)
def test_a_question_for_no_request_or_trace_is_refused(collector: Collector, path: str) -> None:
    assert collector.get(path).status == 400


def test_what_is_older_than_the_retention_is_in_no_query_before_it_is_deleted(
    collector: Collector, unique: str
) -> None:
    logs = collector.client("logs")
    day_ms = 24 * 3600 * 1000
    old_ms = time.time_ns() // 1_000_000 - day_ms + 2_500
    put(logs, unique, (old_ms, "old"), (old_ms + day_ms - 60_000, "new"))
    start_s = old_ms // 1000 - 60
    rows = ended(logs, "filter @message = 'old'", unique, start_s)
    pointer = {"logRecordPointer": rows[0]["@ptr"]}
    assert logs.get_log_record(**pointer)["logRecord"]["@message"] == "old"
    logs.put_retention_policy(logGroupName=unique, retentionInDays=1)
    time.sleep(max(old_ms + day_ms - time.time_ns() // 1_000_000, 0) / 1000 + 0.01)
    assert [row["@message"] for row in ended(logs, "limit 9", unique, start_s)] == ["new"]
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_record(**pointer)
    assert [each["message"] for each in logs.filter_log_events(logGroupName=unique)["events"]] == [
        "new"
    ]

"""The collector on a ClickHouse server, `--store clickhouse://…`, over HTTP.

No ClickHouse server runs here: `clickhouse_server.py` speaks its HTTP interface over the embedded
engine, in a process of its own, in another timezone, with a user and a password.

Proven: what we send is what clickhouse-connect's HTTP client makes of it, and a real ClickHouse
26.9 parses, checks and executes it with its own settings, constraints, rights and limits; what
comes back (Native blocks, lz4, error codes and statuses) is read by that client; the collector
lives through the loss of the server.

Not proven: a server's own HTTP code and its INSERT parser, which finds where inline data begins;
its folder of format schemas; errors after the first bytes of an answer; TLS, proxies and load
balancers; replicas and clusters (ON CLUSTER, reading from another replica than was written);
versions other than 26.9.

LAMBDATRACE_TEST_STORE=clickhouse://… runs the tests that only talk to a collector against a real
server.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from lambdatrace_collector.store.client import connect
from lambdatrace_collector.store.engine import KEYS_MAX
from lambdatrace_collector.store.url import parse_store_url
from tests.collector.conftest import PASSWORD, USER, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse, Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def one_span(name: str, span_id: bytes = b"\1" * 8) -> tuple[str, ExportTraceServiceRequest]:
    """A trace id, and a request with one span of it."""
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "orders"
    span = resource_spans.scope_spans.add().spans.add(trace_id=trace_id, span_id=span_id, name=name)
    span.start_time_unix_nano = 1_700_000_000_000_000_001
    span.attributes.add(key="n").value.int_value = 7
    return trace_id.hex(), request


def read_as(trace_id: str, name: str) -> list[dict[str, Any]]:
    """How the API gives the trace of `one_span`."""
    return [
        {
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "orders"}}]
            },
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": trace_id,
                            "spanId": "0101010101010101",
                            "name": name,
                            "startTimeUnixNano": "1700000000000000001",
                            "attributes": [{"key": "n", "value": {"intValue": "7"}}],
                        }
                    ],
                }
            ],
        }
    ]


def resource_spans(collector: Collector, trace_id: str) -> Any:
    answer = collector.get(f"/api/v3/traces/{trace_id}")
    assert answer.status == 200, answer
    return json.loads(answer.body)["result"]["resourceSpans"]


def post(collector: Collector, request: ExportTraceServiceRequest) -> int:
    return collector.post("/v1/traces", request.SerializeToString(), PROTOBUF).status


def messages(collector: Collector, group: str, pattern: str = "") -> list[str]:
    pages = collector.client("logs").get_paginator("filter_log_events")
    found = pages.paginate(logGroupName=group, filterPattern=pattern)
    return [event["message"] for page in found for event in page["events"]]


def put_logs(collector: Collector, group: str, lines: list[str]) -> None:
    logs = collector.client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now_ms = time.time_ns() // 1_000_000
    events = [{"timestamp": now_ms + place, "message": line} for place, line in enumerate(lines)]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)


def around_now() -> dict[str, datetime]:
    now = datetime.now(timezone.utc)
    return {"StartTime": now - timedelta(hours=1), "EndTime": now + timedelta(hours=1)}


@pytest.fixture(scope="module")
def on_server(clickhouse: ClickHouse) -> Iterator[Collector]:
    """One collector on the server."""
    running = start(clickhouse.url, "--no-grpc", "--no-xray")
    yield running
    running.stop()


def test_a_span_that_is_sent_again_is_stored_once(on_server: Collector) -> None:
    trace_id, request = one_span("größe\t'\\")
    statuses = [post(on_server, request), post(on_server, request)]

    assert statuses == [200, 200]
    assert resource_spans(on_server, trace_id) == read_as(trace_id, "größe\t'\\")


def test_many_senders_and_readers_at_once_disturb_nobody(on_server: Collector) -> None:
    sent = [one_span(f"span-{number}") for number in range(40)]

    def send_and_read(one: tuple[str, ExportTraceServiceRequest]) -> tuple[int, Any]:
        return post(on_server, one[1]), resource_spans(on_server, one[0])

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send_and_read, sent))

    assert answers == [
        (200, read_as(trace_id, f"span-{number}")) for number, (trace_id, _) in enumerate(sent)
    ]


def test_log_events_are_found_and_their_embedded_metrics_counted(
    on_server: Collector, unique: str
) -> None:
    odd = "GET /a\tb 'quoted' \\back\\ {brace} ünïcode \U0001f600"
    directive = {
        "Namespace": unique,
        "Dimensions": [["Route"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}],
    }
    root = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
    documents = [
        json.dumps({"_aws": root, "Route": "/a", "Latency": value}) for value in range(1, 201)
    ]
    put_logs(on_server, unique, [odd, *documents])
    metric = {
        "Namespace": unique,
        "MetricName": "Latency",
        "Dimensions": [{"Name": "Route", "Value": "/a"}],
    }
    asked = [
        {"Id": "p99", "MetricStat": {"Metric": metric, "Period": 7200, "Stat": "p99"}},
        {"Id": "n", "MetricStat": {"Metric": metric, "Period": 7200, "Stat": "SampleCount"}},
    ]
    data = on_server.client("cloudwatch").get_metric_data(MetricDataQueries=asked, **around_now())

    assert messages(on_server, unique) == [odd, *documents]
    assert messages(on_server, unique, "\"'quoted' \\\\back\\\\ {brace} ünïcode\"") == [odd]
    assert {result["Id"]: result["Values"] for result in data["MetricDataResults"]} == {
        "p99": [198.01],
        "n": [200.0],
    }


def test_published_metrics_are_read_and_listed(on_server: Collector, unique: str) -> None:
    cloudwatch = on_server.client("cloudwatch")
    dimensions = [{"Name": "Function", "Value": "a\\'b' {c}"}]
    metric = {"MetricName": "Orders", "Dimensions": dimensions}
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[
            {**metric, "Values": [1.0, 4.0], "Counts": [2.0, 1.0], "Unit": "Count"},
            {**metric, "Value": 10.0, "Unit": "Count"},
        ],
    )
    statistics = cloudwatch.get_metric_statistics(
        **{**metric, **around_now()},
        Namespace=unique,
        Period=86400,
        Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
    )
    (datapoint,) = statistics["Datapoints"]
    del datapoint["Timestamp"]

    assert datapoint == {
        "SampleCount": 4.0,
        "Sum": 16.0,
        "Minimum": 1.0,
        "Maximum": 10.0,
        "Unit": "Count",
    }
    assert cloudwatch.list_metrics(Namespace=unique)["Metrics"] == [{"Namespace": unique, **metric}]


def test_a_body_that_is_not_protobuf_is_refused_and_harms_nobody(on_server: Collector) -> None:
    refused = on_server.post("/v1/traces", b"\xff\xff not protobuf", PROTOBUF)
    trace_id, request = one_span("good")
    request.resource_spans[0].scope_spans[0].spans.add(trace_id=b"short", span_id=b"\1" * 8)
    neighbour_id, neighbour = one_span("neighbour")
    with ThreadPoolExecutor(2) as threads:  # together, to become one INSERT
        partial, whole = threads.map(
            lambda sent: on_server.post("/v1/traces", sent.SerializeToString(), PROTOBUF),
            (request, neighbour),
        )

    assert refused.status == 400
    assert "is not a protobuf ExportTraceServiceRequest" in Status.FromString(refused.body).message
    answer = ExportTraceServiceResponse.FromString(partial.body)
    assert (partial.status, answer.partial_success.rejected_spans) == (200, 1)
    assert (whole.status, whole.body) == (200, b"")
    assert resource_spans(on_server, trace_id) == read_as(trace_id, "good")
    assert resource_spans(on_server, neighbour_id) == read_as(neighbour_id, "neighbour")


def test_a_collector_that_starts_again_finds_everything(
    clickhouse: ClickHouse, start_collector: Callable[..., Collector], unique: str
) -> None:
    arguments = ("--no-grpc", "--no-xray")
    first = start_collector(clickhouse.url, *arguments)
    trace_id, request = one_span("kept")
    assert post(first, request) == 200
    put_logs(first, unique, ["kept"])
    first.client("cloudwatch").put_metric_data(
        Namespace=unique, MetricData=[{"MetricName": "Kept", "Value": 1.0}]
    )
    first.stop()
    second = start_collector(clickhouse.url, *arguments)

    assert second.ready_line == (
        f"lambdatrace collector ready at {second.url} (store clickhouse://{USER}@127.0.0.1:"
        f"{clickhouse.port}/lambdatrace)\n"
    )
    assert resource_spans(second, trace_id) == read_as(trace_id, "kept")
    assert messages(second, unique) == ["kept"]
    assert second.client("cloudwatch").list_metrics(Namespace=unique)["Metrics"] == [
        {"Namespace": unique, "MetricName": "Kept", "Dimensions": []}
    ]


def test_while_the_server_is_away_clients_are_told_to_come_again(
    own_clickhouse: ClickHouse, start_collector: Callable[..., Collector], unique: str
) -> None:
    own_clickhouse.start()
    collector = start_collector(own_clickhouse.url, "--no-grpc", "--no-xray")
    trace_id, request = one_span("before")
    assert post(collector, request) == 200
    put_logs(collector, unique, ["before"])

    own_clickhouse.end(signal.SIGKILL)
    lost = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    unread = collector.get(f"/api/v3/traces/{trace_id}")
    ready, alive = collector.get("/readyz"), collector.get("/healthz")
    with pytest.raises(ClientError) as logs_error:
        messages(collector, unique)
    with pytest.raises(ClientError) as metrics_error:
        collector.client("cloudwatch").list_metrics(Namespace=unique)

    reason = (
        "the store cannot do this now: the server does not answer ([Errno 111] Connection refused)"
    )
    assert (lost.status, lost.headers["Retry-After"]) == (503, "1")
    assert Status.FromString(lost.body).message == reason
    assert (unread.status, unread.headers["Retry-After"]) == (503, "1")
    assert json.loads(unread.body)["error"]["message"] == reason
    assert (ready.status, alive.status) == (503, 200)
    for error in (logs_error, metrics_error):
        response = error.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"

    own_clickhouse.start()
    later_id, later = one_span("after")
    assert post(collector, later) == 200
    assert resource_spans(collector, later_id) == read_as(later_id, "after")
    assert resource_spans(collector, trace_id) == read_as(trace_id, "before")
    assert messages(collector, unique) == ["before"]
    # The URL of a request that failed holds what users asked for: it stays out of the log.
    logged = collector.stop()
    assert f"the store failed: {reason.partition(': ')[2]}" in logged
    assert unique not in logged
    assert PASSWORD not in logged


def test_more_keys_are_asked_for_than_a_server_reads_in_a_form_field(
    clickhouse: ClickHouse, on_server: Collector, open_on: Callable[[ClickHouse], Store]
) -> None:
    _, request = one_span("any")
    assert post(on_server, request) == 200
    store = open_on(clickhouse)
    client = connect(store.url)
    source_id = client.query("SELECT max(source_id) FROM otlp_sources").first_row[0]
    client.close()
    others = range(10**19, 10**19 + 2 * KEYS_MAX)

    rows = asyncio.run(store.query("otlp_sources_bytes", ids=[*others, source_id]))

    assert [row["source_id"] for row in rows] == [source_id]


def test_no_session_is_kept_that_a_broken_connection_could_leave_locked(
    on_server: Collector, clickhouse: ClickHouse
) -> None:
    assert on_server.get("/readyz").status == 200  # has made the database
    client = connect(parse_store_url(clickhouse.url))
    assert client.get_client_setting("session_id") is None
    client.close()

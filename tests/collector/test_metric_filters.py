from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.metric_filter_work import MetricFilterSamples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse, Collector

DEADLINE_S = 20


class Shop:
    """A log group whose metrics are in the namespace of its name."""

    def __init__(self, collector: Collector, name: str) -> None:
        self.name = name
        self.logs = collector.client("logs")
        self.cloudwatch = collector.client("cloudwatch")
        self.logs.create_log_group(logGroupName=name)
        self.logs.create_log_stream(logGroupName=name, logStreamName="s")

    def filter(self, pattern: str, value: str, name: str = "f", **transformation: Any) -> None:
        self.logs.put_metric_filter(
            logGroupName=self.name,
            filterName=name,
            filterPattern=pattern,
            metricTransformations=[
                {
                    "metricName": name,
                    "metricNamespace": self.name,
                    "metricValue": value,
                    **transformation,
                }
            ],
        )

    def log(self, *messages: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        events = [{"timestamp": now_ms, "message": message} for message in messages]
        self.logs.put_log_events(logGroupName=self.name, logStreamName="s", logEvents=events)

    def total(self, name: str = "f", **dimensions: str) -> tuple[float, float, str] | None:
        """Count, sum and unit of a metric."""
        now = datetime.now(timezone.utc)
        points = self.cloudwatch.get_metric_statistics(
            Namespace=self.name,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["SampleCount", "Sum"],
        )["Datapoints"]
        if not points:
            return None
        return (
            sum(point["SampleCount"] for point in points),
            sum(point["Sum"] for point in points),
            points[0]["Unit"],
        )

    def settles_to(self, expected: Any, name: str = "f", **dimensions: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.total(name, **dimensions) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.total(name, **dimensions) == expected


@pytest.fixture
def shop(collector: Collector, unique: str) -> Shop:
    return Shop(collector, unique)


def refused(call: Any, *arguments: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_events_that_match_from_now_on_are_counted(shop: Shop) -> None:
    shop.log("ERROR before the filter")
    shop.filter("ERROR -ignored", "1", unit="Count")
    shop.log("ERROR one", "fine", "ERROR ignored", "ERROR two")
    shop.log("ERROR three")
    shop.settles_to((3.0, 3.0, "Count"))


def test_a_value_and_dimensions_are_taken_from_json(shop: Shop) -> None:
    shop.filter("{ $.ms = * }", "$.ms", dimensions={"Tier": "$.user.tier", "Zone": "$.zones[0]"})
    gold = {"user": {"tier": "gold"}, "zones": ["a", "b"]}
    shop.log(
        json.dumps({"ms": 120, **gold}),
        json.dumps({"ms": "2.5", **gold}),
        json.dumps({"ms": "slow", **gold}),
        json.dumps({"ms": 7, "user": {}, "zones": ["a"]}),
        json.dumps({"ms": 1, "user": {"tier": "free"}, "zones": ["b"]}),
        "not JSON",
    )
    shop.settles_to((2.0, 122.5, "None"), Tier="gold", Zone="a")
    shop.settles_to((1.0, 1.0, "None"), Tier="free", Zone="b")
    assert shop.total() is None


def test_a_value_and_dimensions_are_taken_from_fields(shop: Shop) -> None:
    shop.filter(
        "[ip, ..., status, size > 0]", "$size", unit="Bytes", dimensions={"Status": "$status"}
    )
    shop.log('1.2.3.4 - [now] "GET / HTTP/1" 200 15', '1.2.3.4 - [now] "GET /" 404 5', "a 200 0")
    shop.settles_to((1.0, 15.0, "Bytes"), Status="200")
    shop.settles_to((1.0, 5.0, "Bytes"), Status="404")


def test_a_deleted_filter_counts_no_more(shop: Shop) -> None:
    shop.filter("", "1", "all")
    shop.filter("", "1", "deleted")
    shop.log("one")
    shop.settles_to((1.0, 1.0, "None"), "deleted")
    shop.logs.delete_metric_filter(logGroupName=shop.name, filterName="deleted")
    shop.log("two")
    shop.settles_to((2.0, 2.0, "None"), "all")
    assert shop.total("deleted") == (1.0, 1.0, "None")


def test_filters_are_described(shop: Shop) -> None:
    shop.filter("ERROR", "1", "errors", defaultValue=0, unit="Count")
    shop.filter("{ $.a = 1 }", "$.b", "other", dimensions={"c": "$.c"})
    first, second = shop.logs.describe_metric_filters(logGroupName=shop.name)["metricFilters"]
    (group,) = shop.logs.describe_log_groups(logGroupNamePrefix=shop.name)["logGroups"]
    by_metric = shop.logs.describe_metric_filters(metricName="other", metricNamespace=shop.name)
    creation_ms = first.pop("creationTime")
    assert abs(creation_ms - time.time() * 1000) < 60_000
    assert first == {
        "filterName": "errors",
        "filterPattern": "ERROR",
        "metricTransformations": [
            {
                "metricName": "errors",
                "metricNamespace": shop.name,
                "metricValue": "1",
                "defaultValue": 0.0,
                "unit": "Count",
            }
        ],
        "logGroupName": shop.name,
        "applyOnTransformedLogs": False,
    }
    assert group["metricFilterCount"] == 2
    assert by_metric["metricFilters"] == [second]


@pytest.mark.parametrize(
    ("pattern", "value", "transformation", "message"),
    [
        ("{ $.a", "1", {}, "Invalid filter pattern: If a filter pattern starts with '{'"),
        ("ERROR", "one", {}, "Invalid metric transformation: metricValue is 'one'"),
        ("ERROR", "$.a", {}, "Invalid metric transformation: '$.a' is not found"),
        ("[a, b]", "$c", {}, "Invalid metric transformation: '$c' is no field"),
        (
            "ERROR",
            "1",
            {"dimensions": {"a": "$.a"}},
            "The specified filter pattern does not support dimensions",
        ),
        (
            "{ $.a = 1 }",
            "1",
            {"dimensions": {"a": "$.a"}, "defaultValue": 0},
            "Invalid metric transformation: dimensions and default value are mutually exclusive",
        ),
        (
            "{ $.a = 1 }",
            "1",
            {"dimensions": dict.fromkeys("abcd", "$.a")},
            "Invalid metric transformation: 4 dimensions: at most 3 are allowed",
        ),
    ],
)
def test_a_filter_that_cannot_give_its_metric_is_refused(
    shop: Shop, pattern: str, value: str, transformation: dict[str, Any], message: str
) -> None:
    code, told = refused(shop.filter, pattern, value, **transformation)
    assert code == "InvalidParameterException"
    assert told.startswith(message)


def test_a_group_has_at_most_five_filters_with_regular_expressions(shop: Shop) -> None:
    for number in range(5):
        shop.filter("%a%", "1", f"f{number}")
    shop.filter("%b%", "1", "f0")
    assert refused(shop.filter, "%a%", "1", "f5") == (
        "LimitExceededException",
        "Resource limit exceeded.",
    )


def test_patterns_are_tried_on_messages(shop: Shop) -> None:
    apache = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534'

    def tried(pattern: str, *messages: str) -> Any:
        return shop.logs.test_metric_filter(filterPattern=pattern, logEventMessages=messages)[
            "matches"
        ]

    assert tried("[..., status = 2*, size]", "a 404 1", apache) == [
        {
            "eventNumber": 2,
            "eventMessage": apache,
            "extractedValues": {
                "$1": "127.0.0.1",
                "$2": "-",
                "$3": "frank",
                "$4": "10/Oct/2000:13:25:15 -0700",
                "$5": "GET /apache_pb.gif HTTP/1.0",
                "$status": "200",
                "$size": "1534",
            },
        }
    ]
    assert tried('{ $.latency > 100 && $.a[0] = "x" }', '{"latency": 250, "a": ["x"]}') == [
        {
            "eventNumber": 1,
            "eventMessage": '{"latency": 250, "a": ["x"]}',
            "extractedValues": {"$.latency": "250", "$.a[0]": "x"},
        }
    ]
    assert [match["eventNumber"] for match in tried("b", "a", "b", "bb")] == [2, 3]


def test_what_was_stored_before_a_kill_is_counted_once_after_it(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    running = start_collector(tmp_path / "store")
    shop = Shop(running, "kept")
    shop.filter("ERROR", "1")
    for number in range(20):
        shop.log(f"ERROR {number}", "fine")
    running.process.kill()
    running.process.wait()
    again = start_collector(tmp_path / "store")
    shop.logs, shop.cloudwatch = again.client("logs"), again.client("cloudwatch")
    shop.settles_to((20.0, 20.0, "None"))
    shop.log("ERROR after")
    shop.settles_to((21.0, 21.0, "None"))


def test_a_default_value_is_there_for_each_minute_of_events_without_a_match(
    clickhouse: ClickHouse, open_on: Callable[[ClickHouse], Store]
) -> None:
    store = open_on(clickhouse)
    samples = MetricFilterSamples(store)
    key = GroupKey("1", "r", "defaults")
    definition = {
        "filterName": "f",
        "filterPattern": "ERROR",
        "metricTransformations": [
            {"metricName": "m", "metricNamespace": "n", "metricValue": "1", "defaultValue": 0.5}
        ],
    }
    minute_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 - 300_000
    fine, matching, empty = (minute_ms + place * 60_000 for place in range(3))

    async def publish() -> list[tuple[Any, ...]]:
        for moment_ms, message in ((fine, "fine"), (matching, "fine"), (matching, "ERROR")):
            row = {
                **key._asdict(),
                "timestamp_ms": moment_ms,
                "event_id": str((moment_ms + 59_999) * 1_000_000 << 64 | len(message)),
                "message": message,
            }
            await store.insert("log_events", json.dumps(row).encode(), "JSONEachRow")
        for moment_ms in (fine, matching, empty, fine):
            await samples.publish_default(key, definition, moment_ms)
        found = store._client().query(
            "SELECT timestamp_ms, `values` FROM metric_samples FINAL WHERE metric_id IN"
            " (SELECT metric_id FROM metrics WHERE namespace = 'n' AND metric_name = 'm')"
        )
        rows: list[tuple[Any, ...]] = found.result_rows
        return rows

    assert asyncio.run(publish()) == [(fine, [0.5])]

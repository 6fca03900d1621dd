from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.clock import Clock
from lambdatrace.metrics import MetricRecorder
from lambdatrace.wire.emf import encode_metrics

if TYPE_CHECKING:
    from tests.collector.conftest import Collector


class Shop:
    """A function's log stream, and the metrics in the namespace that its test owns."""

    def __init__(self, collector: Collector, namespace: str) -> None:
        self.namespace = namespace
        self.logs = collector.client("logs")
        self.cloudwatch = collector.client("cloudwatch")
        self.logs.create_log_group(logGroupName=namespace)
        self.logs.create_log_stream(logGroupName=namespace, logStreamName="s")

    def log(self, *messages: str) -> None:
        now_ms = time.time_ns() // 1_000_000
        events = [{"timestamp": now_ms, "message": message} for message in messages]
        self.logs.put_log_events(logGroupName=self.namespace, logStreamName="s", logEvents=events)

    def document(self, metrics: list[Any], dimension_sets: list[Any], **members: Any) -> str:
        directive = {
            "Namespace": self.namespace,
            "Dimensions": dimension_sets,
            "Metrics": metrics,
        }
        root = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
        return json.dumps({"_aws": root, **members})

    def metrics(self) -> list[tuple[str, dict[str, str]]]:
        found = self.cloudwatch.list_metrics(Namespace=self.namespace)["Metrics"]
        return sorted(
            (
                (
                    metric["MetricName"],
                    {item["Name"]: item["Value"] for item in metric["Dimensions"]},
                )
                for metric in found
            ),
            key=repr,
        )

    def datapoints(self, name: str, **dimensions: str) -> list[tuple[Any, ...]]:
        now = datetime.now(timezone.utc)
        answer = self.cloudwatch.get_metric_statistics(
            Namespace=self.namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["SampleCount", "Sum", "Maximum"],
            ExtendedStatistics=["p50"],
        )
        totals: dict[str, list[float]] = {}
        for point in answer["Datapoints"]:  # the range may touch two periods
            parts = totals.setdefault(point["Unit"], [0.0, 0.0])
            parts[0] += point["SampleCount"]
            parts[1] += point["Sum"]
        return [(unit, *parts) for unit, parts in sorted(totals.items())]


@pytest.fixture
def shop(collector: Collector, unique: str) -> Shop:
    return Shop(collector, unique)


def test_each_dimension_set_and_metric_of_a_log_event_becomes_a_sample(shop: Shop) -> None:
    shop.log(
        "START RequestId: 1",
        shop.document(
            [
                {"Name": "Orders", "Unit": "Count"},
                {"Name": "Latency", "Unit": "Milliseconds", "StorageResolution": 1},
                {"Name": "Plain"},
            ],
            [["tier", "city"], ["tier"], []],
            tier="gold",
            city="Zurich",
            Orders=2,
            Latency=[1, 2.5, 10],
            Plain=0.5,
        )
        + "\n",
    )
    both = {"city": "Zurich", "tier": "gold"}
    names = ("Latency", "Orders", "Plain")
    assert shop.metrics() == [
        (name, dims) for name in names for dims in (both, {"tier": "gold"}, {})
    ]
    assert shop.datapoints("Orders") == [("Count", 1.0, 2.0)]
    assert shop.datapoints("Latency", tier="gold") == [("Milliseconds", 3.0, 13.5)]
    assert shop.datapoints("Plain", **both) == [("None", 1.0, 0.5)]


def test_embedded_and_put_metrics_are_one_metric(shop: Shop) -> None:
    shop.log(shop.document([{"Name": "Orders", "Unit": "Count"}], [["tier"]], tier="a", Orders=1))
    shop.cloudwatch.put_metric_data(
        Namespace=shop.namespace,
        MetricData=[
            {
                "MetricName": "Orders",
                "Value": 4,
                "Unit": "Count",
                "Dimensions": [{"Name": "tier", "Value": "a"}],
            }
        ],
    )
    assert shop.metrics() == [("Orders", {"tier": "a"})]
    assert shop.datapoints("Orders", tier="a") == [("Count", 2.0, 5.0)]


def test_a_document_that_breaks_a_rule_gives_no_metric_and_stays_a_log_event(shop: Shop) -> None:
    good = {"Name": "M", "Unit": "Count"}
    stale = json.loads(shop.document([good], [[]], M=1))
    stale["_aws"]["Timestamp"] = 1
    documents = [
        shop.document([good], [["missing"]], M=1),
        shop.document([good], [["number"]], number=1, M=1),
        shop.document([good], [["place"]], place="Zürich", M=1),
        shop.document([good], [["place"]], place=" ", M=1),
        shop.document([good], [[]], M="1"),
        shop.document([good], [[]]),
        shop.document([good], [[]], M=[]),
        shop.document([good], [[]], M=[1, "2"]),
        shop.document([good], [[]], M=[1] * 101),
        shop.document([{"Name": "M", "Unit": "Parsecs"}], [[]], M=1),
        shop.document([good] * 101, [[]], M=1),
        shop.document([good], [[f"d{number}" for number in range(31)]], M=1)[:-1]
        + "".join(f', "d{number}": "x"' for number in range(31))
        + "}",
        shop.document([good], "text", M=1),  # type: ignore[arg-type]
        shop.document([good], [[]], M=1)[:-1],
        json.dumps(stale),
        "CloudWatchMetrics _aws",
        '{"_aws": 5, "CloudWatchMetrics": []}',
    ]
    shop.log(*documents)
    stored = shop.logs.get_log_events(logGroupName=shop.namespace, logStreamName="s")
    assert shop.metrics() == []
    assert [event["message"] for event in stored["events"]] == documents


def test_a_metric_may_be_in_several_directives_of_one_event(shop: Shop) -> None:
    document = json.loads(shop.document([{"Name": "M"}], [[]], M=1))
    document["_aws"]["CloudWatchMetrics"] *= 2
    shop.log(json.dumps(document))
    assert shop.datapoints("M") == [("None", 2.0, 2.0)]


def test_what_the_sdk_writes_is_what_is_stored(shop: Shop) -> None:
    def refuse(place: str, error: Any) -> None:
        raise AssertionError(f"{place}: {error}")

    recorder = MetricRecorder(Clock(), shop.namespace, {"service": "orders"}, on_error=refuse)
    recorder.record("Größe", range(150), "Bytes", [{"tier": "gold"}, {}], properties={"é": [1]})
    recorder.record("Latency", 2.5, "Milliseconds", {"tier": "gold"}, 1)
    for number in range(120):
        recorder.record(f"m{number}", -number)
    shop.log(*encode_metrics(recorder.take(), {"requestId": "r"}, refuse))
    both, service = {"service": "orders", "tier": "gold"}, {"service": "orders"}
    assert shop.metrics() == sorted(
        [
            ("Größe", both),
            ("Größe", service),
            ("Latency", both),
            *((f"m{number}", service) for number in range(120)),
        ],
        key=repr,
    )
    assert shop.datapoints("Größe", **both) == [("Bytes", 150.0, 11175.0)]
    assert shop.datapoints("Größe", **service) == [("Bytes", 150.0, 11175.0)]
    assert shop.datapoints("Latency", **both) == [("Milliseconds", 1.0, 2.5)]
    assert shop.datapoints("m119", **service) == [("None", 1.0, -119.0)]


def errors(shop: Shop, name: str) -> float:
    """How many events of the shop's log group have met an error of embedded metrics."""
    now = datetime.now(timezone.utc)
    points = shop.cloudwatch.get_metric_statistics(
        Namespace="AWS/Logs",
        MetricName=name,
        Dimensions=[{"Name": "LogGroupName", "Value": shop.namespace}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(float(point["Sum"]) for point in points)


def test_events_that_break_a_rule_are_counted_once_each(shop: Shop) -> None:
    good = {"Name": "M", "Unit": "Count"}
    shop.log(
        shop.document([good, good], [["missing"], ["other"]], M="text"),
        shop.document([{"Name": "M", "StorageResolution": 5}], [[]], M=1),
        json.dumps({"_aws": {"CloudWatchMetrics": []}}),
        json.dumps({"_aws": {"CloudWatchMetrics": "text"}}),
        shop.document([good], [[]], M=1)[:-1],
        'a line about "_aws" and "CloudWatchMetrics"',
        shop.document([good], [[]], M=1),
    )
    assert shop.datapoints("M") == [("Count", 1.0, 1.0)]
    assert errors(shop, "EMFValidationErrors") == 3
    assert errors(shop, "EMFParsingErrors") == 2


def test_the_older_form_with_version_0_at_the_root_is_read(shop: Shop) -> None:
    directive = {"Namespace": shop.namespace, "Dimensions": [["d"]], "Metrics": [{"Name": "M"}]}
    older = {"CloudWatchMetrics": [directive], "d": "x", "M": [1, 2]}
    shop.log(json.dumps({"Version": "0", **older}), json.dumps(older))
    assert shop.datapoints("M", d="x") == [("None", 2.0, 3.0)]

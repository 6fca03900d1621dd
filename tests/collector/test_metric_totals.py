"""Counters that tell their total, as OTLP's cumulative sums do, give what each point added."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from tests.collector.test_otlp_metrics import metrics_of, statistics
from tests.collector.test_otlp_traces import PROTOBUF

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
NEVER_MS = 1e9
MINUTE_NS = 60 * 10**9


def provider(collector: Collector, service: str) -> MeterProvider:
    """What a process of the service has, which exports when told; cumulative unless told."""
    exporter = OTLPMetricExporter(f"{collector.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER_MS)
    return MeterProvider([reader], Resource({"service.name": service}))


def test_a_counter_of_the_opentelemetry_sdk_counts_once_over_exports_and_a_restart(
    collector: Collector, unique: str
) -> None:
    first = provider(collector, unique)
    orders = first.get_meter("tests").create_counter("orders")
    for number in (3, 4):
        orders.add(number, {"tier": "gold"})
        orders.add(10 * number, {"tier": "tin"})
        first.force_flush()
    assert statistics(
        collector, unique, "orders", "Sum", "SampleCount", "Minimum", "Maximum", tier="gold"
    ) == [7, 2, 3, 4]
    first.shutdown()  # exports once more, with nothing added

    second = provider(collector, unique)
    second.get_meter("tests").create_counter("orders").add(2, {"tier": "gold"})
    second.shutdown()
    assert statistics(collector, unique, "orders", "Sum", "SampleCount", tier="gold") == [9, 4]
    assert statistics(collector, unique, "orders", "Sum", tier="tin") == [70]


def test_what_goes_up_and_down_is_taken_as_it_stands(collector: Collector, unique: str) -> None:
    process = provider(collector, unique)
    connections = process.get_meter("tests").create_up_down_counter("connections")
    for number in (5, -2):
        connections.add(number)
        process.force_flush()
    found = statistics(collector, unique, "connections", "SampleCount", "Minimum", "Maximum")
    process.shutdown()
    assert found == [2, 3, 5]


class Point(NamedTuple):
    """A total at a minute after the first, and since when it counts; None where that is unknown."""

    minute: float
    total: float
    start_minute: float | None


def since(start_minute: float | None, totals: dict[float, float]) -> list[Point]:
    return [Point(minute, total, start_minute) for minute, total in totals.items()]


SERIES = {
    "from its start on": (since(-1, {0: 5, 1: 8, 2: 8}), {0: 5, 1: 3, 2: 0}),
    "restarted": ([*since(-1, {0: 5, 1: 8}), *since(1.5, {2: 2, 3: 6})], {0: 5, 1: 3, 2: 2, 3: 4}),
    "from two processes at once": (
        [*since(-1, {0: 5, 2: 8}), *since(-2, {1: 100, 3: 101})],
        {0: 5, 1: 100, 2: 3, 3: 1},
    ),
    "without a start": (since(None, {0: 10, 1: 14}), {1: 4}),
    "restarted without a word": (since(None, {0: 10, 1: 14, 2: 3, 3: 4}), {1: 4, 2: 3, 3: 1}),
    "begun before anyone looked": (since(-181, {0: 1000, 1: 1001}), {1: 1}),
    "begun at its first point": (since(0, {0: 1000, 1: 1001}), {1: 1}),
    "silent for hours": (since(-300, {-190: 50, 0: 70, 1: 71}), {-190: 50, 1: 1}),
    "silent for an hour": (since(-300, {-100: 50, 0: 70, 1: 71}), {0: 20, 1: 1}),
    "several in a minute": (since(-1, {0: 1, 0.25: 3, 0.5: 7, 1: 8}), {0: 7, 1: 1}),
}


@pytest.fixture(scope="module")
def first_ns() -> int:
    """The minute of the points: all are in the hours before now."""
    return (time.time_ns() // MINUTE_NS - 60) * MINUTE_NS


@pytest.fixture(scope="module")
def sent(collector: Collector, first_ns: int) -> str:
    """The namespace of the series, whose points came newest first, and then all once more."""
    service = f"totals-{first_ns}-{time.time_ns()}"
    newest_first = zip_longest(*(reversed(points) for points, _ in SERIES.values()))
    in_order = zip_longest(*(points for points, _ in SERIES.values()))
    for batch in [*([points] for points in newest_first), [*in_order]]:
        request, metrics = metrics_of(service)
        for points in batch:
            for name, point in zip(SERIES, points, strict=True):
                if point is not None:
                    add_total(metrics.add(name=name), point, first_ns)
        answer = collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)
        assert answer.status == 200
    return service


def add_total(metric: Any, point: Point, first_ns: int) -> None:
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = CUMULATIVE, True
    added = metric.sum.data_points.add(
        time_unix_nano=first_ns + round(point.minute * MINUTE_NS), as_double=point.total
    )
    if point.start_minute is not None:
        added.start_time_unix_nano = first_ns + round(point.start_minute * MINUTE_NS)


def sums(collector: Collector, sent: str, name: str, first_ns: int, *minutes: int) -> Any:
    """The sums of the minutes from the first to before the second, by minute."""
    first_s = first_ns // 10**9
    answer = collector.client("cloudwatch", "us-east-1").get_metric_statistics(
        Namespace=sent,
        MetricName=name,
        StartTime=datetime.fromtimestamp(first_s + 60 * minutes[0], timezone.utc),
        EndTime=datetime.fromtimestamp(first_s + 60 * minutes[1], timezone.utc),
        Period=60,
        Statistics=["Sum"],
    )
    return {
        (point["Timestamp"].timestamp() - first_s) / 60: point["Sum"]
        for point in answer["Datapoints"]
    }


@pytest.mark.parametrize("name", SERIES)
def test_a_series_of_totals_gives_what_was_added_by_each_point(
    collector: Collector, sent: str, first_ns: int, name: str
) -> None:
    _, expected = SERIES[name]
    assert sums(collector, sent, name, first_ns, -200, 10) == expected


def test_what_a_point_added_does_not_depend_on_what_is_asked_for(
    collector: Collector, sent: str, first_ns: int
) -> None:
    assert sums(collector, sent, "from its start on", first_ns, 1, 2) == {1: 3}
    assert sums(collector, sent, "silent for an hour", first_ns, 0, 1) == {0: 20}


def test_totals_are_listed_as_metrics_of_their_dimensions(collector: Collector, sent: str) -> None:
    listed = collector.client("cloudwatch", "us-east-1").list_metrics(Namespace=sent)["Metrics"]
    assert {metric["MetricName"] for metric in listed} == {*SERIES}

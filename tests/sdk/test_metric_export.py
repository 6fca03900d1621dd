from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import botocore.session
import pytest

import lambdatrace
from lambdatrace.instruments import Instruments
from lambdatrace.metric_export import UCUM, cloudwatch_unit, record_as_instruments, ucum_unit
from lambdatrace.records import Metric, SpanContext
from lambdatrace.testing import START_NS, LambdaContext, SettableClock, recording


def refuse(name: str, reason: Any) -> None:
    raise AssertionError(f"{name}: {reason}")


def test_every_unit_of_cloudwatch_has_one_in_ucum_and_comes_back() -> None:
    model = botocore.session.get_session().get_service_model("cloudwatch")
    units = model.shape_for("StandardUnit").enum
    assert set(units) == set(UCUM)
    assert {unit: cloudwatch_unit(ucum_unit(unit)) for unit in units} == {u: u for u in units}


@pytest.mark.parametrize(
    ("ucum", "unit"),
    [
        ("{request}", "Count"),
        ("{request}/s", "Count/Second"),
        ("µs", "Microseconds"),
        ("KiBy", "None"),
        ("h", "None"),
        ("GBy/s", "Gigabytes/Second"),
    ],
)
def test_units_of_the_same_size_are_found(ucum: str, unit: str) -> None:
    assert cloudwatch_unit(ucum) == unit


def test_instruments_are_written_as_embedded_metrics() -> None:
    with recording({"OTEL_METRICS_EXPORTER": "emf"}) as recorded:

        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> None:
            made = recorded.telemetry.instruments.instrument
            made("counter", "orders", "{order}").record(1, {"tier": "gold"})
            made("counter", "orders", "{order}").record(2, {"tier": "gold"})
            made("histogram", "latency", "ms").record(3)
            made("histogram", "latency", "ms").record(1.5)
            made("observable_gauge", "queue").observe(lambda: [(7, {"tier": "gold"})])
            lambdatrace.metric("A", 1)

        handler({}, LambdaContext())
    plain, gold = sorted(recorded.metric_documents, key=lambda document: "tier" in document)
    assert (gold["orders"], gold["queue"], gold["tier"], gold["service"]) == (
        3.0,
        7.0,
        "gold",
        "orders",
    )
    assert (plain["latency"], plain["A"]) == ([3.0, 1.5], 1.0)
    assert gold["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [
        {"Name": "orders", "Unit": "Count"},
        {"Name": "queue", "Unit": "None"},
    ]


def test_an_attribute_that_is_no_dimension_of_cloudwatchs_costs_no_measurement() -> None:
    with recording({"OTEL_METRICS_EXPORTER": "emf"}) as recorded:
        orders = recorded.telemetry.instruments.instrument("counter", "orders")
        orders.record(1, {"city": "Zürich", "plätze": "東京\n", "tags": ["ä"]})
        orders.record(2, {"city": "Genève"})
        orders.record(4, {"city": "東" * 1000})
        orders.record(8, {"empty": "", ":n": "x", "orders": "x", "_aws": "x", "tier": 1})
        lambdatrace.flush()
    documents = recorded.metric_documents
    assert [document["orders"] for document in documents] == [1.0, 2.0, 4.0, 8.0]
    named = {"service": "orders", "orders": 0}
    assert [
        {key: text for key, text in document.items() if key not in {*named, "_aws"}}
        for document in documents
    ] == [
        {"city": r"Z\xfcrich", r"pl\xe4tze": r"\u6771\u4eac\n", "tags": r"['\xe4']"},
        {"city": r"Gen\xe8ve"},
        {"city": (r"\u6771" * 1000)[:1024]},
        {"tier": "1"},
    ]
    assert recorded.telemetry.metrics.dropped == 0
    assert recorded.telemetry.guard.failures == 4  # the attributes that are no dimension


def test_with_no_exporter_nothing_is_written() -> None:
    with recording({"OTEL_METRICS_EXPORTER": "none"}) as recorded:
        recorded.telemetry.instruments.instrument("counter", "orders").record(1)
        lambdatrace.metric("A", 1)
        lambdatrace.flush()
    assert recorded.stdout == ""


def test_a_custom_metric_becomes_a_histogram_with_its_dimensions_as_attributes() -> None:
    context, root = SpanContext("1" * 32, "2" * 16), SpanContext("1" * 32, "3" * 16)
    sets = ((("city", "Bern"), ("tier", "gold")), (("tier", "gold"),))
    common: dict[str, Any] = {"namespace": "shop", "time_ns": START_NS - 5}
    metrics = [
        Metric("Latency", [1.0, 30.0], "Milliseconds", sets, context=context, **common),
        Metric("Latency", [2.0], "Milliseconds", sets, **common),
        Metric("Latency", [3.0], "Milliseconds", ((),), has_own_time=True, **common),
    ]
    instruments = Instruments(SettableClock(), refuse)
    record_as_instruments(metrics, instruments, root)
    (data,) = instruments.collect()
    assert (data.name, data.unit, data.scope.name) == ("Latency", "ms", "shop")
    points: list[Any] = list(data.points)
    assert [
        (point.attributes, point.time_ns - START_NS, point.count, point.total) for point in points
    ] == [({"city": "Bern", "tier": "gold"}, 0, 3, 33.0), ({}, -5, 1, 3.0)]
    assert [(e.value, e.context.span_id[0]) for e in points[0].exemplars] == [
        (2.0, "3"),
        (30.0, "2"),
    ]


def test_threads_that_measure_first_at_the_same_time_share_one_recorder() -> None:
    with recording() as recorded:
        barrier = Barrier(8)

        def first_use(_thread: int) -> tuple[int, int]:
            barrier.wait()
            return id(recorded.telemetry.instruments), id(recorded.telemetry.metrics)

        with ThreadPoolExecutor(8) as threads:
            found = set(threads.map(first_use, range(8)))
    assert len(found) == 1


def test_with_otlp_everything_measured_is_sent_once_and_nothing_written() -> None:
    environment = {"OTEL_METRICS_EXPORTER": "otlp", "LAMBDATRACE_INVOCATION_METRICS": "Errors"}
    with recording(environment) as recorded:

        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> None:
            lambdatrace.metric("Size", 2, unit="Bytes")
            recorded.telemetry.instruments.instrument("counter", "orders").record(1)

        handler({}, LambdaContext())
        lambdatrace.flush()
    assert recorded.stdout == ""
    assert {(data.name, data.unit, data.scope.name) for data in recorded.metrics} == {
        ("Size", "By", "lambdatrace"),
        ("orders", "", "lambdatrace"),
        ("faas.errors", "{error}", "lambdatrace"),
    }
    (size,) = (data for data in recorded.metrics if data.name == "Size")
    (exemplar,) = size.points[0].exemplars
    assert exemplar.context is not None
    assert exemplar.context.span_id == recorded.span("orders").span_id

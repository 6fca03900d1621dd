from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lambdatrace.otel import metrics as door
from lambdatrace.testing import Recorded, recording

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import pytest
    from opentelemetry.metrics import Meter

CUMULATIVE = {
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
}


def observe(options: CallbackOptions) -> Iterable[Observation]:
    assert options.timeout_millis > 0
    return [Observation(5, {"queue": "a"}), Observation(7, {"queue": "b"})]


def observe_again() -> Generator[Iterable[Observation], CallbackOptions, None]:
    yield ()
    yield [Observation(9)]


def program(meter: Meter) -> None:
    counter = meter.create_counter("orders", "1", "Orders placed")
    counter.add(2, {"tier": "gold"})
    counter.add(3, {"tier": "gold"})
    counter.add(1.5)
    meter.create_up_down_counter("open").add(-4)
    histogram = meter.create_histogram(
        "duration", "ms", explicit_bucket_boundaries_advisory=[1.0, 10.0]
    )
    histogram.record(0.5)
    histogram.record(50, {"tier": "gold"})
    meter.create_gauge("level").set(12)
    meter.create_observable_counter("seen", [observe])
    meter.create_observable_up_down_counter("depth", [observe_again()], "1")
    meter.create_observable_gauge("lag", callbacks=[observe], description="Behind")


def expected_from_the_sdk() -> dict[str, Any]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    program(provider.get_meter("scope", "1.2", "https://schema", {"k": "v"}))
    data: Any = reader.get_metrics_data()
    (resource,) = data.resource_metrics
    (scoped,) = resource.scope_metrics
    scope = scoped.scope
    assert (scope.name, scope.version, dict(scope.attributes)) == ("scope", "1.2", {"k": "v"})
    return {
        metric.name: (
            metric.unit,
            metric.description,
            getattr(metric.data, "is_monotonic", False),
            points(metric.data.data_points),
        )
        for metric in scoped.metrics
    }


def points(found: Iterable[Any]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            sorted(point.attributes.items()),
            getattr(point, "value", None),
            list(getattr(point, "bucket_counts", ())),
        )
        for point in found
    )


def test_a_program_gives_the_metrics_that_the_sdk_would_give() -> None:
    with recording(CUMULATIVE) as recorded:
        meter = metrics.get_meter(
            "scope", "1.2", schema_url="https://schema", attributes={"k": "v"}
        )
        program(meter)
        taken = recorded.telemetry.instruments.collect()
    found = {
        data.name: (data.unit, data.description, data.is_monotonic, points(data.points))
        for data in taken
    }
    assert found == expected_from_the_sdk()
    for data in taken:
        scope = data.scope
        assert (scope.name, scope.version, scope.schema_url, scope.attributes) == (
            "scope",
            "1.2",
            "https://schema",
            {"k": "v"},
        )


def test_instruments_that_were_made_before_us_are_ours_from_then_on() -> None:
    # As the API has them when nobody stands behind it yet.
    before = metrics.get_meter("early").create_counter("orders")
    untouched: Any = before
    untouched._real_instrument = None
    with recording() as recorded:
        door.back_existing()
        before.add(2)
        (data,) = recorded.telemetry.instruments.collect()
    assert [(data.name, *point[1:2]) for point in points(data.points)] == [("orders", 2)]


def test_a_provider_that_is_set_later_takes_our_place(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    meter = metrics.get_meter("scope")
    counter = meter.create_counter("orders")
    meter.create_observable_gauge("lag", [observe])
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    counter.add(1)
    meter.create_counter("more").add(1)
    assert metrics.get_meter_provider() is provider
    assert recorded.telemetry.instruments.collect() == []
    data: Any = reader.get_metrics_data()
    names = [metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics]
    assert sorted(names) == ["lag", "more", "orders"]
    assert caplog.messages == []


def test_what_a_counter_cannot_take_is_dropped_and_the_caller_not_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad: Any = "bad"
    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        counter = metrics.get_meter("scope").create_counter("orders")
        counter.add(-1)
        counter.add(bad)
        counter.add(1, bad)
        counter.add(2)
        (data,) = recorded.telemetry.instruments.collect()
    assert [point[1] for point in points(data.points)] == [2]
    assert "[lambdatrace]" in capsys.readouterr().err


def test_switched_off_nothing_is_measured() -> None:
    with recording({"OTEL_SDK_DISABLED": "true"}) as recorded:
        metrics.get_meter("scope").create_counter("orders").add(1)
        metrics.get_meter("scope").create_observable_gauge("lag", [observe])
        assert recorded.telemetry.instruments.collect() == []

"""The oracle is `opentelemetry-sdk`: the same measurements must give the same points."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import log2
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)

from lambdatrace import instruments as module
from lambdatrace.aggregation import BUCKETS_MAX, ExponentialHistogram, bucket_index
from lambdatrace.instruments import Instruments
from lambdatrace.metric_points import CUMULATIVE, DELTA, UNSPECIFIED, MetricData
from lambdatrace.records import SpanContext
from lambdatrace.testing import START_NS, SettableClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPAN = SpanContext("1" * 32, "2" * 16)
UNSAMPLED = SpanContext("3" * 32, "4" * 16, is_sampled=False)


def raise_error(name: str, reason: Any) -> None:
    raise AssertionError(f"{name}: {reason}")


def made(**options: Any) -> tuple[Instruments, SettableClock]:
    clock = SettableClock()
    return Instruments(clock, options.pop("on_error", raise_error), **options), clock


def only_point(instruments: Instruments) -> Any:
    (data,) = instruments.collect()
    (point,) = data.points
    return point


def seen(taken: Iterable[MetricData]) -> dict[str, list[tuple[Any, ...]]]:
    """By name, what the points say, in order of their attributes."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for data in taken:
        points: list[Any] = list(data.points)
        found[data.name] = sorted(
            (repr(sorted(point.attributes.items())), *_ours(point)) for point in points
        )
    return found


def _ours(point: Any) -> tuple[Any, ...]:
    if hasattr(point, "scale"):
        return (
            point.count,
            pytest.approx(point.total, rel=1e-9, abs=1e-9),
            point.minimum,
            point.maximum,
            point.scale,
            point.zero_count,
            (point.positive_offset if point.positive_counts else 0, point.positive_counts),
            (point.negative_offset if point.negative_counts else 0, point.negative_counts),
        )
    if hasattr(point, "bucket_counts"):
        return (
            point.count,
            pytest.approx(point.total, rel=1e-9),
            point.minimum,
            point.maximum,
            tuple(point.bounds),
            tuple(point.bucket_counts),
        )
    return (pytest.approx(point.value, rel=1e-9, abs=1e-9),)


def _theirs(point: Any) -> tuple[Any, ...]:
    if hasattr(point, "scale"):
        return (
            point.count,
            point.sum,
            point.min,
            point.max,
            point.scale,
            point.zero_count,
            _buckets(point.positive),
            _buckets(point.negative),
        )
    if hasattr(point, "bucket_counts"):
        return (
            point.count,
            point.sum,
            point.min,
            point.max,
            tuple(point.explicit_bounds),
            tuple(point.bucket_counts),
        )
    return (point.value,)


def _buckets(buckets: Any) -> tuple[int, list[int]]:
    """Without the empty buckets at the end, which its backing array has."""
    counts = list(buckets.bucket_counts)
    while counts and not counts[-1]:
        counts.pop()
    return (buckets.offset if counts else 0, counts)


class Oracle:
    """`opentelemetry-sdk`, set to delta as its OTLP exporter does."""

    def __init__(self, *, is_exponential: bool, preference: str) -> None:
        delta, cumulative = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
        self.reader = InMemoryMetricReader(
            preferred_temporality={
                Counter: cumulative if preference == "cumulative" else delta,
                Histogram: cumulative if preference == "cumulative" else delta,
                ObservableCounter: delta if preference == "delta" else cumulative,
            },
            preferred_aggregation={
                Histogram: ExponentialBucketHistogramAggregation()
                if is_exponential
                else ExplicitBucketHistogramAggregation()
            },
        )
        self.provider = MeterProvider(
            [self.reader], exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        self.meter = self.provider.get_meter("oracle")

    def seen(self) -> dict[str, list[tuple[Any, ...]]]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: sorted(
                (
                    (repr(sorted((point.attributes or {}).items())), *_theirs(point))
                    for point in metric.data.data_points
                ),
                key=lambda row: row[0],
            )
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.data.data_points
        }


magnitudes = (
    st.floats(1e-3, 1e6)
    | st.integers(0, 10_000)
    | st.integers(-30, 40).map(lambda exponent: 2.0**exponent)
)
attribute_sets = st.sampled_from([{}, {"tier": "gold"}, {"tier": "tin", "n": 1}])
rounds = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["counter", "up_down_counter", "histogram"]),
            magnitudes,
            attribute_sets,
        ),
        max_size=30,
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(rounds, st.sampled_from(["delta", "cumulative", "lowmemory"]))
def test_sums_and_explicit_histograms_are_those_of_the_oracle(
    rounds: list[list[tuple[str, float, dict[str, Any]]]], preference: str
) -> None:
    oracle = Oracle(is_exponential=False, preference=preference)
    theirs: dict[str, Callable[..., None]] = {
        "counter": oracle.meter.create_counter("counter").add,
        "up_down_counter": oracle.meter.create_up_down_counter("up_down_counter").add,
        "histogram": oracle.meter.create_histogram("histogram").record,
    }
    instruments, clock = made(preference=preference)
    for measurements in rounds:
        for kind, value, attributes in measurements:
            sign = -1 if kind == "up_down_counter" and value % 2 else 1
            theirs[kind](sign * value, attributes)
            instruments.instrument(kind, kind).record(sign * value, attributes)
        clock.advance(1)
        assert seen(instruments.collect()) == oracle.seen()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(magnitudes, attribute_sets), min_size=1, max_size=200))
def test_exponential_histograms_are_those_of_the_oracle_bucket_by_bucket(
    measurements: list[tuple[float, dict[str, Any]]],
) -> None:
    oracle = Oracle(is_exponential=True, preference="delta")
    instruments, _ = made(histogram="exponential")
    theirs = oracle.meter.create_histogram("histogram")
    ours = instruments.instrument("histogram", "histogram")
    for value, attributes in measurements:
        theirs.record(value, attributes)
        ours.record(value, attributes)
    assert seen(instruments.collect()) == oracle.seen()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 100), max_size=3), max_size=4))
def test_observable_counters_are_those_of_the_oracle(rounds: list[list[int]]) -> None:
    oracle = Oracle(is_exponential=False, preference="delta")
    instruments, _ = made()
    total, state = 0, {"observations": [0]}

    def observe() -> list[tuple[float, dict[str, Any]]]:
        return [(value, {}) for value in state["observations"]]

    def observe_theirs(_options: Any) -> list[Observation]:
        return [Observation(value, {}) for value in state["observations"]]

    oracle.meter.create_observable_counter("reads", [observe_theirs])
    oracle.meter.create_observable_gauge("level", [observe_theirs])
    instruments.instrument("observable_counter", "reads").observe(observe)
    instruments.instrument("observable_gauge", "level").observe(observe)
    for steps in rounds:
        total += sum(steps)
        state["observations"] = [total] if steps else []
        assert seen(instruments.collect()) == oracle.seen()


def test_an_observable_counter_reports_what_was_added_however_many_series_there_were() -> None:
    instruments, _ = made()
    observed: list[tuple[float, dict[str, Any]]] = []
    instruments.instrument("observable_counter", "bytes").observe(lambda: observed)
    for first in range(0, 3000, 1000):
        observed[:] = [(5, {"connection": first + number}) for number in range(1000)]
        instruments.collect()
    observed[:] = [(1_000_000, {"connection": "last"})]
    assert [only_point(instruments).value for _ in range(3)] == [1_000_000, 0, 0]


def test_the_overflow_of_an_observable_counter_is_what_its_series_were_increased_by() -> None:
    instruments, _ = made()
    state = {"value": 0}
    counter = instruments.instrument("observable_counter", "bytes")
    for kind in ("read", "written"):
        counter.observe(
            lambda kind=kind: [  # type: ignore[misc]
                (state["value"], {"connection": number, "kind": kind}) for number in range(1500)
            ]
        )
    totals = []
    for state["value"] in (10, 10, 13):
        (data,) = instruments.collect()
        points: list[Any] = list(data.points)
        totals.append(sum(point.value for point in points))
    assert totals == [10 * 3000, 0, 3 * 3000]


def test_a_new_interval_of_an_exponential_histogram_begins_at_the_finest_scale() -> None:
    instruments, _ = made(histogram="exponential")
    latency = instruments.instrument("histogram", "latency")
    latency.record(1e-3)
    latency.record(1e6)
    assert only_point(instruments).scale == 2
    latency.record(3.0)
    assert only_point(instruments).scale == 20


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_an_exponential_histogram_takes_any_finite_value_and_loses_none(
    values: list[float],
) -> None:
    histogram = ExponentialHistogram()
    for value in values:
        histogram.add(value, None)
    point = histogram.point({}, 1, 2)
    counted = point.zero_count + sum(point.positive_counts) + sum(point.negative_counts)
    assert counted == point.count == len(values)
    assert len(point.positive_counts) <= BUCKETS_MAX
    assert len(point.negative_counts) <= BUCKETS_MAX


@given(st.floats(1e-300, 1e300), st.integers(-10, 20))
def test_a_value_lies_in_its_bucket(value: float, scale: int) -> None:
    width = 2.0**-scale  # of a bucket, as a power of two
    index = bucket_index(value, scale)
    assert index * width - 1e-9 <= log2(value) <= (index + 1) * width + 1e-9


def test_a_kind_is_reported_with_its_temporality_and_its_interval() -> None:
    def taken(preference: str) -> dict[str, tuple[int, bool, int]]:
        instruments, clock = made(preference=preference)
        for kind in ("counter", "up_down_counter", "histogram", "gauge"):
            instruments.instrument(kind, kind).record(1)
        for kind in ("observable_counter", "observable_up_down_counter", "observable_gauge"):
            instruments.instrument(kind, kind).observe(lambda: [(2, None)])
        clock.advance(10)
        instruments.collect()
        clock.advance(10)
        for kind in ("counter", "up_down_counter", "histogram", "gauge"):
            instruments.instrument(kind, kind).record(1)
        return {
            data.name: (
                data.temporality,
                data.is_monotonic,
                (data.points[0].start_ns - START_NS) // 1_000_000,
            )
            for data in instruments.collect()
        }

    assert taken("delta") == {
        "counter": (DELTA, True, 10),
        "up_down_counter": (CUMULATIVE, False, 0),
        "histogram": (DELTA, False, 10),
        "gauge": (UNSPECIFIED, False, 10),
        "observable_counter": (DELTA, True, 10),
        "observable_up_down_counter": (CUMULATIVE, False, 0),
        "observable_gauge": (UNSPECIFIED, False, 10),
    }
    assert {name: kind[0] for name, kind in taken("lowmemory").items()} == {
        "counter": DELTA,
        "up_down_counter": CUMULATIVE,
        "histogram": DELTA,
        "gauge": UNSPECIFIED,
        "observable_counter": CUMULATIVE,
        "observable_up_down_counter": CUMULATIVE,
        "observable_gauge": UNSPECIFIED,
    }
    assert {kind[::2] for name, kind in taken("cumulative").items() if "gauge" not in name} == {
        (CUMULATIVE, 0)
    }


def test_a_delta_does_not_reach_back_over_the_time_the_environment_was_frozen() -> None:
    instruments, clock = made()
    orders = instruments.instrument("counter", "orders")
    orders.record(1)
    instruments.collect()
    clock.advance(600_000)  # frozen
    began_ns = clock.time_ns()
    orders.record(1)
    clock.advance(5)
    instruments.note_begin(began_ns)
    point = only_point(instruments)
    assert (point.start_ns, point.time_ns) == (began_ns, clock.time_ns())


def test_without_measurements_there_is_nothing_to_report() -> None:
    instruments, _ = made()
    instruments.instrument("counter", "orders")
    assert instruments.collect() == []


def test_a_measurement_of_another_moment_becomes_a_point_of_that_moment() -> None:
    instruments, _ = made()
    latency = instruments.instrument("histogram", "latency")
    latency.record(1.0, timestamp_ns=START_NS - 5)
    latency.record(2.0)
    (data,) = instruments.collect()
    assert [(point.start_ns - START_NS, point.time_ns - START_NS) for point in data.points] == [
        (-5, -5),
        (0, 0),
    ]


def test_an_instrument_asked_for_again_is_the_same_whatever_the_case_of_its_name() -> None:
    instruments, _ = made()
    first = instruments.instrument("counter", "Orders", "1")
    assert instruments.instrument("counter", "orders", "1") is first
    assert instruments.instrument("counter", "orders", "By") is not first
    assert instruments.instrument("gauge", "orders", "1") is not first


def test_the_boundaries_its_author_proposes_are_taken_when_they_ascend() -> None:
    instruments, _ = made()
    instruments.instrument("histogram", "a", advisory=[1, 2.5]).record(2)
    instruments.instrument("histogram", "b", advisory=[2.5, 1]).record(2)
    first, second = (data.points[0] for data in instruments.collect())
    assert getattr(first, "bounds", None) == (1.0, 2.5)
    assert getattr(first, "bucket_counts", None) == [0, 1, 0]
    assert len(getattr(second, "bounds", ())) == 15


def test_the_sum_of_a_histogram_with_negative_values_is_left_out() -> None:
    instruments, _ = made()
    change = instruments.instrument("histogram", "change")
    change.record(-2)
    change.record(5)
    point = only_point(instruments)
    assert (point.total, point.count, point.minimum, point.maximum) == (None, 2, -2, 5)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "1", None, [1], -1, 10**400])
def test_a_value_that_an_instrument_cannot_take_is_dropped_and_said(wrong: Any) -> None:
    said: list[str] = []
    instruments, _ = made(on_error=lambda name, _reason: said.append(name))
    instruments.instrument("counter", "orders").record(wrong)
    assert instruments.collect() == []
    assert (said, instruments.dropped) == (["metric orders"], 1)


def test_what_exceeds_the_cardinality_limit_is_counted_in_one_series(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SERIES_COUNT_MAX", 3)
    instruments, _ = made()
    orders = instruments.instrument("counter", "orders")
    for number in range(10):
        orders.record(1, {"customer": number})
    (data,) = instruments.collect()
    values = [(point.attributes, getattr(point, "value", None)) for point in data.points]
    assert values == [
        ({"customer": 0}, 1),
        ({"customer": 1}, 1),
        ({"otel.metric.overflow": True}, 8),
    ]


def test_series_are_told_apart_by_the_types_of_their_attributes_and_lists_are_fine() -> None:
    instruments, _ = made()
    orders = instruments.instrument("counter", "orders")
    for value in (1, True, 1.0, [1], [1]):
        orders.record(1, {"key": value})
    (data,) = instruments.collect()
    assert [getattr(point, "value", None) for point in data.points] == [1, 1, 1, 2]


def test_exemplars_are_the_last_measurements_of_each_bucket_in_a_sampled_span() -> None:
    def kept(exemplars: str) -> list[tuple[float, str]]:
        instruments, _ = made(exemplars=exemplars)
        latency = instruments.instrument("histogram", "latency")
        for value, context in ((1, SPAN), (2, SPAN), (60, UNSAMPLED), (800, SPAN), (900, None)):
            latency.record(value, None, context)
        return [
            (exemplar.value, exemplar.context.span_id if exemplar.context else "")
            for exemplar in only_point(instruments).exemplars
        ]

    assert kept("trace_based") == [(2, "2" * 16), (800, "2" * 16)]
    assert kept("always_on") == [(2, "2" * 16), (60, "4" * 16), (900, "")]
    assert kept("always_off") == []


def test_measurements_of_eight_threads_are_all_counted() -> None:
    instruments, _ = made()

    def measure(_thread: int) -> None:
        orders = instruments.instrument("counter", "orders")
        for _ in range(3000):
            orders.record(1, {"tier": "gold"})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(measure, range(8)))
    assert only_point(instruments).value == 24_000
    assert len(instruments) == 1


def test_a_forked_child_reports_nothing_of_its_parents() -> None:
    instruments, clock = made(preference="cumulative")
    orders = instruments.instrument("counter", "orders")
    orders.record(1)
    instruments.aggregate()
    orders.record(1)
    clock.advance(5)
    instruments.forget_parent()
    orders.record(1)
    point = only_point(instruments)
    assert (point.value, point.start_ns) == (1, START_NS + 5_000_000)


def test_a_callback_that_fails_or_never_ends_is_said_and_the_others_are_asked() -> None:
    said: list[str] = []
    instruments, clock = made(on_error=lambda name, reason: said.append(f"{name}: {reason}"))

    def endless() -> Iterable[tuple[float, None]]:
        while True:
            yield 1, None

    def slow() -> list[tuple[float, None]]:
        clock.advance(2000)
        return [(3, None)]

    instruments.instrument("observable_gauge", "a").observe(lambda: [(1 // 0, None)])
    instruments.instrument("observable_gauge", "b").observe(endless)
    instruments.instrument("observable_gauge", "c").observe(slow)
    instruments.instrument("observable_gauge", "d").observe(slow)
    assert [data.name for data in instruments.collect()] == ["b", "c"]
    assert said == [
        "metric a: integer division or modulo by zero",
        "metric b: over 2000 observations",
        "metric d: not observed: callbacks took over a second",
    ]


def test_a_callback_that_hangs_or_exits_keeps_nothing_from_being_collected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OBSERVATION_S_MAX", 0.05)
    said: list[str] = []
    instruments, _ = made(on_error=lambda name, reason: said.append(f"{name}: {reason}"))
    release = threading.Event()

    def leave() -> list[tuple[float, None]]:
        raise SystemExit(3)

    def hang() -> list[tuple[float, None]]:
        assert release.wait(20)
        return [(7, None)]

    instruments.instrument("observable_gauge", "a").observe(leave)
    instruments.instrument("observable_gauge", "b").observe(hang)
    orders = instruments.instrument("counter", "orders")
    for _ in range(2):
        orders.record(1)
        assert [data.name for data in instruments.collect()] == ["orders"]
    assert said == [
        "metric a: 3",
        "metric of callbacks: not observed: one has not returned after a second",
        "metric of callbacks: not observed: an earlier callback has not returned",
    ]
    release.set()
    while "b" not in [data.name for data in instruments.collect()]:
        pass


def test_where_values_are_kept_as_they_are_their_number_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DISTRIBUTION_COUNT_MAX", 2)
    said: list[str] = []
    instruments, _ = made(histogram="values", on_error=lambda name, _reason: said.append(name))
    latency = instruments.instrument("histogram", "latency")
    for value in (3, 1, 2):
        latency.record(value)
    assert only_point(instruments).values == [3, 1]
    assert said == ["metric latency"]


def test_what_must_not_leave_is_redacted_before_it_is_counted() -> None:
    instruments, _ = made(redact=lambda attributes: dict.fromkeys(attributes, "REDACTED"))
    orders = instruments.instrument("counter", "orders")
    orders.record(1, {"token": "x"})
    orders.record(1, {"token": "y"})
    point = only_point(instruments)
    assert (point.attributes, point.value) == ({"token": "REDACTED"}, 2)

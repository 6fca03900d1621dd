from __future__ import annotations

import json
import math
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import botocore.session
import pytest
from aws_lambda_powertools.metrics import MetricResolution, MetricUnit
from aws_lambda_powertools.metrics import Metrics as PowertoolsMetrics
from hypothesis import given, settings
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.errors import MetricError
from lambdatrace.metrics import PENDING_COUNT_MAX, UNITS, MetricRecorder
from lambdatrace.testing import START_NS, LambdaContext, SettableClock, recording
from lambdatrace.wire.emf import encode_metrics
from tests.sdk.embedded_metric_rules import samples

START_MS = START_NS // 1_000_000
NOW = datetime.fromtimestamp(START_NS // 1_000_000_000, timezone.utc)


def refuse(name: str, error: Exception) -> None:
    raise error


def made(on_error: Any = refuse, **default_dimensions: str) -> MetricRecorder:
    return MetricRecorder(SettableClock(), "shop", default_dimensions, on_error=on_error)


GOOD: dict[str, Any] = {
    "name": "Orders",
    "value": 1,
    "unit": "Count",
    "dimensions": {"tier": "gold"},
    "resolution_s": 60,
}


def test_a_metric_is_kept_with_the_default_dimensions_in_order_of_name() -> None:
    recorder = made(service="orders")
    recorder.record(**{**GOOD, "dimensions": {"tier": "gold", "area": 7}})
    (metric,) = recorder.take()
    assert (metric.name, metric.values, metric.unit, metric.resolution_s, metric.namespace) == (
        "Orders",
        [1.0],
        "Count",
        60,
        "shop",
    )
    assert metric.dimension_sets == ((("area", "7"), ("service", "orders"), ("tier", "gold")),)
    assert len(recorder) == 0


def test_several_mappings_are_several_dimension_sets_and_the_same_set_counts_once() -> None:
    recorder = made(service="orders")
    recorder.record("A", 1, dimensions=[{"tier": "gold", "city": "Bern"}, {}, {"tier": "gold"}, {}])
    (metric,) = recorder.take()
    assert metric.dimension_sets == (
        (("city", "Bern"), ("service", "orders"), ("tier", "gold")),
        (("service", "orders"),),
        (("service", "orders"), ("tier", "gold")),
    )


def test_sets_with_different_values_of_one_name_become_metrics_of_their_own() -> None:
    recorder = made()
    recorder.record("A", 1, dimensions=[{"tier": "gold"}, {"tier": "all"}, {}])
    assert [metric.dimension_sets for metric in recorder.take()] == [
        ((("tier", "gold"),), ()),
        ((("tier", "all"),),),
    ]


def test_a_given_dimension_goes_before_the_default_of_its_name() -> None:
    recorder = made(service="orders")
    recorder.record("A", 1, dimensions={"service": "other"})
    (metric,) = recorder.take()
    assert metric.dimension_sets == ((("service", "other"),),)


def test_a_default_dimension_that_cloudwatch_would_refuse_is_left_out_and_said() -> None:
    errors: list[str] = []
    recorder = made(lambda _, error: errors.append(str(error)), service="Größe", stage="test")
    recorder.record("A", 1)
    (metric,) = recorder.take()
    assert metric.dimension_sets == ((("stage", "test"),),)
    assert errors == [
        (
            "the default dimension 'service'='Größe' is left out: expected printable ASCII, a name "
            "of 1 to 255 characters, not the metric's, no leading colon, a value of 1 to 1024"
        )
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": "n" * 256},
        {"name": "a\nb"},
        {"name": "\ud800"},
        {"name": 7},
        {"name": "service"},
        {"name": "_aws"},
        {"name": "tier"},
        {"value": math.nan},
        {"value": math.inf},
        {"value": 2.0**361},
        {"value": 10**5000},
        {"value": True},
        {"value": "1"},
        {"value": b"1"},
        {"value": None},
        {"value": 1j},
        {"value": Decimal("NaN")},
        {"value": {"a": 1}},
        {"value": [math.nan]},
        {"unit": "Stones"},
        {"unit": ["Count"]},
        {"resolution_s": 30},
        {"resolution_s": "60"},
        {"dimensions": {"": "x"}},
        {"dimensions": {":a": "x"}},
        {"dimensions": {"_aws": "x"}},
        {"dimensions": {"a": ""}},
        {"dimensions": {"a": " "}},
        {"dimensions": {"a": "x" * 1025}},
        {"dimensions": {"a": "grün"}},
        {"dimensions": {"a": "x\n"}},
        {"dimensions": {"a\x00": "x"}},
        {"dimensions": {7: "x"}},
        {"dimensions": {f"d{n}": "x" for n in range(30)}},
        {"dimensions": [{f"d{n}": "x" * 1000} for n in range(100)]},
        {"namespace": ""},
        {"namespace": "AWS/Lambda"},
        {"namespace": "a" * 256},
        {"namespace": "Größe"},
        {"namespace": 7},
        {"timestamp": START_MS - 14 * 24 * 3600 * 1000 - 1},
        {"timestamp": START_MS + 2 * 3600 * 1000 + 1},
        {"timestamp": "now"},
        {"timestamp": math.nan},
        {"timestamp": math.inf},
        {"timestamp": NOW - timedelta(days=15)},
    ],
)
def test_what_cloudwatch_would_refuse_is_refused_and_named(wrong: dict[str, Any]) -> None:
    errors: list[Exception] = []
    recorder = made(lambda _name, error: errors.append(error), service="orders")
    recorder.record(**GOOD)
    recorder.record(**{**GOOD, **wrong})
    assert [metric.name for metric in recorder.take()] == ["Orders"]
    assert [type(error) for error in errors] == [MetricError]
    assert recorder.dropped == 1


class Float:
    """As NumPy's are: no float, but with a value as one."""

    def __float__(self) -> float:
        return 2.5


def test_anything_with_a_value_as_a_float_is_a_value() -> None:
    recorder = made()
    for value in (2, 2.5, Decimal("2.5"), Float(), 1 << 300):
        recorder.record("A", value)
    assert [metric.values for metric in recorder.take()] == [
        [2.0],
        [2.5],
        [2.5],
        [2.5],
        [2.0**300],
    ]


def test_each_value_of_a_sequence_is_recorded_and_a_wrong_one_is_dropped_alone() -> None:
    errors: list[Exception] = []
    recorder = made(lambda _name, error: errors.append(error))
    latencies = [1, 2.5, None, Decimal(3)]
    recorder.record("A", latencies)
    latencies.clear()
    recorder.record("B", (n for n in range(250)))
    taken = recorder.take()
    assert [(metric.name, len(metric.values)) for metric in taken] == [
        ("A", 3),
        ("B", 100),
        ("B", 100),
        ("B", 50),
    ]
    assert taken[0].values == [1.0, 2.5, 3.0]
    assert recorder.dropped == len(errors) == 1


def test_an_endless_sequence_ends_where_too_many_wait() -> None:
    recorder = made()
    with pytest.raises(MetricError, match="10000 wait"):
        recorder.record("A", iter(lambda: 1, 2))
    assert len(recorder) == PENDING_COUNT_MAX


def test_a_timestamp_is_a_datetime_or_milliseconds_and_by_default_when_it_was_recorded() -> None:
    recorder = made()
    recorder.record("A", 1)
    recorder.record("A", 1, timestamp=NOW - timedelta(seconds=1))
    recorder.record("A", 1, timestamp=START_MS + 5)
    assert [(metric.time_ns - START_NS, metric.has_own_time) for metric in recorder.take()] == [
        (0, False),
        (-1_000_000_000, True),
        (5_000_000, True),
    ]


def test_the_enums_of_other_libraries_are_understood() -> None:
    recorder = made()
    recorder.record("A", 1, MetricUnit.Milliseconds, None, MetricResolution.High)
    (metric,) = recorder.take()
    assert (metric.unit, metric.resolution_s) == ("Milliseconds", 1)


def test_the_number_of_waiting_metrics_is_bounded() -> None:
    recorder = made()
    for _ in range(PENDING_COUNT_MAX):
        recorder.record(**GOOD)
    with pytest.raises(MetricError, match="10000 wait"):
        recorder.record(**GOOD)
    assert recorder.dropped == 1
    assert len(recorder.take()) == PENDING_COUNT_MAX


def test_metrics_of_eight_threads_are_all_kept() -> None:
    recorder = made()

    def record(thread: int) -> None:
        for _ in range(1000):
            recorder.record("A", thread)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(record, range(8)))
    assert Counter(metric.values[0] for metric in recorder.take()) == dict.fromkeys(range(8), 1000)


def test_what_was_taken_is_kept_when_another_thread_takes_the_last_in_this_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class EmptiedMeanwhile(deque[Any]):
        def __bool__(self) -> bool:
            return True  # as if it was asked before the other thread took the last

    recorder = made()
    recorder.record("Orders", 1)
    monkeypatch.setattr(recorder, "_pending", EmptiedMeanwhile(recorder._pending))
    assert [metric.name for metric in recorder.take()] == ["Orders"]


def test_the_units_are_cloudwatchs() -> None:
    model = botocore.session.get_session().get_service_model("cloudwatch")
    assert set(model.shape_for("StandardUnit").enum) == UNITS


def test_an_invocation_writes_its_metrics_with_the_settings_dimensions() -> None:
    environment = {"LAMBDATRACE_METRICS_DIMENSIONS": "stage=test,service="}
    with recording(environment) as recorded:

        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> None:
            lambdatrace.metric("Orders", [1, 2], unit="Count", properties={"order.id": 7})

        handler({}, LambdaContext(aws_request_id="r"))
    (document,) = recorded.metric_documents
    assert document == {
        "traceId": recorded.span("orders").trace_id,
        "requestId": "r",
        "order.id": 7,
        "stage": "test",
        "Orders": [1.0, 2.0],
        "_aws": {
            "Timestamp": START_MS,
            "CloudWatchMetrics": [
                {
                    "Namespace": "lambdatrace",
                    "Dimensions": [["stage"]],
                    "Metrics": [{"Name": "Orders", "Unit": "Count"}],
                }
            ],
        },
    }


def test_what_must_not_leave_does_not_leave_as_a_property_or_dimension() -> None:
    with recording() as recorded:
        lambdatrace.metric(
            "A", 1, dimensions={"token": "x"}, properties={"user": {"password": "y"}}
        )
        lambdatrace.flush()
    (document,) = recorded.metric_documents
    assert (document["token"], document["user"]) == ("REDACTED", {"password": "REDACTED"})


def test_what_the_parent_recorded_is_not_written_by_a_forked_child() -> None:
    with recording() as recorded:
        lambdatrace.metric("A", 1)
        recorded.telemetry.forget_parent()
        lambdatrace.metric("B", 1)
        lambdatrace.flush()
    assert ["A" in document for document in recorded.metric_documents] == [False]


names = st.text(max_size=5) | st.sampled_from(["Orders", "tier", "service", "_aws", "n" * 300])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | names
    | st.binary(max_size=3)
    | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | st.integers(), inner, max_size=4)
    ),
    max_leaves=6,
)
metric_calls = st.fixed_dictionaries(
    {"name": names | anything, "value": st.floats() | st.lists(st.integers()) | anything},
    optional={
        "unit": st.sampled_from(sorted(UNITS)) | anything,
        "dimensions": st.dictionaries(names, names, max_size=3)
        | st.lists(st.dictionaries(names, names, max_size=3), max_size=3)
        | anything,
        "resolution": st.sampled_from([1, 60]) | anything,
        "timestamp": st.integers(START_MS - 10**9, START_MS + 10**6) | st.datetimes() | anything,
        "properties": st.dictionaries(names, anything, max_size=4) | anything,
        "namespace": st.just("shop/x") | anything,
    },
)


@settings(max_examples=200, deadline=None)
@given(st.lists(metric_calls, max_size=8))
def test_whatever_is_recorded_only_valid_documents_are_written(calls: list[dict[str, Any]]) -> None:
    errors: list[str] = []
    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        recorded.telemetry.guard._write = errors.append
        for call in calls:
            lambdatrace.metric(**call)
        lambdatrace.flush()
    for line in recorded.stdout.splitlines():
        assert samples(line, START_MS)


good_calls = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["A", "B", "Größe"]),
        "value": st.floats(-1e9, 1e9) | st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=130),
        "unit": st.sampled_from(["Count", "Bytes"]),
        "dimensions": st.sampled_from([{}, {"tier": "gold"}, {"tier": "tin"}]),
        "resolution_s": st.sampled_from([1, 60]),
        "properties": st.sampled_from([None, {"order": 1}, {"A": 1}]),
    }
)


@settings(max_examples=100, deadline=None)
@given(st.lists(good_calls, max_size=40))
def test_every_good_value_is_in_exactly_one_document(calls: list[dict[str, Any]]) -> None:
    recorder = made(service="orders")
    expected: Counter[Any] = Counter()
    for call in calls:
        recorder.record(**call)
        given_values = call["value"] if isinstance(call["value"], list) else [call["value"]]
        dimensions = tuple(sorted({"service": "orders", **call["dimensions"]}.items()))
        for value in given_values:
            expected[call["name"], call["unit"], call["resolution_s"], dimensions, value] += 1
    found: Counter[Any] = Counter()
    for line in encode_metrics(recorder.take(), {"requestId": "r"}, lambda _place, _reason: None):
        for _, dimensions, name, unit, resolution_s, _, values in samples(line, START_MS):
            for value in values:
                found[name, unit, resolution_s, dimensions, value] += 1
    assert found == expected


def test_the_same_calls_give_what_powertools_gives() -> None:
    theirs = PowertoolsMetrics(namespace="shop", service="orders")
    recorder = made(service="orders")
    theirs.add_dimension("tier", "gold")
    theirs.add_metadata("order", {"id": 7})
    with pytest.warns(UserWarning, match="timestamp"):  # our clock stands in the past
        theirs.set_timestamp(START_MS - 5)
    for name, unit, resolution, value in (
        ("Placed", MetricUnit.Count, MetricResolution.Standard, 1),
        ("Latency", MetricUnit.Milliseconds, MetricResolution.High, 2.5),
        ("Latency", MetricUnit.Milliseconds, MetricResolution.High, 3),
    ):
        theirs.add_metric(name, unit, value, resolution)
        recorder.record(
            name, value, unit, {"tier": "gold"}, resolution, START_MS - 5, {"order": {"id": 7}}
        )
    document = json.loads(json.dumps(theirs.serialize_metric_set()))
    theirs.clear_metrics()
    (ours,) = map(json.loads, encode_metrics(recorder.take(), {}, refuse_property))
    metadata, their_metadata = ours.pop("_aws"), document.pop("_aws")
    # One value may stand alone or in an array; the order of dimensions has no meaning.
    assert {**ours, "Placed": [ours["Placed"]]} == document
    assert metadata["Timestamp"] == their_metadata["Timestamp"]
    (directive,), (their_directive,) = (
        metadata["CloudWatchMetrics"],
        their_metadata["CloudWatchMetrics"],
    )
    assert directive["Metrics"] == their_directive["Metrics"]
    assert sorted(directive["Dimensions"][0]) == sorted(their_directive["Dimensions"][0])


def refuse_property(place: str, reason: str) -> None:
    raise AssertionError(f"{place}: {reason}")

"""The oracle is `opentelemetry-proto`: what we write by hand, its generated classes must read."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1 import metrics_pb2

from lambdatrace.instruments import Instruments
from lambdatrace.metric_points import (
    CUMULATIVE,
    DELTA,
    DistributionPoint,
    Exemplar,
    ExponentialPoint,
    HistogramPoint,
    MetricData,
    NumberPoint,
    Point,
)
from lambdatrace.records import Scope, SpanContext
from lambdatrace.testing import SettableClock
from lambdatrace.wire import otlp_metrics_json
from lambdatrace.wire.otlp_metrics import encode_metric, metric_encoder

SCOPE = Scope("shop", "1.2", schema_url="https://example.com/schema")
EXEMPLAR = Exemplar(1.5, 7, SpanContext("1" * 32, "2" * 16))


def refuse(place: str, error: Any) -> None:
    raise AssertionError(f"{place}: {error}")


def number(value: float) -> NumberPoint:
    point = NumberPoint({"tier": "gold"}, 5, 9, [Exemplar(1, 7, None)])
    point.value = value
    return point


def histogram() -> HistogramPoint:
    point = HistogramPoint({"tier": "gold"}, 5, 9, [EXEMPLAR])
    point.bounds, point.bucket_counts = (1.0, 2.0), [1, 0, 300]
    point.count, point.total, point.minimum, point.maximum = 301, 900.5, 0.5, 3.0
    return point


def exponential() -> ExponentialPoint:
    point = ExponentialPoint({"tier": "gold"}, 5, 9, [EXEMPLAR])
    point.count, point.total, point.minimum, point.maximum = 4, 1.5, -2.0, 3.0
    point.scale, point.zero_count = -2, 1
    point.positive_offset, point.positive_counts = -3, [1, 300]
    point.negative_offset, point.negative_counts = 2, [1]
    return point


def decoded(point: Point, **facts: Any) -> dict[str, Any]:
    message = metrics_pb2.Metric()
    data = MetricData("orders", [point], scope=SCOPE, unit="1", description="Orders", **facts)
    message.ParseFromString(encode_metric(data))
    found: dict[str, Any] = MessageToDict(message)
    assert (found.pop("name"), found.pop("unit"), found.pop("description")) == (
        "orders",
        "1",
        "Orders",
    )
    return found


COMMON = {
    "attributes": [{"key": "tier", "value": {"stringValue": "gold"}}],
    "startTimeUnixNano": "5",
    "timeUnixNano": "9",
}
EXEMPLARS = [
    {
        "timeUnixNano": "7",
        "asDouble": 1.5,
        "spanId": "IiIiIiIiIiI=",
        "traceId": "EREREREREREREREREREREQ==",
    }
]


def test_a_sum_of_integers_and_a_gauge_are_read_back() -> None:
    plain = {"exemplars": [{"timeUnixNano": "7", "asInt": "1"}]}
    assert decoded(number(3), temporality=DELTA, is_monotonic=True) == {
        "sum": {
            "dataPoints": [{**COMMON, **plain, "asInt": "3"}],
            "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA",
            "isMonotonic": True,
        }
    }
    assert decoded(number(0.5)) == {"gauge": {"dataPoints": [{**COMMON, **plain, "asDouble": 0.5}]}}
    assert decoded(number(1 << 64))["gauge"]["dataPoints"][0]["asDouble"] == 2.0**64


def test_an_explicit_histogram_is_read_back() -> None:
    assert decoded(histogram(), temporality=DELTA) == {
        "histogram": {
            "dataPoints": [
                {
                    **COMMON,
                    "exemplars": EXEMPLARS,
                    "count": "301",
                    "sum": 900.5,
                    "bucketCounts": ["1", "0", "300"],
                    "explicitBounds": [1.0, 2.0],
                    "min": 0.5,
                    "max": 3.0,
                }
            ],
            "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA",
        }
    }


def test_an_exponential_histogram_is_read_back() -> None:
    assert decoded(exponential(), temporality=CUMULATIVE) == {
        "exponentialHistogram": {
            "dataPoints": [
                {
                    **COMMON,
                    "exemplars": EXEMPLARS,
                    "count": "4",
                    "sum": 1.5,
                    "scale": -2,
                    "zeroCount": "1",
                    "positive": {"offset": -3, "bucketCounts": ["1", "300"]},
                    "negative": {"offset": 2, "bucketCounts": ["1"]},
                    "min": -2.0,
                    "max": 3.0,
                }
            ],
            "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
        }
    }


@pytest.mark.parametrize("kind", ["explicit", "exponential"])
def test_a_histogram_with_a_negative_value_has_no_sum(kind: str) -> None:
    instruments = Instruments(SettableClock(), lambda _name, _reason: None, histogram=kind)
    for value in (-2.0, 3.0):
        instruments.instrument("histogram", "h", scope=SCOPE).record(value)
    (read,) = (data := instruments.collect())
    message = metrics_pb2.Metric()
    message.ParseFromString(encode_metric(read))
    points = message.histogram.data_points or message.exponential_histogram.data_points
    assert [(point.count, point.HasField("sum")) for point in points] == [(2, False)]
    request = from_json(otlp_metrics_json.metric_encoder, data)
    assert request.resource_metrics[0].scope_metrics[0].metrics[0] == message


@pytest.mark.parametrize(
    ("message", "unwritten"),
    [
        (metrics_pb2.NumberDataPoint, {"flags"}),
        (metrics_pb2.HistogramDataPoint, {"flags"}),
        (metrics_pb2.ExponentialHistogramDataPoint, {"flags", "zero_threshold"}),
        (metrics_pb2.Exemplar, {"filtered_attributes"}),
        (metrics_pb2.Metric, {"metadata", "summary"}),
    ],
)
def test_the_oracle_knows_no_other_field_that_we_leave_out(
    message: Any, unwritten: set[str]
) -> None:
    written = {
        metrics_pb2.NumberDataPoint: {
            *("attributes", "start_time_unix_nano", "time_unix_nano", "as_double", "as_int"),
            "exemplars",
        },
        metrics_pb2.HistogramDataPoint: {
            *("attributes", "start_time_unix_nano", "time_unix_nano", "count", "sum"),
            *("bucket_counts", "explicit_bounds", "exemplars", "min", "max"),
        },
        metrics_pb2.ExponentialHistogramDataPoint: {
            *("attributes", "start_time_unix_nano", "time_unix_nano", "count", "sum", "scale"),
            *("zero_count", "positive", "negative", "exemplars", "min", "max"),
        },
        metrics_pb2.Exemplar: {"time_unix_nano", "as_double", "as_int", "span_id", "trace_id"},
        metrics_pb2.Metric: {
            *("name", "description", "unit", "gauge", "sum", "histogram"),
            "exponential_histogram",
        },
    }[message]
    assert set(message.DESCRIPTOR.fields_by_name) == written | unwritten


measurements = st.lists(
    st.tuples(
        st.sampled_from(["counter", "up_down_counter", "histogram", "gauge"]),
        st.floats(-1e300, 1e300) | st.integers(-(1 << 63), (1 << 63) - 1),
        st.dictionaries(st.sampled_from("ab"), st.text("xyz") | st.integers(0, 9), max_size=2),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(measurements, st.sampled_from(["explicit", "exponential"]))
def test_whatever_the_instruments_collect_is_read_back_exactly(
    measurements: list[tuple[str, float, dict[str, Any]]], kind: str
) -> None:
    instruments = Instruments(SettableClock(), lambda _name, _reason: None, histogram=kind)
    for name, value, attributes in measurements:
        instruments.instrument(name, name, scope=SCOPE).record(value, attributes, EXEMPLAR.context)
    collected = instruments.collect()
    request = ExportMetricsServiceRequest()
    body, failed = metric_encoder({"service.name": "orders"}, refuse).encode(collected)
    request.ParseFromString(body)
    assert failed == 0
    read = [
        metric
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert [described(metric) for metric in read] == [expected(data) for data in collected]
    assert from_json(otlp_metrics_json.metric_encoder, collected) == request


def from_json(make: Any, records: list[MetricData]) -> ExportMetricsServiceRequest:
    """The request that the JSON says, whose ids are hex where ProtoJSON has base64."""
    body, failed = make({"service.name": "orders"}, refuse).encode(records)
    assert failed == 0

    def as_base64(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            key: b64encode(bytes.fromhex(value)).decode() if key in {"spanId", "traceId"} else value
            for key, value in pairs
        }

    document = json.loads(body, object_pairs_hook=as_base64)
    return ParseDict(document, ExportMetricsServiceRequest())


def described(metric: metrics_pb2.Metric) -> Any:
    kind = metric.WhichOneof("data")
    assert kind is not None
    data = getattr(metric, kind)
    rows = []
    for point in data.data_points:
        row: dict[str, Any] = {
            "attributes": {pair.key: value_of(pair.value) for pair in point.attributes},
            "times": (point.start_time_unix_nano, point.time_unix_nano),
            "exemplars": [value_of(exemplar) for exemplar in point.exemplars],
        }
        if kind in {"sum", "gauge"}:
            row["value"] = value_of(point)
        else:
            row |= {"count": point.count, "min": point.min, "max": point.max}
            row["sum"] = point.sum if point.HasField("sum") else None
        if kind == "histogram":
            row["buckets"] = (list(point.explicit_bounds), list(point.bucket_counts))
        if kind == "exponential_histogram":
            row["buckets"] = (
                *(point.scale, point.zero_count),
                *(point.positive.offset, list(point.positive.bucket_counts)),
                *(point.negative.offset, list(point.negative.bucket_counts)),
            )
        rows.append(row)
    temporality = getattr(data, "aggregation_temporality", 0)
    return metric.name, kind, temporality, getattr(data, "is_monotonic", False), rows


def value_of(message: Any) -> Any:
    return getattr(message, message.WhichOneof("value"))


def expected(data: MetricData) -> Any:
    rows = []
    kind = ""
    for given_point in data.points:
        point: Any = given_point
        row: dict[str, Any] = {
            "attributes": point.attributes,
            "times": (point.start_ns, point.time_ns),
            "exemplars": [exemplar.value for exemplar in point.exemplars],
        }
        if isinstance(point, NumberPoint):
            kind = "sum" if data.temporality else "gauge"
            is_large = isinstance(point.value, int) and abs(point.value) >= 1 << 63
            row["value"] = float(point.value) if is_large else point.value
        else:
            # Doubles in OTLP: an integer beyond 2**53 is the nearest of them.
            row |= {"count": point.count, "min": float(point.minimum), "max": float(point.maximum)}
            row["sum"] = None if point.total is None else float(point.total)
        if isinstance(point, HistogramPoint):
            kind = "histogram"
            row["buckets"] = (list(point.bounds), point.bucket_counts)
        if isinstance(point, ExponentialPoint):
            kind = "exponential_histogram"
            row["buckets"] = (
                *(point.scale, point.zero_count),
                *(point.positive_offset, point.positive_counts),
                *(point.negative_offset, point.negative_counts),
            )
        rows.append(row)
    return data.name, kind, data.temporality, data.is_monotonic, rows


def test_a_request_has_the_resource_and_each_scope_with_its_metrics() -> None:
    other = Scope("other")
    records = [
        MetricData("a", [number(1)], scope=SCOPE),
        MetricData("b", [number(1)], scope=other),
        MetricData("c", [number(1)], scope=SCOPE),
    ]
    body, failed = metric_encoder({"service.name": "orders"}, refuse).encode(records)
    request = ExportMetricsServiceRequest()
    request.ParseFromString(body)
    (resource,) = request.resource_metrics
    assert failed == 0
    assert [pair.key for pair in resource.resource.attributes] == ["service.name"]
    assert [
        (scope.scope.name, scope.scope.version, scope.schema_url, [m.name for m in scope.metrics])
        for scope in resource.scope_metrics
    ] == [("shop", "1.2", SCOPE.schema_url, ["a", "c"]), ("other", "", "", ["b"])]


def test_a_metric_otlp_cannot_carry_is_left_out_and_said() -> None:
    said: list[str] = []
    point = DistributionPoint({}, 5, 9)
    point.values = [1.0]
    records = [MetricData("a", [point], scope=SCOPE), MetricData("b", [number(1)], scope=SCOPE)]
    for make in (metric_encoder, otlp_metrics_json.metric_encoder):
        encoder = make({}, lambda place, error: said.append(f"{place}: {error}"))
        assert encoder.encode(records)[1] == 1
    assert said == ["a record cannot be encoded: OTLP has no DistributionPoint"] * 2


def test_json_says_the_same() -> None:
    records = [
        MetricData("sum", [number(-3)], scope=SCOPE, temporality=DELTA, is_monotonic=True),
        MetricData("gauge", [number(0)], scope=Scope("other"), unit="s", description="text"),
        MetricData("explicit", [histogram()], scope=SCOPE, temporality=DELTA),
        MetricData("exponential", [exponential()], scope=SCOPE, temporality=CUMULATIVE),
    ]
    body, _ = metric_encoder({"service.name": "orders"}, refuse).encode(records)
    request = ExportMetricsServiceRequest.FromString(body)
    assert from_json(otlp_metrics_json.metric_encoder, records) == request

"""OTLP metrics: whole in the store, and samples of CloudWatch's."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality as SdkTemporality
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from lambdatrace_collector.otlp.metrics import namespace
from tests.collector.test_otlp_traces import (
    INT32,
    PROTOBUF,
    TEXT,
    UINT32,
    UINT64,
    VALUES,
    key_values,
    otlp_json,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

DAY_NS = 24 * 3600 * 10**9
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
NUMBERS = st.floats(allow_nan=False)
OPTIONAL_NUMBERS = st.one_of(st.none(), NUMBERS)


def value_of(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["as_double", "as_int", "none"]))
    if kind == "none":
        return {}
    numbers: Any = NUMBERS if kind == "as_double" else st.integers(-(2**63), 2**63 - 1)
    return {kind: draw(numbers)}


@st.composite
def exemplars(draw: st.DrawFn) -> Exemplar:
    return Exemplar(
        filtered_attributes=draw(key_values(VALUES)),
        time_unix_nano=draw(UINT64),
        span_id=draw(st.binary(max_size=8)),
        trace_id=draw(st.binary(max_size=16)),
        **value_of(draw),
    )


def common(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "attributes": draw(key_values(VALUES)),
        "start_time_unix_nano": draw(UINT64),
        "time_unix_nano": time.time_ns() + draw(st.integers(-DAY_NS, 0)),
        "flags": draw(UINT32),
    }


def optional(draw: st.DrawFn) -> dict[str, Any]:
    found = {name: draw(OPTIONAL_NUMBERS) for name in ("sum", "min", "max")}
    return {name: value for name, value in found.items() if value is not None}


def buckets(draw: st.DrawFn) -> ExponentialHistogramDataPoint.Buckets:
    return ExponentialHistogramDataPoint.Buckets(
        offset=draw(INT32), bucket_counts=draw(st.lists(UINT64, max_size=4))
    )


@st.composite
def points(draw: st.DrawFn, kind: str) -> Any:
    """A data point of a kind that uses all its fields."""
    some_exemplars = draw(st.lists(exemplars(), max_size=2))
    if kind in ("gauge", "sum"):
        return NumberDataPoint(**common(draw), exemplars=some_exemplars, **value_of(draw))
    if kind == "summary":
        quantiles = [
            SummaryDataPoint.ValueAtQuantile(quantile=draw(NUMBERS), value=draw(NUMBERS))
            for _ in range(draw(st.integers(0, 2)))
        ]
        return SummaryDataPoint(
            **common(draw), count=draw(UINT64), sum=draw(NUMBERS), quantile_values=quantiles
        )
    if kind == "histogram":
        return HistogramDataPoint(
            **common(draw),
            **optional(draw),
            count=draw(UINT64),
            bucket_counts=draw(st.lists(UINT64, max_size=4)),
            explicit_bounds=draw(st.lists(NUMBERS, max_size=4)),
            exemplars=some_exemplars,
        )
    return ExponentialHistogramDataPoint(
        **common(draw),
        **optional(draw),
        count=draw(UINT64),
        scale=draw(INT32),
        zero_count=draw(UINT64),
        zero_threshold=draw(NUMBERS),
        positive=buckets(draw),
        negative=buckets(draw),
        exemplars=some_exemplars,
    )


KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


@st.composite
def requests(draw: st.DrawFn) -> ExportMetricsServiceRequest:
    """A request that uses every field of OTLP's metrics, in a namespace of its own."""
    request = ExportMetricsServiceRequest()
    service = f"test-{uuid.uuid4().hex}"
    for _ in range(draw(st.integers(1, 2))):
        resource_metrics = request.resource_metrics.add(schema_url=draw(TEXT))
        resource_metrics.resource.attributes.add(key="service.name").value.string_value = service
        scope_metrics = resource_metrics.scope_metrics.add(schema_url=draw(TEXT))
        scope_metrics.scope.name = draw(TEXT)
        scope_metrics.scope.attributes.extend(draw(key_values(VALUES)))
        for number, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=3))):
            metric = scope_metrics.metrics.add(
                name=f"{number}{draw(TEXT)}", description=draw(TEXT), unit=draw(TEXT)
            )
            metric.metadata.extend(draw(key_values(VALUES)))
            data = getattr(metric, kind)
            data.data_points.append(draw(points(kind)))
            if kind not in ("gauge", "summary"):
                data.aggregation_temporality = draw(INT32)
            if kind == "sum":
                data.is_monotonic = draw(st.booleans())
    return request


def flattened(resource_metrics: list[dict[str, Any]]) -> list[str]:
    """Each point with its metric, resource and scope as one text; empty messages are absent."""
    rows = []
    for resource_entry in resource_metrics:
        for scope_entry in resource_entry.get("scopeMetrics", []):
            for metric in scope_entry.get("metrics", []):
                (kind,) = {*metric} - {"name", "description", "unit", "metadata"}
                for point in metric[kind]["dataPoints"]:
                    row = {
                        "resource": resource_entry.get("resource") or None,
                        "resourceSchemaUrl": resource_entry.get("schemaUrl"),
                        "scope": scope_entry.get("scope") or None,
                        "scopeSchemaUrl": scope_entry.get("schemaUrl"),
                        "metric": {**metric, kind: {**metric[kind], "dataPoints": None}},
                        "point": {name: value for name, value in point.items() if value != {}},
                    }
                    rows.append(json.dumps(row, sort_keys=True))
    return sorted(rows)


def stored(collector: Collector, parameters: str) -> list[dict[str, Any]]:
    answer = collector.get(f"/_lambdatrace/metrics?{parameters}")
    assert answer.status == 200, answer
    return cast("list[dict[str, Any]]", json.loads(answer.body)["resourceMetrics"])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_data_points_come_back_as_they_were_sent(
    collector: Collector, request: ExportMetricsServiceRequest
) -> None:
    for _ in range(2):  # what is sent again settles to one copy
        answer = collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)
        assert (answer.status, answer.body) == (200, b"")

    own = namespace(request.resource_metrics[0].resource.attributes)
    expected = flattened(otlp_json(cast("Any", request))["resourceMetrics"])
    assert expected == flattened(stored(collector, f"namespace={own}"))


def test_negative_zeros_come_back_as_such(collector: Collector, unique: str) -> None:
    request, metrics = metrics_of(unique)
    now_ns = time.time_ns()
    point = metrics.add(name="s").summary.data_points.add(time_unix_nano=now_ns, count=1, sum=-0.0)
    point.quantile_values.add(quantile=-0.0, value=0.0)
    collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)

    (scope,) = stored(collector, f"namespace={unique}")[0]["scopeMetrics"]
    expected = {"timeUnixNano": str(now_ns), "count": "1", "sum": -0.0}
    expected["quantileValues"] = [{"quantile": -0.0}]
    # As text, in which they differ from zero.
    assert repr([expected]) == repr(scope["metrics"][0]["summary"]["dataPoints"])


def metrics_of(service: str) -> tuple[ExportMetricsServiceRequest, Any]:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.add(key="service.name").value.string_value = service
    return request, resource_metrics.scope_metrics.add().metrics


def statistics(
    collector: Collector, service: str, name: str, *stats: str, **dimensions: str
) -> list[float]:
    """The metric's only value of each statistic in the last hours."""
    client = collector.client("cloudwatch", "us-east-1")
    pairs = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    metric = {"Namespace": service, "MetricName": name, "Dimensions": pairs}
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    answer = client.get_metric_data(
        MetricDataQueries=[
            {
                "Id": f"m{number}",
                "MetricStat": {"Metric": metric, "Period": 86400, "Stat": stat},
            }
            for number, stat in enumerate(stats)
        ],
        StartTime=end - timedelta(days=1),
        EndTime=end,
    )
    return [sum(result["Values"]) for result in answer["MetricDataResults"]]


def test_numbers_are_samples_with_attributes_as_dimensions(
    collector: Collector, unique: str
) -> None:
    request, metrics = metrics_of(unique)
    now_ns = time.time_ns()
    gauge = metrics.add(name="used", unit="By").gauge
    for place, value in enumerate((7, 2.5)):
        point = gauge.data_points.add(time_unix_nano=now_ns - place)
        setattr(point, "as_int" if isinstance(value, int) else "as_double", value)
        point.attributes.add(key="disk").value.string_value = "/dev/sda"
        point.attributes.add(key="lun").value.int_value = 300
        point.attributes.add(key="hot").value.bool_value = True
        point.attributes.add(key="not a dimension").value.array_value.values.add(int_value=1)
    gauge.data_points.add(time_unix_nano=now_ns, flags=1)  # no recorded value
    calls = metrics.add(name="calls", unit="{call}").sum
    calls.aggregation_temporality, calls.is_monotonic = DELTA, True
    calls.data_points.add(time_unix_nano=now_ns, as_int=3)
    calls.data_points.add(time_unix_nano=now_ns - 10**9, as_int=4)
    assert collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF).status == 200

    dimensions = {"disk": "/dev/sda", "lun": "300", "hot": "true"}
    assert statistics(
        collector, unique, "used", "SampleCount", "Sum", "Minimum", "Maximum", **dimensions
    ) == [2, 9.5, 2.5, 7]
    assert statistics(collector, unique, "calls", "SampleCount", "Sum") == [2, 7]
    client = collector.client("cloudwatch", "us-east-1")
    assert {
        metric["MetricName"]: {pair["Name"]: pair["Value"] for pair in metric["Dimensions"]}
        for metric in client.list_metrics(Namespace=unique)["Metrics"]
    } == {"used": dimensions, "calls": {}}
    units = client.get_metric_statistics(
        Namespace=unique,
        MetricName="calls",
        StartTime=datetime.now(timezone.utc) - timedelta(hours=1),
        EndTime=datetime.now(timezone.utc) + timedelta(hours=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert {point["Unit"] for point in units} == {"Count"}


def test_a_histogram_keeps_its_count_sum_and_ends_and_percentiles_to_a_bucket(
    collector: Collector, unique: str
) -> None:
    request, metrics = metrics_of(unique)
    histogram = metrics.add(name="latency", unit="ms").histogram
    histogram.aggregation_temporality = DELTA
    histogram.data_points.add(
        time_unix_nano=time.time_ns(),
        count=100,
        sum=1234,
        min=2,
        max=90,
        bucket_counts=[50, 40, 10],
        explicit_bounds=[10, 30],
    )
    collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)

    exact = statistics(
        collector, unique, "latency", "SampleCount", "Sum", "Average", "Minimum", "Maximum"
    )
    assert exact == pytest.approx([100, 1234, 12.34, 2, 90])
    p25, p80, p99 = statistics(collector, unique, "latency", "p25", "p80", "p99")
    assert 2 <= p25 <= 10 <= p80 <= 30 <= p99 <= 90


def test_an_exponential_histogram_is_a_sample_too(collector: Collector, unique: str) -> None:
    request, metrics = metrics_of(unique)
    histogram = metrics.add(name="latency", unit="s").exponential_histogram
    histogram.aggregation_temporality = DELTA
    point = histogram.data_points.add(
        time_unix_nano=time.time_ns(), count=8, sum=13, min=-3, max=7.5, scale=0, zero_count=1
    )
    point.positive.bucket_counts.extend([3, 2, 1])  # from 1, 2 and 4
    point.negative.offset = 1
    point.negative.bucket_counts.extend([1])  # from -4 to -2
    collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)

    found = statistics(collector, unique, "latency", "SampleCount", "Sum", "Minimum", "Maximum")
    assert found == pytest.approx([8, 13, -3, 7.5])


def test_a_summary_is_a_statistic_set(collector: Collector, unique: str) -> None:
    request, metrics = metrics_of(unique)
    point = metrics.add(name="size").summary.data_points.add(
        time_unix_nano=time.time_ns(), count=6, sum=10
    )
    point.quantile_values.add(quantile=0, value=1)
    point.quantile_values.add(quantile=1, value=4)
    collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)

    found = statistics(collector, unique, "size", "SampleCount", "Sum", "Minimum", "Maximum")
    assert found == [6, 10, 1, 4]


def test_points_of_other_times_are_rejected_and_counted(collector: Collector, unique: str) -> None:
    request, metrics = metrics_of(unique)
    data_points = metrics.add(name="used").gauge.data_points
    for moment in (time.time_ns(), time.time_ns() - 15 * DAY_NS, 0, 2**64 - 1):
        data_points.add(time_unix_nano=moment, as_int=1)
    answer = collector.post("/v1/metrics", request.SerializeToString(), PROTOBUF)

    success = ExportMetricsServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, success.rejected_data_points) == (200, 3)
    assert statistics(collector, unique, "used", "SampleCount") == [1]
    assert len(flattened(stored(collector, f"namespace={unique}"))) == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_opentelemetry_sdk_s_metrics_are_cloudwatch_s(
    collector: Collector, unique: str, protocol: str
) -> None:
    delta = SdkTemporality.DELTA
    temporality: dict[type, Any] = {Counter: delta, Histogram: delta}
    exporter: Any = (
        HttpExporter(f"{collector.url}/v1/metrics", preferred_temporality=temporality)
        if protocol == "http"
        else GrpcExporter(
            collector.address("OTLP/gRPC"), insecure=True, preferred_temporality=temporality
        )
    )
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)],
        Resource({"service.namespace": "shop", "service.name": unique}),
    )
    meter = provider.get_meter("tests")
    meter.create_counter("orders").add(3, {"tier": "gold"})
    for value in (1, 2, 30):
        meter.create_histogram("latency", unit="ms").record(value)
    provider.shutdown()

    own = f"shop/{unique}"
    assert statistics(collector, own, "orders", "Sum", tier="gold") == [3]
    assert statistics(collector, own, "latency", "SampleCount", "Sum", "Minimum", "Maximum") == [
        *(3, 33, 1, 30)
    ]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "default"),
        ({"service.name": "a"}, "a"),
        ({"service.namespace": "n"}, "n"),
        ({"service.namespace": "n", "service.name": "a"}, "n/a"),
        ({"service.name": ":é"}, "_"),
        ({"service.name": "x" * 300}, "x" * 255),
    ],
)
def test_the_namespace_is_the_service_s(attributes: dict[str, str], expected: str) -> None:
    _, metrics = metrics_of("x")
    metric = metrics.add()
    for key, value in attributes.items():
        metric.metadata.add(key=key).value.string_value = value
    assert namespace(metric.metadata) == expected

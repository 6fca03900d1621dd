"""Metrics → OTLP/JSON. Source: as in `otlp_json.py`, and metrics.proto for the fields.

Scalars that are 0 are left out, as proto3's JSON may, unless their presence says something: of a
oneof's number, and of optional sums and bounds.
"""

from __future__ import annotations

from lambdatrace.metric_points import ExponentialPoint, HistogramPoint, NumberPoint
from lambdatrace.plain import INT64_MAX, INT64_MIN
from lambdatrace.wire.otlp_json import JsonEncoder, json_attributes, json_double

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from lambdatrace.metric_points import Exemplar, MetricData, Point


def metric_encoder(
    resource_attributes: Mapping[str, Any], on_error: Callable[[str, BaseException], None]
) -> JsonEncoder:
    """What encodes MetricData."""
    names = ("resourceMetrics", "scopeMetrics", "metrics")
    return JsonEncoder(names, metric_object, resource_attributes, on_error)


def metric_object(data: MetricData) -> dict[str, Any]:
    """A Metric. Raises TypeError if its points are of a kind that OTLP does not have."""
    kind = type(data.points[0])
    if kind not in _KINDS:
        raise TypeError(f"OTLP has no {kind.__name__}")
    name, encode = _KINDS[kind]
    points: dict[str, Any] = {"dataPoints": [encode(point) for point in data.points]}
    if data.temporality:
        points["aggregationTemporality"] = data.temporality
    if kind is NumberPoint and data.temporality:
        name = "sum"
        points["isMonotonic"] = data.is_monotonic
    return {
        "name": str(data.name),
        "description": str(data.description),
        "unit": str(data.unit),
        name: points,
    }


def _number(point: NumberPoint) -> dict[str, Any]:
    return {**_common(point), **_value(point.value)}


def _histogram(point: HistogramPoint) -> dict[str, Any]:
    return {
        **_common(point),
        **_total(point),
        "count": str(point.count),
        "bucketCounts": list(map(str, point.bucket_counts)),
        "explicitBounds": list(map(json_double, point.bounds)),
        "min": json_double(point.minimum),
        "max": json_double(point.maximum),
    }


def _exponential(point: ExponentialPoint) -> dict[str, Any]:
    return {
        **_common(point),
        "count": str(point.count),
        **_total(point),
        "scale": point.scale,
        "zeroCount": str(point.zero_count),
        "positive": _buckets(point.positive_offset, point.positive_counts),
        "negative": _buckets(point.negative_offset, point.negative_counts),
        "min": json_double(point.minimum),
        "max": json_double(point.maximum),
    }


def _total(point: HistogramPoint | ExponentialPoint) -> dict[str, Any]:
    return {} if point.total is None else {"sum": json_double(point.total)}


def _buckets(offset: int, counts: Sequence[int]) -> dict[str, Any]:
    return {"offset": offset, "bucketCounts": list(map(str, counts))}


def _common(point: Point) -> dict[str, Any]:
    return {
        "attributes": json_attributes(point.attributes),
        "startTimeUnixNano": str(point.start_ns),
        "timeUnixNano": str(point.time_ns),
        "exemplars": [_exemplar(exemplar) for exemplar in point.exemplars],
    }


def _exemplar(exemplar: Exemplar) -> dict[str, Any]:
    context = exemplar.context
    ids = {"spanId": context.span_id, "traceId": context.trace_id} if context is not None else {}
    return {"timeUnixNano": str(exemplar.time_ns), **_value(exemplar.value), **ids}


def _value(value: float) -> dict[str, Any]:
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        return {"asInt": str(int(value))}
    return {"asDouble": json_double(value)}


_KINDS: dict[type[Point], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    NumberPoint: ("gauge", _number),
    HistogramPoint: ("histogram", _histogram),
    ExponentialPoint: ("exponentialHistogram", _exponential),
}

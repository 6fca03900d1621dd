"""What collecting the instruments gives: metrics in OpenTelemetry's data model, one point a series.

Plain classes, loaded with the first instrument. Times are Unix nanoseconds. Source: OpenTelemetry
specification, "Metrics Data Model"; opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace.records import Scope, SpanContext

# AggregationTemporality as OTLP numbers it; a gauge has none.
UNSPECIFIED, DELTA, CUMULATIVE = 0, 1, 2


class Exemplar:
    """One measurement with the span it was made in, None if it was in none."""

    __slots__ = ("context", "time_ns", "value")

    def __init__(self, value: float, time_ns: int, context: SpanContext | None) -> None:
        self.value = value
        self.time_ns = time_ns
        self.context = context


class Point:
    """What every kind of point has: its series' attributes, its interval, its exemplars."""

    __slots__ = ("attributes", "exemplars", "start_ns", "time_ns")

    def __init__(
        self,
        attributes: Mapping[str, Any],
        start_ns: int,
        time_ns: int,
        exemplars: Sequence[Exemplar] = (),
    ) -> None:
        self.attributes = attributes
        self.start_ns = start_ns
        self.time_ns = time_ns
        self.exemplars = exemplars


class NumberPoint(Point):
    """The value of a sum or a gauge."""

    __slots__ = ("value",)
    value: float


class DistributionPoint(Point):
    """What was measured, value by value, where the exporter takes values as they are."""

    __slots__ = ("values",)
    values: list[float]


class HistogramPoint(Point):
    """Counts between `bounds`: the bucket after bound n holds what is above it, up to the next.

    `total` is None once a negative value was measured: OTLP leaves the sum out then.
    """

    __slots__ = ("bounds", "bucket_counts", "count", "maximum", "minimum", "total")
    bounds: Sequence[float]
    bucket_counts: list[int]
    count: int
    total: float | None
    minimum: float
    maximum: float


class ExponentialPoint(Point):
    """Counts in buckets whose bounds are powers of 2^(2^-scale); the first has index `offset`.

    `total` is None once a negative value was measured, as a HistogramPoint's.
    """

    __slots__ = (
        "count",
        "maximum",
        "minimum",
        "negative_counts",
        "negative_offset",
        "positive_counts",
        "positive_offset",
        "scale",
        "total",
        "zero_count",
    )
    count: int
    total: float | None
    minimum: float
    maximum: float
    scale: int
    zero_count: int
    positive_offset: int
    positive_counts: list[int]
    negative_offset: int
    negative_counts: list[int]


class MetricData:
    """One metric of one collection; all its points are of the same class.

    NumberPoints with a `temporality` are a sum, without one a gauge.
    """

    __slots__ = (
        "description",
        "is_monotonic",
        "name",
        "points",
        "scope",
        "temporality",
        "unit",
    )

    def __init__(
        self,
        name: str,
        points: Sequence[Point],
        *,
        scope: Scope,
        unit: str = "",
        description: str = "",
        temporality: int = UNSPECIFIED,
        is_monotonic: bool = False,
    ) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self.scope = scope
        self.temporality = temporality
        self.is_monotonic = is_monotonic
        self.points = points

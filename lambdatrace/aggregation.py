"""Many measurements → one point: sum, last value, histograms. Values in, values out; no clock.

Each has `add(value, exemplar)`, with a finite value, and `point(...)`, which may be asked again
after more was added. Source: OpenTelemetry specification, "Metrics SDK", "Aggregation"; buckets
come out as those of `opentelemetry-sdk` do, which is the oracle in tests.
"""

from __future__ import annotations

from bisect import bisect_left
from math import floor, frexp, ldexp, log
from sys import float_info

from lambdatrace.metric_points import (
    DistributionPoint,
    ExponentialPoint,
    HistogramPoint,
    NumberPoint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from lambdatrace.metric_points import Exemplar, Point

    class Aggregation(Protocol):
        """Takes the measurements of one series."""

        def add(self, value: float, exemplar: Exemplar | None) -> None:
            """Take in one finite value."""
            ...

        def point(self, attributes: Mapping[str, Any], start_ns: int, time_ns: int) -> Point:
            """What was taken in so far, as the point of this interval."""
            ...


# The specification's default boundaries of an explicit bucket histogram, made for milliseconds.
DEFAULT_BOUNDS = (
    *(0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0),
    *(750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0),
)

# The specification's defaults of a base-2 exponential histogram.
BUCKETS_MAX = 160
SCALE_MAX = 20

_EXPONENT_MAX = float_info.max_exp - 1


class Sum:
    """The sum of what was added."""

    __slots__ = ("_exemplar", "total")

    def __init__(self) -> None:
        self.total: float = 0  # stays an int as long as only ints are added
        self._exemplar: Exemplar | None = None

    def add(self, value: float, exemplar: Exemplar | None) -> None:
        """Add `value`."""
        self.total += value
        self._exemplar = exemplar or self._exemplar

    def point(self, attributes: Mapping[str, Any], start_ns: int, time_ns: int) -> NumberPoint:
        """The total."""
        point = NumberPoint(attributes, start_ns, time_ns, _one(self._exemplar))
        point.value = self.total
        return point


class LastValue:
    """The value that was added last."""

    __slots__ = ("_exemplar", "_value")

    def __init__(self) -> None:
        self._value: float = 0
        self._exemplar: Exemplar | None = None

    def add(self, value: float, exemplar: Exemplar | None) -> None:
        """Replace the value."""
        self._value = value
        self._exemplar = exemplar

    def point(self, attributes: Mapping[str, Any], start_ns: int, time_ns: int) -> NumberPoint:
        """The last value."""
        point = NumberPoint(attributes, start_ns, time_ns, _one(self._exemplar))
        point.value = self._value
        return point


class Distribution:
    """Every value as it was added; who makes it bounds how many are."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, value: float, exemplar: Exemplar | None) -> None:  # noqa: ARG002 - has no place
        """Keep `value`."""
        self._values.append(value)

    def point(
        self, attributes: Mapping[str, Any], start_ns: int, time_ns: int
    ) -> DistributionPoint:
        """The values in order."""
        point = DistributionPoint(attributes, start_ns, time_ns)
        point.values = list(self._values)
        return point


class ExplicitHistogram:
    """Counts between fixed boundaries; of each bucket, the last exemplar is kept."""

    __slots__ = (
        "_bounds",
        "_counts",
        "_exemplars",
        "_maximum",
        "_minimum",
        "_sum",
    )

    def __init__(self, bounds: Sequence[float] = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, Exemplar] = {}
        self._sum: float = 0
        self._minimum: float = float_info.max
        self._maximum: float = -float_info.max

    def add(self, value: float, exemplar: Exemplar | None) -> None:
        """Count `value` in the bucket whose upper bound is the first not below it."""
        bucket = bisect_left(self._bounds, value)
        self._counts[bucket] += 1
        self._sum += value
        self._minimum = min(self._minimum, value)
        self._maximum = max(self._maximum, value)
        if exemplar is not None:
            self._exemplars[bucket] = exemplar

    def point(self, attributes: Mapping[str, Any], start_ns: int, time_ns: int) -> HistogramPoint:
        """The counts."""
        point = HistogramPoint(attributes, start_ns, time_ns, list(self._exemplars.values()))
        point.bounds = self._bounds
        point.bucket_counts = list(self._counts)
        point.count = sum(self._counts)
        point.total = None if self._minimum < 0 else self._sum
        point.minimum = self._minimum
        point.maximum = self._maximum
        return point


class ExponentialHistogram:
    """Counts in exponentially growing buckets, as fine as BUCKETS_MAX of them allow.

    It begins at SCALE_MAX; each step down in scale joins two buckets into one, on both sides.
    """

    __slots__ = (
        *("_count", "_exemplar", "_maximum", "_minimum", "_negative", "_positive"),
        *("_scale", "_sum", "_zero_count"),
    )

    def __init__(self) -> None:
        self._scale = SCALE_MAX
        self._positive: dict[int, int] = {}  # index → count; sparse until it becomes a point
        self._negative: dict[int, int] = {}
        self._zero_count = 0
        self._count = 0
        self._sum: float = 0
        self._minimum: float = float_info.max
        self._maximum: float = -float_info.max
        self._exemplar: Exemplar | None = None

    def add(self, value: float, exemplar: Exemplar | None) -> None:
        """Count `value`, after making the buckets as wide as it needs them."""
        self._count += 1
        self._sum += value
        self._minimum = min(self._minimum, value)
        self._maximum = max(self._maximum, value)
        self._exemplar = exemplar or self._exemplar
        if value == 0:
            self._zero_count += 1
            return
        buckets = self._positive if value > 0 else self._negative
        magnitude = abs(value)
        index = bucket_index(magnitude, self._scale)
        if buckets and index not in buckets:
            steps = _steps_down(min(index, *buckets), max(index, *buckets))
            if steps:
                self._scale -= steps
                self._positive = _widened(self._positive, steps)
                self._negative = _widened(self._negative, steps)
                buckets = self._positive if value > 0 else self._negative
                index = bucket_index(magnitude, self._scale)
        buckets[index] = buckets.get(index, 0) + 1

    def point(self, attributes: Mapping[str, Any], start_ns: int, time_ns: int) -> ExponentialPoint:
        """The counts, from the first bucket that has one to the last."""
        point = ExponentialPoint(attributes, start_ns, time_ns, _one(self._exemplar))
        point.count = self._count
        point.total = None if self._minimum < 0 else self._sum
        point.minimum = self._minimum
        point.maximum = self._maximum
        # With zeros alone any scale is right; the oracle says 0.
        point.scale = self._scale if self._positive or self._negative else 0
        point.zero_count = self._zero_count
        point.positive_offset, point.positive_counts = _dense(self._positive)
        point.negative_offset, point.negative_counts = _dense(self._negative)
        return point


def bucket_index(magnitude: float, scale: int) -> int:
    """The index of the bucket (base^index, base^(index+1)] that holds `magnitude`, above 0.

    What is below the normal numbers counts as the smallest of them, as the specification allows.
    """
    fraction, exponent = frexp(max(magnitude, float_info.min))  # fraction from 0.5 to below 1
    exponent -= 1
    is_power_of_two = fraction == 0.5  # noqa: PLR2004 - exact: its mantissa is 0
    if scale <= 0:
        return (exponent - is_power_of_two) >> -scale
    if is_power_of_two:
        return (exponent << scale) - 1
    return min(floor(log(magnitude) * ldexp(1 / log(2), scale)), ((_EXPONENT_MAX + 1) << scale) - 1)


def _steps_down(low: int, high: int) -> int:
    steps = 0
    while high - low >= BUCKETS_MAX:
        low >>= 1
        high >>= 1
        steps += 1
    return steps


def _widened(buckets: dict[int, int], steps: int) -> dict[int, int]:
    wider: dict[int, int] = {}
    for index, count in buckets.items():
        wider[index >> steps] = wider.get(index >> steps, 0) + count
    return wider


def _dense(buckets: dict[int, int]) -> tuple[int, list[int]]:
    if not buckets:
        return 0, []
    first, last = min(buckets), max(buckets)
    return first, [buckets.get(index, 0) for index in range(first, last + 1)]


def _one(exemplar: Exemplar | None) -> Sequence[Exemplar]:
    return () if exemplar is None else (exemplar,)

"""Instruments in which the collector counts what it does, and their Prometheus text.

Counters, histograms and observed gauges as OpenTelemetry has them, for one process and one thread.
Source: OpenTelemetry specification, "Metrics API" and "Prometheus and OpenMetrics Compatibility";
Prometheus, "Text-based format" 0.0.4.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Attributes = tuple[tuple[str, str], ...]

# Source: OpenTelemetry semantic conventions, `http.server.request.duration`.
SECONDS_BOUNDARIES = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
SIZE_BOUNDARIES = tuple(float(4**power) for power in range(13))  # 1 to 16 Mi
# Sets of attributes of one instrument; what goes beyond is counted as one, as in the SDKs.
SERIES_MAX = 2000
OVERFLOW = (("otel.metric.overflow", "true"),)

_UNIT_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


class Sample(NamedTuple):
    """One line of an exposition: what is added to the instrument's name, labels and value."""

    suffix: str
    labels: Attributes
    value: float


class Counter:
    """A sum that only grows, for each set of attributes."""

    kind = "counter"

    def __init__(self, name: str, unit: str, description: str) -> None:
        self.name, self.unit, self.description = name, unit, description
        self.sums: dict[Attributes, float] = {}

    def add(self, amount: float, *attributes: tuple[str, str]) -> None:
        """Add `amount`, at least 0."""
        key = attributes if attributes in self.sums else _key(attributes, len(self.sums))
        self.sums[key] = self.sums.get(key, 0) + amount

    def samples(self) -> Iterator[Sample]:
        """A line for each set of attributes."""
        for attributes, value in self.sums.items():
            yield Sample("_total", attributes, value)


class Histogram:
    """How often values fell between boundaries, for each set of attributes."""

    kind = "histogram"

    def __init__(
        self, name: str, unit: str, description: str, boundaries: tuple[float, ...]
    ) -> None:
        self.name, self.unit, self.description = name, unit, description
        self._boundaries = boundaries
        self._counts: dict[Attributes, list[int]] = {}
        self._sums: dict[Attributes, float] = {}

    def record(self, value: float, *attributes: tuple[str, str]) -> None:
        """Count `value`."""
        counts = self._counts.get(attributes)
        if counts is None:
            attributes = _key(attributes, len(self._counts))
            counts = self._counts.setdefault(attributes, [0] * (len(self._boundaries) + 1))
        counts[bisect.bisect_left(self._boundaries, value)] += 1
        self._sums[attributes] = self._sums.get(attributes, 0.0) + value

    def samples(self) -> Iterator[Sample]:
        """The cumulative buckets, the sum and the count of each set of attributes."""
        bounds = (*map(_number, self._boundaries), "+Inf")
        for attributes, counts in self._counts.items():
            for bound, count in zip(bounds, itertools.accumulate(counts), strict=True):
                yield Sample("_bucket", (*attributes, ("le", bound)), count)
            yield Sample("_sum", attributes, self._sums[attributes])
            yield Sample("_count", attributes, sum(counts))


class ObservedGauge:
    """Values that are asked for when they are read: pairs of attributes and value."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        observe: Callable[[], Iterable[tuple[Attributes, float]]],
    ) -> None:
        self.name, self.unit, self.description = name, unit, description
        self._observe = observe

    def samples(self) -> Iterator[Sample]:
        """A line for each value observed."""
        for attributes, value in self._observe():
            yield Sample("", attributes, value)


Instrument = Counter | Histogram | ObservedGauge


def prometheus_text(instruments: Iterable[Instrument]) -> str:
    """The exposition of `instruments`; those that have counted nothing yet have no lines."""
    lines: list[str] = []
    for instrument in instruments:
        samples = list(instrument.samples())
        if not samples:
            continue
        name = _prometheus_name(instrument)
        total = "_total" if instrument.kind == "counter" else ""
        lines.append(f"# HELP {name}{total} {instrument.description}")
        lines.append(f"# TYPE {name}{total} {instrument.kind}")
        lines += [
            f"{name}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in samples
        ]
    return "\n".join((*lines, ""))


def _key(attributes: Attributes, series: int) -> Attributes:
    return attributes if series < SERIES_MAX else OVERFLOW


def _prometheus_name(instrument: Instrument) -> str:
    name = instrument.name.replace(".", "_")
    suffix = _UNIT_SUFFIXES.get(instrument.unit, "")
    return name if name.endswith(suffix) else name + suffix


def _labels(attributes: Attributes) -> str:
    if not attributes:
        return ""
    pairs = (f'{name.replace(".", "_")}="{_escaped(value)}"' for name, value in attributes)
    return f"{{{','.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))

"""The values of metric math: a scalar is a float, TS a TimeSeries, TS[] a tuple of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from lambdatrace_collector.metrics.series import Selection


@dataclass(frozen=True)
class Span:
    """The range of a request, in seconds since 1970: [start_s, end_s)."""

    start_s: int
    end_s: int

    def periods(self, period_s: int) -> range:
        """The beginnings of all periods in the range."""
        return range(self.start_s // period_s * period_s, self.end_s, period_s)


@dataclass(frozen=True)
class TimeSeries:
    """Points of one series, ascending in time: seconds since 1970 and values."""

    points: Mapping[int, float]
    period_s: int
    label: str
    source: Selection | None = None  # the metric that it is, or is made of alone
    is_metric: bool = False  # as the store has it: nothing was computed
    messages: tuple[tuple[str, str], ...] = field(default=(), compare=False)  # codes and texts

    def with_points(self, points: Mapping[int, float]) -> Self:
        """The same series with other points: it is a metric no more."""
        return replace(self, points=points, is_metric=False)


Series = TimeSeries | tuple[TimeSeries, ...]
Value = float | Series

"""Points of metrics out of the store: many metrics, one statement."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.metrics.statistics import oldest_ms, rollup_tier_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.metrics.statistics import Statistic
    from lambdatrace_collector.store.engine import Store

    Points = tuple[Sequence[int], Sequence[float]]  # seconds since 1970, ascending, and values

# A server reads parameters as form fields of at most 128 KiB: 500 ids are 10 kB, and the names of
# 100 metrics are below it unless dimensions are longer than anyone's.
IDS_PER_QUERY = 500
DESCRIBED_BYTES_MAX = 50_000


@dataclass(frozen=True)
class Metric:
    """A metric: its namespace, name and exact dimensions, sorted by name."""

    namespace: str
    metric_name: str
    dimension_names: tuple[str, ...] = ()
    dimension_values: tuple[str, ...] = ()

    @property
    def dimensions(self) -> dict[str, str]:
        """Dimension values by name."""
        return dict(zip(self.dimension_names, self.dimension_values, strict=True))


@dataclass(frozen=True)
class Selection:
    """One statistic of one metric, over periods that begin in [start_ms, end_ms)."""

    metric: Metric
    statistic: Statistic
    period_s: int
    start_ms: int
    end_ms: int


async def read_points(
    store: Store, call: Call, selections: Sequence[Selection]
) -> list[dict[str, Points]]:
    """For each selection its points by unit; periods without data have none.

    Percentiles and their kin have no point where they cannot be told: negative values, or a
    StatisticSet of several different values. What is older than its period is kept has none.
    """
    ids = await _metric_ids(store, call, {selection.metric for selection in selections})
    found: dict[Selection, dict[str, Points]] = defaultdict(dict)
    groups: dict[tuple[Any, ...], list[Selection]] = defaultdict(list)
    for selection in selections:
        # The basic statistics cost one reading together, each of the others one of its own.
        apart = None if selection.statistic.is_basic else selection.statistic
        key = (selection.period_s, selection.start_ms, selection.end_ms, apart)
        groups[key].append(selection)
    for group in groups.values():
        await _read_group(store, call, group, ids, found)
    return [found[selection] for selection in selections]


async def _read_group(
    store: Store,
    call: Call,
    group: Sequence[Selection],
    ids: Mapping[Metric, int],
    found: dict[Selection, dict[str, Points]],
) -> None:
    statistics = list(dict.fromkeys(selection.statistic for selection in group))
    metrics = {ids[selection.metric]: selection.metric for selection in group}
    asked, first = list(metrics), group[0]
    start_ms = max(first.start_ms, oldest_ms(first.period_s, call.now_ms))
    for start in range(0, len(asked), IDS_PER_QUERY):
        part = {
            "metric_ids": asked[start : start + IDS_PER_QUERY],
            "start_ms": start_ms,
            "end_ms": first.end_ms,
        }
        has_totals = await store.query("metric_totals_found", **part)
        rows = await store.query(
            "metric_statistics+totals" if has_totals else "metric_statistics",
            **part,
            period_ms=first.period_s * 1000,
            tier_s=rollup_tier_s(first.period_s),
            has_distributions=int(not first.statistic.is_basic),
            kinds=[statistic.kind for statistic in statistics],
            are_parts=[int(statistic.is_part) for statistic in statistics],
            lows=[statistic.low for statistic in statistics],
            highs=[statistic.high for statistic in statistics],
        )
        for row in rows:
            statistic = statistics[row["statistic"] - 1]
            selection = Selection(
                metrics[row["metric_id"]], statistic, first.period_s, first.start_ms, first.end_ms
            )
            found[selection][row["unit"]] = (row["timestamps_s"], row["point_values"])


async def _metric_ids(store: Store, call: Call, metrics: set[Metric]) -> dict[Metric, int]:
    """The store's ids of metrics, whether they have data or not."""
    ids: dict[Metric, int] = {}
    for part in _parts(list(metrics)):
        (row,) = await store.query(
            "metric_ids",
            account=call.account,
            region=call.region,
            namespaces=[metric.namespace for metric in part],
            metric_names=[metric.metric_name for metric in part],
            dimension_names=[list(metric.dimension_names) for metric in part],
            dimension_values=[list(metric.dimension_values) for metric in part],
        )
        ids.update(zip(part, row["metric_ids"], strict=True))
    return ids


def _parts(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """`metrics` in parts whose description is bounded."""
    parts: list[list[Metric]] = []
    size = DESCRIBED_BYTES_MAX
    for metric in metrics:
        words = (
            metric.namespace,
            metric.metric_name,
            *metric.dimension_names,
            *metric.dimension_values,
        )
        length = sum(len(word.encode()) + 4 for word in words)
        if size + length > DESCRIBED_BYTES_MAX:
            parts.append([])
            size = 0
        parts[-1].append(metric)
        size += length
    return parts

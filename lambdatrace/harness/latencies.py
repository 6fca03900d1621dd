"""Latencies of any number in a bounded space: a histogram whose buckets are 1 % wide."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

_GROWTH = math.log(1.01)
_LEAST_MS = 0.001  # shorter ones are no longer told apart
# A printed histogram's bounds: ten times the one six before.
_SERIES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


class Latencies:
    """Counts latencies in milliseconds. Percentiles are exact to 1 %, the rest is exact."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ms = 0.0
        self.min_ms = math.inf
        self.max_ms = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, latency_ms: float) -> None:
        """Counts one."""
        self.count += 1
        self.total_ms += latency_ms
        self.min_ms = min(self.min_ms, latency_ms)
        self.max_ms = max(self.max_ms, latency_ms)
        self._buckets[math.floor(math.log(max(latency_ms, _LEAST_MS)) / _GROWTH)] += 1

    @property
    def mean_ms(self) -> float:
        """The arithmetic mean, 0 without any."""
        return self.total_ms / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The latency that `percent` of all do not exceed (nearest rank), 0 without any."""
        rank = max(1, math.ceil(self.count * percent / 100))
        if rank >= self.count:
            return self.max_ms
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                middle = math.exp((bucket + 0.5) * _GROWTH)
                return min(max(middle, self.min_ms), self.max_ms)
        return self.max_ms

    def histogram(self) -> list[tuple[float, float, int]]:
        """(from, to, count) for bounds 1, 1.5, 2, 3, 5, 7, 10, …, from the first to the last used.

        A latency next to a bound may be counted beyond it, by 1 % at most.
        """
        if not self.count:
            return []
        tens = range(
            math.floor(math.log10(max(self.min_ms, _LEAST_MS))) - 1,
            math.floor(math.log10(max(self.max_ms, _LEAST_MS))) + 2,
        )
        bounds = [step * 10.0**ten for ten in tens for step in _SERIES]
        counted = [0] * (len(bounds) - 1)
        for bucket, count in self._buckets.items():
            middle = math.exp((bucket + 0.5) * _GROWTH)
            counted[max(n for n in range(len(counted)) if bounds[n] <= middle)] += count
        used = [n for n, count in enumerate(counted) if count]
        rows = zip(pairwise(bounds), counted, strict=True)
        return [
            (round(low, 6), round(high, 6), count)
            for n, ((low, high), count) in enumerate(rows)
            if used[0] <= n <= used[-1]
        ]

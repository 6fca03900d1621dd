"""What metric filters publish: a sample for each event that matches, and default values."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import CollectorError
from lambdatrace_collector.logs.filter_pattern import parse_filter_pattern
from lambdatrace_collector.logs.filter_pattern_sql import all_of, call, matches
from lambdatrace_collector.logs.metric_filter_sql import ordinal, samples_query
from lambdatrace_collector.logs.selection import arrived_conditions
from lambdatrace_collector.store.compiled_query import Apply, Select, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.logs.arrivals import Arrivals, GroupKey
    from lambdatrace_collector.logs.filter_followers import FilterFollowers
    from lambdatrace_collector.store.engine import Store

logger = logging.getLogger(__name__)

MINUTE_MS = 60_000
# What arrived in a minute is stored by then, unless the store is in trouble.
AFTER_MINUTE_S = 5


class MetricFilterSamples:
    """Writes what metric filters publish."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle(
        self, key: GroupKey, definition: Mapping[str, Any], after_id: int, until_id: int
    ) -> int:
        """Write the samples of the events that arrived after `after_id`."""
        query = samples_query(key, definition, after_id, until_id)
        await self._store.insert_compiled("metric_input", query)
        return until_id

    async def publish_default(
        self, key: GroupKey, definition: Mapping[str, Any], minute_ms: int
    ) -> None:
        """Write a filter's default value for a minute in which events came and none matched.

        The sample's id is the minute's, so that what is published again settles to one.
        """
        (transformation,) = definition["metricTransformations"]
        if "defaultValue" not in transformation:
            return
        (row,) = await self._store.query_compiled(_counts_query(key, definition, minute_ms))
        if row["arrived"] == 0 or row["matched"] > 0:
            return
        value = transformation["defaultValue"]
        sample = {
            "account": key.account,
            "region": key.region,
            "namespace": transformation["metricNamespace"],
            "metric_name": transformation["metricName"],
            "timestamp_ms": minute_ms,
            "unit": transformation.get("unit", "None"),
            "storage_resolution": 60,
            "values": [value],
            "counts": [1.0],
            "sample_count": 1.0,
            "sum": value,
            "minimum": value,
            "maximum": value,
            "sample_id": str(_first_id(minute_ms)),
            "ordinal": ordinal(definition),
        }
        await self._store.insert("metric_input", json.dumps(sample).encode(), "JSONEachRow")


class DefaultValues:
    """Publishes the default values of each minute once it is over."""

    def __init__(
        self, samples: MetricFilterSamples, followers: FilterFollowers, arrivals: Arrivals
    ) -> None:
        self._samples = samples
        self._followers = followers
        self._arrivals = arrivals

    async def run(self) -> None:
        """Until cancelled. Begins with the minute before, which a restart may have cut short."""
        minute_ms = _minute(time.time_ns()) - MINUTE_MS
        while True:
            end_ms = minute_ms + MINUTE_MS
            await asyncio.sleep(max(0.0, end_ms / 1000 + AFTER_MINUTE_S - time.time()))
            await self._arrivals.stored(_first_id(end_ms))
            for key, definition in self._followers.definitions():
                try:
                    await self._samples.publish_default(key, definition, minute_ms)
                except CollectorError as error:
                    name = definition["filterName"]
                    logger.warning("no default value of %s for a minute: %s", name, error)
            minute_ms = end_ms


def _counts_query(key: GroupKey, definition: Mapping[str, Any], minute_ms: int) -> Select:
    """How many events arrived in a minute, and how many of them matched."""
    matching = matches(parse_filter_pattern(definition["filterPattern"]))
    count = Apply("count")
    return Select(
        columns=(
            ("arrived", count),
            ("matched", count if matching is None else call("countIf", matching)),
        ),
        source=Table("log_events"),
        where=all_of(
            arrived_conditions(
                key,
                (key.log_group,),
                _first_id(minute_ms) - 1,
                _first_id(minute_ms + MINUTE_MS) - 1,
            )
        ),
    )


def _first_id(moment_ms: int) -> int:
    """The lowest event id that is given at a moment: ids begin with the nanoseconds."""
    return moment_ms * 1_000_000 << 64


def _minute(now_ns: int) -> int:
    return now_ns // 1_000_000 // MINUTE_MS * MINUTE_MS

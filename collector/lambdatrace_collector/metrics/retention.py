"""Retention: closed days of samples become rollups, which the engine's TTL ends.

Samples come from two weeks back to two hours ahead, so a day that ended 15 days ago can no longer
change: its rollups are made once, from each sample once, and then the samples go. A collector that
is stopped in between starts the day again, and what it made settles.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import CollectorError

if TYPE_CHECKING:
    from lambdatrace_collector.store.engine import Store

logger = logging.getLogger(__name__)

SAMPLES_KEPT_DAYS = 15
CHECK_EVERY_S = 3600
HOUR_MS = 3_600_000
HOURS = 24


async def keep_rolling_up(store: Store, now_ms: int) -> None:
    """Roll up closed days now and each hour, until cancelled; `now_ms` is the time now."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        try:
            await roll_up(store, now_ms + round((loop.time() - started) * 1000))
        except CollectorError as error:
            logger.warning("metrics were not rolled up, trying again in an hour: %s", error)
        await asyncio.sleep(CHECK_EVERY_S)


async def roll_up(store: Store, now_ms: int) -> list[date]:
    """The days that were closed, oldest first: their samples are rollups now."""
    today = datetime.fromtimestamp(now_ms / 1000, timezone.utc).date()
    rows = await store.query("metric_days", day=today - timedelta(days=SAMPLES_KEPT_DAYS))
    closed = []
    for place, row in enumerate(rows):
        if not row["is_rolled_up"]:
            await _roll_up_day(store, row["day"])
            closed.append(row["day"])
        # Also what came too late for its day's rollups, which no writer of ours sends.
        await store.execute("drop_metric_day", day=row["day"])
        if place:
            # The last closed day's stay: what the next one's first points added is told from them.
            await store.execute("drop_metric_totals_day", day=rows[place - 1]["day"])
    return closed


async def _roll_up_day(store: Store, day: date) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    start_ms = round(midnight.timestamp()) * 1000
    for hour in range(HOURS):  # an hour at a time bounds the memory
        from_ms = start_ms + hour * HOUR_MS
        await store.execute("roll_up_metric_samples", from_ms=from_ms, to_ms=from_ms + HOUR_MS)
    await store.execute("close_metric_day", day=day)

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from lambdatrace_collector.errors import (
    ScanCancelledError,
    ScanTimeoutError,
    ScanTooLargeError,
)
from lambdatrace_collector.store.compiled_query import (
    Apply,
    Column,
    Parameter,
    Select,
    Table,
    UnionAll,
)
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.scans import SCANNERS, Scans
from lambdatrace_collector.store.url import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace_collector.store.url import StoreUrl
    from tests.collector.conftest import ClickHouse


def numbers(count: int) -> Select:
    values = Apply("range", (Parameter(count, "UInt64"),))
    return Select((("n", Apply("arrayJoin", (values,))),))


# A minute of work in parts of a tenth of a second, between which the engine can end it.
SEARCH = Apply("match", (Column("message"), Parameter("(a|b)*c(d|e)*f", "String")))
PART = Select((("c", Apply("count")),), Table("log_events"), where=SEARCH)
ENDLESS = Select((("c", Apply("count")),), UnionAll((PART,) * 500))
MESSAGES = (("message", Column("message")),)
EVERY = Select(MESSAGES, Table("log_events"))  # 20 MB
EVENTS = "".join(
    json.dumps({"event_id": str(place), "message": "ab" * 5_000}) + "\n" for place in range(2_000)
)
ONE = Select((("c", Apply("count")),))
DEADLINE_S = 30


@pytest.fixture(scope="module")
def url(clickhouse: ClickHouse) -> StoreUrl:
    """A store's URL, with its tables in place and events to search for long."""
    parsed = parse_store_url(clickhouse.url)
    store = open_store(parsed)
    asyncio.run(store.insert("log_events", EVENTS.encode(), "JSONEachRow"))
    store.close()
    return parsed


@pytest.fixture
def scans_of(url: StoreUrl) -> Iterator[Callable[..., Scans]]:
    made: list[Scans] = []

    def make(**options: int) -> Scans:
        made.append(Scans(url, **options))
        return made[-1]

    yield make
    for scans in made:
        scans.close()


def ignore() -> None:
    """No one asks when it begins."""


def test_a_scan_gives_the_rows_of_each_query(scans_of: Callable[..., Scans]) -> None:
    scan = scans_of().run((ONE, numbers(2)), "mark", ignore)
    assert asyncio.run(scan) == [[{"c": 1}], [{"n": 0}, {"n": 1}]]


def test_a_running_scan_is_ended_in_the_engine_and_a_waiting_one_never_begins(
    scans_of: Callable[..., Scans],
) -> None:
    scans = scans_of()
    begun: list[int] = []

    async def cancel_all() -> list[BaseException | list[list[dict[str, object]]]]:
        tasks = [
            asyncio.create_task(scans.run((ENDLESS,), f"mark {i}", lambda i=i: begun.append(i)))  # type: ignore[misc]
            for i in range(SCANNERS + 1)
        ]
        while len(begun) < SCANNERS:  # noqa: ASYNC110 -- threads count, and know no event loop
            await asyncio.sleep(0.01)
        for place in reversed(range(SCANNERS + 1)):
            await scans.cancel(f"mark {place}")
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE_S)

    ended = asyncio.run(cancel_all())
    assert [type(outcome) for outcome in ended] == [ScanCancelledError] * (SCANNERS + 1)
    assert sorted(begun) == list(range(SCANNERS))


def test_a_scan_past_its_deadline_is_ended(scans_of: Callable[..., Scans]) -> None:
    with pytest.raises(ScanTimeoutError):
        asyncio.run(scans_of(deadline_s=1).run((ENDLESS,), "mark", ignore))


def test_a_scan_that_gives_too_much_is_ended(scans_of: Callable[..., Scans]) -> None:
    with pytest.raises(ScanTooLargeError):
        asyncio.run(scans_of().run((Select(MESSAGES, UnionAll((EVERY,) * 2)),), "mark", ignore))


def test_scans_that_run_end_when_the_store_closes(scans_of: Callable[..., Scans]) -> None:
    scans = scans_of()

    async def close_while_running() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        scan = scans.run((ENDLESS,), "mark", lambda: loop.call_soon_threadsafe(begun.set))  # type: ignore[arg-type]
        task = asyncio.create_task(scan)
        await begun.wait()
        await asyncio.wait_for(asyncio.to_thread(scans.close), DEADLINE_S)
        with pytest.raises(ScanCancelledError):
            await task

    asyncio.run(close_while_running())

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace_collector.aws.call import Call
from lambdatrace_collector.errors import (
    OverloadedError,
    StoreDownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from lambdatrace_collector.ingest.admission import Admission
from lambdatrace_collector.ingest.group_commit import GroupCommit
from lambdatrace_collector.ingest.record_ids import RecordIds

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Table:
    """Takes what is inserted; refuses `bad` bodies, fails on some, waits while it is shut."""

    def __init__(self) -> None:
        self.inserted: list[bytes] = []
        self.tried: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def insert(self, body: bytes) -> None:
        await self.open.wait()
        self.tried.append(body)
        if b"bad" in body:
            raise StoreRejectedError("bad data")
        if b"down" in body:
            raise StoreDownError("no disk")
        if b"heavy" in body:
            raise StoreUnavailableError("no memory")
        if b"bug" in body:
            raise ZeroDivisionError
        self.inserted.append(body)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_bodies_that_wait_together_are_one_insert() -> None:
    async def test() -> None:
        table = Table()
        group = GroupCommit(table.insert)
        await asyncio.gather(*(group.commit(letter) for letter in (b"a", b"b", b"c")))
        await group.drain()
        assert table.inserted == [b"abc"]

    run(test())


def test_a_body_is_acknowledged_only_when_its_insert_has_returned() -> None:
    async def test() -> None:
        table = Table()
        table.open.clear()
        group = GroupCommit(table.insert, linger_s=0)
        commit = asyncio.create_task(group.commit(b"a"))
        done, _ = await asyncio.wait([commit], timeout=0.05)
        assert not done
        table.open.set()
        await commit
        assert table.inserted == [b"a"]
        await group.drain()

    run(test())


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"bad", StoreRejectedError),
        (b"heavy", StoreUnavailableError),
        (b"bug", StoreUnavailableError),
    ],
)
def test_one_bad_body_never_harms_the_others_of_its_group(
    body: bytes, error: type[Exception]
) -> None:
    async def test() -> None:
        table = Table()
        group = GroupCommit(table.insert)
        results = await asyncio.gather(
            *(group.commit(each) for each in (b"a", body, b"b")), return_exceptions=True
        )
        await group.drain()
        assert [type(result) for result in results] == [type(None), error, type(None)]
        assert table.inserted == [b"a", b"b"]

    run(test())


def test_a_bad_body_is_found_by_halving_its_group() -> None:
    async def test() -> None:
        table = Table()
        group = GroupCommit(table.insert)
        bodies = [b"%d," % number for number in range(64)]
        bodies[20] = b"bad"
        results = await asyncio.gather(
            *(group.commit(body) for body in bodies), return_exceptions=True
        )
        await group.drain()
        assert [place for place, result in enumerate(results) if result is not None] == [20]
        assert b"".join(table.inserted) == b"".join(bodies).replace(b"bad", b"")
        assert len(table.tried) == 1 + 2 * 6  # the group, then both halves of six failures

    run(test())


def test_when_nothing_can_be_written_the_whole_group_is_told_to_come_again() -> None:
    async def test() -> None:
        table = Table()
        group = GroupCommit(table.insert)
        results = await asyncio.gather(
            *(group.commit(body) for body in (b"a", b"down", b"b")), return_exceptions=True
        )
        assert [type(result) for result in results] == [StoreDownError] * 3
        assert table.tried == [b"adownb"]
        await group.commit(b"later")
        await group.drain()
        assert table.inserted == [b"later"]

    run(test())


def test_a_group_has_at_most_its_bytes_and_at_least_one_body() -> None:
    async def test() -> None:
        table = Table()
        group = GroupCommit(table.insert, group_bytes_max=3, groups_in_flight=1)
        bodies = (b"aa", b"b", b"cc", b"dddddd", b"e")
        await asyncio.gather(*(group.commit(body) for body in bodies))
        await group.drain()
        assert table.inserted == [b"aab", b"cc", b"dddddd", b"e"]

    run(test())


def test_draining_writes_what_waits_and_refuses_what_comes() -> None:
    async def test() -> None:
        table = Table()
        table.open.clear()
        group = GroupCommit(table.insert, linger_s=60)
        waiting = asyncio.create_task(group.commit(b"a"))
        await asyncio.sleep(0)
        draining = asyncio.create_task(group.drain())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailableError, match="the collector is stopping"):
            await group.commit(b"b")
        table.open.set()
        await asyncio.gather(waiting, draining)
        await group.drain()
        assert table.inserted == [b"a"]

    run(test())


def test_a_client_that_gave_up_does_not_stop_its_group() -> None:
    async def test() -> None:
        table = Table()
        table.open.clear()
        group = GroupCommit(table.insert)
        gone, stays = (asyncio.create_task(group.commit(body)) for body in (b"a", b"b"))
        await asyncio.sleep(0.02)
        gone.cancel()
        table.open.set()
        await stays
        await group.drain()
        assert table.inserted == [b"ab"]

    run(test())


def test_bytes_that_were_admitted_come_back_when_the_lease_ends() -> None:
    admission = Admission(bytes_max=10)
    with admission.lease() as first, admission.lease() as second:
        first.grow(6)
        with pytest.raises(OverloadedError, match="6 bytes of requests are waiting and 10 are"):
            second.grow(5)
        second.grow(4)
        assert admission.bytes_admitted == 10
    assert admission.bytes_admitted == 0


def test_record_ids_rise_and_leave_room_for_a_request_s_records() -> None:
    ids = RecordIds()
    taken = [ids.take() for _ in range(1000)]
    assert all(later - earlier >= 2**32 for earlier, later in itertools.pairwise(taken))
    assert taken[-1] < 2**128


def test_the_tries_of_one_call_have_one_id_and_other_calls_have_others() -> None:
    call = Call(
        "cloudwatch", "PutMetricData", {}, "1", "eu-west-1", 1, body=b"body", invocation_id="i"
    )
    taken = RecordIds().take_for(call)
    others = [
        replace(call, account="2"),
        replace(call, region="eu-west-2"),
        replace(call, operation="PutLogEvents"),
        replace(call, body=b"other"),
        replace(call, invocation_id="other"),
        replace(call, invocation_id=""),
    ]

    assert RecordIds().take_for(replace(call, now_ms=2, attempt=2)) == taken
    assert len({taken, *(RecordIds().take_for(other) for other in others)}) == 7
    assert taken % 2**32 == 0
    assert taken < 2**128


def test_who_waits_too_long_is_told_and_the_bytes_are_given_back() -> None:
    async def test() -> None:
        table = Table()
        table.open.clear()  # the disk hangs
        group = GroupCommit(table.insert, linger_s=0, groups_in_flight=1, commit_deadline_s=0.05)
        results = await asyncio.gather(
            *(group.commit(body) for body in (b"a", b"b")), return_exceptions=True
        )
        while_written = group.commit(b"c")
        with pytest.raises(StoreUnavailableError, match=r"did not take this within 0\.05 s"):
            await while_written
        assert group.waiting_bytes == 0
        table.open.set()
        await group.commit(b"later")
        await group.drain()
        assert [type(result) for result in results] == [StoreUnavailableError] * 2
        assert table.inserted == [b"ab", b"later"]

    run(test())

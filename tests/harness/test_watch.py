"""Time and memory of an invoke under way, of processes that are only numbers here."""

from __future__ import annotations

import asyncio
from typing import Any

from lambdatrace.harness.watch import Watch


class _Memory:
    def __init__(self, used_bytes: int) -> None:
        self.used_bytes = self.peak_bytes = used_bytes

    def sample(self) -> int:
        return self.used_bytes


class _Sandbox:
    def __init__(self, used_bytes: int) -> None:
        self.memory = _Memory(used_bytes)
        self.kills = 0

    def kill_runtime(self) -> None:
        self.kills += 1


async def watched(used_bytes: int) -> tuple[Watch, _Sandbox, list[str]]:
    """One invoke of 100 bytes at most, watched until its deadline."""
    watch, told = Watch(asyncio.get_running_loop(), 100), []
    sandbox: Any = _Sandbox(used_bytes)
    is_over = asyncio.Event()

    def timed_out() -> None:
        told.append("timed out")
        is_over.set()

    watch.begin(sandbox, 0.15, timed_out)
    await asyncio.wait_for(is_over.wait(), 10)
    watch.end()
    return watch, sandbox, told


def test_an_invoke_is_ended_at_its_deadline_and_left_alone_up_to_its_memory() -> None:
    watch, sandbox, told = asyncio.run(watched(100))
    assert (told, sandbox.kills, watch.take_out_of_memory()) == (["timed out"], 0, False)


def test_a_runtime_that_takes_more_memory_than_it_may_is_killed_and_that_is_told_once() -> None:
    watch, sandbox, _ = asyncio.run(watched(101))
    assert sandbox.kills > 0
    assert [watch.take_out_of_memory() for _ in range(2)] == [True, False]


def test_the_next_invoke_is_not_out_of_memory_for_one_that_timed_out_first() -> None:
    async def two() -> Watch:
        watch, sandbox, _ = await watched(101)
        next_sandbox: Any = _Sandbox(1)
        watch.begin(next_sandbox)
        watch.end()
        assert sandbox.kills > 0
        return watch

    assert not asyncio.run(two()).take_out_of_memory()

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from lambdatrace import event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    loop, event_loop._own.loop, event_loop._own.process_id = event_loop._own.loop, None, 0
    if loop is not None:
        loop.close()
    asyncio.set_event_loop(None)


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_one_loop_runs_all_coroutines_of_a_thread() -> None:
    assert event_loop.run(running_loop()) is event_loop.run(running_loop())


def test_each_thread_has_a_loop_of_its_own() -> None:
    loops = [event_loop.run(running_loop())]

    def run() -> None:
        loops.append(event_loop.run(running_loop()))
        loops[-1].close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert loops[0] is not loops[1]


def test_a_loop_that_was_closed_is_replaced() -> None:
    first = event_loop.run(running_loop())
    first.close()
    assert event_loop.run(running_loop()) is not first


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    first = event_loop.run(running_loop())
    child = os.fork()
    if not child:
        os._exit(event_loop.run(running_loop()) is first)
    assert os.waitpid(child, 0)[1] == 0


def test_within_a_running_loop_the_coroutine_is_given_back() -> None:
    async def outer() -> bool:
        inner = running_loop()
        given = event_loop.run(inner)
        await inner
        return given is inner

    assert asyncio.run(outer())

from __future__ import annotations

import asyncio
import os
import time

from lambdatrace.harness.cpu_share import CpuBudget, DutyCycle, cpu_s


class ThisProcess:
    """The process that runs the test, which is told of no stop."""

    def __init__(self) -> None:
        self.stops = 0

    def leaders(self) -> list[int]:
        return [os.getpid()]

    def stop_all(self) -> None:
        self.stops += 1

    def continue_all(self) -> None: ...


def use_cpu(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_what_is_used_within_the_share_is_never_too_much() -> None:
    budget = CpuBudget(share=0.5)
    assert [budget.charge(0.010, 0.005) for _ in range(100)] == [False] * 100


def test_a_busy_process_runs_for_its_share_of_the_time() -> None:
    for share in (0.07, 0.25, 0.5, 1.0, 2.5):
        budget = CpuBudget(share)
        threads, used_s, is_stopped = 4, 0.0, False
        for _ in range(2000):  # ten seconds of ticks
            step_s = 0.0 if is_stopped else 0.005 * threads
            used_s += step_s
            is_stopped = budget.charge(0.005, step_s)
        assert abs(used_s / 10 / share - 1) < 0.05


def test_an_invoke_begins_with_what_a_period_gives_at_most() -> None:
    budget = CpuBudget(share=0.5)
    assert budget.charge(3600.0, 0.0) is False
    budget.begin()
    assert budget.charge(0.0, 0.0099) is False
    assert budget.charge(0.0, 0.0002) is True


def test_a_tenth_of_a_second_without_the_machine_is_caught_up_on() -> None:
    budget = CpuBudget(share=0.5)
    budget.begin()
    assert budget.charge(3600.0, 0.0) is False
    assert budget.charge(0.0, 0.0499) is False
    assert budget.charge(0.0, 0.0002) is True


def test_what_an_init_used_is_not_taken_off_the_first_invoke() -> None:
    use_cpu(0.1)
    process = ThisProcess()

    async def invoke() -> None:
        duty = DutyCycle(process, share=8.0)
        duty.begin()
        await asyncio.sleep(0.03)
        duty.end()

    asyncio.run(invoke())
    assert process.stops == 0


def test_a_process_over_its_share_is_stopped() -> None:
    process = ThisProcess()

    async def invoke() -> None:
        duty = DutyCycle(process, share=0.1)
        duty.begin()
        use_cpu(0.05)
        await asyncio.sleep(0.03)
        duty.end()

    asyncio.run(invoke())
    assert process.stops == 1


def test_children_that_are_no_more_count() -> None:
    before_s = cpu_s(os.getpid())
    pid = os.fork()
    if pid == 0:
        use_cpu(0.2)
        os._exit(0)
    os.waitpid(pid, 0)
    assert cpu_s(os.getpid()) - before_s >= 0.18  # user and system time, rounded down to 10 ms


def test_a_process_that_has_gone_has_used_nothing() -> None:
    assert cpu_s(2**22 + 1) == 0.0

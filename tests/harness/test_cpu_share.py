from __future__ import annotations

from lambdatrace.harness.cpu_share import CpuBudget


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

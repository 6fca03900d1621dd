from __future__ import annotations

import subprocess
import sys
import time

from lambdatrace.clock import Clock
from lambdatrace.initialization import WAITED_FOR_NS_MAX, Initialization
from lambdatrace.testing import SettableClock

PROBE = """
import sys, time
from lambdatrace.clock import Clock
from lambdatrace.initialization import Initialization
time.sleep(0.05)
print(Initialization(Clock()).process_started_ns())
"""
TICK_NS = 10_000_000


def test_the_start_of_the_process_is_told_within_the_kernels_tick() -> None:
    before_ns = time.time_ns()
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    after_ns = time.time_ns()
    started_ns = int(probe.stdout)
    # It slept for 50 ms, which CPU time alone would not show.
    assert before_ns - TICK_NS <= started_ns <= after_ns - 50_000_000


def test_the_moments_of_the_import_are_this_moment_until_they_are_known() -> None:
    initialization = Initialization(Clock())
    assert initialization.import_started_ns == initialization.loaded_ns
    assert initialization.import_ended_ns == initialization.loaded_ns


def test_a_module_that_loads_on_behind_the_decorator_is_waited_for() -> None:
    clock = SettableClock()
    initialization = Initialization(clock)
    initialization.end_import(clock.time_ns())
    late_ns = clock.time_ns() + WAITED_FOR_NS_MAX + 1
    assert initialization.is_long_before(late_ns)
    initialization._ended_cpu_ns -= WAITED_FOR_NS_MAX // 2  # as if it had computed all the time
    assert not initialization.is_long_before(late_ns)

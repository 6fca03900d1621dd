"""Invokes that go wrong at random: benchmarks/harness_chaos.py in small."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from benchmarks import harness_chaos
from benchmarks.functions.chaos import LINES
from benchmarks.harness_chaos import Answered, Witness, wrong_logs, wrong_metrics, wrong_results
from lambdatrace.harness import InvocationFacts, LogEvent

if TYPE_CHECKING:
    import pytest


def test_every_invoke_is_accounted_for_once_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = random.randrange(2**32)
    assert harness_chaos.run(300, 16, seed, timeout_s=3) == [], capsys.readouterr().out


def test_what_is_lost_or_doubled_is_told() -> None:
    witness = Witness()

    def log(*messages: str) -> None:
        for message in messages:
            witness.logged("chaos", LogEvent(0, message, ""))

    ids = [f"0000000{n}-0000-0000-0000-000000000000" for n in range(3)]
    answered = [
        Answered("return", ids[0], "", 0),
        Answered("print", ids[1], "", 1),
        Answered("raise", ids[2], "", 2),
    ]
    for name in ids:
        log(f"START RequestId: {name} Version: $LATEST\n", f"END RequestId: {name}\n")
        log(f"REPORT RequestId: {name}\tDuration: 1.00 ms\n")
        witness.executed.append(InvocationFacts("chaos", 0.0, 1.0, False, (1, 1), request_id=name))
    log("begin 0\n", "begin 1\n", "begin 2\n")
    log(*(f"line 1 {n} ....\n" for n in range(LINES)))
    assert wrong_results(answered) == ["invoke 2 (raise) was answered 2"]
    assert wrong_logs(answered, witness) == wrong_metrics(answered, witness) == []
    log(f"END RequestId: {ids[0]}\n", "line 1 7 ...\n", "begin 2\n")
    witness.platform["REPORT", ids[1]] = 0
    witness.executed.pop()
    assert wrong_logs(answered, witness) == [
        f"END of {ids[0]} is in the log 2 times",
        f"REPORT of {ids[1]} is in the log 0 times",
        f"of invoke 1 {LINES + 1} lines of {LINES} are in the log",
        "invoke 2 (raise) began 2 times in the log",
    ]
    assert wrong_metrics(answered, witness)[:1] == [f"{ids[2]} (raise) is counted 0 times"]
    assert wrong_metrics(answered, witness)[1].endswith("of 3 invokes 0 failed")

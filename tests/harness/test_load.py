"""`lambdatrace load`: its plan, its figures, and the command as a shell sees it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.cli.load_report import as_text
from lambdatrace.harness import Function, HarnessSettingsError, InvocationFacts
from lambdatrace.harness.invocation import Outcome
from lambdatrace.harness.latencies import Latencies
from lambdatrace.harness.load import LoadResult
from lambdatrace.harness.load_plan import LoadPlan
from lambdatrace.harness.platform_logs import Report

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import os, time

def handler(event, context):
    if event == "fail":
        raise ValueError("no")
    if event == "exit":
        os._exit(3)
    if event == "sleep":
        print("asleep", flush=True)
        time.sleep(0.5)
    return event
"""


def command(folder: Path, *arguments: str) -> list[str]:
    (folder / "app.py").write_text(SOURCE)
    start = [sys.executable, "-m", "lambdatrace.cli", "load", "app.handler"]
    return [*start, "--code-dir", str(folder), *arguments]


def load(folder: Path, *arguments: str) -> dict[str, Any]:
    completed = subprocess.run(
        command(folder, "--json", *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    document: dict[str, Any] = json.loads(completed.stdout)
    unserved = document["failed"] + document["throttles"] + sum(document["refused"].values())
    sent = document["sent"]
    said = f"lambdatrace load: {unserved} of {sent} invokes did not succeed\n" if unserved else ""
    assert (completed.returncode, completed.stderr) == (int(unserved > 0), said)  # and no bar
    return document


@given(
    rate=st.floats(0.1, 1000),
    ramp_s=st.floats(0, 100),
    index=st.integers(0, 100_000),
)
def test_a_ramp_reaches_its_rate_evenly(rate: float, ramp_s: float, index: int) -> None:
    plan = LoadPlan(rate=rate, ramp_s=ramp_s, count=1)
    due_s = plan.due_s(index)
    in_ramp_s = min(due_s, ramp_s)
    rate_then = rate * in_ramp_s / ramp_s if ramp_s else rate
    sent = in_ramp_s * rate_then / 2 + (due_s - in_ramp_s) * rate
    assert sent == pytest.approx(index, rel=1e-6, abs=1e-6)


def test_a_steady_rate_is_even_and_callers_ramp_up_one_by_one() -> None:
    steady = LoadPlan(rate=4, duration_s=1)
    assert [steady.due_s(n) for n in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [steady.has(n, steady.due_s(n)) for n in (3, 4)] == [True, False]
    callers = LoadPlan(concurrency=4, ramp_s=2, count=9)
    assert [callers.caller_start_s(n) for n in range(4)] == [0, 0.5, 1, 1.5]
    assert [callers.has(n, 100) for n in (8, 9)] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0, "count": 1}, "rate 0: expected more than 0 and at most 10000 per second"),
        ({"rate": float("nan"), "count": 1}, "rate nan: expected"),
        ({"concurrency": 0, "count": 1}, "concurrency 0: expected at least 1"),
        ({"count": 0}, "count 0: expected at least 1"),
        ({"count": 1, "ramp_s": -1.0}, "ramp -1 s: expected 0 or more seconds"),
        ({"duration_s": 0.0}, "duration 0 s: expected more than 0"),
        ({}, "a load run needs a duration or a count"),
    ],
)
def test_what_is_no_plan_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessSettingsError, match=f"^{message}"):
        LoadPlan(**options)


@given(st.lists(st.floats(0.001, 1e6), min_size=1))
def test_percentiles_are_exact_to_a_hundredth(values: list[float]) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    ordered = sorted(values)
    for percent in (50, 90, 99, 100):
        exact = ordered[-(-len(ordered) * percent // 100) - 1]
        assert latencies.percentile(percent) == pytest.approx(exact, rel=0.01)
    assert (latencies.min_ms, latencies.max_ms) == (ordered[0], ordered[-1])
    rows = latencies.histogram()
    assert sum(count for _, _, count in rows) == len(values)
    assert rows[0][2] > 0
    assert rows[-1][2] > 0
    assert rows[0][0] * 0.99 <= ordered[0] <= rows[0][1] * 1.01
    assert [row[1] for row in rows[:-1]] == [row[0] for row in rows[1:]]


def test_the_result_for_people(tmp_path: Path) -> None:
    result = LoadResult(Function("app", "app.handler", code_dir=tmp_path, memory_size_mb=512))
    result.elapsed_s = 2.0
    for latency_ms in (100.0, 1.2, 1.2):
        result.answer(Outcome(b"1"), latency_ms)
    result.answer(Outcome(b'{"errorType": "ValueError"}', "Unhandled"), 1.7)
    result.throttles = 2
    for init_ms in (80.0, None, None, None):
        report = Report("id", 20.0, 512, 30, init_ms)
        result.execute(InvocationFacts("app", 0.0, 20.0, False, (1, 1), report=report))
    text = as_text(result, is_interrupted=True)
    percentiles = "".join(f", p{percent} 100.00 ms" for percent in ("90", "95", "99", "99.9"))
    assert text.splitlines()[:8] == [
        "app: 6 invokes in 2.00 s, 2.0 answers per second, interrupted",
        "  succeeded    3",
        "  failed       1 (ValueError 1)",
        "  throttled    2",
        "  cold starts  1 (25.0%), init median 80.0 ms, longest 80.0 ms",
        "",
        "latency",
        f"  min 1.20 ms, mean 26.02 ms, p50 1.20 ms{percentiles}, max 100.00 ms",
    ]
    assert text.splitlines()[8] == f"         1 - 1.5      ms        2 {'#' * 40}"
    assert text.splitlines()[9] == f"       1.5 - 2        ms        1 {'#' * 20}"
    # 160 ms at half a GB, and four requests
    assert "billed 0.160 s at 512 MB: 0.0800 GB-s, $0.00000" in text
    assert result.cost_usd == pytest.approx(4 * 0.2e-6 + 0.08 * 0.0000166667, rel=0.2)


def test_each_invoke_of_a_count_is_in_the_result_once(tmp_path: Path) -> None:
    result = load(tmp_path, "--count", "40", "--concurrency", "4", "-e", '"fail"')
    assert (result["sent"], result["executed"], result["succeeded"]) == (40, 40, 0)
    assert (result["failed"], result["errors"]) == (40, {"ValueError": 40})
    assert sum(count for _, _, count in result["latency_histogram_ms"]) == 40
    assert 1 <= result["cold_starts"] <= 4
    assert result["billed_duration_ms"] >= 40
    assert result["cost_usd"] > 40 * 0.2e-6
    assert result["latency_ms"]["max"] >= result["init_duration_ms"]["min"] > 0


def test_a_rate_is_kept_until_the_duration_ends(tmp_path: Path) -> None:
    result = load(tmp_path, "--rate", "40", "--ramp", "0.5", "--duration", "1")
    assert (result["sent"], result["succeeded"]) == (30, 30)  # 10 in the ramp, 20 after it
    assert result["is_interrupted"] is False


def test_throttled_invokes_are_no_answers(tmp_path: Path) -> None:
    options = ("--count", "6", "--rate", "1000", "--account-concurrency", "2", "-e", '"sleep"')
    result = load(tmp_path, *options)
    assert (result["succeeded"], result["throttles"], result["executed"]) == (2, 4, 2)


def test_ctrl_c_ends_in_order_with_the_result_so_far(tmp_path: Path) -> None:
    options = ("--json", "--logs", "--duration", "600", "-e", '"sleep"')
    with subprocess.Popen(
        command(tmp_path, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        while "asleep" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        result = json.loads(process.stdout.read())
        assert process.wait(20) == 130
        assert "Traceback" not in process.stderr.read()
    # What was under way had its answer.
    assert result["is_interrupted"] is True
    assert result["sent"] == result["succeeded"] == result["executed"] == 1


def test_a_second_ctrl_c_does_not_wait_for_the_answer(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ndef handler(event, context):\n    print('asleep', flush=True)\n"
        "    time.sleep(600)\n"
    )
    options = ("--json", "--logs", "--timeout", "900", "--count", "1")
    slow = [part.replace("app.handler", "slow.handler") for part in command(tmp_path, *options)]
    with subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout
        assert run.stderr
        while "asleep" not in run.stderr.readline():
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        time.sleep(0.3)  # two signals at once may arrive as one
        run.send_signal(signal.SIGINT)
        result = json.loads(run.stdout.read())
        assert run.wait(20) == 130
        assert "Traceback" not in run.stderr.read()
    assert (result["sent"], result["succeeded"]) == (1, 0)


def test_a_terminal_sees_a_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    options = ("--rate", "20", "--count", "10")
    with subprocess.Popen(
        command(tmp_path, *options), stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the terminal's other side has closed
                break
        assert process.stdout
        assert process.stdout.read().startswith(b"app: 10 invokes in ")
        assert process.wait(20) == 0
    os.close(ours)
    assert "━" in shown.decode()
    assert "invokes, " in shown.decode()


def test_invokes_that_fail_are_said_and_told_by_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text("def handler(event, context): raise ValueError('no')")
    start = [sys.executable, "-m", "lambdatrace.cli", "load", "failing.handler", "--count", "3"]
    completed = subprocess.run(
        start, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert completed.returncode == 1
    assert completed.stderr == "lambdatrace load: 3 of 3 invokes did not succeed\n"
    assert "  failed       3 (ValueError 3)\n" in completed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rate", "0"), "rate 0: expected more than 0 and at most 10000 per second"),
        (("--count", "0"), "count 0: expected at least 1"),
        (("--ramp", "3", "--duration", "2"), "ramp 3 s: expected at most the duration, 2 s"),
        (("--account-concurrency", "0"), "concurrency 0: expected at least 1"),
        (("-e", "{"), "event '{': no such file, and not JSON"),
        (("--memory-size", "1"), "memory size of app is 1 MB: expected 128 to 10240 MB"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_failed_exit(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    completed = subprocess.run(
        command(tmp_path, *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert (completed.returncode, completed.stdout) == (1, "")
    [line] = completed.stderr.splitlines()
    assert line.startswith(f"lambdatrace load: {message}")

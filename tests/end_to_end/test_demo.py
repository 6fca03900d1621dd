from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lambdatrace.cli.demo.stored import period_s_around

DEMO = (sys.executable, "-m", "lambdatrace.cli", "demo")


def test_the_demo_shows_what_the_collector_stored_and_cleans_up(tmp_path: Path) -> None:
    demo = subprocess.run(
        [*DEMO, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "160", "HOME": str(tmp_path)},
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    text = demo.stdout
    for section in ("Traces", "Cold starts", "Logs", "Metrics", "Where to look"):
        assert re.search(rf"── {section}", text), section
    # A trace across two functions, a timeout, an exception, links, a partial batch.
    assert re.search(r"Lambda.Invoke .*client\n.*payments [0-9.]+ ms payments server", text)
    assert "Task timed out after 1.00 seconds" in text
    assert "KeyError: 'spoon'" in text
    assert re.search(r"orders-queue process .*consumer links to traces", text)
    assert "pack 0." in text
    assert re.search(r"import orders [0-9.]+ ms", text)
    # AWS/Lambda: eight orders of which one raised, one payment timed out.
    assert re.search(r"orders +│ 8 +│ 1 +│", text)
    assert re.search(r"payments +│ 7 +│ 1 +│", text)
    assert re.search(r"OrdersPlaced +│ service=orders, tier=gold +│ 4 +│ 4 +│", text)
    assert re.search(r"OrdersPacked +│ service=fulfilment +│ 5 +│ 1 +│", text)
    assert "/aws/lambda/orders · 8 REPORT lines" in text
    assert "Status: timeout" in text


def processes_with(variable: str) -> dict[int, str]:
    """The command lines, by process id, of the processes that have this variable assignment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if command:  # else it has ended and waits to be reaped
                    found[int(folder.name)] = command
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "line", "number", "status"),
    [
        (["--keep"], "Running until Ctrl-C.", signal.SIGTERM, 0),
        (["--keep"], "Running until Ctrl-C.", signal.SIGINT, 0),
        ([], "Lambda API at", signal.SIGTERM, 143),
        ([], "", signal.SIGTERM, 143),
    ],
    ids=["kept-term", "kept-int", "at-work-term", "starting-term"],
)
def test_a_demo_that_is_ended_leaves_no_process_and_no_folder(
    tmp_path: Path, arguments: list[str], line: str, number: signal.Signals, status: int
) -> None:
    mark = f"TMPDIR={tmp_path}"
    with subprocess.Popen(
        [*DEMO, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "PYTHONUNBUFFERED": "1",
        },
    ) as demo:
        try:
            assert demo.stdout
            if line:
                assert any(printed.startswith(line) for printed in demo.stdout)
            else:
                deadline = time.monotonic() + 30
                while not any("lambdatrace_collector" in c for c in processes_with(mark).values()):
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            demo.send_signal(number)
            demo.stdout.read()
            assert demo.wait(60) == status
            deadline = time.monotonic() + 10
            while processes_with(mark) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert processes_with(mark) == {}
        finally:
            for pid in processes_with(mark):
                os.kill(pid, signal.SIGKILL)
    assert [path.name for path in tmp_path.glob("*-lambdatrace")] == []


@pytest.mark.parametrize("boundary_s", [1_800_000_000, 1_799_971_200, 86_400 * 20_000])
def test_a_run_across_the_end_of_an_hour_or_a_day_is_in_one_period(boundary_s: int) -> None:
    for start_s, end_s in (
        (boundary_s - 30, boundary_s + 30),
        (boundary_s, boundary_s + 60),
        (boundary_s - 1800, boundary_s + 1800),
    ):
        period_s = period_s_around(start_s, end_s)
        assert start_s // period_s == end_s // period_s
        assert period_s % 60 == 0
        assert 0 < period_s <= 86_400

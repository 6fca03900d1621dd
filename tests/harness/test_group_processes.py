"""What an environment started is frozen, reset and stopped with it, whatever session it made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness.control_groups import find_bases, remove_stale
from lambdatrace.harness.group_processes import processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

# A child in a session of its own, without a variable that would tell whose it is.
SOURCE = """
    import os, subprocess

    def handler(event, context):
        if event == "start":
            child = subprocess.Popen(
                ["/bin/sh", "-c", "while :; do :; done"], env={}, start_new_session=True
            )
            return child.pid
        if event == "end":
            os._exit(1)
        return event
"""


def state(pid: int) -> str:
    """A process's state as the kernel has it: R, S, T, Z; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


def comes_to_be(pid: int, *states: str) -> bool:
    """Whether a process is in one of these states within 10 s."""
    deadline = time.monotonic() + 10
    while state(pid) not in states:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def need_groups() -> str:
    """A folder in which groups can be made."""
    bases = find_bases()
    if not bases or not os.access(next(iter(bases.values())), os.W_OK):
        pytest.skip("control groups are not ours to divide here")
    return next(iter(bases.values()))


def test_a_process_in_a_session_of_its_own_is_frozen_thawed_and_ended_by_a_reset(run: Run) -> None:
    need_groups()
    with run(SOURCE, timeout_s=20) as harness:
        pid = harness.invoke("app", "start").json()
        assert comes_to_be(pid, "T")
        ran_before = Path(f"/proc/{pid}/schedstat").read_text()
        harness.invoke("app", "go on")
        assert comes_to_be(pid, "T")
        ran_after = Path(f"/proc/{pid}/schedstat").read_text()
        harness.invoke("app", "end")
        assert comes_to_be(pid, "Z", "")
    assert ran_before != ran_after, "it ran while the function did"


def test_it_ends_with_a_supervisor_that_is_killed(run: Run) -> None:
    need_groups()
    with run(SOURCE, timeout_s=20) as harness:
        pid = harness.invoke("app", "start").json()
        [parent] = [e.pid for e in harness.environments("app")]
        supervisor = int(Path(f"/proc/{parent}/stat").read_text().rpartition(") ")[2].split()[1])
        os.kill(supervisor, signal.SIGKILL)
        assert comes_to_be(pid, "Z", "")


def test_what_runs_in_the_group_of_a_harness_that_is_no_more_is_ended() -> None:
    base = Path(need_groups())
    folder = base / "lambdatrace-99999999-test" / "tmp-1"
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        (folder / "cgroup.procs").write_text(str(child.pid))
        assert processes(str(folder)) == [child.pid]
        remove_stale(str(base))
        assert child.wait(10) == -signal.SIGKILL
    remove_stale(str(base))
    assert not folder.exists()


def test_ids_of_another_namespace_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("0\n17\n0\n")
    assert processes(str(tmp_path)) == [17]
    assert processes(str(tmp_path / "gone")) == []

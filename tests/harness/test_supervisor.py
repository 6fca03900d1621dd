"""The process that starts a harness's processes and tells how they end."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.harness import Function, Harness
from tests.harness.test_lifecycle import wait_gone

if TYPE_CHECKING:
    import pytest

# In a process of its own, as the supervisor is: it reaps every child that it does not know.
SCRIPT = """
import json, os, select, signal, socket, sys
from lambdatrace.harness.supervisor import Watch

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
watch = Watch(theirs, "", 0, [])
pid = os.fork()
if pid == 0:
    os.setsid()
    os._exit(7)
pidfd = os.pidfd_open(pid)
watch.pid_by_fd[pidfd] = pid
watch.poller.register(pidfd, select.POLLIN)
select.select([pidfd], [], [])
ours.send(json.dumps({"release": pid, "marker": "none"}).encode())
ours.shutdown(socket.SHUT_WR)
watch.run()
theirs.close()
told = []
while packet := ours.recv(65536):
    told.append(json.loads(packet))
print(json.dumps([told[1:] == [{"exited": pid, "code": 7, "signal": 0}], len(watch.pid_by_fd)]))
"""


def test_a_process_that_ends_when_it_is_released_is_told_of_and_no_harm_to_the_others() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False
    )
    assert completed.stderr == ""
    assert json.loads(completed.stdout) == [True, 0]


def test_a_supervisor_that_dies_is_said_and_another_starts_the_environments_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.py").write_text("import os\ndef handler(event, context): return os.getpid()\n")
    with Harness([Function("app", "app.handler", code_dir=tmp_path)]) as harness:
        first = harness.invoke("app").json()
        harness.wait_frozen("app")
        with caplog.at_level(logging.ERROR, "lambdatrace.harness"):
            os.kill(supervisor_of(first), signal.SIGKILL)
            answers = [harness.invoke("app") for _ in range(20)]
        # One invoke may have been given to the environment that was killed at that moment.
        assert len([answer for answer in answers if answer.function_error]) <= 1
        assert answers[-1].json() != first
        assert wait_gone([first]) == []
        assert supervisor_of(answers[-1].json()) != os.getpid()
        assert [record.message for record in caplog.records] == [
            "the supervisor process has died, its environments with it: starting anew"
        ]


def supervisor_of(pid: int) -> int:
    """The parent of a runtime's process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


RELEASES = """
import asyncio, socket, sys
from pathlib import Path
from lambdatrace.harness.processes import Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]), uses_groups=False)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    supervisor._socket = ours
    for number in range(2000):  # nobody reads: more than there is room for
        supervisor.release(number, "x" * 200)
    loop = asyncio.get_running_loop()
    read = 0
    theirs.setblocking(False)
    while read < 2000:
        assert b'"release": %d,' % read in await loop.sock_recv(theirs, 65536)
        read += 1
    await supervisor.stop()
    print("all")

asyncio.run(asyncio.wait_for(main(), 30))
"""


def test_releasing_many_does_not_wait_for_a_supervisor_that_waits_for_us(tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", RELEASES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (completed.stdout, completed.stderr) == ("all\n", "")

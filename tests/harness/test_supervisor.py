"""The process that starts a harness's processes and tells how they end."""

from __future__ import annotations

import json
import subprocess
import sys

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

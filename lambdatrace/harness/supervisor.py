"""The process that starts, watches and ends the processes of execution environments.

Run as a program by `processes.Supervisor`, with the standard library only. It exists because a
process with threads cannot safely run Python between fork and exec, and because something must
outlive a killed harness: when the harness's end of the socket closes, for whatever reason, every
process is killed (stopped ones too), and the temporary folder and the control groups removed.
Should the supervisor die first, each process has asked the kernel to be killed with it
(PR_SET_PDEATHSIG), and what was mounted goes with the supervisor's namespace.

Messages, one JSON object per packet:
  to us     {"spawn": id, ...}  a `processes.Launch`, with stdout, stderr, log fds
            {"release": pid, "marker"}                                 end of a process group
  from us   {"ready": true, "private": "mount" | "user" | "", "able", "groups"}
                                                                       first of all
            {"spawned": id, "pid"} | {"spawned": id, "error"}
            {"exited": pid, "code": n, "signal": n}
"""

# Between fork and exec only plain system calls are safe and cheap, so os, not pathlib; whatever
# goes wrong there must end that fork, not run our loop in it a second time.
# ruff: noqa: PTH123, BLE001, S606

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from lambdatrace.harness import (
    control_groups,
    folder_removal,
    group_processes,
    mounts,
)

PACKET_BYTES_MAX = 200_000  # below the kernel's default socket buffer of 212,992 bytes
LOG_FD = 3  # where a runtime finds its framed log pipe
ORPHAN_CHECK_MS = 2000  # how often processes that lost their parent are reaped
KILL_ALL_S = 5.0

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """The processes we started: their exit is reported once, and they stay zombies until released.

    A zombie keeps its process id, so the harness can never signal a stranger by a reused one.
    """

    def __init__(self, harness: socket.socket, private: str, able: int, groups: list[str]) -> None:
        self.harness = harness
        self.private = private
        self.able = able
        self.groups = groups
        self.poller = select.poll()
        self.poller.register(harness.fileno(), select.POLLIN)
        self.pid_by_fd: dict[int, int] = {}

    def run(self) -> None:
        """Serves until the harness's end of the socket is closed."""
        usable = [group for group in self.groups if control_groups.can_join(group)]
        ready = {"ready": True, "private": self.private, "able": self.able, "groups": usable}
        self.tell(ready)
        while True:
            ready_fds = {fd for fd, _ in self.poller.poll(ORPHAN_CHECK_MS)}
            # Exits first: the message may be to release one of those that have ended, whose
            # descriptor is then closed, and may be another process's before it is looked at.
            for fd in ready_fds - {self.harness.fileno()}:
                self.report_exit(fd)
            if self.harness.fileno() in ready_fds:
                packet, fds, _, _ = socket.recv_fds(
                    self.harness, PACKET_BYTES_MAX, 3, socket.MSG_CMSG_CLOEXEC
                )
                if not packet:
                    return
                message = json.loads(packet)
                if "spawn" in message:
                    self.spawn(message, fds)
                else:
                    self.release(message["release"], message["marker"])
            reap_orphans(set(self.pid_by_fd.values()))

    def tell(self, message: dict[str, object]) -> None:
        """Sends to the harness; one that has gone is noticed by the next read."""
        try:
            self.harness.send(json.dumps(message).encode())
        except OSError:
            return

    def spawn(self, message: dict[str, Any], fds: list[int]) -> None:
        """Forks and becomes the wanted process in the child."""
        supervisor_pid = os.getpid()
        try:
            if self.able & mounts.SIZED_TMP:
                mounts.size_tmp(message["tmp"], message["tmp_mb"])
            pid = os.fork()
        except OSError as error:
            self.tell({"spawned": message["spawn"], "error": str(error)})
            pid = -1
        if pid == 0:
            become(message, fds, supervisor_pid, self.private)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            pidfd = os.pidfd_open(pid)
            self.pid_by_fd[pidfd] = pid
            self.poller.register(pidfd, select.POLLIN)
            self.tell({"spawned": message["spawn"], "pid": pid})

    def report_exit(self, pidfd: int) -> None:
        """Tells how a process ended and stops watching it."""
        self.poller.unregister(pidfd)
        pid = self.pid_by_fd[pidfd]
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        code, number = (0, 0) if ended is None else (ended.si_status, 0)
        if ended is not None and ended.si_code != os.CLD_EXITED:
            code, number = 0, ended.si_status
        self.tell({"exited": pid, "code": code, "signal": number})

    def release(self, pid: int, marker: str) -> None:
        """Kills what is left of a process group, reaps its leader, and kills what left the group.

        A process that made its own session is found by `marker`, an environment variable with a
        value that only this execution environment has.
        """
        kill_group(pid)
        for pidfd, known in list(self.pid_by_fd.items()):
            if known == pid:
                with contextlib.suppress(KeyError):
                    self.poller.unregister(pidfd)
                os.close(pidfd)
                del self.pid_by_fd[pidfd]
        os.waitpid(pid, 0)
        reap_orphans(set(self.pid_by_fd.values()), marker)


def become(message: dict[str, Any], fds: list[int], supervisor_pid: int, private: str) -> None:
    """Turns this fork into the process of `message`; never returns."""
    status = 126
    try:
        os.setsid()
        os.dup2(fds[0], 1)
        os.dup2(fds[1], 2)
        for log_fd in fds[2:]:
            os.dup2(os.dup(log_fd), LOG_FD)  # dup2 onto itself would leave it to be closed
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        choose_first_when_memory_is_out()
        for group in message["groups"]:
            control_groups.join(group)
        if private:
            mounts.own_file_system(private, message)
        limit_resources(message["files_max"], message["processes_max"], private)
        os.chdir(message["cwd"])
        # Signals ignored or blocked by whoever started us are not the function's business.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == supervisor_pid:
            os.execvpe(message["argv"][0], message["argv"], message["env"])
    except FileNotFoundError as error:
        status = 127
        os.write(2, f"{error.filename}: no such file or directory\n".encode())
    except BaseException as error:
        os.write(2, f"cannot start: {error}\n".encode())
    finally:
        os._exit(status)


def choose_first_when_memory_is_out() -> None:
    """Has the kernel end this process, and what it starts, before anything else on the machine."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def limit_resources(files_max: int, processes_max: int, private: str) -> None:
    """Bounds the descriptors of this process, and the processes where that counts ours only.

    RLIMIT_NPROC counts all processes of a user: in a user namespace those of this environment's
    process tree; root is not bound by it, and only sees it. Without either it would count what the
    user runs besides.
    """
    _limit(resource.RLIMIT_NOFILE, files_max)
    if private == "user" or os.getuid() == 0:
        _limit(resource.RLIMIT_NPROC, processes_max)


def _limit(number: int, most: int) -> None:
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(number, (most, most))


def children() -> list[int]:
    """Our direct children, adopted ones included."""
    with open("/proc/thread-self/children") as file:
        return [int(pid) for pid in file.read().split()]


def reap_orphans(known: set[int], marker: str = "") -> None:
    """Reaps adopted processes that have ended; those with `marker` are killed first."""
    for _ in range(10):  # killing a parent hands us its children: look again, but not for ever
        is_any_killed = False
        for pid in children():
            if pid in known:
                continue
            if marker and has_marker(pid, marker):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                is_any_killed = True
            else:
                os.waitpid(pid, os.WNOHANG)
        if not is_any_killed:
            return


def has_marker(pid: int, marker: str) -> bool:
    """Whether a process was started with the variable assignment `marker`."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return marker.encode() in file.read().split(b"\0")
    except OSError:
        return False


def kill_group(pid: int) -> None:
    """SIGKILL for a whole process group; one that has gone is fine."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_all(groups: set[int]) -> None:
    """Kills every group, then every process we adopt by that, until none is left."""
    for pid in groups:
        kill_group(pid)
    deadline = time.monotonic() + KILL_ALL_S
    while time.monotonic() < deadline:
        remaining = children()
        if not remaining:
            return
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def main() -> None:
    """Arguments: our socket's descriptor, the folder to remove, `private` or `shared` /tmp, and
    the control groups to remove.
    """
    harness = socket.socket(fileno=int(sys.argv[1]))
    folder = sys.argv[2]
    # Ctrl-C in a terminal reaches us as well: the harness decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    private, able = mounts.probe(folder) if sys.argv[3] == "private" else ("", 0)
    if private:
        mounts.unshare(private)
    if able & mounts.OWN_TASK_ROOT:
        mounts.make_task_root()
    watch = Watch(harness, private, able, sys.argv[4:])
    try:
        watch.run()
    finally:
        kill_all(set(watch.pid_by_fd.values()))
        for group in watch.groups:
            group_processes.kill_below(group)
        with contextlib.suppress(OSError):
            mounts.unmount_below(folder)
        folder_removal.remove_folder(folder)
        for group in watch.groups:
            control_groups.remove(group)

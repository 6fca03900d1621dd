"""The process that starts, watches and ends the processes of execution environments.

Run as a script by `processes.Supervisor`, with the standard library only. It exists because a
process with threads cannot safely run Python between fork and exec, and because something must
outlive a killed harness: when the harness's end of the socket closes, for whatever reason, every
process is killed (stopped ones too) and the temporary folder removed. Should the supervisor die
first, each process has asked the kernel to be killed with it (PR_SET_PDEATHSIG).

Messages, one JSON object per packet:
  to us     {"spawn": id, "argv", "env", "cwd", "tmp", "opt", "keep", "sandbox"}
                                                                  with stdout, stderr, log fds
            {"release": pid, "marker"}                                 end of a process group
  from us   {"ready": true, "private": "mount" | "user" | ""}          first of all
            {"spawned": id, "pid"} | {"spawned": id, "error"}
            {"exited": pid, "code": n, "signal": n}
"""

# Between fork and exec only plain system calls are safe and cheap, so os, not pathlib; whatever
# goes wrong there must end that fork, not run our loop in it a second time.
# ruff: noqa: PTH103, PTH108, PTH110, PTH123, BLE001, S606

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

PACKET_BYTES_MAX = 200_000  # below the kernel's default socket buffer of 212,992 bytes
HOSTS_BYTES_MAX = 65536
LOG_FD = 3  # where a runtime finds its framed log pipe
ORPHAN_CHECK_MS = 2000  # how often processes that lost their parent are reaped
KILL_ALL_S = 5.0

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_HOSTS = "/etc/hosts"
_LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """The processes we started: their exit is reported once, and they stay zombies until released.

    A zombie keeps its process id, so the harness can never signal a stranger by a reused one.
    """

    def __init__(self, harness: socket.socket, private: str) -> None:
        self.harness = harness
        self.private = private
        self.poller = select.poll()
        self.poller.register(harness.fileno(), select.POLLIN)
        self.pid_by_fd: dict[int, int] = {}

    def run(self) -> None:
        """Serves until the harness's end of the socket is closed."""
        self.tell({"ready": True, "private": self.private})
        while True:
            for fd, _ in self.poller.poll(ORPHAN_CHECK_MS):
                if fd != self.harness.fileno():
                    self.report_exit(fd)
                    continue
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
        if private:
            own_file_system(private, message)
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


def own_file_system(private: str, message: dict[str, Any]) -> None:
    """Gives this process its own /tmp, its layers as /opt, and names in /etc/hosts.

    All in a mount namespace, so that nobody else sees them.

    Folders in `keep` that live under the old /tmp (code, interpreter) stay where they were.
    """
    unshare(private)
    kept = [(folder, os.open(folder, os.O_PATH)) for folder in message["keep"]]
    if message["opt"]:
        mount(message["opt"], "/opt")
    if message["sandbox"] and os.path.exists(_HOSTS):
        name_sandbox(message["sandbox"], message["tmp"])
    mount(message["tmp"], "/tmp")  # noqa: S108 - the place that functions write to
    for folder, fd in kept:
        os.makedirs(folder, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", folder)
        os.close(fd)


def name_sandbox(address: str, folder: str) -> None:
    """Gives `address` the names that an execution environment has from inside.

    The file is written to `folder` and lives on as what /etc/hosts is here.
    """
    path = f"{folder}/.hosts-{os.getpid()}"
    known, own = os.open(_HOSTS, os.O_RDONLY), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    names = f"\n{address} sandbox.localdomain sandbox\n"
    os.write(own, os.read(known, HOSTS_BYTES_MAX) + names.encode())
    os.fchmod(own, 0o644)
    os.close(known)
    os.close(own)
    with contextlib.suppress(OSError):  # in a sandbox within a sandbox, a file that has no name
        mount(path, _HOSTS)
    os.unlink(path)


def unshare(private: str) -> None:
    """Enters a new mount namespace, through a user namespace where we are not privileged."""
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS | (_CLONE_NEWUSER if private == "user" else 0)
    check(_LIBC.unshare(flags))
    if private == "user":
        for name, value in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(value)
    check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))


def mount(source: str, target: str) -> None:
    """Bind-mounts `source` over `target`."""
    check(_LIBC.mount(source.encode(), target.encode(), None, _MS_BIND | _MS_REC, None))


def check(result: int) -> None:
    """Raises OSError for a failed C call."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def probe_privacy(folder: str) -> str:
    """How a process can be given its own /tmp here: "mount", "user", or "" when it cannot."""
    for private in ("mount", "user"):
        pid = os.fork()
        if pid == 0:
            try:
                own_file_system(private, {"keep": [], "opt": "", "tmp": folder, "sandbox": ""})
            except BaseException:
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            return private
    return ""


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
    """Arguments: our socket's descriptor, the folder to remove, `private` or `shared` /tmp."""
    harness = socket.socket(fileno=int(sys.argv[1]))
    folder = sys.argv[2]
    # Ctrl-C in a terminal reaches us as well: the harness decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    watch = Watch(harness, probe_privacy(folder) if sys.argv[3] == "private" else "")
    try:
        watch.run()
    finally:
        kill_all(set(watch.pid_by_fd.values()))
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""Process groups of execution environments, started through the supervisor process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambdatrace.harness.errors import LaunchError
from lambdatrace.harness.limits import EPHEMERAL_STORAGE_MB_MIN, FILES_MAX, PROCESSES_MAX, Limits
from lambdatrace.harness.supervisor import PACKET_BYTES_MAX

SUPERVISOR_START_S = 10.0  # interpreter start on a busy machine; 30 ms normally
SPAWN_S = 10.0

# The supervisor without the packages around it: what they import is not its business, and it is
# there before the first cold start.
_PROGRAM = """
import sys, types
for name, folder in (("lambdatrace", {package!r}), ("lambdatrace.harness", {harness!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from lambdatrace.harness import supervisor
supervisor.main()
"""
SUPERVISOR_STOP_S = 10.0


@dataclass(frozen=True)
class Launch:
    """A process to start. `tmp` becomes its /tmp, of `tmp_mb`, `opt` its /opt and `task` its
    /var/task, where these can be had; `keep` are folders under /tmp that must stay visible;
    neither these nor `read_only` can be written to. `groups` are the control groups it joins.
    `sandbox_address` is what the process knows as sandbox.localdomain, if /etc/hosts can be had.
    """

    argv: list[str]
    environment: dict[str, str]
    working_dir: str
    tmp: str
    opt: str = ""
    task: str = ""
    keep: tuple[str, ...] = ()
    sandbox_address: str = ""
    read_only: tuple[str, ...] = ()
    tmp_mb: int = EPHEMERAL_STORAGE_MB_MIN
    groups: tuple[str, ...] = ()
    files_max: int = FILES_MAX
    processes_max: int = PROCESSES_MAX


@dataclass(frozen=True)
class Exit:
    """How a process ended: its exit status, or the signal that ended it."""

    code: int
    signal_number: int = 0

    @property
    def reason(self) -> str:
        """In the words of Lambda's messages: `exit status 1`, `signal: killed`."""
        if self.signal_number:
            name = signal.strsignal(self.signal_number) or str(self.signal_number)
            return f"signal: {name.lower()}"
        return f"exit status {self.code}"


class Process:
    """One process and the group it leads. `exited` is done when it has ended."""

    def __init__(self, supervisor: Supervisor, pid: int, marker: str) -> None:
        self.pid = pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._supervisor = supervisor
        self._marker = marker
        self._is_released = False

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group; a group that has gone is fine."""
        if not self._is_released:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def release(self) -> None:
        """Kills what is left of the group and forgets it: its id may be reused after this."""
        if not self._is_released:
            self._is_released = True
            self._supervisor.release(self.pid, self._marker)


class Supervisor:
    """Our side of the supervisor process. All methods belong to the event loop's thread."""

    def __init__(
        self,
        temp_dir: Path,
        *,
        wants_private_tmp: bool = True,
        limits_cpu: bool = False,
        uses_groups: bool = True,
    ) -> None:
        self.private_tmp = ""  # how processes get their own /tmp: "mount", "user", "" (TMPDIR only)
        self.limits = Limits(
            temp_dir.name,
            limits_cpu=limits_cpu,
            uses_groups=uses_groups,
            wants_private_tmp=wants_private_tmp,
        )
        self._temp_dir = temp_dir
        self._wants_private_tmp = wants_private_tmp
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._spawned: dict[int, tuple[str, asyncio.Future[Process]]] = {}
        self._processes: dict[int, Process] = {}
        self._ready: asyncio.Future[None] | None = None
        self._last_id = 0

    async def start(self) -> None:
        """Starts the supervisor process. Raises LaunchError when it does not come up."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        harness = Path(__file__).parent
        program = _PROGRAM.format(package=str(harness.parent), harness=str(harness))
        self._process = subprocess.Popen(  # noqa: ASYNC220 - once, before any invoke
            [
                *(sys.executable, "-I", "-S", "-c", program, str(theirs.fileno())),
                *(str(self._temp_dir), "private" if self._wants_private_tmp else "shared"),
                *self.limits.groups.folders,
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        ours.setblocking(False)
        self._socket = ours
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._receive)
        try:
            await asyncio.wait_for(self._ready, SUPERVISOR_START_S)
        except asyncio.TimeoutError:
            await self.stop()
            raise LaunchError(
                f"the supervisor process did not start within {SUPERVISOR_START_S:.0f} s"
            ) from None

    async def stop(self) -> None:
        """Ends the supervisor, and with it every process that is left."""
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process:
            await asyncio.to_thread(_wait_or_kill, process)
        self.limits.groups.close()
        self._lost()

    async def spawn(self, launch: Launch, fds: list[int], marker: str) -> Process:
        """Starts a process with stdout, stderr and (if given) the log pipe as `fds`.

        The descriptors stay the caller's to close. `marker` is an assignment in the environment
        that only this execution environment has. Raises LaunchError.
        """
        self._last_id += 1
        number = self._last_id
        message = {
            "spawn": number,
            "argv": launch.argv,
            "env": launch.environment,
            "cwd": launch.working_dir,
            "tmp": launch.tmp,
            "tmp_mb": launch.tmp_mb,
            "opt": launch.opt,
            "task": launch.task,
            "keep": launch.keep,
            "sandbox": launch.sandbox_address,
            "read_only": launch.read_only,
            "groups": launch.groups,
            "files_max": launch.files_max,
            "processes_max": launch.processes_max,
        }
        packet = json.dumps(message).encode()
        if len(packet) > PACKET_BYTES_MAX:
            raise LaunchError(f"command and environment are {len(packet)} bytes: too large")
        future: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._spawned[number] = marker, future
        try:
            await self._send(packet, fds)
        except LaunchError:
            self._spawned.pop(number, None)  # nobody waits for it
            raise
        try:
            return await asyncio.wait_for(future, SPAWN_S)
        except asyncio.TimeoutError:
            raise LaunchError(f"{launch.argv[0]} did not start within {SPAWN_S:.0f} s") from None

    def release(self, pid: int, marker: str) -> None:
        """Ends and forgets the group of `pid`."""
        self._processes.pop(pid, None)
        if self._socket:
            message = json.dumps({"release": pid, "marker": marker}).encode()
            # A lost packet would leak a process group: wait for room, the supervisor is quick.
            self._socket.setblocking(True)
            with contextlib.suppress(OSError):
                self._socket.send(message)
            self._socket.setblocking(False)

    async def _send(self, packet: bytes, fds: list[int]) -> None:
        for _ in range(1000):
            if self._socket is None:
                break
            try:
                socket.send_fds(self._socket, [packet], fds)
            except BlockingIOError:
                await asyncio.sleep(0.005)
            except OSError as error:
                raise LaunchError(f"the supervisor process has gone: {error}") from error
            else:
                return
        raise LaunchError("the supervisor process does not answer")

    def _receive(self) -> None:
        while self._socket:
            try:
                packet = self._socket.recv(PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
                self._socket.close()
                self._socket = None
                self._lost()
                return
            self._take(json.loads(packet))

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.private_tmp = self.limits.private = message["private"]
            self.limits.able = message["able"]
            self.limits.groups.keep(message["groups"])
            if self._ready and not self._ready.done():
                self._ready.set_result(None)
        elif "spawned" in message:
            marker, future = self._spawned.pop(message["spawned"])
            if "error" in message:
                if not future.done():
                    future.set_exception(LaunchError(message["error"]))
                return
            process = self._processes[message["pid"]] = Process(self, message["pid"], marker)
            if future.done():
                process.release()  # nobody waits for it any more
            else:
                future.set_result(process)
        else:
            ended = self._processes.get(message["exited"])
            if ended and not ended.exited.done():
                ended.exited.set_result(Exit(message["code"], message["signal"]))

    def _lost(self) -> None:
        """The supervisor has gone, and the kernel killed its processes with it.

        Not those that they have started, which are found by their control groups.
        """
        for _, future in self._spawned.values():
            if not future.done():
                future.set_exception(LaunchError("the supervisor process has gone"))
        self._spawned.clear()
        for process in self._processes.values():
            if not process.exited.done():
                process.exited.set_result(Exit(0, signal.SIGKILL))
        self._processes.clear()
        self.limits.groups.kill()


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(SUPERVISOR_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The processes of one execution environment between an init and the reset or shutdown after it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness.group_processes import LOOK_AGAIN_S
from lambdatrace.harness.log_stream import FrameReader, LineReader
from lambdatrace.harness.memory import PeakMemory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.harness.control_groups import ControlGroup
    from lambdatrace.harness.cpu_share import DutyCycle
    from lambdatrace.harness.processes import Exit, Launch, Process, Supervisor

READ_BYTES = 65536  # a whole pipe
DRAIN_READS_MAX = 64  # a process that writes without end must not hold up the others
FORKS_MAX = 10  # of those that start others while they are stopped one by one
KILL_WAIT_S = 2.0  # from SIGKILL to the end of a process, on a machine that is swapping


class Watcher(Protocol):
    """Who is told about the processes: their output, oldest first, and their end."""

    def wrote(self, timestamp_ms: int, message: bytes) -> None:
        """The runtime process wrote one log event."""

    def extension_wrote(self, timestamp_ms: int, message: bytes) -> None:
        """An external extension wrote one log event."""

    def runtime_exited(self, how: Exit) -> None:
        """The runtime process ended by itself."""

    def extension_exited(self, name: str, how: Exit) -> None:
        """An external extension ended by itself."""


class _Output:
    """One process's pipe for standard output and error, so that their order is kept, and its lines.

    Processes do not share one: a line written in two parts, as the runtime client writes what is
    printed, would take in what another process writes between them.
    """

    def __init__(self) -> None:
        self.lines = LineReader()
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


class Sandbox:
    """A runtime process and its external extensions, each leading a process group, and their pipes.

    The runtime's framed log records have a pipe of their own beside its output.
    """

    def __init__(
        self, supervisor: Supervisor, watcher: Watcher, marker: str, group: ControlGroup
    ) -> None:
        self.memory = PeakMemory()
        self.duty: DutyCycle | None = None  # stops the processes now and then while they are thawed
        self.runtime: Process | None = None
        self.extensions: dict[str, Process] = {}
        self._supervisor = supervisor
        self._watcher = watcher
        self._marker = marker
        self._group = group
        self._apart: list[int] = []  # stopped, and not in the leaders' process groups
        self._frames = FrameReader()
        self._is_closing = False
        self._output = _Output()
        self._extension_outputs: list[_Output] = []
        try:
            self._frame_fd, self._frame_end = os.pipe2(os.O_CLOEXEC)
        except OSError:
            self._output.close()
            raise
        os.set_blocking(self._frame_fd, False)
        self._loop = asyncio.get_running_loop()
        for descriptor in (self._output.read_fd, self._frame_fd):
            self._loop.add_reader(descriptor, self._collect)

    async def start_extension(self, name: str, launch: Launch) -> None:
        """Starts an external extension. Raises LaunchError."""
        output = _Output()
        self._extension_outputs.append(output)
        self._loop.add_reader(output.read_fd, self._collect_from_extension, output)
        process = await self._start(launch, [output.write_fd, output.write_fd])
        self.extensions[name] = process
        process.exited.add_done_callback(lambda done: self._extension_exited(name, done.result()))

    async def start_runtime(self, launch: Launch) -> None:
        """Starts the runtime. Raises LaunchError."""
        ends = [self._output.write_fd, self._output.write_fd, self._frame_end]
        process = self.runtime = await self._start(launch, ends)
        process.exited.add_done_callback(lambda done: self._runtime_exited(done.result()))

    async def _start(self, launch: Launch, ends: list[int]) -> Process:
        process = await self._supervisor.spawn(launch, ends, self._marker)
        try:
            self.memory.watch(process.pid)
        except OSError:
            process.release()
            raise
        return process

    def _extension_exited(self, name: str, how: Exit) -> None:
        if not self._is_closing:
            self._watcher.extension_exited(name, how)

    def _runtime_exited(self, how: Exit) -> None:
        if not self._is_closing:
            self._watcher.runtime_exited(how)

    def freeze(self) -> None:
        """Stops every process: not one instruction runs until `thaw`."""
        if self.duty:
            self.duty.end()
        self.stop_all()

    def leaders(self) -> list[int]:
        """The ids of the processes, each leading its group."""
        return [process.pid for process in self._processes()]

    def thaw(self) -> None:
        """Lets every process run."""
        self.continue_all()
        if self.duty:
            self.duty.begin()

    def stop_all(self) -> None:
        """SIGSTOP for every process.

        Not the freezer controller: in version 1 what is frozen cannot be killed, be it by the
        kernel when supervisor and harness are gone, and thawing it takes one of them.
        """
        for process in self._processes():
            process.signal_group(signal.SIGSTOP)
        leaders = self.leaders()
        for _ in range(FORKS_MAX):
            others = [pid for pid in self._group.processes() if pid not in leaders]
            apart = [pid for pid in others if _group_of(pid) not in leaders]
            running = [pid for pid in apart if pid not in self._apart]
            if not running:
                break
            self._apart += running
            _signal(running, signal.SIGSTOP)

    def continue_all(self) -> None:
        """SIGCONT for every process."""
        self._continue_those_apart()
        for process in self._processes():
            process.signal_group(signal.SIGCONT)

    def _continue_those_apart(self) -> None:
        if self._apart:
            stopped, self._apart = set(self._apart), []
            _signal(stopped.intersection(self._group.processes()), signal.SIGCONT)

    def kill_runtime(self) -> None:
        """Ends the runtime at once, without a word to it; the watcher is told of its exit."""
        if self.runtime:
            self.runtime.signal_group(signal.SIGKILL)

    def drain(self) -> None:
        """Reads what the processes have written so far."""
        for _ in range(DRAIN_READS_MAX):
            if self._collect() < READ_BYTES:
                break
        for output in self._extension_outputs:
            for _ in range(DRAIN_READS_MAX):
                if self._collect_from_extension(output) < READ_BYTES:
                    break

    async def end_runtime(self, grace_s: float) -> None:
        """SIGTERM and `grace_s` to react, then SIGKILL; without grace, SIGKILL at once."""
        self._is_closing = True
        if self.duty:
            self.duty.end()
        runtime = self.runtime
        if runtime is None:
            return
        if grace_s > 0:
            # Thaw first: a SIGTERM sent to stopped threads may later be taken by any of them, and
            # Python's handlers run in the main thread only, which then sleeps on.
            self._continue_those_apart()
            runtime.signal_group(signal.SIGCONT)
            runtime.signal_group(signal.SIGTERM)
            await asyncio.wait([runtime.exited], timeout=grace_s)
        runtime.signal_group(signal.SIGKILL)

    async def end_extensions(self, told: Iterable[str], until: float) -> None:
        """Waits until loop time `until` for the extensions that were `told`; kills the others."""
        self._is_closing = True
        waited = []
        for name, process in self.extensions.items():
            if name in told:
                process.signal_group(signal.SIGCONT)
                waited.append(process.exited)
            else:
                process.signal_group(signal.SIGKILL)
        if waited:
            self._continue_those_apart()
            left_s = max(0.0, until - asyncio.get_running_loop().time())
            await asyncio.wait(waited, timeout=left_s)

    async def close(self) -> None:
        """Kills what is left, reads the last output and gives everything back."""
        self._is_closing = True
        if self.duty:
            self.duty.end()
        for process in self._processes():
            process.signal_group(signal.SIGKILL)
        exits = [process.exited for process in self._processes()]
        if exits:
            await asyncio.wait(exits, timeout=KILL_WAIT_S)
        for _ in range(round(KILL_WAIT_S / LOOK_AGAIN_S)):
            if not self._group.kill():
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        self.drain()
        for output in (self._output, *self._extension_outputs):
            told = self._watcher.wrote if output is self._output else self._watcher.extension_wrote
            for line in output.lines.finish():
                told(time.time_ns() // 1_000_000, line)
            self._loop.remove_reader(output.read_fd)
            output.close()
        self._loop.remove_reader(self._frame_fd)
        os.close(self._frame_fd)
        os.close(self._frame_end)
        self.memory.close()
        for process in self._processes():
            process.release()

    def _processes(self) -> list[Process]:
        if not self.extensions:
            return [self.runtime] if self.runtime else []
        processes = list(self.extensions.values())
        return [self.runtime, *processes] if self.runtime else processes

    def _collect(self) -> int:
        """Tells what the runtime's two pipes hold, one read each; the bytes of the fuller one.

        Records carry their time, lines have that of their reading. Lines that were waiting next to
        a record are given its time at the latest, so that the log's times never go back.
        """
        output = _read(self._output.read_fd)
        framed = _read(self._frame_fd)
        now_ms = time.time_ns() // 1_000_000
        records = self._frames.feed(framed, now_ms) if framed else ()
        if output:
            written_ms = min(now_ms, records[0][0]) if records else now_ms
            for line in self._output.lines.feed(output):
                self._watcher.wrote(written_ms, line)
        for timestamp_ms, message in records:
            self._watcher.wrote(timestamp_ms, message)
        return max(len(output), len(framed))

    def _collect_from_extension(self, output: _Output) -> int:
        """Tells what an extension's pipe holds, one read; gives the bytes."""
        data = _read(output.read_fd)
        if data:
            now_ms = time.time_ns() // 1_000_000
            for line in output.lines.feed(data):
                self._watcher.extension_wrote(now_ms, line)
        return len(data)


def _group_of(pid: int) -> int:
    """The process group of a process; 0 of one that has ended."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return b""

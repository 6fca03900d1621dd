"""What one execution environment has of the machine: the server of its APIs, limits and processes.

The server, the limits and /tmp are there from `open` to `close`; the processes come with each init
and go with each reset.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from lambdatrace.harness import environment_api
from lambdatrace.harness.control_groups import ControlGroup
from lambdatrace.harness.http_server import Server
from lambdatrace.harness.limits import EnvironmentLimits
from lambdatrace.harness.phases import shutdown_plan
from lambdatrace.harness.sandbox import Sandbox
from lambdatrace.harness.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lambdatrace.harness.deployment import Deployment, EnvironmentLaunch
    from lambdatrace.harness.environment_api import EnvironmentApi
    from lambdatrace.harness.environment_log import EnvironmentLog
    from lambdatrace.harness.http_server import Exchange
    from lambdatrace.harness.processes import Exit, Supervisor
    from lambdatrace.harness.sandbox import Watcher


# Of one environment, to its APIs: a runtime, extensions and a client or two of the function's own
# need a dozen. What a function opens beyond is closed at once, for the descriptors are those of all
# functions.
CONNECTIONS_MAX = 128


class MicroVm:
    """`sandbox` are its processes, None when none run; `watch` is for the time they run."""

    def __init__(self, deployment: Deployment, supervisor: Supervisor, temp_dir: Path) -> None:
        self.sandbox: Sandbox | None = None
        self._loop = asyncio.get_running_loop()
        self._memory_bytes = deployment.function.memory_size_mb * 2**20
        self.watch = Watch(self._loop, self._memory_bytes)
        self._deployment = deployment
        self._supervisor = supervisor
        self._temp_dir = temp_dir
        self._server: Server | None = None
        self._limits: EnvironmentLimits | None = None

    @property
    def pid(self) -> int:
        """The runtime's process id, 0 when no process runs."""
        runtime = self.sandbox.runtime if self.sandbox else None
        return runtime.pid if runtime else 0

    @property
    def port(self) -> int:
        """Where the APIs are, on 127.0.0.1; 0 before `open`."""
        return self._server.port if self._server else 0

    async def open(self, serve: Callable[[Exchange], None]) -> None:
        """Listens for requests to the APIs, and makes the limits."""
        self._server = await Server.listen(
            "127.0.0.1",
            0,
            serve,
            refuse=environment_api.refuse,
            body_bytes_max=environment_api.BODY_BYTES_MAX,
        )
        of_workers = 2 * self._deployment.function.max_concurrency  # of each `next`, and answers
        self._server.connections_max = CONNECTIONS_MAX + of_workers
        self._limits = EnvironmentLimits(
            self._supervisor.limits, self._temp_dir.name, self._deployment.function
        )

    def prepare(
        self, watcher: Watcher, *, log_stream: str, initialization_type: str, log_socket: str
    ) -> tuple[Sandbox, EnvironmentLaunch]:
        """A sandbox in which no process runs yet, and what is to be started in it.

        `log_socket` is where several workers write their output.
        """
        if self._limits:
            self._limits.lift_cpu_limit()
        group = self._limits.group if self._limits else ControlGroup({})
        launch = self._deployment.environment_launch(
            api_port=self.port,
            log_stream=log_stream,
            temp_dir=self._temp_dir,
            initialization_type=initialization_type,
            groups=group.folders,
            log_socket=log_socket,
        )
        marker = f"AWS_LAMBDA_RUNTIME_API=127.0.0.1:{self.port}"
        self.sandbox = Sandbox(self._supervisor, watcher, marker, group)
        return self.sandbox, launch

    def limit_cpu(self) -> None:
        """The init is over: from now on the processes have the share of their memory size."""
        if self._limits and self.sandbox:
            self._limits.limit_cpu(self.sandbox)

    def was_out_of_memory(self, how: Exit) -> bool:
        """Whether a runtime that ended did for its memory, by the kernel's hand or by ours."""
        by_us = self.watch.take_out_of_memory()
        by_kernel = self._limits is not None and self._limits.take_out_of_memory()
        if how.signal_number != signal.SIGKILL or not (by_us or by_kernel):
            return False
        if self.sandbox:  # what it had at its end nobody has seen
            self.sandbox.memory.reached(self._memory_bytes)
        return True

    async def end_processes(self, api: EnvironmentApi, log: EnvironmentLog, reason: str) -> None:
        """Ends the processes in the order and time of the shutdown phase; /tmp stays."""
        sandbox = self.sandbox
        if sandbox is None:
            return
        registered = api.extensions.registered
        plan = shutdown_plan(
            has_internal=any(not e.is_external for e in registered),
            has_external=any(e.is_external for e in registered),
        )
        until = self._loop.time() + plan.total_s
        await sandbox.end_runtime(plan.runtime_grace_s)
        told = [e for e in api.extensions.listeners("SHUTDOWN") if e.is_external]
        left_ms = int((until - self._loop.time()) * 1000)
        log.flush()
        api.shut_down(told, reason, int(time.time() * 1000) + left_ms)
        await sandbox.end_extensions({extension.name for extension in told}, until)
        log.pause()
        await sandbox.close()
        if self._server:
            self._server.drop_connections()
        self.sandbox = None

    async def close(self) -> None:
        """Gives back the limits and the port; the processes have ended before."""
        if self._limits:
            self._limits.remove()
        if self._server:
            await self._server.close()

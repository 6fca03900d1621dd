"""An execution environment on Managed Instances: several events at a time, never frozen.

The runtime client forks a worker for each event that may run at once. An event that times out is
over for its caller and goes on in its worker; nothing is reset. When the runtime ends, or memory
does, all that runs has failed, and the next event starts the processes again.
Source: AWS Lambda developer guide, "Lambda Managed Instances"; aws-lambda-runtime-interface-
emulator, `internal/lambda-managed-instances`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness.accounts import Ended
from lambdatrace.harness.environment import Environment, Keeper, too_large
from lambdatrace.harness.environment_log import SUPPRESSED_INIT
from lambdatrace.harness.function import MANAGED_INSTANCES
from lambdatrace.harness.initialization import InitFailure
from lambdatrace.harness.invocation import UNHANDLED, Outcome, platform_error
from lambdatrace.harness.managed_api import ManagedApi
from lambdatrace.harness.managed_log import ManagedLog
from lambdatrace.harness.phases import Phase, Turn, advance
from lambdatrace.harness.runtime_api import Event
from lambdatrace.harness.worker_logs import WorkerLogs

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from lambdatrace.harness.deployment import Deployment
    from lambdatrace.harness.invocation import Invocation
    from lambdatrace.harness.processes import Supervisor


class ManagedKeeper(Keeper, Protocol):
    """Who owns a managed environment and hears from it."""

    def worker_free(self) -> None:
        """A worker can take an event."""


class ManagedEnvironment(Environment):
    """`invoke` may be called while `room` is more than 0. `log_folder` is for the log's socket."""

    _api: ManagedApi

    def __init__(
        self,
        deployment: Deployment,
        supervisor: Supervisor,
        keeper: ManagedKeeper,
        temp_dir: Path,
        log_folder: Path,
    ) -> None:
        super().__init__(deployment, supervisor, keeper, temp_dir, MANAGED_INSTANCES)
        self._managed_keeper = keeper
        is_apart = supervisor.private_tmp == "user"
        self._worker_logs = WorkerLogs(log_folder, self.wrote, is_apart=is_apart)
        self._log_socket = self._worker_logs.path
        self._running: dict[str, tuple[Invocation, asyncio.TimerHandle]] = {}
        self._is_idle = False
        self._is_starting = False  # an init that an event started
        self._waiting: dict[str, tuple[Invocation, asyncio.TimerHandle]] = {}  # for that init

    @property
    def room(self) -> int:
        """How many events it can take now."""
        if self.phase is Phase.RESET and self._machine.sandbox is None:
            return self.function.max_concurrency
        if self.phase is not Phase.INVOKE:
            return 0
        if self._is_starting:
            return self.function.max_concurrency - len(self._waiting)
        return self._api.free_workers

    @property
    def is_worker_returning(self) -> bool:
        """A worker has answered, and is on its way to `next`."""
        return self.phase is Phase.INVOKE and self._api.returning > 0

    @property
    def running(self) -> int:
        """How many events it has."""
        return len(self._running) + len(self._waiting)

    def _new_api(self) -> ManagedApi:
        return ManagedApi(self, self._facts, self.function.max_concurrency)

    def _new_log(self) -> ManagedLog:
        return ManagedLog(self._deployment, self.initialization_type, self._log)

    def _rest(self) -> None:
        """It is initialized, or has failed to be."""
        if self._machine.sandbox is not None:
            self._begin_serving()
        self._become_idle()

    def _begin_serving(self) -> None:
        if self.phase is Phase.FREEZE:
            self.phase = advance(self.phase, Turn.INVOKE)
        self._api.is_initialized = True
        if self._machine.sandbox:
            self._machine.watch.begin(self._machine.sandbox)

    def _become_idle(self) -> None:
        if not self._is_idle:
            self._is_idle = True
            super()._become_idle()

    # Invoke

    def invoke(self, invocation: Invocation) -> None:
        """Gives an event to a worker that waits, after an init if there is none."""
        self.invocations += 1
        self._is_idle = False
        invocation.begin(self.function.timeout_s)
        if not self._is_starting and self.phase is not Phase.RESET:
            self._give(invocation)
            return
        timer = self._loop.call_later(
            self.function.timeout_s, self._invocation_timed_out, invocation
        )
        self._waiting[invocation.request_id] = invocation, timer
        if not self._is_starting:
            self._is_starting = True
            self.phase = advance(self.phase, Turn.INVOKE)
            self._run(self._start_workers())

    async def _start_workers(self) -> None:
        """An init takes its own time: events that wait for it may time out meanwhile."""
        failure = await self._init(self._init_limit_s, SUPPRESSED_INIT)
        if self._is_stopping():
            return
        self._is_starting = False
        waiting = self._take_waiting()
        if failure is None:
            self._begin_serving()
            for invocation in waiting:
                self._give(invocation)
            if not waiting:
                self._become_idle()
            return
        self.phase = advance(self.phase, Turn.FAILED)
        for invocation in waiting:
            self._events.start(invocation)
            payload = failure.payload or platform_error(
                failure.error_type, invocation.request_id, failure.reason or "init failed"
            )
            self._settle(invocation, Outcome(payload, UNHANDLED), "error", failure.error_type)
        await self._reset("failure")

    def _take_waiting(self) -> list[Invocation]:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for _, timer in waiting:
            timer.cancel()
        return [invocation for invocation, _ in waiting]

    def _give(self, invocation: Invocation) -> None:
        left_s = self.function.timeout_s - (time.perf_counter_ns() - invocation.started_ns) / 1e9
        timer = self._loop.call_later(left_s, self._invocation_timed_out, invocation)
        self._running[invocation.request_id] = invocation, timer
        self._events.start(invocation)
        if not self._api.free_workers:  # they have ended, and their parent is about to
            self._fail_now("Runtime.ExitError", "Runtime exited without providing a reason")
            return
        self._api.deliver(
            Event(
                invocation.request_id,
                invocation.payload,
                invocation.deadline_ms,
                invocation.trace_header,
                invocation.invoked_function_arn,
                invocation.client_context,
            )
        )

    def _invocation_timed_out(self, invocation: Invocation) -> None:
        if self._waiting.pop(invocation.request_id, None):
            self._events.start(invocation)
        else:
            del self._running[invocation.request_id]
            self._api.time_out(invocation.request_id)
        reason = f"Task timed out after {self.function.timeout_s:.2f} seconds"
        payload = platform_error("Sandbox.Timedout", invocation.request_id, reason)
        self._settle(invocation, Outcome(payload, UNHANDLED), "timeout")

    def _ended(self, request_id: str) -> Invocation | None:
        """The invoke whose result has come."""
        invocation, timer = self._running.pop(request_id, (None, None))
        if timer:
            timer.cancel()
        return invocation

    def _settle(
        self, invocation: Invocation, outcome: Outcome, status: str = "", error_type: str = ""
    ) -> None:
        """The caller gets the outcome, the log its END and REPORT, the keeper the facts."""
        if outcome.function_error:
            invocation.error_type = invocation.error_type or error_type or status
        invocation.settle(outcome)
        ended_ns = invocation.responded_ns
        if self._machine.sandbox:
            self._machine.sandbox.drain()
            self._worker_logs.drain()
            self._machine.sandbox.memory.sample()
        duration_ms = (ended_ns - invocation.started_ns) / 1e6
        if status == "timeout":
            duration_ms = self.function.timeout_s * 1000
        ended = Ended(duration_ms, ended_ns, status, error_type)
        self._accounts.account(invocation, ended, self._machine.sandbox)
        invocation.close()
        if not self._running and not self._is_starting and self.phase is Phase.INVOKE:
            self._become_idle()

    # What the workers say (managed_api.ManagedListener)

    def worker_waits(self) -> None:
        """An event may be given to it."""
        self._managed_keeper.worker_free()

    def responded(self, request_id: str, payload: bytes, content_type: str) -> None:
        """The caller gets the response."""
        if invocation := self._ended(request_id):
            self._settle(invocation, Outcome(payload, "", content_type))

    def failed(self, request_id: str, payload: bytes, error_type: str, cause: str) -> None:
        """The caller gets the function's error."""
        if invocation := self._ended(request_id):
            invocation.error_type, invocation.error_cause = error_type, cause
            self._settle(invocation, Outcome(payload, UNHANDLED))

    def responded_too_much(self, request_id: str, response_bytes: int, error_type: str) -> None:
        """The caller gets an error in place of the response."""
        if invocation := self._ended(request_id):
            invocation.error_type = error_type
            self._settle(invocation, Outcome(too_large(response_bytes, error_type), UNHANDLED))

    # The end

    def _fail_now(self, error_type: str, reason: str) -> None:
        if self._initialization:
            self._initialization.fail(InitFailure(error_type, reason=reason))
        elif self.phase is Phase.INVOKE:
            self.phase = advance(self.phase, Turn.FAILED)
            self._machine.watch.end()
            self._is_idle = False
            self._keeper.environment_busy(self)
            self._fail_running(error_type, reason)
            self._run(self._reset("failure"))
        elif self.phase is Phase.RESET:  # given to workers that the event before found ended
            self._fail_running(error_type, reason)

    def _fail_running(self, error_type: str, reason: str) -> None:
        for request_id in list(self._running):
            if invocation := self._ended(request_id):
                payload = platform_error(error_type, request_id, reason)
                self._settle(invocation, Outcome(payload, UNHANDLED), "error", error_type)

    async def close(self, reason: str = "spindown", why: str = "The harness was stopped") -> None:
        """Ends the environment, whatever it is doing. Callers that still wait are told `why`."""
        if self._is_stopping():
            return
        running = [self._ended(request_id) for request_id in list(self._running)]
        for invocation in (*running, *self._take_waiting()):
            if invocation is None:
                continue
            payload = platform_error("Sandbox.Failure", invocation.request_id, why)
            invocation.settle(Outcome(payload, UNHANDLED, is_cut_short=True))
            invocation.close()
        await super().close(reason, why)
        self._worker_logs.close()

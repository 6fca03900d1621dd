"""An execution environment: the shell that runs processes through the phases of `phases`.

Everything here happens in the event loop's thread. A warm invoke is plain calls, from the event
written to the runtime's socket to the processes stopped again; only what waits (init, reset,
shutdown) is a task.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING, Protocol

from lambdatrace.harness.accounts import Accounts, Bookkeeper, Ended
from lambdatrace.harness.async_event import error_message
from lambdatrace.harness.environment_api import EnvironmentApi
from lambdatrace.harness.environment_log import (
    EXTENSION,
    INIT,
    RESTORE,
    SUPPRESSED_INIT,
    EnvironmentLog,
)
from lambdatrace.harness.extensions_api import Extension, ExtensionState
from lambdatrace.harness.function import (
    ACCOUNT_ID,
    ON_DEMAND,
    PROVISIONED_CONCURRENCY,
)
from lambdatrace.harness.initialization import InitFailure, Initialization
from lambdatrace.harness.invocation import (
    UNHANDLED,
    Invocation,
    Outcome,
    platform_error,
)
from lambdatrace.harness.log_stream import LogEvent, log_stream_name
from lambdatrace.harness.microvm import MicroVm
from lambdatrace.harness.phases import (
    INIT_LIMIT_S,
    RESTORE_LIMIT_S,
    Phase,
    Turn,
    advance,
    init_ahead_limit_s,
)
from lambdatrace.harness.platform_logs import STYLE_2023, task_timed_out
from lambdatrace.harness.runtime_api import RESPONSE_BYTES_MAX, Answer, Event

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from lambdatrace.harness.deployment import Deployment
    from lambdatrace.harness.http_server import Exchange
    from lambdatrace.harness.processes import Exit, Supervisor
    from lambdatrace.harness.sandbox import Sandbox


class Keeper(Bookkeeper, Protocol):
    """Who owns an environment and hears from it."""

    def environment_idle(self, environment: Environment) -> None:
        """The environment can take an event."""

    def environment_busy(self, environment: Environment) -> None:
        """The environment was idle and can take no event until it says so again."""

    def environment_closed(self, environment: Environment) -> None:
        """The environment has ended and everything of it is gone."""

    def environment_broken(self, environment: Environment, error: BaseException) -> None:
        """The environment cannot go on, by no fault of the function's: it is to be closed."""

    def logged(self, event: LogEvent) -> None:
        """One event for the function's log group."""


class Environment:
    """One execution environment of a function. `invoke` may be called in FREEZE and RESET."""

    def __init__(
        self,
        deployment: Deployment,
        supervisor: Supervisor,
        keeper: Keeper,
        temp_dir: Path,
        initialization_type: str = ON_DEMAND,
    ) -> None:
        self.phase = Phase.INIT
        self.function = deployment.function
        self.initialization_type = initialization_type
        self.log_stream = _new_log_stream(deployment)
        self.invocations = 0
        self.init_failure: InitFailure | None = None  # of the init ahead of any event
        self.tenant_id = ""  # the only one it serves, of a function that has tenants
        self.idle_since = 0.0
        self._deployment = deployment
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._machine = MicroVm(deployment, supervisor, temp_dir)
        self._api = self._new_api()
        self._log_socket = ""  # where several workers write their output
        self._events = self._new_log()
        self._accounts = Accounts(deployment, self._events, keeper, self.log_stream)
        self._first: Invocation | None = None  # the event an init was started for
        self._invocation: Invocation | None = None
        self._initialization: Initialization | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int:
        """The runtime's process id, 0 when no process runs."""
        return self._machine.pid

    @property
    def is_about_to_be_idle(self) -> bool:
        """The caller has its answer, and the runtime is on its way to `next`, or being reset."""
        if self.phase is Phase.RESET:
            return self._machine.sandbox is not None
        return self._invocation is not None and self._invocation.outcome is not None

    @property
    def event(self) -> Invocation | None:
        """The event that was given to the environment and is not done, if there is one."""
        return self._invocation or self._first

    @property
    def _is_style_2023(self) -> bool:
        return self._deployment.surroundings.platform_log_style == STYLE_2023

    def _is_stopping(self) -> bool:
        return self.phase in (Phase.SHUTDOWN, Phase.CLOSED)

    # Init

    @property
    def is_provisioned(self) -> bool:
        """It stays, however long it is idle."""
        return self.initialization_type == PROVISIONED_CONCURRENCY

    @property
    def _init_limit_s(self) -> float:
        if self.initialization_type == ON_DEMAND:
            return INIT_LIMIT_S
        return init_ahead_limit_s(self.function.timeout_s)

    def open(self, invocation: Invocation | None = None) -> None:
        """Starts the environment, for its first event or ahead of any."""
        self._first = invocation
        self._run(self._open(invocation))

    async def _open(self, invocation: Invocation | None) -> None:
        await self._machine.open(self._serve)
        failure = await self._init(self._init_limit_s, INIT)
        if self._is_stopping():
            return
        if failure is None:
            self.phase = advance(self.phase, Turn.ALL_IDLE)
        else:
            await self._end_processes("failure")
            if self._is_stopping():
                return
            self.phase = advance(self.phase, Turn.FAILED)
            self.init_failure = failure
        if invocation is not None:
            self.invoke(invocation)
            return
        self._rest()

    def _rest(self) -> None:
        """Initialized ahead of any event, or failed to be."""
        if self._machine.sandbox is not None:
            self._machine.sandbox.freeze()
        self._events.pause()
        self._become_idle()

    async def _init(self, limit_s: float, phase: str) -> InitFailure | None:
        """Starts the processes, with `limit_s` for all of them to ask for an event."""
        machine = self._machine
        self._events.open_subscriptions(machine.port, is_private=self._deployment.is_tmp_private)
        self._events.init_start(phase, self.log_stream)
        started_ns = time.perf_counter_ns()
        sandbox, launch = machine.prepare(
            self,
            log_stream=self.log_stream,
            initialization_type=self.initialization_type,
            log_socket=self._log_socket,
        )
        self._api = self._new_api()
        running = self._initialization = Initialization(self._api.extensions, phase)
        machine.watch.begin(sandbox)  # its deadline is the initialization's own
        await running.run(sandbox, launch, limit_s)
        self._initialization = None
        machine.watch.end()
        duration_ms = (time.perf_counter_ns() - started_ns) / 1e6
        machine.limit_cpu()
        sandbox.drain()
        sandbox.memory.sample()
        failure = running.failure
        if failure:
            self._events.init_runtime_done(phase, failure.status, failure.error_type)
        for extension in self._api.extensions.by_name.values():
            self._events.extension(extension)
        if failure is None:
            is_waited_for = self.initialization_type == ON_DEMAND and phase == INIT
            self._accounts.initialized(
                duration_ms, is_first=phase == INIT, is_waited_for=is_waited_for
            )
            self._events.init_report(phase, duration_ms)
        else:
            if failure.status == "timeout":
                duration_ms = limit_s * 1000
            self._events.init_report(phase, duration_ms, failure.status, failure.error_type)
        self._events.close_subscriptions()
        return failure

    def _new_api(self) -> EnvironmentApi:
        return EnvironmentApi(self, self._facts)

    def _new_log(self) -> EnvironmentLog:
        return EnvironmentLog(self._deployment, self.initialization_type, self._log)

    @property
    def _facts(self) -> dict[str, str]:
        """What an extension is told when it registers."""
        return {
            "functionName": self.function.name,
            "functionVersion": self._deployment.version,
            "handler": self.function.handler,
            "accountId": ACCOUNT_ID,
        }

    # Restore

    async def _restore_and_invoke(self, invocation: Invocation) -> None:
        failure = await self._restore(RESTORE_LIMIT_S)
        if self._is_stopping():
            return
        if failure is None:
            self.phase = advance(self.phase, Turn.ALL_IDLE)
            self.invoke(invocation)
            return
        self._first = None
        self._invocation = invocation
        self.invocations += 1
        invocation.begin(self.function.timeout_s)
        self._accounts.begin(self._machine.sandbox)
        self._events.start(invocation)
        payload = failure.payload or platform_error(
            failure.error_type, invocation.request_id, failure.reason
        )
        self._fail(failure.status, failure.error_type, payload)

    async def _restore(self, limit_s: float) -> InitFailure | None:
        """Lets a snapshot run on, with `limit_s` for all to ask for an event."""
        sandbox = self._machine.sandbox
        if sandbox is None:
            return InitFailure("Sandbox.Failure", reason="no process")
        self.log_stream = _new_log_stream(self._deployment)
        self._accounts.log_stream = self.log_stream
        self._events.restore_start(self.log_stream)
        started_ns = time.perf_counter_ns()
        running = self._initialization = Initialization(self._api.extensions, RESTORE)
        sandbox.thaw()
        self._events.resume()
        self._api.restore()
        await running.wait(limit_s)
        self._initialization = None
        duration_ms = (time.perf_counter_ns() - started_ns) / 1e6
        sandbox.drain()
        failure = running.failure
        if failure is None:
            self._accounts.restored(duration_ms)
            self._events.restore_report(duration_ms)
        else:
            self._events.init_runtime_done(RESTORE, failure.status, failure.error_type)
            self._events.restore_report(duration_ms, failure.status, failure.error_type)
        return failure

    # Invoke

    def invoke(self, invocation: Invocation) -> None:
        """Gives an event to the environment, which starts its processes first if it was reset."""
        if self.phase is Phase.FREEZE and self._api.runtime.is_snapshot:
            self._first = invocation
            self.phase = advance(self.phase, Turn.RESTORE)
            self._run(self._restore_and_invoke(invocation))
            return
        self.phase = advance(self.phase, Turn.INVOKE)
        self.invocations += 1
        self._first = None
        self._invocation = invocation
        invocation.begin(self.function.timeout_s)
        self._accounts.begin(self._machine.sandbox)
        if self._machine.sandbox is None:
            self._run(self._start_again(invocation))
        else:
            self._deliver(invocation, self._machine.sandbox, self.function.timeout_s)

    async def _start_again(self, invocation: Invocation) -> None:
        """A suppressed init: inside the invoke, on the function's time."""
        failure = await self._init(self.function.timeout_s, SUPPRESSED_INIT)
        if failure is None and self._api.runtime.is_snapshot and not self._is_stopping():
            failure = await self._restore(RESTORE_LIMIT_S)
        if self._is_stopping():
            return
        if failure is None and self._machine.sandbox:
            spent_s = (time.perf_counter_ns() - invocation.started_ns) / 1e9
            self._deliver(invocation, self._machine.sandbox, self.function.timeout_s - spent_s)
            return
        self._events.start(invocation)
        if failure is None or failure.status == "timeout":
            self._time_out()
        else:
            payload = failure.payload or platform_error(
                failure.error_type, invocation.request_id, failure.reason
            )
            self._fail(failure.status, failure.error_type, payload)

    def _deliver(self, invocation: Invocation, sandbox: Sandbox, left_s: float) -> None:
        self._machine.watch.begin(sandbox, left_s, self._time_out)
        event = Event(
            invocation.request_id,
            invocation.payload,
            invocation.deadline_ms,
            invocation.trace_header,
            invocation.invoked_function_arn,
            invocation.client_context,
            tenant_id=invocation.tenant_id,
        )
        self._api.deliver(event)
        now_ms = int(time.time() * 1000)  # taken before the function can write its first line
        sandbox.thaw()
        if not self._events.is_plain:
            self._events.resume()
        # Only now: the caller waits for the runtime, and nobody for the extensions.
        self._api.tell_extensions(event)
        self._events.start(invocation, now_ms)

    def _finish(self, invocation: Invocation, sandbox: Sandbox) -> None:
        """Everyone asked for the next event: freeze, then account for the invoke."""
        sandbox.freeze()
        ended_ns = time.perf_counter_ns()
        if not self._events.is_plain:
            self._events.pause()
        sandbox.drain()
        sandbox.memory.sample()
        self.phase = advance(self.phase, Turn.ALL_IDLE)
        self._account(invocation, (ended_ns - invocation.started_ns) / 1e6, ended_ns)
        self._become_idle()

    def _fail(self, status: str, error_type: str, payload: bytes) -> None:
        """The invoke ends here: answer the caller if nobody has, then reset the environment."""
        invocation = self._invocation
        if invocation is None:
            return
        ended_ns = time.perf_counter_ns()
        duration_ms = (ended_ns - invocation.started_ns) / 1e6
        if status == "timeout":
            duration_ms = self.function.timeout_s * 1000
        if self._machine.sandbox:
            self._machine.sandbox.freeze()
            self._events.pause()
            self._machine.sandbox.drain()
            self._machine.sandbox.memory.sample()
        if invocation.outcome and invocation.outcome.function_error:
            error_type = invocation.error_type  # the first fault is the one reported
        invocation.error_type = error_type or status
        if invocation.outcome is None:
            invocation.settle(Outcome(payload, UNHANDLED))
        self.phase = advance(self.phase, Turn.FAILED)
        fault = error_message(payload)
        self._account(invocation, duration_ms, ended_ns, status, error_type, fault)
        self._run(self._reset("timeout" if status == "timeout" else "failure"))

    async def _reset(self, reason: str) -> None:
        await self._end_processes(reason)
        if not self._is_stopping():
            self._become_idle()

    def _account(
        self,
        invocation: Invocation,
        duration_ms: float,
        ended_ns: int,
        status: str = "",
        error_type: str = "",
        fault: str = "",
    ) -> None:
        """Writes END and REPORT and tells the facts; the invoke is then over."""
        self._machine.watch.end()
        has_extensions = bool(self._api.extensions.by_identifier)
        ended = Ended(
            duration_ms, ended_ns, status, error_type, has_extensions=has_extensions, fault=fault
        )
        self._accounts.account(invocation, ended, self._machine.sandbox)
        self._invocation = None
        invocation.close()

    def _become_idle(self) -> None:
        self.idle_since = self._loop.time()
        self._keeper.environment_idle(self)

    def _time_out(self) -> None:
        invocation = self._invocation
        if invocation is None or self.phase is not Phase.INVOKE:
            return
        if self._is_style_2023:
            timeout_s = self.function.timeout_s
            now_s = time.time() + self._deployment.surroundings.clock.ahead_s()
            message = task_timed_out(invocation.request_id, timeout_s, now_s)
            payload = json.dumps({"errorMessage": message}, separators=(",", ":")).encode()
        else:
            reason = f"Task timed out after {self.function.timeout_s:.2f} seconds"
            payload = platform_error("Sandbox.Timedout", invocation.request_id, reason)
        self._fail("timeout", "", payload)

    # Shutdown

    async def close(self, reason: str = "spindown", why: str = "The harness was stopped") -> None:
        """Ends the environment, whatever it is doing, within the budget of the shutdown phase.

        A caller that still waits is told `why`.
        """
        if self._is_stopping():
            return
        self.phase = advance(self.phase, Turn.STOP)
        self._machine.watch.end()
        if self._machine.sandbox:
            self._machine.sandbox.drain()  # a caller that wants the log's tail gets what there is
        invocation = self._invocation or self._first
        self._invocation = self._first = None
        if invocation:
            if invocation.outcome is None:
                payload = platform_error("Sandbox.Failure", invocation.request_id, why)
                invocation.settle(Outcome(payload, UNHANDLED, is_cut_short=True))
            invocation.close()
        if self._initialization:
            self._initialization.fail(InitFailure("Sandbox.Failure", reason="stopped"))
        await self._settle_tasks()
        await self._end_processes(reason)
        await self._events.close()
        await self._machine.close()
        self.phase = advance(self.phase, Turn.GONE)
        self._keeper.environment_closed(self)

    async def _settle_tasks(self) -> None:
        """Waits for a running init or reset, which know that the phase has changed."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=INIT_LIMIT_S)
            for task in pending:
                task.cancel()

    async def _end_processes(self, reason: str) -> None:
        await self._machine.end_processes(self._api, self._events, reason)

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not self._is_stopping():
            self._keeper.environment_broken(self, error)

    # What the processes say (environment_api.Listener)

    def _serve(self, exchange: Exchange) -> None:
        self._api.serve(exchange)

    def runtime_waits(self) -> None:
        """The runtime is done with the invoke; extensions may not be."""
        if self._initialization:
            self._events.init_runtime_done(self._initialization.phase)
        elif self._invocation and not self._invocation.runtime_done_ns:  # it may ask twice
            self._invocation.runtime_done_ns = time.perf_counter_ns()
            if not self._events.is_plain and self._invocation.outcome and self._machine.sandbox:
                self._machine.sandbox.drain()  # what the function has written comes first
                began_ns = int(self._api.result_began_s * 1e9)
                self._events.runtime_done(
                    self._invocation, self._invocation.runtime_done_ns, began_ns
                )

    def everyone_waits(self) -> None:
        """The end of an init or of an invoke."""
        if self._initialization:
            self._initialization.everyone_waits()
        elif self._invocation and self._invocation.outcome and self._machine.sandbox:
            self._finish(self._invocation, self._machine.sandbox)

    def function_responded(self, payload: bytes, content_type: str) -> None:
        """The caller gets the response now; the invoke goes on until everyone waits."""
        if self._invocation and self._invocation.outcome is None:
            self._invocation.settle(Outcome(payload, "", content_type))

    def function_failed(self, payload: bytes, error_type: str, cause: str) -> None:
        """The caller gets the function's error."""
        if self._invocation and self._invocation.outcome is None:
            self._invocation.error_type = error_type
            self._invocation.error_cause = cause
            self._invocation.settle(Outcome(payload, UNHANDLED))

    def response_too_large(self, response_bytes: int, error_type: str) -> None:
        """The caller gets an error in place of the response."""
        if self._invocation and self._invocation.outcome is None:
            self._invocation.error_type = error_type
            self._invocation.settle(Outcome(too_large(response_bytes, error_type), UNHANDLED))

    def init_failed(self, payload: bytes, error_type: str) -> None:
        """The function could not be loaded."""
        if self._initialization:
            self._initialization.fail(InitFailure(error_type, payload))

    def extension_registered(self) -> None:
        """The runtime may be started by this."""
        if self._initialization:
            self._initialization.extension_registered()

    def extension_failed(self, extension: Extension, error_type: str) -> None:
        """An extension gave up: the init or the invoke fails with it."""
        reason = f"extension {extension.name}: {extension.error_type}"
        self._fail_now(error_type, reason)

    def extension_subscribed(self, extension: Extension, api: str, body: bytes) -> Answer:
        """An extension wants to be told what happens."""
        return self._events.subscribe(extension.name, api, body)

    # What happens to the processes (sandbox.Watcher)

    def wrote(self, timestamp_ms: int, message: bytes) -> None:
        """The function wrote a log event."""
        self._events.wrote(timestamp_ms, message.decode("utf-8", "replace"))

    def extension_wrote(self, timestamp_ms: int, message: bytes) -> None:
        """An extension wrote a log event."""
        self._events.wrote(timestamp_ms, message.decode("utf-8", "replace"), EXTENSION)

    def runtime_exited(self, how: Exit) -> None:
        """The runtime may not end by itself."""
        if how.code == 0 and not how.signal_number:
            reason = "Runtime exited without providing a reason"
        else:
            reason = f"Runtime exited with error: {how.reason}"
        is_out_of_memory = self._machine.was_out_of_memory(how) and not self._is_style_2023
        self._fail_now("Runtime.OutOfMemory" if is_out_of_memory else "Runtime.ExitError", reason)

    def extension_exited(self, name: str, how: Exit) -> None:
        """Neither may an extension."""
        extension = self._api.extensions.by_name.get(name)
        if extension and extension.state is ExtensionState.STARTED:
            self._fail_now("Extension.LaunchError", f"extension {name}: {how.reason}")
        elif extension:
            self._fail_now("Extension.Crash", f"extension {name}: {how.reason}")

    def _fail_now(self, error_type: str, reason: str) -> None:
        if self._initialization:
            self._initialization.fail(InitFailure(error_type, reason=reason))
        elif self.phase is Phase.INVOKE and self._invocation:
            payload = platform_error(error_type, self._invocation.request_id, reason)
            self._fail("error", error_type, payload)
        elif self.phase is Phase.FREEZE:
            self.phase = advance(self.phase, Turn.FAILED)
            self._keeper.environment_busy(self)
            self._run(self._reset("failure"))

    def _log(self, timestamp_ms: int, message: str) -> None:
        event = LogEvent(timestamp_ms, message, self.log_stream)
        self._keeper.logged(event)


def _new_log_stream(deployment: Deployment) -> str:
    unique = uuid.uuid4().hex
    day = time.gmtime(time.time() + deployment.surroundings.clock.ahead_s())
    return log_stream_name(deployment.function, deployment.version, day, unique)


def too_large(response_bytes: int, error_type: str) -> bytes:
    """The payload in place of a response over the limit."""
    return (
        f'{{"errorType":"{error_type}","errorMessage":"Response payload size ({response_bytes} '
        f'bytes) exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."}}'
    ).encode()

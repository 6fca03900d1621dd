"""The execution environments of one function: which one takes an event, and when one goes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from lambdatrace.harness import descriptors
from lambdatrace.harness.environment import Environment
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import ON_DEMAND, PROVISIONED_CONCURRENCY, SNAP_START
from lambdatrace.harness.phases import Phase
from lambdatrace.harness.tracing import Sampler

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness.concurrency import Concurrency
    from lambdatrace.harness.deployment import Deployment
    from lambdatrace.harness.initialization import InitFailure
    from lambdatrace.harness.invocation import Invocation, InvocationFacts
    from lambdatrace.harness.log_stream import LogEvent
    from lambdatrace.harness.processes import Supervisor

# On AWS an answer needs milliseconds to its caller, and the next event as long back; here a caller
# may be faster than the runtime's way to its next `next` (0.1 ms), or than the end of the processes
# of an environment that is reset (3 ms). For so long an event waits for an environment that has
# answered already, before a new one is started for it.
ROUND_TRIP_S = 0.02


_log = logging.getLogger("lambdatrace.harness")


class Owner(Protocol):
    """What a pool needs of the harness around it."""

    supervisor: Supervisor
    concurrency: Concurrency

    def make_temp_dir(self) -> Path:
        """A new folder for an environment's /tmp."""

    def remove_temp_dir(self, folder: Path) -> None:
        """Removes it when the environment has gone."""

    def make_room(self) -> None:
        """Closes an idle environment, of whatever function, when there are too many."""

    def logged(self, function_name: str, log_group: str, event: LogEvent) -> None:
        """One event for a log group."""

    def executed(self, facts: InvocationFacts) -> None:
        """An invoke has ended."""

    def throttled(self, invocation: Invocation, *, is_managed: bool = False) -> None:
        """An invoke was refused for lack of concurrency."""

    def retired(self, pool: Pool) -> None:
        """A pool that was told to retire has no environment any more."""

    def traced(self, segments: list[Any]) -> None:
        """The X-Ray segments of an invoke that was sampled."""

    def told_insights(self, function_name: str, event: LogEvent) -> None:
        """One event for the log group of Lambda Insights."""


class Pool:
    """The environments of one deployed function, the one used last taken first."""

    def __init__(self, deployment: Deployment, owner: Owner, idle_timeout_s: float) -> None:
        self.deployment = deployment
        self.function = deployment.function
        self.sampler = Sampler()
        self.environments: list[Environment] = []
        self.idle: list[Environment] = []
        self._owner = owner
        self._idle_timeout_s = idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Invocation, asyncio.TimerHandle]] = deque()
        self._temp_dirs: dict[Environment, Path] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._is_retired = False
        self._executing = 0
        self._has_provisioned = self.function.initialization_type == PROVISIONED_CONCURRENCY
        self._sweep = self._loop.call_later(self._sweep_s, self._close_unused)

    @property
    def _sweep_s(self) -> float:
        return min(30.0, self._idle_timeout_s / 4)

    def submit(self, invocation: Invocation) -> None:
        """Gives an event to an idle environment, to one that is about to be, or to a new one."""
        if self.idle and self._idle_environment(invocation):
            self._start(invocation)
        elif any(
            environment.is_about_to_be_idle and environment.tenant_id == invocation.tenant_id
            for environment in self.environments
        ):
            timer = self._loop.call_later(ROUND_TRIP_S, self._stop_waiting)
            self._waiting.append((invocation, timer))
        else:
            self._start(invocation)

    @property
    def closable(self) -> list[Environment]:
        """The environments that may go when there are too many in all."""
        return self.idle

    @property
    def snapshot_failure(self) -> InitFailure | None:
        """Why there is no snapshot, of a function whose first environment is to be one."""
        if self.function.initialization_type != SNAP_START:
            return None
        return next((e.init_failure for e in self.environments if e.init_failure), None)

    async def initialize_ahead(self) -> None:
        """Starts the environments the function has before its first event; waits for them."""
        for _ in range(self.function.initialized_ahead):
            self._new_environment(self.function.initialization_type).open()
        await self.wait_frozen()

    def provision(self, executions: int) -> None:
        """Keeps so many environments initialized: starts those that lack, gives up the others."""
        have = self._provisioned_environments
        self._has_provisioned = executions > 0
        for _ in range(executions - len(have)):
            self._new_environment(PROVISIONED_CONCURRENCY).open()
        surplus = sorted(have, key=lambda environment: environment not in self.idle)
        for environment in surplus[: max(0, len(have) - executions)]:
            environment.initialization_type = ON_DEMAND  # one that is busy goes like any other
            if environment in self.idle:
                self.close_environment(environment)

    @property
    def _provisioned_environments(self) -> list[Environment]:
        return [environment for environment in self.environments if environment.is_provisioned]

    @property
    def provisioned(self) -> tuple[int, int]:
        """How many environments of the provisioned concurrency are ready, and how many failed."""
        have = self._provisioned_environments
        failed = sum(e.phase is Phase.RESET and e.invocations == 0 for e in have)
        starting = sum(e.phase is Phase.INIT for e in have)
        return len(have) - failed - starting, failed

    async def wait_frozen(self) -> None:
        """Returns when every environment is idle: frozen, or reset."""
        while len(self.idle) != len(self.environments):
            self._changed.clear()
            await self._changed.wait()

    def retire(self) -> None:
        """Takes no more events: what was taken is finished, then every environment goes."""
        self._is_retired = True
        self._sweep.cancel()
        for environment in list(self.idle):
            self.close_environment(environment)
        if not self.environments:
            self._owner.retired(self)

    async def close(self) -> None:
        """Shuts every environment down."""
        self._sweep.cancel()
        while self._waiting:
            invocation, timer = self._waiting.popleft()
            timer.cancel()
            invocation.refuse(InvokeError(500, "ServiceException", "The harness was stopped"))
        for environment in list(self.environments):
            self.close_environment(environment)
        while self._closing:
            await asyncio.wait(self._closing)

    def close_environment(
        self,
        environment: Environment,
        reason: str = "spindown",
        why: str = "The harness was stopped",
    ) -> None:
        """Starts the shutdown of one environment; a caller that still waits is told `why`."""
        if environment in self.idle:
            self.idle.remove(environment)
        task = self._loop.create_task(environment.close(reason, why))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _start(self, invocation: Invocation) -> None:
        environment = self._idle_environment(invocation) if self.idle else None
        if not self._enter(invocation, environment):
            return
        if environment is not None:
            self.idle.remove(environment)
            environment.invoke(invocation)
            return
        self._owner.make_room()
        kind = self.function.initialization_type
        # What exceeds the provisioned concurrency is served on demand.
        environment = self._new_environment(ON_DEMAND if kind == PROVISIONED_CONCURRENCY else kind)
        environment.tenant_id = invocation.tenant_id
        environment.open(invocation)

    def _enter(self, invocation: Invocation, environment: Environment | None) -> bool:
        """Whether there is concurrency for one more; if not, it is refused."""
        invocation.is_provisioned = environment is not None and environment.is_provisioned
        try:
            invocation.concurrency = self._owner.concurrency.enter(
                self.function.name,
                is_provisioned=invocation.is_provisioned,
                needs_environment=environment is None,
            )
        except InvokeError as error:
            self._owner.throttled(invocation)
            invocation.refuse(error)
            return False
        if self._has_provisioned:
            idle = sum(other.is_provisioned for other in self.idle)
            ready, _ = self.provisioned
            invocation.provisioned = (ready - idle + invocation.is_provisioned, ready)
        self._executing += 1
        invocation.version_concurrency = self._executing
        invocation.claims = self._owner.concurrency.claims()
        return True

    def _idle_environment(self, invocation: Invocation) -> Environment | None:
        """The idle environment used last, before all others one that is provisioned.

        It is the invoke's tenant's, if the function has tenants; there is another for each.
        """
        if invocation.tenant_id:
            for environment in reversed(self.idle):
                if environment.tenant_id == invocation.tenant_id:
                    return environment
            return None
        if self._has_provisioned:
            for environment in reversed(self.idle):
                if environment.is_provisioned:
                    return environment
        return self.idle[-1]

    def _new_environment(self, initialization_type: str) -> Environment:
        folder = self._owner.make_temp_dir()
        environment = self._made(folder, initialization_type)
        self._temp_dirs[environment] = folder
        self.environments.append(environment)
        return environment

    def _made(self, temp_dir: Path, initialization_type: str) -> Environment:
        return Environment(
            self.deployment, self._owner.supervisor, self, temp_dir, initialization_type
        )

    def _longest_waiting(self, tenant_id: str) -> int | None:
        """Which waiting event of a tenant came first."""
        waiting = (n for n, (each, _) in enumerate(self._waiting) if each.tenant_id == tenant_id)
        return next(waiting, None)

    def _start_waiting(self, position: int) -> None:
        """The event at this position has waited for this."""
        invocation, timer = self._waiting[position]
        del self._waiting[position]
        timer.cancel()
        self._start(invocation)

    def _stop_waiting(self) -> None:
        """The event that waits for longest has waited long enough."""
        invocation, _ = self._waiting.popleft()
        self._start(invocation)

    def _close_unused(self) -> None:
        oldest = self._loop.time() - self._idle_timeout_s
        for environment in list(self.idle):
            if environment.idle_since < oldest and not environment.is_provisioned:
                self.close_environment(environment)
        self._sweep = self._loop.call_later(self._sweep_s, self._close_unused)

    # What the environments say (environment.Keeper)

    def environment_idle(self, environment: Environment) -> None:
        """An environment can take an event: the one of its tenant waiting longest, if any."""
        self.idle.append(environment)
        if (position := self._longest_waiting(environment.tenant_id)) is not None:
            self._start_waiting(position)
        elif self._is_retired:
            self.close_environment(environment)
        elif not self._changed.is_set():
            self._changed.set()

    def environment_busy(self, environment: Environment) -> None:
        """An idle environment has lost its runtime: it is reset before it takes an event."""
        if environment in self.idle:
            self.idle.remove(environment)

    def environment_broken(self, environment: Environment, error: BaseException) -> None:
        """An environment cannot go on: its caller is told, and it is closed."""
        if descriptors.is_none_left(error):
            _log.error("an environment of %s broke: %s", self.function.name, error)
        else:
            _log.error("an environment of %s broke", self.function.name, exc_info=error)
        if environment.event is not None:
            is_provisioned = environment.event.is_provisioned
            self._executing -= 1
            self._owner.concurrency.leave(self.function.name, is_provisioned=is_provisioned)
        self.close_environment(environment, "failure", str(error))

    def environment_closed(self, environment: Environment) -> None:
        """An environment has gone: so does its /tmp."""
        self.environments.remove(environment)
        self._owner.remove_temp_dir(self._temp_dirs.pop(environment))
        self._changed.set()
        if self._is_retired and not self.environments:
            self._owner.retired(self)

    def logged(self, event: LogEvent) -> None:
        """One event for the function's log group."""
        self._owner.logged(self.function.name, self.function.log_group, event)

    def executed(self, facts: InvocationFacts) -> None:
        """An invoke has ended."""
        self._executing -= 1
        self._owner.concurrency.leave(self.function.name, is_provisioned=facts.is_provisioned)
        self._owner.executed(facts)

    def traced(self, segments: list[Any]) -> None:
        """The X-Ray segments of an invoke that was sampled."""
        self._owner.traced(segments)

    def told_insights(self, event: LogEvent) -> None:
        """One event for the log group of Lambda Insights."""
        self._owner.told_insights(self.function.name, event)

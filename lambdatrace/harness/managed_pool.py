"""The environments of a function on Managed Instances: initialized ahead, several events in each.

Lambda makes more of them when their CPUs are busy, which takes it minutes; here there are as many
as the function says. What finds no free worker is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lambdatrace.harness.concurrency import throttled
from lambdatrace.harness.managed_environment import ManagedEnvironment
from lambdatrace.harness.pool import ROUND_TRIP_S, Pool

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness.environment import Environment
    from lambdatrace.harness.invocation import Invocation


class ManagedPool(Pool):
    """As `Pool`; an environment is idle here while nothing runs in it."""

    @property
    def closable(self) -> list[Environment]:
        """None: they are there whether or not they are used."""
        return []

    def provision(self, executions: int) -> None:
        """Nothing: provisioned concurrency is refused for such a function."""

    def submit(self, invocation: Invocation) -> None:
        """Gives an event to the environment with most room, or refuses it."""
        if self._most_room is None and any(each.is_worker_returning for each in self._managed):
            timer = self._loop.call_later(ROUND_TRIP_S, self._stop_waiting)
            self._waiting.append((invocation, timer))
        else:
            self._start(invocation)

    def worker_free(self) -> None:
        """A worker has asked for an event: the one waiting longest, if any."""
        if self._waiting:
            self._start_waiting(0)

    @property
    def _managed(self) -> list[ManagedEnvironment]:
        return cast("list[ManagedEnvironment]", self.environments)

    @property
    def _most_room(self) -> ManagedEnvironment | None:
        environment = max(self._managed, key=lambda each: each.room, default=None)
        return environment if environment and environment.room else None

    def _start(self, invocation: Invocation) -> None:
        environment = self._most_room
        if environment is None:
            self._owner.throttled(invocation, is_managed=True)
            invocation.refuse(throttled("ConcurrentInvocationLimitExceeded"))
        elif self._enter(invocation, environment):
            if environment in self.idle:
                self.idle.remove(environment)
            environment.invoke(invocation)

    def _start_waiting(self, position: int) -> None:
        """Not when an environment has become idle: its worker may not be back yet."""
        if self._most_room:
            super()._start_waiting(position)

    def _stop_waiting(self) -> None:
        """The event that waits for longest has waited long enough."""
        super()._stop_waiting()
        self._changed.set()

    def environment_broken(self, environment: Environment, error: BaseException) -> None:
        """An environment cannot go on: its callers are told, and it is closed."""
        for _ in range(cast("ManagedEnvironment", environment).running):
            self._executing -= 1
            self._owner.concurrency.leave(self.function.name)
        super().environment_broken(environment, error)

    def _close_unused(self) -> None:
        """Nothing goes for being idle."""

    def _made(self, temp_dir: Path, initialization_type: str) -> Environment:  # noqa: ARG002
        log_folder = temp_dir.with_name(f"{temp_dir.name}-log")
        log_folder.mkdir()
        return ManagedEnvironment(
            self.deployment, self._owner.supervisor, self, temp_dir, log_folder
        )

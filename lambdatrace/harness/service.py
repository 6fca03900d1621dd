"""The local Lambda service: functions, environments, the Invoke API, what is logged and counted.

The asynchronous core of `harness.Harness`; every method belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lambdatrace.harness import invoke_api, lambda_insights, tracing, x_ray
from lambdatrace.harness.clock import Clock, SystemClock, VirtualClock
from lambdatrace.harness.concurrency import Concurrency
from lambdatrace.harness.deployed_function import (
    ACTIVE,
    SUCCESSFUL,
    TERMINATE,
    DeployedFunction,
    Status,
    Version,
    not_found,
)
from lambdatrace.harness.deployment import deploy
from lambdatrace.harness.destination_delivery import DestinationDelivery
from lambdatrace.harness.endpoint import Endpoint
from lambdatrace.harness.errors import (
    FunctionConfigurationError,
    InvokeError,
    SnapshotError,
)
from lambdatrace.harness.event_invoke_config import EventInvokeConfig
from lambdatrace.harness.event_queue import EventQueue
from lambdatrace.harness.folder_removal import remove_folder
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.invocation import Invocation, InvocationFacts, Outcome
from lambdatrace.harness.lambda_api.code import Code
from lambdatrace.harness.log_stream import LogTail
from lambdatrace.harness.managed_pool import ManagedPool
from lambdatrace.harness.metrics import Sample, managed_throttle, throttle
from lambdatrace.harness.mounts import OWN_TASK_ROOT
from lambdatrace.harness.pool import Pool
from lambdatrace.harness.processes import Supervisor
from lambdatrace.harness.recursion import INVOKES_MAX, follow, recursive_invocation
from lambdatrace.harness.temp_dirs import TempDirs
from lambdatrace.harness.variables import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lambdatrace.harness.delivery import Delivery
    from lambdatrace.harness.function import Function
    from lambdatrace.harness.invoke_api import InvokeRequest
    from lambdatrace.harness.lambda_api.api import LambdaApi
    from lambdatrace.harness.log_stream import LogEvent
    from lambdatrace.harness.service_settings import ServiceSettings

KEPT_EVENTS_MAX = 10_000  # log events per function kept in memory: some 2,000 invokes
DESTINATIONS_STOP_S = 5.0  # for what is being delivered when the harness is stopped

_log = logging.getLogger("lambdatrace.harness")


class LambdaService:
    """Functions that can be invoked, over HTTP or by `submit`. `start` before, `stop` after use."""

    def __init__(
        self,
        settings: ServiceSettings,
        delivery: Delivery | None = None,
        on_log: Callable[[str, LogEvent], None] | None = None,
        on_executed: Callable[[InvocationFacts], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.settings = settings
        self.functions: dict[str, DeployedFunction] = {}
        self.pools: dict[str, Pool] = {}  # by name for $LATEST, by name:version for the others
        self.logs: dict[str, deque[LogEvent]] = {}
        self.executions: dict[str, deque[InvocationFacts]] = {}
        self.samples: dict[str, deque[Sample]] = {}
        self.insights: dict[str, deque[LogEvent]] = {}
        self.concurrency = Concurrency(settings.concurrency_max)
        self._endpoint = Endpoint(self, settings.region, self._load_api)
        self._is_stopping = False
        self._delivery = delivery
        self._on_log = on_log
        self._on_executed = on_executed
        self._temp_dirs = TempDirs()
        self.supervisor = Supervisor(
            self._temp_dirs.root,
            wants_private_tmp=settings.private_tmp,
            limits_cpu=settings.limits_cpu,
            uses_groups=settings.uses_control_groups,
        )
        self._destinations = DestinationDelivery(
            settings.aws_endpoint_url, lambda: self.endpoint_url
        )
        self._events = EventQueue(self._submit_event, self, self.clock, self._destinations)
        self._x_ray_daemon: x_ray.Daemon | None = None
        self.when_retired: Callable[[], None] = _nothing  # called when a pool has become empty
        self._environments_made = 0
        self._failed_observers: set[str] = set()
        self._running_pools: set[Pool] = set()  # those replaced and not yet empty included

    @property
    def endpoint_url(self) -> str:
        """The Lambda API; empty until `start`."""
        return self._endpoint.url

    def _load_api(self) -> LambdaApi:
        from lambdatrace.harness.lambda_api.api import LambdaApi

        return LambdaApi(self, self._temp_dirs)

    async def start(self, functions: Iterable[Function]) -> None:
        """Listens and deploys.

        Raises PortInUseError, HarnessSettingsError, LaunchError, FunctionConfigurationError.
        """
        if self.settings.x_ray_daemon:
            found = await asyncio.to_thread(x_ray.resolve, self.settings.x_ray_daemon)
            self._x_ray_daemon = x_ray.Daemon(found)
        await self._endpoint.listen(self.settings.host, self.settings.port)
        await self.supervisor.start()
        for line in self.supervisor.limits.unenforced():
            _log.info("not enforced on this machine: %s", line)
        for function in functions:
            await self.add_function(function)

    async def add_function(self, function: Function) -> None:
        """Makes a function invocable. Raises FunctionConfigurationError."""
        if function.name in self.functions:
            raise FunctionConfigurationError(f"there is a function {function.name} already")
        version = Version(function, Code(function.code_dir))
        target = DeployedFunction(function.arn(self.settings.region), version)
        self.functions[function.name] = target
        try:
            await self.deploy(target, version)
        except BaseException:
            del self.functions[function.name]
            raise

    async def deploy(self, target: DeployedFunction, version: Version) -> None:
        """Makes a version of a function invocable, in place of what ran for it before.

        Events that were taken are finished where they are. Raises FunctionConfigurationError.
        """
        name = target.name
        self.logs.setdefault(name, deque(maxlen=KEPT_EVENTS_MAX))
        self.executions.setdefault(name, deque(maxlen=KEPT_EVENTS_MAX))
        surroundings = Surroundings(
            self.settings.region,
            self.endpoint_url,
            self.settings.collector_url,
            platform_log_style=self.settings.platform_log_style,
            clock=self.clock,
        )
        if self.settings.x_ray_daemon:
            surroundings = replace(surroundings, x_ray_daemon=self.settings.x_ray_daemon)
        deployment = await asyncio.to_thread(
            deploy,
            version.function,
            surroundings,
            self._temp_dirs,
            is_tmp_private=bool(self.supervisor.private_tmp),
            has_task_root=bool(self.supervisor.limits.able & OWN_TASK_ROOT),
            version=version.name,
        )
        if self._is_stopping:
            return
        self.samples.setdefault(name, deque(maxlen=KEPT_EVENTS_MAX))
        self.insights.setdefault(name, deque(maxlen=KEPT_EVENTS_MAX))
        kind = ManagedPool if version.function.is_managed else Pool
        pool = kind(deployment, self, self.settings.idle_timeout_s)
        self._running_pools.add(pool)
        try:
            await pool.initialize_ahead()
            _check_snapshot(version, pool)
        except BaseException:  # nobody waits for it any more
            pool.retire()
            raise
        if target.versions.get(version.name) is not version or self._is_deleted(target):
            pool.retire()
            return
        if version.pool:
            version.pool.retire()
        version.pool = pool
        self.pools[name if version.name == LATEST else f"{name}:{version.name}"] = pool
        version.state = Status(ACTIVE)
        version.last_update = Status(SUCCESSFUL)

    async def deploy_again(self, name: str) -> None:
        """Makes `$LATEST` of a function run the code that is there now. Raises InvokeError."""
        target = self.functions.get(name)
        if target is None:
            raise not_found(invoke_api.function_arn(self.settings.region, name))
        await self.deploy(target, target.latest)

    def _is_deleted(self, target: DeployedFunction) -> bool:
        return self.functions.get(target.name) is not target

    def remove(self, target: DeployedFunction, version: Version) -> None:
        """Ends a version: events that were taken are finished, then its environments go."""
        name = target.name
        self.pools.pop(name if version.name == LATEST else f"{name}:{version.name}", None)
        if version.pool:
            version.pool.retire()
            version.pool = None

    async def stop(self) -> None:
        """In order: no new attempts at events, tell destinations of those that have ended, no new
        invokes, shut environments down, end all processes, remove all files.

        Callers that wait are told by their environment's shutdown, so connections close after it.
        """
        self._events.close()
        await self._deliver_events()
        self._is_stopping = True
        await self._endpoint.stop_listening()
        await asyncio.gather(*(pool.close() for pool in list(self._running_pools)))
        await self._deliver_events()  # of those executed meanwhile
        await asyncio.to_thread(self._destinations.stop)
        self._say_what_was_held()
        await self._endpoint.close()
        await self.supervisor.stop()
        self._temp_dirs.close()
        if self._x_ray_daemon:
            self._x_ray_daemon.close()

    def _say_what_was_held(self) -> None:
        undelivered = self._events.undelivered
        if held := self._events.pending - undelivered:
            _log.warning(
                "the harness was stopped: %d events were accepted and not executed to the end", held
            )
        if undelivered:
            _log.warning(
                "the harness was stopped: of %d events that have ended, a destination or "
                "dead-letter queue was not told",
                undelivered,
            )

    async def _deliver_events(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._events.wait_delivered(), DESTINATIONS_STOP_S)

    def submit(
        self,
        request: InvokeRequest,
        answer: Callable[[Invocation, Outcome], None],
        refuse: Callable[[InvokeError], None],
    ) -> Invocation:
        """Starts an invoke, synchronous or queued. Raises InvokeError for one that cannot start.

        `answer` is called once for a synchronous invoke; a queued one has no answer.
        """
        target = self.functions.get(request.function_name)
        if target is None:
            raise not_found(request.arn(self.settings.region))
        pool = target.pool(request.qualifier)
        if self._is_stopping:
            raise InvokeError(500, "ServiceException", "The harness was stopped")
        invoke_api.check_tenant(pool.function, request.tenant_id)
        incoming, before = request.trace_header, 0
        if incoming:
            incoming, before = follow(incoming, target.lineage_hash)
        mode = pool.function.tracing
        header = tracing.trace_header(incoming, mode, pool.sampler, target.lineage_hash)
        trace = x_ray.begin(incoming, header, time.time()) if mode == tracing.ACTIVE else None
        invocation = Invocation(
            request.payload,
            request.arn(self.settings.region),
            answer=lambda outcome: answer(invocation, outcome),
            refuse=refuse,
            trace_header=trace.header if trace else header,
            trace=trace,
            client_context=request.client_context,
            log_tail=LogTail(is_json=pool.function.logging_config.is_json)
            if request.wants_tail
            else None,
            qualifier=request.qualifier,
            executed_version=pool.deployment.version,
            tenant_id=request.tenant_id,
        )
        if before >= INVOKES_MAX and target.recursive_loop == TERMINATE:
            self._stop_loop(invocation)
        if request.invocation_type == "Event":
            invocation.log_tail = None
            self._events.put(invocation)
        elif invocation.is_recursive:
            raise recursive_invocation()
        elif request.invocation_type == "RequestResponse":
            pool.submit(invocation)
        return invocation

    def _stop_loop(self, invocation: Invocation) -> None:
        """The invoke will not be executed; a queued one is told of like one that has failed."""
        invocation.is_recursive = True
        arn, at_ms = invocation.invoked_function_arn, self.clock.now_s() * 1000
        self.sampled(Sample.of_invoke(arn, "RecursiveInvocationsDropped", 1.0, at_ms))

    def _submit_event(self, invocation: Invocation) -> None:
        target = self._target_of(invocation)
        try:
            if target is None:
                raise not_found(invocation.invoked_function_arn)
            if invocation.is_recursive:
                raise recursive_invocation()
            pool = target.pool(invocation.qualifier)
        except InvokeError as error:
            invocation.refuse(error)
            return
        invocation.executed_version = pool.deployment.version
        pool.submit(invocation)

    # What the pools need and tell (pool.Owner)

    def make_temp_dir(self) -> Path:
        """A new folder for an environment's /tmp."""
        self._environments_made += 1
        folder = self._temp_dirs.make(f"tmp-{self._environments_made}")
        folder.chmod(0o1777)
        return folder

    def remove_temp_dir(self, folder: Path) -> None:
        """Removes it, in another thread: a function may have left many files."""
        asyncio.get_running_loop().run_in_executor(None, remove_folder, folder)

    def make_room(self) -> None:
        """Closes the environment idle for longest when there are as many as may run at once."""
        environments = [e for pool in self._running_pools for e in pool.environments]
        if len(environments) < self.settings.concurrency_max:
            return
        idle = [(e.idle_since, pool, e) for pool in self._running_pools for e in pool.closable]
        if idle:
            _, pool, environment = min(idle, key=lambda item: item[0])
            pool.close_environment(environment)

    def logged(self, function_name: str, log_group: str, event: LogEvent) -> None:
        """Keeps one log event in memory and hands it to the collector."""
        self.logs[function_name].append(event)
        if self._delivery:
            self._delivery.log(log_group, event)
        if self._on_log:
            self._observe("on_log", self._on_log, function_name, event)

    def told_insights(self, function_name: str, event: LogEvent) -> None:
        """Keeps one Lambda Insights event and hands it to the collector."""
        self.insights[function_name].append(event)
        if self._delivery:
            self._delivery.log(lambda_insights.LOG_GROUP, event)

    def executed(self, facts: InvocationFacts) -> None:
        """Keeps the facts of an executed invoke and hands them to the collector."""
        self.executions[facts.function_name].append(facts)
        if self._delivery:
            self._delivery.executed(facts)
        if self._on_executed:
            self._observe("on_executed", self._on_executed, facts)

    def _observe(self, name: str, observer: Callable[..., None], *told: object) -> None:
        """Tells an observer of the user's, whose errors change no invoke and are said once."""
        try:
            observer(*told)
        except Exception:  # noqa: BLE001 - the user's code: it may raise anything
            if name not in self._failed_observers:
                self._failed_observers.add(name)
                _log.exception("%s raised an error; others are not told", name)

    def retired(self, pool: Pool) -> None:
        """A pool that was replaced has no environment any more: so do its merged layers go."""
        self._running_pools.discard(pool)
        if layers := pool.deployment.layers_dir:
            self.remove_temp_dir(layers)
        if not self._is_stopping:  # then all files go
            self.when_retired()

    def running_code(self) -> set[Path]:
        """The folders of the code that environments run, be it of a version that was replaced."""
        return {pool.function.code_dir for pool in self._running_pools}

    def throttled(self, invocation: Invocation, *, is_managed: bool = False) -> None:
        """Counts a refused invoke."""
        at_ms = self.clock.now_s() * 1000
        self.sampled(throttle(invocation.invoked_function_arn, at_ms))
        if is_managed:
            for sample in managed_throttle(invocation.invoked_function_arn, at_ms):
                self.sampled(sample)
        if invocation.trace and not invocation.trace.attempt:
            name = invocation.invoked_function_arn.split(":")[6]
            self.traced(x_ray.refused(invocation.trace, name, invocation, time.time()))

    def traced(self, segments: list[Any]) -> None:
        """Sends the X-Ray segments of an invoke that was sampled to the daemon, if there is one."""
        if self._x_ray_daemon:
            self._x_ray_daemon.send(segments)

    def sampled(self, sample: Sample) -> None:
        """Keeps one sample and hands it to the collector."""
        if sample.function_name in self.samples:
            self.samples[sample.function_name].append(sample)
        if self._delivery:
            self._delivery.sampled(sample)

    # What the queue of events asks (event_queue.Settings)

    def event_invoke_config(self, invocation: Invocation) -> EventInvokeConfig:
        """The settings for the function and qualifier that the event was for."""
        target = self._target_of(invocation)
        return target.event_invoke_config(invocation.qualifier) if target else EventInvokeConfig()

    def dead_letter_target(self, invocation: Invocation) -> str:
        """The ARN of the queue or topic for an event given up; empty for none."""
        target = self._target_of(invocation)
        version = target.versions.get(invocation.executed_version) if target else None
        return version.function.dead_letter_target_arn if version else ""

    def has_no_concurrency(self, invocation: Invocation) -> bool:
        """Whether zero concurrent executions are reserved for the function."""
        return self.concurrency.reserved.get(invocation.invoked_function_arn.split(":")[6]) == 0

    def _target_of(self, invocation: Invocation) -> DeployedFunction | None:
        """The function an event was for, if it was not deleted since."""
        return self.functions.get(invocation.invoked_function_arn.split(":")[6])

    async def wait_events(self) -> int:
        """Returns when nothing is executed and no event told of: how many wait for their time."""
        await self._events.wait_settled()
        await asyncio.gather(*(pool.wait_frozen() for pool in list(self._running_pools)))
        return self._events.pending

    async def advance(self, clock: VirtualClock, seconds: float) -> None:
        """Moves the clock on, letting all that is due come to rest before time goes on."""
        target_s = clock.now_s() + seconds
        await self.wait_events()
        while (due_s := clock.next_due_s) is not None and due_s <= target_s:
            clock.move_to(due_s)
            await self.wait_events()
        clock.move_to(target_s)


def _check_snapshot(version: Version, pool: Pool) -> None:
    """Raises SnapshotError for a published version whose init failed before it could be taken."""
    failure = pool.snapshot_failure
    if failure and version.name != LATEST:
        raise SnapshotError(f"The function could not be initialized: {failure}")


def _nothing() -> None: ...

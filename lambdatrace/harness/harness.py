"""The harness for synchronous code: a local Lambda in a background thread.

with Harness(functions=[Function("orders", "app.handler", code_dir=Path("src"))]) as harness:
    result = harness.invoke("orders", {"id": 7})
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lambdatrace.harness import descriptors, invoke_api
from lambdatrace.harness.clock import SystemClock, VirtualClock
from lambdatrace.harness.concurrency import CONCURRENCY_MAX
from lambdatrace.harness.delivery import Delivery
from lambdatrace.harness.deployed_function import not_found
from lambdatrace.harness.errors import HarnessStateError, InvokeError, LaunchError
from lambdatrace.harness.http_server import Request
from lambdatrace.harness.metrics import executed, metric_data
from lambdatrace.harness.phases import init_ahead_limit_s
from lambdatrace.harness.platform_logs import STYLE_2025
from lambdatrace.harness.service import LambdaService
from lambdatrace.harness.service_settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from lambdatrace.harness.clock import Clock
    from lambdatrace.harness.function import Function
    from lambdatrace.harness.invocation import Invocation, InvocationFacts, Outcome
    from lambdatrace.harness.load import LoadRun
    from lambdatrace.harness.log_stream import LogEvent
    from lambdatrace.harness.metrics import Sample

T = TypeVar("T")

START_S = 60.0  # listening, supervisor, and one interpreter query per distinct interpreter
STOP_S = 30.0  # the longest shutdown phase is 2 s; killing and removing files comes on top
INVOKE_GRACE_S = 30.0  # beyond init limit and function timeout: a machine under load
FLUSH_S = 10.0


@dataclass(frozen=True)
class InvokeResult:
    """What an invoke gave. `function_error` is empty or `Unhandled`; `log_tail` is text."""

    status_code: int
    payload: bytes
    request_id: str
    trace_header: str
    function_error: str = ""
    executed_version: str = ""
    log_tail: str = ""

    def json(self) -> Any:
        """The payload as a Python value."""
        return json.loads(self.payload)


@dataclass(frozen=True)
class EnvironmentState:
    """One execution environment as it is now. `pid` is 0 when no process runs."""

    log_stream: str
    phase: str
    pid: int
    invocations: int


class Harness:
    """A local Lambda service on the loopback interface.

    `port` 0 takes any free port. `collector_url` is where platform logs and metrics go, and where
    the functions' AWS SDKs and OpenTelemetry exporters are pointed. Environments idle for
    `idle_timeout_s` are shut down. Without `private_tmp`, or where the system gives no mount
    namespace, /tmp is the machine's and TMPDIR names each environment's own folder, of any size,
    and the code can be written to. With `cpu_limit`, invokes get the CPU time of their memory size,
    as on AWS; without `control_groups`, or where there can be none, by stopping and continuing the
    processes. `on_log` gets each log event with the function's name, `on_executed` the facts of
    each invoke at its end; both are called in the harness's thread and must not wait; what they
    raise is logged, once. `aws_endpoint_url` is where destinations and dead-letter queues are:
    moto's server, LocalStack, or the like. `x_ray_daemon` is the `host:port` that gets the segments
    of sampled invokes, and functions as AWS_XRAY_DAEMON_ADDRESS. `clock` is for what waits minutes,
    as retries of events and their age, and for the times of log events and metrics; functions
    themselves, X-Ray and the Telemetry API keep the machine's. With `platform_log_style` `2023`
    failures are told as before 2025, and still in some Regions: by a line of their own, not in
    REPORT. What is wrong with a function is raised by `start`.
    """

    def __init__(
        self,
        functions: Sequence[Function] = (),
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        collector_url: str | None = None,
        idle_timeout_s: float = 600.0,
        region: str = "us-east-1",
        concurrency_max: int = CONCURRENCY_MAX,
        private_tmp: bool = True,
        cpu_limit: bool = False,
        control_groups: bool = True,
        on_log: Callable[[str, LogEvent], None] | None = None,
        aws_endpoint_url: str | None = None,
        clock: Clock | None = None,
        x_ray_daemon: str | None = None,
        on_executed: Callable[[InvocationFacts], None] | None = None,
        platform_log_style: str = STYLE_2025,
    ) -> None:
        self._functions = list(functions)
        self._settings = ServiceSettings(
            host,
            port,
            region,
            (collector_url or "").rstrip("/"),
            idle_timeout_s,
            concurrency_max,
            private_tmp,
            (aws_endpoint_url or "").rstrip("/"),
            cpu_limit,
            control_groups,
            x_ray_daemon or "",
            platform_log_style,
        )
        self._clock = clock or SystemClock()
        self._on_log = on_log
        self._on_executed = on_executed
        self._service: LambdaService | None = None
        self._delivery: Delivery | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """The Lambda API: the `endpoint_url` for boto3 and the AWS CLI."""
        return self._running().endpoint_url

    @property
    def names(self) -> list[str]:
        """The functions that can be invoked, in the order they were added."""
        return [function.name for function in self._functions]

    @property
    def is_tmp_private(self) -> bool:
        """Whether functions have a /tmp of their own; otherwise TMPDIR names their folder."""
        return bool(self._running().supervisor.private_tmp)

    @property
    def unenforced(self) -> list[str]:
        """The limits of Lambda that this machine does not let us enforce, a line for each."""
        return self._running().supervisor.limits.unenforced()

    def start(self) -> None:
        """Starts the service in a thread of its own.

        Raises what `LambdaService.start` raises, and LaunchError when it takes too long.
        """
        if self._thread:
            raise HarnessStateError("the harness is running already")
        if self._settings.collector_url:
            self._delivery = Delivery(self._settings.collector_url, self._settings.region)
            self._delivery.start()
        descriptors.raise_limit()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(descriptors.AcceptFailures())
        self._thread = threading.Thread(
            target=self._run_loop, args=(self._loop,), name="lambdatrace-harness", daemon=True
        )
        self._thread.start()
        try:
            limit_s = START_S + sum(_initialized_ahead_s(each) for each in self._functions)
            self._deploy(self._start(), limit_s, "the harness did not start")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shuts environments down as Lambda does, ends every process and removes every file.

        Logs and metrics not yet delivered are sent first, for at most a few seconds.
        """
        if self._loop is None or self._thread is None:
            return
        try:
            if self._service:
                self._call(self._service.stop(), STOP_S)
            if self._delivery:
                self._delivery.stop(FLUSH_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = self._thread = self._service = self._delivery = None

    def add_function(self, function: Function) -> None:
        """Makes one more function invocable. Raises FunctionConfigurationError, LaunchError."""
        limit_s = START_S + _initialized_ahead_s(function)
        failed = f"{function.name} was not deployed"
        self._deploy(self._running().add_function(function), limit_s, failed)
        self._functions.append(function)

    def deploy_again(self, name: str) -> None:
        """Runs a function's code and layers as they are now; what was taken is finished as it is.

        Raises InvokeError when there is no such function, FunctionConfigurationError, LaunchError.
        """
        service = self._running()
        target = service.functions.get(name)
        ahead_s = _initialized_ahead_s(target.latest.function) if target else 0.0
        failed = f"{name} was not deployed again"
        self._deploy(service.deploy_again(name), START_S + ahead_s, failed)

    def invoke(
        self,
        name: str,
        payload: Any = None,
        *,
        invocation_type: str = "RequestResponse",
        log_type: str = "None",
        trace_header: str = "",
        client_context: dict[str, Any] | None = None,
        tenant_id: str = "",
    ) -> InvokeResult:
        """Invokes a function by name or ARN, with the checks of the Invoke API but without HTTP.

        `payload` is a JSON value, or bytes taken as they are. A function's own error is no
        exception here: see `function_error`. Raises InvokeError where the API refuses.
        """
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        request = _request(name, body)
        request.headers = {
            b"x-amz-invocation-type": invocation_type.encode(),
            b"x-amz-log-type": log_type.encode(),
            b"x-amzn-trace-id": trace_header.encode(),
            b"x-amz-tenant-id": tenant_id.encode(),
        }
        if client_context is not None:
            encoded = base64.b64encode(json.dumps(client_context).encode())
            request.headers[b"x-amz-client-context"] = encoded
        service = self._running()
        checked = invoke_api.parse(request, self._settings.region)
        pool = service.pools.get(checked.function_name)
        # A cold start that fails is tried again inside the invoke, on the function's time.
        timeout_s = (pool.function.timeout_s if pool else 0) * 2 + 10 + INVOKE_GRACE_S
        return self._call(_invoke(service, checked), timeout_s)

    def load(self, run: LoadRun, payload: bytes = b"{}") -> concurrent.futures.Future[None]:
        """Starts a load run; done when the last invoke has ended. Raises InvokeError."""
        request = _request(run.result.function.name, payload)
        checked = invoke_api.parse(request, self._settings.region)
        service = self._running()
        if self._loop is None:
            raise HarnessStateError("the harness is not running: use it in a with block")
        return asyncio.run_coroutine_threadsafe(run.run(service, checked), self._loop)

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Delivers all logs and metrics of finished invokes to the collector; True if all arrived.

        Without a collector there is nothing to deliver.
        """
        self._running()
        return self._delivery.flush(timeout_s) if self._delivery else True

    def wait_frozen(self, name: str, timeout_s: float = 10.0) -> None:
        """Waits until every environment of a function is frozen (or reset). Raises TimeoutError."""
        pool = self._pool(name)
        try:
            self._call(asyncio.wait_for(pool.wait_frozen(), timeout_s), timeout_s + 1)
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError(f"{name} is still busy after {timeout_s} s") from None

    def wait_events(self, timeout_s: float = 30.0) -> int:
        """Waits until no asynchronous event is executed or told of to a destination.

        Gives the number of those that wait for their next attempt. Raises TimeoutError.
        """
        return self._wait(self._running().wait_events(), timeout_s)

    def advance(self, seconds: float, timeout_s: float = 30.0) -> None:
        """Moves the VirtualClock the harness was given, and has done what is due on the way.

        Raises HarnessStateError on the machine's clock, TimeoutError when an event does not end.
        """
        if not isinstance(self._clock, VirtualClock):
            raise HarnessStateError("the harness runs by the machine's clock: give it another one")
        self._wait(self._running().advance(self._clock, seconds), timeout_s)

    def insights(self, name: str) -> list[dict[str, Any]]:
        """The latest Lambda Insights events of a function that has `lambda_insights`."""
        self._pool(name)
        service = self._running()

        async def events() -> list[LogEvent]:
            return list(service.insights[name])

        return [json.loads(event.message) for event in self._call(events(), START_S)]

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """The latest `AWS/Lambda` metrics of a function, as data for PutMetricData."""
        self._pool(name)
        service = self._running()

        async def samples() -> list[Sample]:
            found = [s for facts in service.executions[name] for s in executed(facts)]
            return [*found, *service.samples[name]]

        # What there is of the account would be of this function alone.
        return [d for d in metric_data(self._call(samples(), START_S)) if d["Dimensions"]]

    def environments(self, name: str) -> list[EnvironmentState]:
        """The execution environments of a function, oldest first."""
        pool = self._pool(name)

        async def states() -> list[EnvironmentState]:
            return [
                EnvironmentState(e.log_stream, e.phase.value, e.pid, e.invocations)
                for e in pool.environments
            ]

        return self._call(states(), START_S)

    def executions(self, name: str) -> list[InvocationFacts]:
        """The latest executed invokes of a function, at most some thousands, in order of end."""
        self._pool(name)
        service = self._running()

        async def facts() -> list[InvocationFacts]:
            return list(service.executions[name.partition(":")[0]])

        return self._call(facts(), START_S)

    def logs(self, name: str) -> list[LogEvent]:
        """The latest log events of a function in the order read, at most some thousands."""
        self._pool(name)
        service = self._running()

        async def events() -> list[LogEvent]:
            return list(service.logs[name.partition(":")[0]])

        return self._call(events(), START_S)

    async def _start(self) -> None:
        service = self._service = LambdaService(
            self._settings, self._delivery, self._on_log, self._on_executed, self._clock
        )
        await service.start(self._functions)

    def _deploy(self, work: Coroutine[Any, Any, None], limit_s: float, failed: str) -> None:
        try:
            self._call(work, limit_s)
        except concurrent.futures.TimeoutError:
            raise LaunchError(f"{failed} within {limit_s:g} s") from None

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        try:
            return self._call(asyncio.wait_for(work, timeout_s), timeout_s + 1)
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError(f"events are still executed after {timeout_s} s") from None

    def _pool(self, name: str) -> Any:
        pool = self._running().pools.get(name)
        if pool is None:
            raise not_found(invoke_api.function_arn(self._settings.region, name))
        return pool

    def _running(self) -> LambdaService:
        if self._service is None:
            raise HarnessStateError("the harness is not running: use it in a with block")
        return self._service

    def _call(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        if self._loop is None:
            work.close()
            raise HarnessStateError("the harness is not running: use it in a with block")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _initialized_ahead_s(function: Function) -> float:
    """For how long the environments a function has before its first event may initialize."""
    return init_ahead_limit_s(function.timeout_s) if function.initialized_ahead else 0.0


def _request(name: str, body: bytes) -> Request:
    """The request of an invoke, as it would come over HTTP."""
    request = Request()
    request.method = "POST"
    request.path = f"/2015-03-31/functions/{name}/invocations"
    request.body = body
    request.body_bytes = len(body)
    return request


async def _invoke(service: LambdaService, request: invoke_api.InvokeRequest) -> InvokeResult:
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def answer(_: Invocation, outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    def refuse(error: InvokeError) -> None:
        if not done.done():
            done.set_exception(error)

    invocation = service.submit(request, answer, refuse)
    if request.invocation_type == "Event":
        return InvokeResult(202, b"", invocation.request_id, invocation.trace_header)
    if request.invocation_type == "DryRun":
        return InvokeResult(204, b"", invocation.request_id, invocation.trace_header)
    outcome = await done
    return InvokeResult(
        200,
        outcome.payload,
        invocation.request_id,
        invocation.trace_header,
        outcome.function_error,
        invocation.executed_version,
        (outcome.log_tail or b"").decode("utf-8", "replace"),
    )

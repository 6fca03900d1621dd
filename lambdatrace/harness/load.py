"""A load run: invokes sent to one function by a plan, and what came of them.

Everything but `LoadRun.stop` happens in the event loop's thread, where the harness is: an invoke
goes the way of one over HTTP without the sockets of the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING

from lambdatrace.harness.cost import usd_per_gb_s
from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.function import PROVISIONED_CONCURRENCY
from lambdatrace.harness.latencies import Latencies
from lambdatrace.invocation_metrics import USD_PER_REQUEST

if TYPE_CHECKING:
    from lambdatrace.harness.function import Function
    from lambdatrace.harness.invocation import Invocation, InvocationFacts, Outcome
    from lambdatrace.harness.invoke_api import InvokeRequest
    from lambdatrace.harness.load_plan import LoadPlan
    from lambdatrace.harness.service import LambdaService

THROTTLE_WAIT_S = 0.1  # of a caller that was refused, before its next invoke
ERROR_TYPES_MAX = 100  # told apart; what comes then is `other`
SETTLE_S = 30.0  # from the last answer to the last REPORT: extensions, a machine under load


class LoadResult:
    """What came of the invokes so far.

    `latencies` are the caller's, from when the invoke was due to its answer, failed ones included
    and refused ones not. `executed`, `cold_starts`, `billed_duration_ms` and `init_durations` are
    those of REPORT lines.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.elapsed_s = 0.0
        self.sent = 0
        self.succeeded = 0
        self.errors: Counter[str] = Counter()
        self.throttles = 0
        self.refused: Counter[str] = Counter()
        self.executed = 0
        self.cold_starts = 0
        self.billed_duration_ms = 0
        self.latencies = Latencies()
        self.init_durations = Latencies()

    @property
    def answered(self) -> int:
        """Invokes that ended in any way."""
        return self.latencies.count + self.throttles + sum(self.refused.values())

    @property
    def failed(self) -> int:
        """Invokes whose function failed."""
        return self.latencies.count - self.succeeded

    @property
    def rate(self) -> float:
        """Answers of the function per second."""
        return self.latencies.count / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def cold_start_share(self) -> float:
        """Of the executed invokes, 0 to 1."""
        return self.cold_starts / self.executed if self.executed else 0.0

    @property
    def billed_gb_s(self) -> float:
        """Billed duration by memory size."""
        return self.billed_duration_ms / 1000 * self.function.memory_size_mb / 1024

    @property
    def cost_usd(self) -> float:
        """What Lambda would charge in us-east-1 for requests and duration, without a free tier.

        The price of the duration is that of the function's architecture. What is allocated costs
        extra: provisioned concurrency, SnapStart's cache, more than 512 MB of /tmp.
        """
        is_provisioned = self.function.initialization_type == PROVISIONED_CONCURRENCY
        price = usd_per_gb_s(self.function.architecture, is_provisioned=is_provisioned)
        return self.executed * USD_PER_REQUEST + self.billed_gb_s * price

    def answer(self, outcome: Outcome, latency_ms: float) -> None:
        """Counts an answer of the function."""
        self.latencies.add(latency_ms)
        if not outcome.function_error:
            self.succeeded += 1
            return
        error_type = _error_type(outcome.payload)
        is_room = error_type in self.errors or len(self.errors) < ERROR_TYPES_MAX
        self.errors[error_type if is_room else "other"] += 1

    def refuse(self, error: InvokeError) -> None:
        """Counts an invoke that the API refused."""
        if error.code == "TooManyRequestsException":
            self.throttles += 1
        else:
            self.refused[error.code] += 1

    def execute(self, facts: InvocationFacts) -> None:
        """Counts an executed invoke by its REPORT line."""
        self.executed += 1
        if facts.report:
            self.billed_duration_ms += facts.report.billed_duration_ms
            if facts.report.init_duration_ms is not None:
                self.cold_starts += 1
                self.init_durations.add(facts.report.init_duration_ms)


class LoadRun:
    """Sends what `plan` says to one function. Give `executed` to the harness as `on_executed`."""

    def __init__(self, function: Function, plan: LoadPlan) -> None:
        self.result = LoadResult(function)
        self.is_stopped = False
        self._plan = plan
        self._index = 0
        self._started = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def executed(self, facts: InvocationFacts) -> None:
        """Takes what the harness tells of an executed invoke."""
        self.result.execute(facts)

    def stop(self) -> None:
        """Sends no more; those on their way are waited for. May be called from any thread."""
        self.is_stopped = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self, service: LambdaService, request: InvokeRequest) -> None:
        """Returns when everything sent was answered and written to the log, or SETTLE_S later."""
        self._loop = asyncio.get_running_loop()
        if self.is_stopped:
            return
        self._started = time.perf_counter()
        callers = [self._call(n, service, request) for n in range(self._plan.callers)]
        try:
            await asyncio.gather(*callers)
        finally:
            self.result.elapsed_s = time.perf_counter() - self._started
        pool = service.pools[self.result.function.name]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(pool.wait_frozen(), SETTLE_S)

    @property
    def elapsed_s(self) -> float:
        """Since the first invoke, until the last answer."""
        if self.result.elapsed_s or not self._started:
            return self.result.elapsed_s
        return time.perf_counter() - self._started

    async def _call(self, caller: int, service: LambdaService, request: InvokeRequest) -> None:
        """One caller: sends, waits for the answer, sends the next."""
        plan = self._plan
        goes_on = await self._until(plan.caller_start_s(caller))
        while goes_on:
            index, self._index = self._index, self._index + 1
            due_s = plan.due_s(index) if plan.is_open else time.perf_counter() - self._started
            if not plan.has(index, due_s) or not await self._until(due_s):
                return
            is_taken = await self._invoke(service, request, due_s)
            wait_s = 0.0 if is_taken or plan.is_open else THROTTLE_WAIT_S
            goes_on = await self._until(time.perf_counter() - self._started + wait_s)

    async def _until(self, due_s: float) -> bool:
        """Waits for a time of the run, or until it is stopped: then False."""
        left_s = self._started + due_s - time.perf_counter()
        if left_s > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), left_s)
        return not self.is_stopped

    async def _invoke(self, service: LambdaService, request: InvokeRequest, due_s: float) -> bool:
        """Sends one invoke and waits for its end; False if it was refused."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answer(_: Invocation, outcome: Outcome) -> None:
            latency_s = time.perf_counter() - self._started - due_s
            if not done.done():
                self.result.answer(outcome, latency_s * 1000)
                done.set_result(True)

        def refuse(error: InvokeError) -> None:
            if not done.done():
                self.result.refuse(error)
                done.set_result(False)

        self.result.sent += 1
        try:
            service.submit(request, answer, refuse)
        except InvokeError as error:
            refuse(error)
        return await done


def _error_type(payload: bytes) -> str:
    """The `errorType` of a failed function's answer."""
    try:
        return str(json.loads(payload)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "unknown"

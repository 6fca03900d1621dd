"""What is told of an invoke when it is over: its REPORT, X-Ray segments, Lambda Insights, facts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lambdatrace.harness import lambda_insights, x_ray
from lambdatrace.harness.invocation import Invocation, InvocationFacts
from lambdatrace.harness.lambda_insights import Usage, usage
from lambdatrace.harness.log_stream import LogEvent
from lambdatrace.harness.platform_logs import Report

if TYPE_CHECKING:
    from lambdatrace.harness.deployment import Deployment
    from lambdatrace.harness.environment_log import EnvironmentLog
    from lambdatrace.harness.sandbox import Sandbox


class Bookkeeper(Protocol):
    """Who hears what an environment's invokes come to."""

    def executed(self, facts: InvocationFacts) -> None:
        """An invoke has ended."""

    def traced(self, segments: list[Any]) -> None:
        """The X-Ray segments of an invoke that was sampled."""

    def told_insights(self, event: LogEvent) -> None:
        """One event for the log group of Lambda Insights."""


@dataclass(frozen=True)
class Ended:
    """How an invoke ended; `ended_ns` is of `time.perf_counter_ns`."""

    duration_ms: float
    ended_ns: int
    status: str = ""
    error_type: str = ""
    has_extensions: bool = False
    fault: str = ""  # Lambda's own words for a failure, empty for none


class Accounts:
    """The accounts of one environment's invokes. `log_stream` changes when it is restored."""

    def __init__(
        self, deployment: Deployment, log: EnvironmentLog, keeper: Bookkeeper, log_stream: str
    ) -> None:
        self.log_stream = log_stream
        self._deployment = deployment
        self._function = deployment.function
        self._log = log
        self._keeper = keeper
        # Told with the next invoke, once.
        self._init_ms: float | None = None
        self._init_span: tuple[float, float] | None = None  # Unix time
        self._restore_ms: float | None = None
        self._usage_before = Usage()

    def initialized(self, duration_ms: float, *, is_first: bool, is_waited_for: bool) -> None:
        """An init succeeded: the environment's first, and one that the next invoke waited for."""
        now_s = time.time()
        self._init_ms = duration_ms if is_waited_for else None
        self._init_span = (now_s - duration_ms / 1000, now_s) if is_first else None

    def restored(self, duration_ms: float) -> None:
        """A restore succeeded."""
        self._restore_ms = duration_ms

    def begin(self, sandbox: Sandbox | None) -> None:
        """An invoke begins."""
        if self._function.lambda_insights:
            self._usage_before = _usage(sandbox)

    def account(self, invocation: Invocation, ended: Ended, sandbox: Sandbox | None) -> None:
        """Writes END and REPORT, and tells the keeper the rest."""
        init_ms, self._init_ms = self._init_ms, None
        restore_ms, self._restore_ms = self._restore_ms, None
        peak_bytes = sandbox.memory.peak_bytes if sandbox else 0
        report = Report(
            invocation.request_id,
            ended.duration_ms,
            self._function.memory_size_mb,
            min(-(-peak_bytes // 2**20), self._function.memory_size_mb),
            init_ms,
            ended.status,
            ended.error_type,
            restore_ms,
        )
        self._log.report(
            invocation,
            report,
            ended.ended_ns,
            has_extensions=ended.has_extensions,
            fault=ended.fault,
        )
        self._trace(invocation, ended)
        if self._function.lambda_insights:
            self._tell_insights(invocation, report, _usage(sandbox))
        self._keeper.executed(self._facts(invocation, ended, report))

    def _trace(self, invocation: Invocation, ended: Ended) -> None:
        init_span, self._init_span = self._init_span, None
        if invocation.trace:
            is_error = bool(invocation.error_type)
            run = x_ray.Run(ended.ended_ns, is_error, init_span, ended.has_extensions)
            name = self._function.name
            self._keeper.traced(x_ray.segments(invocation.trace, name, invocation, run))

    def _tell_insights(self, invocation: Invocation, report: Report, after: Usage) -> None:
        now_ms = int((time.time() + self._deployment.surroundings.clock.ahead_s()) * 1000)
        name, version = self._function.name, self._deployment.version
        trace_id = invocation.trace.trace_id if invocation.trace else ""
        event = lambda_insights.performance_event(
            name, version, report, self._usage_before, after, now_ms, trace_id
        )
        stream = lambda_insights.log_stream(self.log_stream, name)
        self._keeper.told_insights(LogEvent(now_ms, lambda_insights.encode(event), stream))

    def _facts(self, invocation: Invocation, ended: Ended, report: Report) -> InvocationFacts:
        extensions_ms = None
        if ended.has_extensions and invocation.runtime_done_ns:
            extensions_ms = (ended.ended_ns - invocation.runtime_done_ns) / 1e6
        return InvocationFacts(
            self._function.name,
            invocation.started_ms + self._deployment.surroundings.clock.ahead_s() * 1000,
            ended.duration_ms,
            bool(invocation.error_type),
            invocation.concurrency,
            extensions_ms,
            invocation.request_id,
            invocation.response_ms,
            report,
            invocation.qualifier,
            self._deployment.version,
            invocation.is_provisioned,
            invocation.version_concurrency,
            self._function.architecture,
            invocation.claims,
            invocation.provisioned,
            self._function.is_managed,
        )


def _usage(sandbox: Sandbox | None) -> Usage:
    return usage(sandbox.leaders() if sandbox else ())

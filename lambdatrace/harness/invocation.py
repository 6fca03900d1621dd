"""One invoke on its way through the harness."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lambdatrace.harness.cost import USD_PER_REQUEST, cost_usd
from lambdatrace.harness.function import LATEST, X86_64

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.concurrency import Claims
    from lambdatrace.harness.errors import InvokeError
    from lambdatrace.harness.log_stream import LogTail
    from lambdatrace.harness.platform_logs import Report
    from lambdatrace.harness.x_ray import Trace

UNHANDLED = "Unhandled"  # the value of X-Amz-Function-Error; "Handled" is legacy


@dataclass(frozen=True)
class Outcome:
    """What the caller of an invoke gets."""

    payload: bytes
    function_error: str = ""
    content_type: str = "application/json"
    log_tail: bytes | None = None
    is_cut_short: bool = False  # by the end of the environment, and not by the function


@dataclass
class Invocation:
    """One event for one function, and who waits for the answer.

    `answer` is called once with the outcome, or `refuse` once when no environment may take it.
    Times are those of the invoke phase: it starts when an environment takes the event.
    """

    payload: bytes
    invoked_function_arn: str
    answer: Callable[[Outcome], None]
    refuse: Callable[[InvokeError], None]
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_header: str = ""
    client_context: str = ""
    tenant_id: str = ""  # of a function that has tenants
    log_tail: LogTail | None = None
    qualifier: str = ""  # as invoked: a version, an alias or nothing
    executed_version: str = LATEST
    version_concurrency: int = 1  # of the version that is executed, this one included
    claims: Claims | None = None  # on the account's concurrency, where there are any
    is_provisioned: bool = False  # an environment of the provisioned concurrency serves it
    provisioned: tuple[int, int] | None = None  # of the version: in use with this one, ready
    is_recursive: bool = False  # one more of a loop that is to be ended
    concurrency: tuple[int, int] = (1, 1)  # of the function, of the account, this one included

    started_ns: int = 0
    started_ms: float = 0.0
    deadline_ms: int = 0
    responded_ns: int = 0
    runtime_done_ns: int = 0
    outcome: Outcome | None = None
    error_type: str = ""
    error_cause: str = ""  # JSON of the runtime client, for X-Ray
    trace: Trace | None = None  # where its X-Ray segments belong, if it is sampled

    def attempt(self, number: int) -> Invocation:
        """The same event, with the same request id, for one attempt; this one does not begin."""
        if self.trace is None:
            return replace(self)
        trace = self.trace.next_attempt(number)
        return replace(self, trace=trace, trace_header=trace.header)

    def begin(self, timeout_s: float) -> None:
        """The environment takes the event: the clock of the function's timeout starts."""
        self.started_ns = time.perf_counter_ns()
        self.started_ms = time.time() * 1000
        self.deadline_ms = int(self.started_ms + timeout_s * 1000)

    def settle(self, outcome: Outcome) -> None:
        """Fixes the outcome; the caller gets it now, or at the end if it wants the log's tail."""
        self.outcome = outcome
        self.responded_ns = time.perf_counter_ns()
        if self.log_tail is None:
            self.answer(outcome)

    @property
    def response_ms(self) -> float:
        """From the start of the invoke phase to the outcome; 0.0 until there is one."""
        return (self.responded_ns - self.started_ns) / 1e6 if self.responded_ns else 0.0

    def close(self) -> None:
        """The invoke is over and its log complete."""
        if self.log_tail is not None and self.outcome:
            tail = self.log_tail.content()
            self.answer(
                Outcome(
                    self.outcome.payload,
                    self.outcome.function_error,
                    self.outcome.content_type,
                    tail,
                )
            )


@dataclass(frozen=True)
class InvocationFacts:
    """One executed invoke, as `AWS/Lambda` metrics see it. `started_ms` is Unix time.

    `duration_ms` is until runtime and extensions were done, `response_ms` until the outcome.
    `qualifier` is the version or alias that was asked for, empty if none was; `is_provisioned` says
    that an environment of the provisioned concurrency served it, and `provisioned` how many of the
    version's were in use and how many there were, None for a version without.
    `extensions_ms` is from the runtime's end to the last extension's, None without extensions.
    `report` is what its REPORT line says. On Managed Instances (`is_managed`) an invoke costs its
    request alone: instances are paid for by the hour.
    """

    function_name: str
    started_ms: float
    duration_ms: float
    is_error: bool
    concurrency: tuple[int, int]
    extensions_ms: float | None = None
    request_id: str = ""
    response_ms: float = 0.0
    report: Report | None = None
    qualifier: str = ""
    executed_version: str = ""
    is_provisioned: bool = False
    version_concurrency: int | None = None
    architecture: str = X86_64
    claims: Claims | None = None
    provisioned: tuple[int, int] | None = None
    is_managed: bool = False

    @property
    def cost_usd(self) -> float:
        """What Lambda charges for it, about: see `cost`."""
        if self.report is None:
            return 0.0
        if self.is_managed:
            return USD_PER_REQUEST
        billed_ms, memory_mb = self.report.billed_duration_ms, self.report.memory_size_mb
        is_provisioned = self.is_provisioned
        return cost_usd(billed_ms, memory_mb, self.architecture, is_provisioned=is_provisioned)


def platform_error(error_type: str, request_id: str, reason: str) -> bytes:
    """The payload Lambda makes itself when a function did not answer."""
    message = f"RequestId: {request_id} Error: {reason}"
    return json.dumps(
        {"errorType": error_type, "errorMessage": message}, separators=(",", ":")
    ).encode()

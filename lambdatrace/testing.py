"""What a test of an instrumented function needs: a sink in memory, a clock and ids it owns.

    with lambdatrace.testing.recording() as recorded:
        app.handler(event, lambdatrace.testing.LambdaContext())
    assert [span.name for span in recorded.spans] == ["charge card", "orders"]

The functions must be decorated inside the block, or their module be imported there, since outside
Lambda the decorator returns the function as it is. With pytest, the fixture `lambdatrace_recording`
gives the same.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

from lambdatrace import telemetry as process_telemetry
from lambdatrace.clock import Clock, Ids
from lambdatrace.guard import Guard
from lambdatrace.log_record import LogRecord
from lambdatrace.records import Span
from lambdatrace.sinks import Outcome
from lambdatrace.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from lambdatrace.metric_points import MetricData

START_NS = 1_700_000_000_000_000_000  # 2023-11-14T22:13:20Z

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "orders",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2023/11/14/[$LATEST]0123456789abcdef0123456789abcdef",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_REGION": "eu-west-1",
    "_HANDLER": "app.handler",
    "LAMBDATRACE_JOURNAL": "false",  # tests share /tmp, and the process too
}


NOTHING_RECORDED = (
    "no span was recorded: the function's module was imported before the recording, where the "
    "decorator does nothing (import it inside), or its handler is async and was not awaited"
)


class SettableClock(Clock):
    """Stands still until moved."""

    __slots__ = ("now_ns",)

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns

    def time_ns(self) -> int:
        """The time it was last set to."""
        return self.now_ns

    def advance(self, milliseconds: float) -> None:
        """Move on."""
        self.now_ns += int(milliseconds * 1_000_000)


class CountedIds(Ids):
    """1, 2, 3, …: trace ids and span ids each count from 1."""

    __slots__ = ("_spans", "_traces")

    def __init__(self) -> None:
        super().__init__()
        self._traces = 0
        self._spans = 0

    def trace_id(self) -> str:
        """The next trace id."""
        self._traces += 1
        return f"{self._traces:032x}"

    def span_id(self) -> str:
        """The next span id."""
        self._spans += 1
        return f"{self._spans:016x}"


class MemorySink:
    """Keeps the records it is sent; `outcomes` are given in turn first, then all is accepted."""

    def __init__(self, outcomes: Sequence[Outcome | BaseException] | None = None) -> None:
        self.spans: list[Span] = []
        self.log_records: list[LogRecord] = []
        self.metrics: list[MetricData] = []
        self.timeouts_s: list[float] = []
        self._outcomes = list(outcomes or ())

    def send(self, records: list[Any], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """Keep `records`, or do what the next of `outcomes` says."""
        self.timeouts_s.append(timeout_s)
        meanwhile()
        outcome = self._outcomes.pop(0) if self._outcomes else Outcome(is_accepted=True)
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome.is_accepted and not outcome.rejected:
            for record in records:
                self._keep(record)
        return outcome

    def _keep(self, record: Any) -> None:
        if isinstance(record, Span):
            self.spans.append(record)
        elif isinstance(record, LogRecord):
            self.log_records.append(record)
        else:
            self.metrics.append(record)


class LambdaContext:
    """A context with what the runtime's has; the remaining time is a plain number."""

    def __init__(
        self,
        *,
        aws_request_id: str = "11111111-2222-3333-4444-555555555555",
        invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:orders",
        remaining_time_ms: int = 3000,
        w3c: Mapping[str, str] | None = None,
        tenant_id: str | None = None,
    ) -> None:
        self.aws_request_id = aws_request_id
        self.invoked_function_arn = invoked_function_arn
        self.function_name = "orders"
        self.function_version = "$LATEST"
        self.memory_limit_in_mb = "128"
        self.tenant_id = tenant_id
        self.client_context = None
        self._remaining_time_ms = remaining_time_ms
        self._w3c = dict(w3c or {})

    def get_remaining_time_in_millis(self) -> int:
        """What was given."""
        return self._remaining_time_ms

    def w3c(self) -> dict[str, str]:
        """The W3C context the caller sent."""
        return dict(self._w3c)


class Recorded:
    """What was recorded: finished `spans` in order of their end, and metric documents."""

    def __init__(self, telemetry: Telemetry, sink: MemorySink, clock: SettableClock) -> None:
        self.telemetry = telemetry
        self.clock = clock
        self._sink = sink
        self._stdout = io.StringIO()

    @property
    def spans(self) -> list[Span]:
        """The spans sent so far."""
        return self._sink.spans

    @property
    def log_records(self) -> list[LogRecord]:
        """The log records sent so far."""
        return self._sink.log_records

    @property
    def metrics(self) -> list[MetricData]:
        """The metrics sent by OTLP so far."""
        return self._sink.metrics

    def span(self, name: str) -> Span:
        """The one span called `name`; raises LookupError if there is not exactly one."""
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            if not self.spans:
                raise LookupError(NOTHING_RECORDED)
            names = [span.name for span in self.spans]
            raise LookupError(f"{len(found)} spans are called {name!r}; there are {names}")
        return found[0]

    def capture_stdout(self) -> AbstractContextManager[Any]:
        """Inside, standard output is added to `stdout`."""
        return redirect_stdout(self._stdout)

    @property
    def stdout(self) -> str:
        """All that was written to standard output."""
        return self._stdout.getvalue()

    @property
    def metric_documents(self) -> list[dict[str, Any]]:
        """The embedded-metric documents written so far."""
        lines = [line for line in self.stdout.splitlines() if line.startswith("{")]
        return [document for line in lines if "_aws" in (document := json.loads(line))]


@contextmanager
def recording(
    environment: Mapping[str, str] | None = None, *, sink: MemorySink | None = None
) -> Iterator[Recorded]:
    """Inside Lambda, as far as lambdatrace can tell, with everything kept in memory.

    `environment` is added to ENVIRONMENT. Errors inside lambdatrace are raised. Standard output is
    captured, since that is where metrics are written.
    """
    clock, sink = SettableClock(), sink or MemorySink()
    telemetry = Telemetry(
        {**ENVIRONMENT, **(environment or {})},
        clock=clock,
        ids=CountedIds(),
        guard=Guard(is_strict=True),
        sink=sink,
    )
    recorded = Recorded(telemetry, sink, clock)
    before = process_telemetry.installed()
    process_telemetry.install(telemetry)
    try:
        with recorded.capture_stdout():
            yield recorded
    finally:
        process_telemetry.install(before)

"""What the pytest fixtures `lambda_harness` and `lambda_harness_session` are: functions to invoke.

def test_an_order_is_charged(lambda_harness):
    orders = lambda_harness("app.handler", code_dir="src", timeout_s=5)
    invoked = orders.invoke({"id": 7})
    assert invoked.response == {"charged": True}
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.embedded_metrics import EmbeddedMetric, read_metrics
from lambdatrace.harness.errors import FunctionConfigurationError, HarnessError
from lambdatrace.harness.function import MANAGED_INSTANCES, Function
from lambdatrace.harness.harness import Harness
from lambdatrace.harness.otlp_receiver import OtlpReceiver, ReceivedSpan
from lambdatrace.harness.target import check_handler, parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace.harness.harness import InvokeResult
    from lambdatrace.harness.invocation import InvocationFacts
    from lambdatrace.harness.log_stream import LogEvent
    from lambdatrace.harness.platform_logs import Report

LOGS_KEPT_MAX = 100_000  # log events of one function between two looks at them
REPORTS_KEPT_MAX = 10_000
LOG_SHOWN_MAX = 1_000  # log events of a test that has failed
SETTLE_S = 30.0  # beyond the function's timeout: init, extensions, a machine under load


@dataclass(frozen=True)
class Invoked:
    """One invoke and all that came of it until the environment was frozen again.

    `logs` begins with what was logged since the invoke before, as by the init; `spans`,
    `otlp_metrics` and `otlp_logs` likewise. `report` is the REPORT line's figures.
    """

    result: InvokeResult
    report: Report
    logs: list[LogEvent]
    spans: list[ReceivedSpan]
    metrics: list[EmbeddedMetric]
    otlp_metrics: list[dict[str, Any]]
    otlp_logs: list[dict[str, Any]]

    @property
    def response(self) -> Any:
        """What the handler returned, or the error's document when it failed."""
        return self.result.json()

    @property
    def function_error(self) -> str:
        """Empty, or `Unhandled`."""
        return self.result.function_error

    @property
    def error_type(self) -> str:
        """The `errorType` of a function that failed, empty for one that did not."""
        return str(self.response.get("errorType", "")) if self.function_error else ""

    @property
    def is_cold_start(self) -> bool:
        """Whether an init ran for this invoke."""
        return self.report.init_duration_ms is not None

    @property
    def messages(self) -> list[str]:
        """What was logged, each message without its newline."""
        return [event.message.rstrip("\n") for event in self.logs]

    def span(self, name: str) -> ReceivedSpan:
        """The one span called `name`; raises LookupError if there is not exactly one."""
        __tracebackhide__ = True
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            names = [span.name for span in self.spans]
            raise LookupError(f"{len(found)} spans are called {name!r}; there are {names}")
        return found[0]

    def metric(self, name: str) -> EmbeddedMetric:
        """The one metric called `name`; raises LookupError if there is not exactly one."""
        __tracebackhide__ = True
        found = [metric for metric in self.metrics if metric.name == name]
        if len(found) != 1:
            names = [metric.name for metric in self.metrics]
            raise LookupError(f"{len(found)} metrics are called {name!r}; there are {names}")
        return found[0]


class HarnessFunction:
    """A function on the local Lambda. Invoke it one event at a time, by one thread."""

    def __init__(self, function: Function, harness: Harness, receiver: OtlpReceiver) -> None:
        self.function = function
        self._harness = harness
        self._receiver = receiver
        self._logs: deque[LogEvent] = deque(maxlen=LOGS_KEPT_MAX)
        self._reports: deque[Report] = deque(maxlen=REPORTS_KEPT_MAX)

    @property
    def name(self) -> str:
        """By which the harness, boto3 and the AWS CLI know it."""
        return self.function.name

    def invoke(self, payload: Any = None, **options: Any) -> Invoked:
        """Invokes it, waits until its environment is frozen, and gives what came of it.

        `payload` is a JSON value, `{}` by default, or bytes taken as they are; `options` are those
        of `Harness.invoke` but for the invocation type. Raises InvokeError where the API refuses.
        """
        __tracebackhide__ = True
        if "invocation_type" in options:
            raise TypeError("lambda_harness waits for the answer: use its `harness` for events")
        try:
            result = self._harness.invoke(self.name, {} if payload is None else payload, **options)
        except HarnessError as error:
            raise error.with_traceback(None) from None  # a test's reader has no use for our frames
        self._harness.wait_frozen(self.name, self.function.timeout_s + SETTLE_S)
        reports = [self._reports.popleft() for _ in range(len(self._reports))]
        logs = [self._logs.popleft() for _ in range(len(self._logs))]
        [report] = [report for report in reports if report.request_id == result.request_id]
        return Invoked(
            result,
            report,
            logs,
            self._receiver.take_spans(self.name),
            read_metrics(event.message for event in logs),
            self._receiver.take(self.name, "metrics"),
            self._receiver.take(self.name, "logs"),
        )

    def logged(self, event: LogEvent) -> None:
        """Keeps one log event until the end of the invoke."""
        self._logs.append(event)

    def executed(self, report: Report) -> None:
        """Keeps the figures of one invoke until it is asked for."""
        self._reports.append(report)


class LambdaHarness:
    """Makes functions of handlers: `lambda_harness("app.handler", memory_size_mb=256)`.

    Nothing runs until the first function is made; `stop` after use.
    """

    def __init__(self) -> None:
        self._harness = Harness(on_log=self._logged, on_executed=self._executed)
        self._receiver = OtlpReceiver()
        self._functions: dict[str, HarnessFunction] = {}
        self._recent: deque[tuple[str, LogEvent]] = deque(maxlen=LOG_SHOWN_MAX)

    def __call__(
        self,
        target: str,
        *,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> HarnessFunction:
        """The function of a handler, `app.handler` or `NAME=app.handler`, made at the first call.

        `options` are those of `Function`: `code_dir`, `timeout_s`, `memory_size_mb`, `layers`,
        `initialization_type`, `python` and so on; with `max_concurrency` it runs on Managed
        Instances. Its OpenTelemetry exporters are pointed at this process, unless `environment`
        says otherwise. The same call gives the same function, warm; another function of that name
        is refused. Raises FunctionConfigurationError.
        """
        __tracebackhide__ = True
        self._start()
        try:
            return self._made(target, environment or {}, options)
        except HarnessError as error:
            raise error.with_traceback(None) from None

    def _made(
        self, target: str, environment: Mapping[str, str], options: dict[str, Any]
    ) -> HarnessFunction:
        if "max_concurrency" in options:
            options.setdefault("initialization_type", MANAGED_INSTANCES)
        parsed = parse_target(target)
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._receiver.endpoint(parsed.name),
            **environment,
        }
        function = Function(parsed.name, parsed.handler, environment=variables, **options)
        known = self._functions.get(function.name)
        if known is not None and known.function == function:
            return known
        check_handler(function.handler, function.code_dir)
        made = HarnessFunction(function, self._harness, self._receiver)
        if known is not None:
            raise FunctionConfigurationError(
                f"there is a function {function.name} already, made otherwise: call this one "
                f"NAME={function.handler}"
            )
        self._functions[function.name] = made  # what is initialized ahead logs at once
        try:
            self._harness.add_function(function)
        except HarnessError:
            del self._functions[function.name]
            raise
        return made

    @property
    def harness(self) -> Harness:
        """The local Lambda itself, as for `harness.endpoint_url`."""
        self._start()
        return self._harness

    def log_text(self) -> str:
        """What all functions have logged since it was last forgotten, the latest LOG_SHOWN_MAX."""
        recent = self._recent.copy()  # at once: the harness's thread may append meanwhile
        is_shared = len({name for name, _ in recent}) > 1
        lines = [
            f"{name}: {event.message}" if is_shared else event.message for name, event in recent
        ]
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def forget_log(self) -> None:
        """`log_text` begins anew."""
        self._recent.clear()

    def stop(self) -> None:
        """Ends every environment and closes the ports."""
        self._harness.stop()
        self._receiver.stop()

    def _start(self) -> None:
        if not self._receiver.is_running:
            self._receiver.start()
            self._harness.start()

    def _logged(self, name: str, event: LogEvent) -> None:
        if function := self._functions.get(name):  # there are others, made through `harness`
            function.logged(event)
        self._recent.append((name, event))

    def _executed(self, facts: InvocationFacts) -> None:
        function = self._functions.get(facts.function_name)
        if function and facts.report:
            function.executed(facts.report)

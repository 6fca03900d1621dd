"""The one place where an invocation begins and ends."""

from __future__ import annotations

import _thread
import os
from functools import partial, wraps

from lambdatrace import telemetry
from lambdatrace.invocation import Invocation
from lambdatrace.records import CONSUMER, ERROR, SERVER, TIMED_OUT
from lambdatrace.settings import PROPAGATORS_DEFAULT
from lambdatrace.tracing import (
    activate,
    deactivate,
    enter,
    entered,
    leave,
    qualified_name,
)
from lambdatrace.triggers import read_trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from typing import Any, TypeVar, overload

    from lambdatrace.durable import DurableExecution
    from lambdatrace.outcome import InvocationOutcome
    from lambdatrace.payload import Payload
    from lambdatrace.propagators import Upstream
    from lambdatrace.records import Span, SpanContext
    from lambdatrace.telemetry import Telemetry
    from lambdatrace.tracing import InvocationSpans
    from lambdatrace.triggers import Trigger

    F = TypeVar("F", bound=Callable[..., Any])

INCOMPLETE = "lambdatrace.incomplete"
# What runtimes that serve several invocations in one process call it on their context.
TRACE_HEADER_FIELDS = ("xray_trace_id", "trace_id")
_MARK = "__lambdatrace_instrumented__"


if TYPE_CHECKING:

    @overload
    def instrument(function: F) -> F: ...

    @overload
    def instrument(*, capture_payload: bool | None = ...) -> Callable[[F], F]: ...


def instrument(function: Any = None, *, capture_payload: bool | None = None) -> Any:
    """`function`, a Lambda handler, with each of its calls traced and timed.

    It returns, raises and is called as before; nothing that goes wrong in here reaches it or its
    caller. Decorating twice is the same as once. Outside Lambda, and when switched off, `function`
    itself is returned. `capture_payload` says whether event and response become attributes of its
    span; None leaves it to LAMBDATRACE_CAPTURE_PAYLOAD.
    """
    if function is None:
        return partial(instrument, capture_payload=capture_payload)
    telemetry_now = telemetry.current()
    if not telemetry_now.is_active or getattr(function, _MARK, False):
        return function
    telemetry_now.guard.run(telemetry_now.start_extension)
    telemetry_now.guard.run(telemetry_now.finish_start)
    if capture_payload is None:
        capture_payload = telemetry_now.settings.captures_payload

    def handler(*arguments: Any, **keywords: Any) -> Any:
        current = telemetry.current()
        running = current.guard.run(
            begin,
            current,
            arguments[0] if arguments else keywords.get("event"),
            arguments[1] if len(arguments) > 1 else keywords.get("context"),
            is_captured=capture_payload,
        )
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            if running is not None:
                current.guard.run(running.fail, error)
            raise
        if running is not None:
            current.guard.run(running.succeed, result)
        return result

    instrumented = wraps(function)(handler)
    setattr(instrumented, _MARK, True)
    return instrumented


def begin(
    current: Telemetry, event: Any, context: Any, *, is_captured: bool = False
) -> RunningInvocation | None:
    """Note that an invocation starts now; None if it is within one that runs."""
    start_ns = current.clock.time_ns()
    request_id = str(getattr(context, "aws_request_id", ""))
    previous = current.running
    if previous is not None and previous.is_around_this_call(request_id):
        return None
    if current.ended:
        current.complete_ended_before()
    trigger = current.guard.run(read_trigger, event)
    running = RunningInvocation(current, start_ns, request_id, context, trigger)
    if current.function.is_multi_concurrent:
        current.note_begin(running)
    if current.extension is not None:
        current.extension.started_request_id = running.request_id
    if is_captured:
        from lambdatrace.payload import Payload

        running.payload = current.guard.run(Payload, event, current.settings.payload_bytes_max)
    return running


class RunningInvocation:
    """An invocation from its begin to the last of its records.

    Between begin and response only what cannot wait is done: `succeed` or `fail` notes the end.
    Its span is opened when somebody asks for the current span, and else by `complete`, which the
    extension calls after the response and which makes all other records of it.
    """

    __slots__ = (
        "_batch",
        "_context",
        "_current",
        "_end_ns",
        "_error_type",
        "_facts",
        "_is_described",
        "_number",
        "_result",
        "_start_ns",
        "_thread",
        "_token",
        "_trace_header",
        "_trigger",
        "_within",
        "is_told_overdue",
        "outcome",
        "payload",
        "request_id",
        "spans",
    )

    def __init__(
        self,
        current: Telemetry,
        start_ns: int,
        request_id: str,
        context: Any,
        trigger: Trigger | None,
    ) -> None:
        self.request_id = request_id
        self._current = current
        self._start_ns = start_ns
        self._thread = _thread.get_ident()
        self._context = context
        self._trigger = trigger
        self._trace_header = _trace_header(current, context)
        self._number = current.next_number()
        self._facts: Invocation | None = None
        self._is_described = False
        self.is_told_overdue = False
        self._end_ns = 0
        self._error_type = ""
        self.outcome: InvocationOutcome | None = None
        self._result: Any = None
        self._batch: Span | None = None
        self.payload: Payload | None = None
        self._token: Token[Span | None] | None = None
        self.spans = current.tracer.begin(self._open_root, request_id, self)
        self._within = enter(self.spans)
        if trigger is not None and trigger.process_name:
            self._batch = current.tracer.start_span(
                trigger.process_name,
                kind=CONSUMER,
                attributes=trigger.process_attributes,
                links=trigger.links,
            )
            self._token = activate(self._batch)

    @property
    def facts(self) -> Invocation:
        """What the context tells of the invocation."""
        if self._facts is None:
            is_cold = self._number == 0 and self._current.is_cold_start(self._start_ns)
            self._facts = Invocation(self._context, self._start_ns, is_cold_start=is_cold)
        return self._facts

    def is_around_this_call(self, request_id: str) -> bool:
        """Whether the handler called now, for `request_id`, is called from this invocation's.

        So it is in the same context; where one invocation runs at a time, also in the same thread
        and when it is for the same request.
        """
        if self._end_ns:
            return False
        if entered() is self.spans:
            return True
        if self._current.function.is_multi_concurrent:
            return False
        return _thread.get_ident() == self._thread or request_id == self.request_id != ""

    def succeed(self, result: Any) -> None:
        """The handler returned `result`."""
        self._result = result
        self._end()
        self._hand_over()

    def fail(self, error: BaseException) -> None:
        """The handler raised `error`, which goes on to the runtime."""
        tracer = self._current.tracer
        is_suspended = not isinstance(error, Exception) and _is_suspension(error)
        self._error_type = "" if is_suspended else qualified_name(type(error))
        # With the batch and the root, the span of the message that was being handled.
        for span in self.spans.still_open():
            self._current.guard.run(tracer.record_exception, span, error)
        self._end()
        if not isinstance(error, Exception) and not is_suspended:
            # SystemExit and its like end the process before any extension could send.
            self._send_now()
        self._hand_over()

    def describe(self) -> None:
        """Give the invocation's span its facts, and the first of an environment its init."""
        root = self.spans.root()
        if self._is_described or root is None:
            return
        self._is_described = True
        facts = self.facts.attributes()
        if self._trigger is not None:
            facts["faas.trigger"] = self._trigger.faas_trigger
            facts.update(self._trigger.attributes)
        for key, value in facts.items():
            # One by one and in place: the handler may be setting attributes in this moment, and
            # what it has set goes before.
            root.attributes.setdefault(key, value)
        if self.payload is not None:
            current = self._current
            current.guard.run(self.payload.describe_event, root, current.redaction)
        if self._number == 0:
            from lambdatrace.init_spans import record_init

            self._current.guard.run(record_init, self._current, root, self.spans)

    def complete(self) -> None:
        """Make the records of an invocation whose handler has ended; a second time does nothing."""
        current, tracer, spans = self._current, self._current.tracer, self.spans
        if spans.invocation is None or not self._end_ns:
            return
        spans.replay_ns = 0
        current.guard.run(self.describe)
        current.guard.run(spans.format_stack_traces)
        root = spans.root()
        spans.invocation = None
        if self._batch is not None:
            tracer.end_span(self._batch, self._end_ns)
        tracer.end_all(spans, INCOMPLETE, self._end_ns)
        if root is not None:
            if self._trigger is not None:
                answer = current.guard.run(self._trigger.read_response, self._result, root)
                self._error_type = self._error_type or answer or ""
            if self.payload is not None:
                current.guard.run(
                    self.payload.describe_response, root, self._result, current.redaction
                )
            current.guard.run(self._note_overdue, root)
            current.guard.run(self.tell)
            tracer.end_span(root, self._end_ns)
            if tracer.is_holding and not root.context.is_sampled:
                current.guard.run(self._keep, root)
        if current.function.is_multi_concurrent:
            current.guard.run(current.write_metrics, spans)

    def tell(self, *, is_timed_out: bool = False) -> None:
        """Tell whoever counts how the invocation ended, or that it is about to time out; once."""
        if self.outcome is not None:
            return
        from lambdatrace.outcome import InvocationOutcome

        current, initialization = self._current, self._current.initialization
        is_cold = self.facts.is_cold_start
        self.outcome = InvocationOutcome(
            self.request_id,
            self._start_ns,
            self._end_ns or current.clock.time_ns(),
            spans=self.spans,
            is_cold_start=is_cold,
            init_ns=initialization.duration_ns() if is_cold else 0,
            error_type=TIMED_OUT if is_timed_out else self._error_type,
            is_timed_out=is_timed_out or self._error_type == TIMED_OUT,
        )
        current.invocation_completed(self.outcome)

    def _note_overdue(self, root: Span) -> None:
        """Give `root` the status of a timeout if the handler ended after the deadline.

        Where several run at a time Lambda answers the caller then, and lets the handler go on.
        """
        deadline_ns = self.facts.deadline_ns
        if self._current.function.is_multi_concurrent and 0 < deadline_ns < self._end_ns:
            self._error_type = TIMED_OUT
            root.set_attribute("error.type", TIMED_OUT)
            root.set_status(ERROR, "the invocation ended after its deadline")

    def _keep(self, root: Span) -> None:
        """Send the trace that the sampler left out, if it is one that is asked for all the same."""
        from lambdatrace.sampling import is_kept

        wanted = self._current.settings.keep_unsampled
        if is_kept(
            wanted, is_error=root.status_code == ERROR, is_cold_start=self.facts.is_cold_start
        ):
            for span in self.spans.take_held():
                self._current.buffer.append(span)

    def _open_root(self, spans: InvocationSpans) -> Span:
        name = self._trigger.name if self._trigger is not None else ""
        guard = self._current.guard
        found = guard.run(
            _upstream, self._current, self._trigger, self._context, self._trace_header
        )
        parent = found.parent if found else None
        if parent is None and self._trigger is not None and self._trigger.execution is not None:
            parent = guard.run(_execution_context, self._current, self._trigger.execution)
        return self._current.tracer.start_root(
            name or self._current.function.name,
            parent,
            found.trace_id if found else None,
            self._start_ns,
            kind=SERVER,
            spans=spans,
            carried=found.carried if found else None,
        )

    def _end(self) -> None:
        if self._token is not None:
            deactivate(self._token)
        leave(self._within)
        self._end_ns = self._current.clock.time_ns()
        self._current.note_end(self)

    def _hand_over(self) -> None:
        """Leave the rest to the extension; without one, do it now, in bounded time."""
        current = self._current
        if current.extension is not None:
            current.extension.end_invocation(self.request_id)
        elif current.background is not None:
            current.wake_background()
        else:
            self._send_now()

    def _send_now(self) -> None:
        current = self._current
        until_ns = current.clock.time_ns() + telemetry.SEND_BEFORE_RESPONSE_NS_MAX
        current.guard.run(current.flush, min(self.facts.deadline_ns or until_ns, until_ns))


def _is_suspension(error: BaseException) -> bool:
    from lambdatrace.durable import is_suspension  # loaded when a handler ends in an odd way

    return is_suspension(error)


def _execution_context(current: Telemetry, execution: DurableExecution) -> SpanContext:
    """The parent of the invocations of `execution`, which the first of them records."""
    context = execution.context(is_sampled=current.tracer.is_sampled(execution.trace_id()))
    if execution.is_first:
        name = f"durable execution {current.function.name}"
        current.tracer.record(execution.root_span(context, name))
    return context


def _trace_header(current: Telemetry, context: Any) -> str | None:
    """The `X-Amzn-Trace-Id` of the invocation that begins in this thread."""
    if current.function.is_multi_concurrent:
        for name in TRACE_HEADER_FIELDS:
            header = getattr(context, name, None)
            if isinstance(header, str):
                return header
        from threading import main_thread

        if _thread.get_ident() != main_thread().ident:
            return None  # the variable may be that of an invocation in another thread
    # The runtime client sets it for each invocation, and deletes it.
    return os.environ.get("_X_AMZN_TRACE_ID")


def _upstream(
    current: Telemetry, trigger: Trigger | None, context: Any, trace_header: str | None
) -> Upstream:
    """Who called: read from the event, the caller's client context, and Lambda's own header."""
    from lambdatrace import propagators  # after the response, unless a span is opened before

    carriers = [trigger.carrier] if trigger is not None and trigger.carrier else []
    w3c = getattr(context, "w3c", None)
    if callable(w3c):
        fields = w3c()
        carriers += [fields] if isinstance(fields, dict) else []
    names, exporter = current.settings.propagators, current.settings.traces_exporter
    is_default = names == PROPAGATORS_DEFAULT and exporter != "xray"
    return propagators.read_upstream(
        names, carriers, trace_header, is_sampling_of_x_ray=not is_default
    )

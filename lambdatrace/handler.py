"""The one place where an invocation begins and ends."""

from __future__ import annotations

import os
from functools import wraps

from lambdatrace import propagation, telemetry
from lambdatrace.invocation import Invocation
from lambdatrace.records import CONSUMER, INTERNAL, SERVER, SpanContext
from lambdatrace.tracing import activate, deactivate
from lambdatrace.triggers import read_trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from typing import Any, TypeVar

    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry
    from lambdatrace.triggers import Trigger

    F = TypeVar("F", bound=Callable[..., Any])

INCOMPLETE = "lambdatrace.incomplete"
_MARK = "__lambdatrace_instrumented__"


def instrument(function: F) -> F:
    """`function`, a Lambda handler, with each of its calls traced and timed.

    It returns, raises and is called as before; nothing that goes wrong in here reaches it or its
    caller. Decorating twice is the same as once. Outside Lambda, and when switched off, `function`
    itself is returned.
    """
    telemetry_now = telemetry.current()
    if not telemetry_now.is_active or getattr(function, _MARK, False):
        return function
    telemetry_now.guard.run(telemetry_now.start_extension)
    telemetry_now.guard.run(telemetry_now.finish_start)

    def handler(*arguments: Any, **keywords: Any) -> Any:
        current = telemetry.current()
        running = current.guard.run(
            begin,
            current,
            arguments[0] if arguments else keywords.get("event"),
            arguments[1] if len(arguments) > 1 else keywords.get("context"),
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

    instrumented: Any = wraps(function)(handler)
    setattr(instrumented, _MARK, True)
    result: F = instrumented
    return result


def begin(current: Telemetry, event: Any, context: Any) -> RunningInvocation | None:
    """Open the spans of an invocation that starts now; None if it is within one that runs."""
    start_ns = current.clock.time_ns()
    previous = current.running
    if previous is not None:
        if previous.is_around(context):
            return None
        # The extension has not come to it: it lost its API, or never had this invocation.
        current.guard.run(previous.complete)
    is_first = current.invocation_count == 0
    current.invocation_count += 1
    invocation = Invocation(
        context,
        start_ns,
        is_cold_start=is_first and current.function.is_cold_on_first_invocation,
    )
    current.invocation = invocation
    if current.extension is not None:
        current.extension.started_request_id = invocation.request_id
    trigger = current.guard.run(read_trigger, event)
    parent, trace_id = _parent(trigger, context)
    name = trigger.name if trigger is not None else ""
    root = current.tracer.start_root(
        name or current.function.name, parent, trace_id, start_ns, kind=SERVER
    )
    current.running = running = RunningInvocation(current, invocation, trigger, root)
    if is_first:
        current.guard.run(_record_initialization, current, root)
    return running


class RunningInvocation:
    """An invocation from its begin to the last of its records.

    Between begin and response only what cannot wait is done: `succeed` or `fail` notes the end.
    `complete`, which the extension calls after the response, makes the records of it.
    """

    __slots__ = (
        "_batch",
        "_current",
        "_end_ns",
        "_result",
        "_root",
        "_tokens",
        "_trigger",
        "invocation",
    )

    def __init__(
        self, current: Telemetry, invocation: Invocation, trigger: Trigger | None, root: Span
    ) -> None:
        self.invocation = invocation
        self._current = current
        self._trigger = trigger
        self._root = root
        self._end_ns = 0
        self._result: Any = None
        self._tokens: list[Token[Span | None]] = [activate(root)]
        self._batch: Span | None = None
        if trigger is not None and trigger.process_name:
            self._batch = current.tracer.start_span(
                trigger.process_name,
                kind=CONSUMER,
                attributes=trigger.process_attributes,
                links=trigger.links,
            )
            self._tokens.append(activate(self._batch))

    def is_around(self, context: Any) -> bool:
        """Whether a handler called with `context` is called from this invocation's."""
        request_id = getattr(context, "aws_request_id", None)
        return not self._end_ns and request_id == self.invocation.request_id

    def succeed(self, result: Any) -> None:
        """The handler returned `result`."""
        self._result = result
        self._end()
        self._hand_over()

    def fail(self, error: BaseException) -> None:
        """The handler raised `error`, which goes on to the runtime."""
        tracer = self._current.tracer
        if self._batch is not None:
            self._current.guard.run(tracer.record_exception, self._batch, error)
        self._current.guard.run(tracer.record_exception, self._root, error)
        self._end()
        if not isinstance(error, Exception):
            # SystemExit and its like end the process before any extension could send.
            self._current.guard.run(self._current.flush, self.invocation.deadline_ns)
        self._hand_over()

    def describe(self) -> None:
        """Give the invocation's span its facts; what the handler has set goes before them."""
        attributes = self.invocation.attributes()
        if self._trigger is not None:
            attributes["faas.trigger"] = self._trigger.faas_trigger
            attributes.update(self._trigger.attributes)
        attributes.update(self._root.attributes)
        self._root.attributes = attributes

    def complete(self) -> None:
        """Make the records of an invocation whose handler has ended; a second time does nothing."""
        current = self._current
        if current.running is not self or not self._end_ns:
            return
        current.running = None
        self.describe()
        if self._trigger is not None:
            current.guard.run(self._trigger.read_response, self._result, self._root)
        tracer = current.tracer
        if self._batch is not None:
            tracer.end_span(self._batch, self._end_ns)
        tracer.end_all(INCOMPLETE, self._end_ns)
        tracer.end_span(self._root, self._end_ns)

    def _end(self) -> None:
        for token in reversed(self._tokens):
            deactivate(token)
        self._end_ns = self._current.clock.time_ns()

    def _hand_over(self) -> None:
        """Leave the rest to the extension; without one, do it now, in bounded time."""
        current = self._current
        if current.extension is not None:
            current.extension.end_invocation(self.invocation.request_id)
            return
        until_ns = current.clock.time_ns() + telemetry.SEND_BEFORE_RESPONSE_NS_MAX
        deadline_ns = self.invocation.deadline_ns or until_ns
        current.guard.run(current.flush, min(deadline_ns, until_ns))


def _parent(trigger: Trigger | None, context: Any) -> tuple[SpanContext | None, str | None]:
    """The parent of the invocation's span, and the trace id to take when there is none.

    W3C context comes first, from the event or from the caller's client context; then Lambda's own
    X-Ray header. Its Parent is a span of somebody's only when the trace is sampled: otherwise the
    Root alone is taken, so that X-Ray's id, which the logs carry, finds our trace too.
    """
    if trigger is not None and trigger.carrier:
        found = propagation.extract(trigger.carrier)
        if found is not None:
            return found, None
    w3c = getattr(context, "w3c", None)
    if callable(w3c):
        fields = w3c()
        found = propagation.extract(fields) if isinstance(fields, dict) and fields else None
        if found is not None:
            return found, None
    header = propagation.read_x_ray(os.environ.get("_X_AMZN_TRACE_ID"))
    if header is None:
        return None, None
    if header.parent_id is not None and header.is_sampled:
        return (
            SpanContext(header.trace_id, header.parent_id, is_remote=True),
            None,
        )
    return None, header.trace_id


def _record_initialization(current: Telemetry, root: Span) -> None:
    """The spans of this environment's init, under the first invocation it served.

    They lie before their parent, as X-Ray's Init subsegment does.
    """
    initialization, tracer = current.initialization, current.tracer
    token = activate(root)
    init = tracer.start_span(
        f"init {current.function.name}",
        kind=INTERNAL,
        attributes={
            "faas.coldstart": current.function.is_cold_on_first_invocation,
            "aws.lambda.initialization_type": current.function.initialization_type,
        },
        start_ns=initialization.process_started_ns(),
    )
    inner = activate(init)
    module = tracer.start_span(
        f"import {current.handler_module}", start_ns=initialization.import_started_ns
    )
    tracer.end_span(module, initialization.import_ended_ns)
    tracer.end_span(init, initialization.import_ended_ns)
    deactivate(inner)
    deactivate(token)

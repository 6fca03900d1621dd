"""The one place where an invocation begins and ends."""

from __future__ import annotations

import _thread
import os
from functools import partial, wraps
from types import AsyncGeneratorType, CoroutineType, GeneratorType

from lambdatrace import telemetry
from lambdatrace.guard import let_through
from lambdatrace.invocation import Invocation, attribute, called
from lambdatrace.records import CONSUMER, SERVER
from lambdatrace.runtime_client import watch_responses
from lambdatrace.settings import PROPAGATORS_DEFAULT
from lambdatrace.span_scope import code_of
from lambdatrace.tracing import activate, activated, deactivate, enter, entered, leave
from lambdatrace.triggers import read_trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from typing import Any, TypeVar, overload

    from lambdatrace.durable import DurableExecution
    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.journal import Journal
    from lambdatrace.outcome import InvocationOutcome
    from lambdatrace.payload import Payload
    from lambdatrace.propagators import Upstream
    from lambdatrace.records import Span, SpanContext
    from lambdatrace.telemetry import Telemetry
    from lambdatrace.triggers import Trigger

    F = TypeVar("F", bound=Callable[..., Any])

# What runtimes that serve several invocations in one process call it on their context.
TRACE_HEADER_FIELDS = ("xray_trace_id", "trace_id")
_MARK = "__lambdatrace_instrumented__"
_PARAMETERS = 2  # event and context
# Code flags, as `inspect` names them: CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR.
NOT_AT_ONCE = 0x20 | 0x80 | 0x200
_UNFINISHED = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))


if TYPE_CHECKING:

    @overload
    def instrument(function: F, *, capture_payload: bool | None = ...) -> F: ...

    @overload
    def instrument(*, capture_payload: bool | None = ...) -> Callable[[F], F]: ...


def instrument(function: Any = None, *, capture_payload: bool | None = None) -> Any:
    """`function`, a Lambda handler, with each of its calls traced and timed.

    It returns, raises and is called as before; nothing that goes wrong in here reaches it or its
    caller. `def`, `async def` and generators stay what they are, and the invocation lasts until
    they are done; the runtime client, which cannot await, has its own loop for them. Decorating
    twice is the same as once. Outside Lambda, and when switched off, `function` itself is
    returned. `capture_payload` says whether event and response become attributes of its span; None
    leaves it to LAMBDATRACE_CAPTURE_PAYLOAD.
    """
    if function is None:
        return partial(instrument, capture_payload=capture_payload)
    current = telemetry.current()
    if not current.is_active:
        return function
    return current.guard.run(_instrument, current, function, capture_payload) or function


def _instrument(current: Telemetry, function: Any, is_captured: bool | None) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(instrument(function.__func__, capture_payload=is_captured))
    if getattr(function, _MARK, None) is function:
        return function
    current.guard.run(current.start_extension)
    current.guard.run(current.finish_start)
    current.guard.run(watch_responses)
    if is_captured is None:
        is_captured = current.settings.captures_payload
    code = code_of(function)
    if getattr(code, "co_flags", 0) & NOT_AT_ONCE:
        from lambdatrace.handler_shapes import trace

        instrumented: Any = wraps(function)(trace(function, code, is_captured=is_captured))
    else:
        instrumented = wraps(function)(_trace_call(function, code, is_captured=is_captured))
    # By identity: `wraps` of another decorator copies the mark, and what is around us shall count.
    setattr(instrumented, _MARK, instrumented)
    return instrumented


def _trace_call(function: Any, code: Any, *, is_captured: bool) -> Callable[..., Any]:
    def handler(*arguments: Any, **keywords: Any) -> Any:
        current = telemetry.current()
        try:  # the guard's work without its call: the caller waits for this
            event, context = event_and_context(code, arguments, keywords)
            running = begin(current, event, context, is_captured=is_captured)
        except BaseException as error:  # noqa: BLE001 - the guard's own
            running = None
            current.guard.take("begin", error)
        try:
            result = function(*arguments, **keywords)
        except BaseException as error:
            if running is not None:
                current.guard.run(running.fail, error)
            raise
        if running is None:
            return result
        if type(result) in _UNFINISHED:
            from lambdatrace.handler_shapes import finish_later

            return current.guard.run(finish_later, running, result) or result
        current.guard.run(running.succeed, result)
        return result

    return handler


def event_and_context(
    code: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, Any]:
    """The last two parameters of a call, before which a method has its object; None if not there.

    `code` names them, for calls with keywords.
    """
    if not keywords and len(arguments) > 1:
        return arguments[-2], arguments[-1]
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount] if code is not None else ()
    if len(names) < _PARAMETERS:
        names = ("event", "context")
    given = {**dict(zip(names, arguments, strict=False)), **keywords}
    return given.get(names[-2]), given.get(names[-1])


def begin(
    current: Telemetry, event: Any, context: Any, *, is_captured: bool = False
) -> RunningInvocation | None:
    """Note that an invocation starts now; None if it is within one that runs."""
    start_ns = current.clock.time_ns()
    request_id = attribute(context, "aws_request_id")
    request_id = request_id if isinstance(request_id, str) else ""
    previous = current.running
    if previous is not None and previous.is_around_this_call(request_id):
        return None
    if previous is not None and previous.is_over_when_next_begins():
        previous.abandon()
    if current.ended:
        current.complete_ended_before(request_id)
    trigger = current.guard.run(read_trigger, event)
    running = RunningInvocation(current, start_ns, request_id, context, trigger)
    if current.function.is_multi_concurrent:
        current.note_begin(running)
    if running.number == 0:
        current.guard.run(current.watch)
    if current.extension is not None:
        current.extension.started_request_id = running.request_id
        current.extension.is_suspended = False
    if is_captured:
        from lambdatrace.payload import Payload

        running.payload = current.guard.run(Payload, event, current.settings.payload_bytes_max)
    return running


class RunningInvocation:
    """An invocation from its begin to the last of its records.

    Between begin and response only what cannot wait is done: `succeed` or `fail` notes the end.
    Its span is opened when somebody asks for the current span, and else by `complete`, which makes
    all other records of it and is called after the response: before the runtime asks for its next
    event, or by an extension.
    """

    __slots__ = (
        "_facts",
        "_token",
        "_trace_header",
        "_within",
        "batch",
        "batch_item_failures",
        "context",
        "current",
        "end_ns",
        "error_type",
        "first_item_ns",
        "is_abandoned",
        "is_described",
        "is_suspended",
        "is_told_overdue",
        "number",
        "outcome",
        "payload",
        "request_id",
        "result",
        "spans",
        "start_ns",
        "thread",
        "trigger",
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
        self.current = current
        self.start_ns = start_ns
        self.thread = _thread.get_ident()
        self.context = context
        self.trigger = trigger
        self._trace_header = _trace_header(current, context)
        self.number = current.next_number()
        self._facts: Invocation | None = None
        self.is_described = False
        self.is_told_overdue = False
        self.is_suspended = False
        self.is_abandoned = False
        self.first_item_ns = 0  # of a generator
        self.end_ns = 0
        self.error_type = ""
        self.outcome: InvocationOutcome | None = None
        self.result: Any = None
        self.batch: Span | None = None
        self.batch_item_failures = 0
        self.payload: Payload | None = None
        self._token: Token[Span | None] | None = None
        self.spans = current.tracer.begin(self._open_root, request_id, self)
        self._within = enter(self.spans)
        if current.journal is not None:
            current.guard.run(self._note, current.journal)
        if trigger is not None and trigger.process_name:
            self.batch = current.tracer.start_span(
                trigger.process_name,
                kind=CONSUMER,
                attributes=trigger.process_attributes,
                links=trigger.links,
            )
            self._token = activate(self.batch)

    @property
    def facts(self) -> Invocation:
        """What the context tells of the invocation."""
        if self._facts is None:
            is_cold = self.number == 0 and self.current.is_cold_start(self.start_ns)
            self._facts = Invocation(self.context, self.start_ns, is_cold_start=is_cold)
        return self._facts

    def is_around_this_call(self, request_id: str) -> bool:
        """Whether the handler called now, for `request_id`, is called from this invocation's.

        So it is in the same context; where one invocation runs at a time, also when it is for the
        same request, or, if either request is unknown, in the same thread.
        """
        if self.end_ns:
            return False
        if entered() is self.spans:
            return True
        if self.current.function.is_multi_concurrent:
            return False
        if request_id and self.request_id:
            return request_id == self.request_id
        return _thread.get_ident() == self.thread and not self.is_suspended

    def is_over_when_next_begins(self) -> bool:
        """Whether its handler, left waiting for something, has had its time."""
        is_alone = not self.current.function.is_multi_concurrent
        return is_alone and not self.end_ns and _thread.get_ident() == self.thread

    def suspend(self) -> None:
        """The handler has given an item away and does nothing until it is asked for the next."""
        if not self.is_suspended and not self.end_ns:
            self._leave()
            self._suspend(is_suspended=True)

    def resume(self) -> None:
        """The handler goes on."""
        if self.is_suspended and not self.end_ns:
            self._within = enter(self.spans)
            if self.batch is not None:
                self._token = activate(self.batch)
            self._suspend(is_suspended=False)

    def _suspend(self, *, is_suspended: bool) -> None:
        self.is_suspended = is_suspended
        if self.current.extension is not None:
            self.current.extension.is_suspended = is_suspended

    def succeed(self, result: Any) -> None:
        """The handler returned `result`."""
        if not self.end_ns:
            self.result = result  # before the end is known to other threads
        if self._end():
            self._hand_over()

    def fail(self, error: BaseException, error_type: str = "") -> None:
        """The handler raised `error`, which goes on to the runtime."""
        is_suspension = not isinstance(error, Exception) and _is_suspension(error)
        if not self.end_ns:
            if not is_suspension:
                from lambdatrace.exceptions import qualified_name

                self.error_type = error_type or qualified_name(type(error))
            for span in self._failed():
                guard, tracer = self.current.guard, self.current.tracer
                guard.run(tracer.record_exception, span, error, error_type)
        if self._end():
            if not isinstance(error, Exception) and not is_suspension:
                # SystemExit and its like end the process: nothing comes after the response.
                self._send_now()
            self._hand_over()

    def _failed(self) -> list[Span]:
        """The open spans that an error of the handler's is of: its own, and those of the batch.

        What is open beside it, in a thread it has started, goes on.
        """
        spans = self.spans
        own = {id(span) for span in (spans.root(), self.batch, activated())}
        own.update(map(id, spans.messages.values()))
        return [span for span in spans.still_open() if id(span) in own]

    def abandon(self) -> None:
        """Another invocation begins: whatever this one's handler waits for, it is over."""
        self.is_abandoned = self._end()

    def refuse(self, error: BaseException, error_type: str) -> None:
        """The runtime could not write what the handler returned."""
        if not self.end_ns:
            self.fail(error, error_type)
            return
        root = self.spans.root()
        self.error_type = error_type
        if root is not None:
            self.current.tracer.record_exception(root, error, error_type)

    def describe(self) -> None:
        """Give the invocation's span its facts, and the first of an environment its init."""
        from lambdatrace.completion import describe

        describe(self)

    def complete(self) -> None:
        """Make the records of an invocation whose handler has ended; a second time does nothing."""
        from lambdatrace.completion import complete

        complete(self)

    def tell(self, *, is_timed_out: bool = False) -> None:
        """Tell whoever counts how the invocation ended, or that it is about to time out; once."""
        from lambdatrace.completion import tell

        tell(self, is_timed_out=is_timed_out)

    def _open_root(self, spans: InvocationSpans) -> Callable[[], Span]:
        """What opens the invocation's span; before that, the context has been asked who called."""
        guard = self.current.guard
        found = guard.run(_upstream, self.current, self.trigger, self.context, self._trace_header)
        return lambda: self._start_root(spans, found)

    def _start_root(self, spans: InvocationSpans, found: Upstream | None) -> Span:
        name = self.trigger.name if self.trigger is not None else ""
        guard = self.current.guard
        parent = found.parent if found else None
        if parent is None and self.trigger is not None and self.trigger.execution is not None:
            parent = guard.run(_execution_context, self.current, self.trigger.execution)
        root = self.current.tracer.start_root(
            name or self.current.function.name,
            parent,
            found.trace_id if found else None,
            self.start_ns,
            kind=SERVER,
            spans=spans,
            carried=found.carried if found else None,
        )
        if self.current.journal is not None:
            self.current.journal.write(("root", self.request_id, root.span_id))
        return root

    def _note(self, journal: Journal) -> None:
        """Say in the journal that this invocation has begun, with what a later process must know.

        Its span is opened there if nobody did here.
        """
        trigger = self.trigger
        about: tuple[Any, ...] = ("", "", {}, {})
        if trigger is not None:
            from lambdatrace.journal import caller_fields

            carrier = caller_fields(trigger.carrier) if trigger.carrier else {}
            about = (trigger.name, trigger.faas_trigger, trigger.attributes, carrier)
        is_cold = self.number == 0 and self.facts.is_cold_start
        journal.write(
            (
                *("invocation", self.number, self.request_id, self.start_ns),
                *(*self._place_and_deadline(), is_cold, self._trace_header),
                *about,
            )
        )

    def _place_and_deadline(self) -> tuple[str, int, str]:
        """ARN, deadline and tenant; of the runtime client's own context without a look at more."""
        context = self.context
        try:
            arn, tenant_id = context.invoked_function_arn, context.tenant_id or ""
            deadline_ms = context._epoch_deadline_time_in_ms  # noqa: SLF001 - as the runtime sets it
        except Exception as error:  # noqa: BLE001 - another's context
            let_through(error)
            arn = tenant_id = deadline_ms = None
        if type(arn) is str and type(deadline_ms) is int and type(tenant_id) is str:
            return arn, deadline_ms * 1_000_000, tenant_id
        facts = self.facts
        return facts.arn, facts.deadline_ns, facts.tenant_id

    def _end(self) -> bool:
        if self.end_ns:
            return False  # it was abandoned
        if self.is_suspended:
            self._suspend(is_suspended=False)
        else:
            self._leave()
        self.end_ns = self.current.clock.time_ns()
        if self.current.journal is not None:
            self.current.journal.write(("end", self.request_id, self.end_ns, self.error_type))
        self.current.note_end(self)
        return True

    def _leave(self) -> None:
        if self._token is not None:
            deactivate(self._token)
        leave(self._within)

    def _hand_over(self) -> None:
        """Leave the rest to what comes after the response; else do it now, in bounded time."""
        current = self.current
        if current.is_told_of_next:
            return
        if current.extension is not None:
            current.extension.end_invocation(self.request_id)
        elif current.background is not None:
            current.wake_background()
        else:
            self._send_now()

    def _send_now(self) -> None:
        current = self.current
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
            header = attribute(context, name)
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
    carriers = [trigger.carrier] if trigger is not None and trigger.carrier else []
    fields = called(attribute(context, "w3c"))
    carriers += [fields] if isinstance(fields, dict) else []
    return find_caller(current, carriers, trace_header)


def find_caller(
    current: Telemetry, carriers: list[Mapping[Any, Any]], trace_header: str | None
) -> Upstream:
    """Who called, by what came with the event and by Lambda's own header."""
    from lambdatrace import propagators  # after the response, unless a span is opened before

    names, exporter = current.settings.propagators, current.settings.traces_exporter
    is_x_ray_named = names != PROPAGATORS_DEFAULT and not {"xray", "xray-lambda"}.isdisjoint(names)
    return propagators.read_upstream(
        names, carriers, trace_header, is_sampling_of_x_ray=is_x_ray_named or exporter == "xray"
    )

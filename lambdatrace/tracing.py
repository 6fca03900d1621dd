"""Recording spans: which one is current, how one starts and ends, `span` for users."""

from __future__ import annotations

import _thread
import builtins
from _contextvars import ContextVar  # what `contextvars` gives, without its 0.2 ms of import
from collections import deque
from functools import wraps
from sys import modules

from lambdatrace.records import ERROR, INTERNAL, OK, OWN_SCOPE, Span, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from contextvars import Token
    from types import CodeType, TracebackType
    from typing import Any, TypeVar

    from lambdatrace.buffer import Buffer
    from lambdatrace.clock import Clock, Ids
    from lambdatrace.guard import Guard
    from lambdatrace.journal import Journal
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.records import Carried, Link, Scope
    from lambdatrace.telemetry import Telemetry

    # Whether a span of this trace under this parent is recorded.
    Sampler = Callable[[str, SpanContext | None], bool]
    # A frame's code, its line, where in the code, and the name of its module.
    Place = tuple[CodeType, int | None, int, Any]
    # One exception: module and name of its type; its message, None if it has none that can be had;
    # frames, outermost first; notes; whether the one before was raised from it.
    Raised = tuple[tuple[str, str], str | None, list[Place], list[str] | None, bool]
    F = TypeVar("F", bound=Callable[..., Any])

# Code flags, as `inspect` names them (CO_GENERATOR, …); importing it costs 3 ms.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200

# Spans that nobody ends must not fill the memory: beyond this, they are sent only if they do end.
OPEN_SPANS_MAX = 10_000
# Ended spans of an unsampled trace that may yet be sent; beyond, the first are let go.
HELD_SPANS_MAX = 1_000
# Characters of an exception's message, and of its stack trace: of a chain, the last raised.
STACK_TEXT_MAX = 65_536
STACK_DEPTH_MAX = 64  # innermost frames of a stack trace; a recursion has a thousand
# What is written out whole at once, having more than a message; groups are of Python 3.11.
_WHOLE = (SyntaxError, getattr(builtins, "BaseExceptionGroup", SyntaxError))
_NOTES_MAX = 100
# Characters that one more exception of a chain, and one more of its frames, have at least.
_LINK_TEXT_MIN, _PLACE_TEXT_MIN = 70, 20

# A span that began with what an earlier invocation has done already, and has gone on since.
REPLAYED = "durable.span.replayed"

_NO_TRACE_ID, _NO_SPAN_ID = "0" * 32, "0" * 16

_current: ContextVar[Span | None] = ContextVar("lambdatrace_current_span", default=None)
_invocation: ContextVar[InvocationSpans | None] = ContextVar("lambdatrace_invocation", default=None)


def follow_parent(_trace_id: str, parent: SpanContext | None) -> bool:
    """OpenTelemetry's default sampler, `parentbased_always_on`."""
    return parent is None or parent.is_sampled


def active_span() -> Span | None:
    """The open span that was made current last in this thread or task; seldom the invocation's."""
    span = _current.get()
    return span if span is not None and not span.end_ns else None


class StackTrace:
    """The text of an exception's traceback, made when it is first asked for.

    That is after the response: a deep traceback takes milliseconds to write out. Until then it has
    the places and the message, of the exceptions it was raised in as well, and nothing that holds
    the frames: their locals live as long as without us. The spans that an exception passes share
    one text, with what it has reached by then.
    """

    __slots__ = ("_error_id", "_head", "_raised", "_text")

    def __init__(self, error: BaseException) -> None:
        self._text = ""
        # By its id, not itself; what else tells it from a later one at the same address is `_head`.
        self._error_id = id(error)
        self._head = (id(error.__traceback__), -1)
        try:
            self._raised: list[Raised] = _chain(error)
            traceback = error.__traceback__
            if traceback is not None:
                self._head = (id(traceback), traceback.tb_lasti)
            if not self._raised:
                self._text = _whole_text(error)
        except Exception:  # noqa: BLE001 - a user's exception may do anything
            self._raised = []
            self._text = qualified_name(type(error)) + "\n"

    def reached_further(self, error: BaseException) -> bool:
        """Whether this is the trace of `error`, grown since by some frames, which it then has too.

        The frames it has grown by were added in front.
        """
        head = traceback = error.__traceback__
        if id(error) != self._error_id or not self._raised or head is None:
            return False
        added: list[Place] = []
        while traceback is not None and id(traceback) != self._head[0]:
            if len(added) == STACK_DEPTH_MAX:
                return False
            added.append(_place(traceback))
            traceback = traceback.tb_next
        if traceback is None or traceback.tb_lasti != self._head[1] or not added:
            return False
        kind, message, places, notes, is_cause = self._raised[0]
        kept = (added + places)[-STACK_DEPTH_MAX:]
        self._raised[0] = (kind, message, kept, notes, is_cause)
        self._head = (id(head), head.tb_lasti)
        return True

    @property
    def written(self) -> str:
        """The text, as far as it has been made."""
        return self._text

    def __str__(self) -> str:
        raised, self._raised = self._raised, []
        if raised:
            from lambdatrace.traceback_text import traceback_text

            try:
                self._text = _tail(traceback_text(raised))
            except Exception:  # noqa: BLE001 - a source file may be anything
                self._text = ".".join(raised[0][0]) + "\n"
        return self._text


def _chain(error: BaseException) -> list[Raised]:
    """What is kept of `error` and of those it was raised from or in, as far as the text reaches.

    Nothing if one of them has parts of its own to be written: a group, an error of syntax.
    """
    raised: list[Raised] = []
    seen: set[int] = set()
    size, following, is_cause = 0, error, False
    while size < STACK_TEXT_MAX:
        if isinstance(following, _WHOLE):
            return []
        seen.add(id(following))
        places: deque[Place] = deque(maxlen=STACK_DEPTH_MAX)
        traceback = following.__traceback__
        while traceback is not None:
            places.append(_place(traceback))
            traceback = traceback.tb_next
        try:
            message: str | None = str(following)[-STACK_TEXT_MAX:]
        except Exception:  # noqa: BLE001 - a user's __str__ may do anything
            message = None
        kind = type(following)
        notes = getattr(following, "__notes__", None)
        noted = list(map(str, notes[:_NOTES_MAX])) if isinstance(notes, list) else None
        names = (str(kind.__module__), str(kind.__qualname__))
        raised.append((names, message, list(places), noted, is_cause))
        size += len(message or "") + _LINK_TEXT_MIN + _PLACE_TEXT_MIN * len(places)
        cause, context = following.__cause__, following.__context__
        if cause is not None and id(cause) not in seen:
            following, is_cause = cause, True
        elif context is not None and not following.__suppress_context__ and id(context) not in seen:
            following, is_cause = context, False
        else:
            break
    return raised


def _place(traceback: TracebackType) -> Place:
    frame = traceback.tb_frame
    name = frame.f_globals.get("__name__")
    return (frame.f_code, traceback.tb_lineno, traceback.tb_lasti, name)


def _whole_text(error: BaseException) -> str:
    import traceback  # loaded by the runtime client already

    lines = traceback.format_exception(
        type(error), error, error.__traceback__, limit=-STACK_DEPTH_MAX
    )
    return _tail("".join(lines))


class InvocationSpans:
    """The spans of one invocation: its own, opened when it is first asked for, and what is open.

    One of its kind holds what is open outside of any. `by_id` has the open spans, oldest first, for
    whoever must close them when the invocation ends before they do. `invocation` is what began it,
    None once that is complete.
    """

    __slots__ = (
        "_held",
        "_left",
        "_open_root",
        "_opening",
        "_root",
        "_stack_traces",
        "by_id",
        "facades",
        "invocation",
        "messages",
        "metrics",
        "replay_ns",
        "request_id",
    )

    def __init__(
        self,
        open_root: Callable[[InvocationSpans], Span] | None = None,
        request_id: str = "",
        invocation: Any = None,
    ) -> None:
        self.by_id: dict[str, Span] = {}
        # Of the messages of a batch, by their ids, for what the answer tells of them.
        self.messages: dict[str, Span] = {}
        self.invocation = invocation
        self.request_id = request_id
        # Since when a durable execution does again what it has done before; 0 when it does not.
        self.replay_ns = 0
        # What it recorded, where several invocations may run at a time.
        self.metrics: MetricRecorder | None = None
        # What other APIs hold of our open spans, by span id; made by them.
        self.facades: dict[str, Any] | None = None
        self._held: deque[Span] | None = None  # both made when there is something for them
        self._left: dict[str, int] = {}  # span id → when it was left
        self._root: Span | None = None
        self._open_root = open_root
        self._opening = _thread.allocate_lock()
        self._stack_traces: deque[StackTrace] | None = None

    def root(self) -> Span | None:
        """The invocation's span; None outside of any."""
        open_root = self._open_root
        if open_root is not None:
            # Not under the lock: it asks the context, which is the user's code.
            root = open_root(self)
            with self._opening:
                if self._open_root is open_root:
                    self._root, self._open_root = root, None
                else:  # another thread was quicker
                    self.by_id.pop(root.context.span_id, None)
        return self._root

    def own_metrics(self, make: Callable[[], MetricRecorder]) -> MetricRecorder:
        """The metric recorder of this invocation alone, made at its first metric."""
        with self._opening:
            if self.metrics is None:
                self.metrics = make()
            return self.metrics

    def note_open(self, span: Span) -> None:
        """Take `span` in, unless too many are open."""
        if len(self.by_id) < OPEN_SPANS_MAX:
            self.by_id[span.context.span_id] = span
            span.opened_in = self

    def note_message(self, message_id: str, span: Span) -> None:
        """`span` is that of a message of the batch."""
        if len(self.messages) < OPEN_SPANS_MAX:
            self.messages[message_id] = span

    def note_left(self, span: Span, now_ns: int) -> None:
        """`span` ends now, but is kept until it is known whether that was an error."""
        self._left[span.context.span_id] = now_ns

    def take_over(self, others: InvocationSpans) -> None:
        """Take in what others left open, so that it is closed with these."""
        for span in list(others.by_id.values()):
            others.by_id.pop(span.context.span_id, None)
            if not span.end_ns:
                self.note_open(span)
        if others.facades:
            self.facades, others.facades = others.facades, None

    def hold(self, span: Span) -> None:
        """Keep an ended span that is not sampled until it is known how the invocation ends."""
        if self._held is None:
            self._held = deque(maxlen=HELD_SPANS_MAX)
        self._held.append(span)

    def take_held(self) -> list[Span]:
        """The spans that were held, from now on sampled."""
        held, self._held = list(self._held or ()), deque(maxlen=0)
        for span in held:
            span.context.is_sampled = True
        return held

    def end_replay(self) -> None:
        """What ends from now on is recorded; what began in the replay is marked."""
        self.replay_ns = 0
        root = self.root()
        for span in list(self.by_id.values()):
            if span is not root:
                span.set_attribute(REPLAYED, value=True)

    def still_open(self) -> list[Span]:
        """The spans that are open, oldest first, the invocation's among them."""
        self.root()
        return list(self.by_id.values())

    def left_ns(self, span: Span) -> int:
        """When `span` was left; 0 if it was not."""
        return self._left.pop(span.context.span_id, 0)

    def stack_trace(self, error: BaseException) -> StackTrace:
        """The stack trace of `error`, shared by the spans it passes."""
        last = self._stack_traces[-1] if self._stack_traces else None
        if last is not None and last.reached_further(error):
            return last
        trace = StackTrace(error)
        if self._stack_traces is None:
            self._stack_traces = deque(maxlen=OPEN_SPANS_MAX)
        self._stack_traces.append(trace)
        return trace

    def format_stack_traces(self) -> None:
        """Turn the stack traces of this invocation into text, and let go of their frames."""
        while self._stack_traces:
            str(self._stack_traces.pop())


class Tracer:
    """Starts and ends spans; the finished and sampled ones go to the buffer.

    Which invocation a span belongs to is told by its parent; where there is none, by the thread or
    task, and for a thread that knows of no invocation by the last one that began. Once several
    have run at a time (`is_concurrent`), such a thread's spans are traces of their own: with a
    guess they might come into a stranger's.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_ids",
        "_is_sampled",
        "_last",
        "_outside",
        "is_concurrent",
        "is_holding",
        "journal",
        "propagators",
    )

    def __init__(
        self,
        clock: Clock,
        ids: Ids,
        sampler: Sampler,
        buffer: Buffer,
        *,
        propagators: Sequence[str] = (),
        is_holding: bool = False,
    ) -> None:
        self.journal: Journal | None = None  # where spans are noted, in case the process dies
        self.propagators = propagators
        self.is_holding = is_holding
        self._clock = clock
        self._ids = ids
        self._is_sampled = sampler
        self._buffer = buffer
        self._outside = InvocationSpans()
        self._last = self._outside
        self.is_concurrent = False

    def spans(self) -> InvocationSpans:
        """Those of the invocation under way in this thread or task, else of the last one."""
        spans = _invocation.get()
        if spans is not None and spans.invocation is not None:
            return spans
        return self._outside if self.is_concurrent else self._last

    def begin(
        self, open_root: Callable[[InvocationSpans], Span], request_id: str, invocation: Any
    ) -> InvocationSpans:
        """An invocation has begun, whose span `open_root` opens when it is first asked for."""
        spans = InvocationSpans(open_root, request_id, invocation)
        last = self._outside if self.is_concurrent else self._last
        if last.by_id and last.invocation is None:
            spans.take_over(last)
        self._last = spans
        return spans

    @property
    def open_spans(self) -> dict[str, Span]:
        """By id, what was started in the invocation under way and not ended, oldest first."""
        return self.spans().by_id

    def current_span(self) -> Span | None:
        """The innermost open span of this thread or task, else the invocation's."""
        span = _current.get()
        if span is not None and not span.end_ns:
            return span
        root = self.root_span()
        return root if root is not None and not root.end_ns else None

    def root_span(self) -> Span | None:
        """The span of the invocation under way, or of the last one.

        It is the parent of what a thread starts that has no current span of its own.
        """
        return self.spans().root()

    def now_ns(self) -> int:
        """The time that spans are given."""
        return self._clock.time_ns()

    def record(self, span: Span) -> None:
        """Take in a finished span that was made elsewhere."""
        if span.context.is_sampled:
            if self.journal is not None:
                self.journal.span(span)
            self._buffer.append(span)

    def is_sampled(self, trace_id: str) -> bool:
        """Whether a trace that begins here is recorded."""
        return self._is_sampled(trace_id, None)

    def start_root(
        self,
        name: str,
        parent: SpanContext | None,
        trace_id: str | None,
        start_ns: int,
        *,
        kind: int,
        spans: InvocationSpans | None = None,
        carried: Carried | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        scope: Scope = OWN_SCOPE,
    ) -> Span:
        """Start a span that has none of ours above it: an invocation's, or one of another API.

        Without a parent it takes `trace_id`, or a new one.
        """
        if parent is not None:
            trace_id = parent.trace_id
        elif trace_id is None:
            trace_id = self._ids.trace_id()
        context = SpanContext(
            trace_id,
            self._ids.span_id(),
            is_sampled=self._is_sampled(trace_id, parent),
            trace_state=parent.trace_state if parent is not None else "",
            carried=carried,
        )
        span = Span(
            name,
            context,
            parent,
            start_ns,
            kind=kind,
            attributes=attributes,
            links=links,
            scope=scope,
        )
        (spans or self.spans()).note_open(span)
        if self.journal is not None and context.is_sampled:
            self.journal.span(span)
        return span

    def start_span(
        self,
        name: str,
        *,
        kind: int = INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        start_ns: int = 0,
        parent: Span | None = None,
        scope: Scope = OWN_SCOPE,
    ) -> Span:
        """Start a child of `parent`, by default the current span; without one, a new trace."""
        current = parent or _current.get()
        if current is None or (current.end_ns and current is not parent):
            current = self.current_span()
        if current is None:
            above, spans = None, self.spans()
            trace_id = self._ids.trace_id()
            is_sampled = self._is_sampled(trace_id, None)
            context = SpanContext(trace_id, self._ids.span_id(), is_sampled=is_sampled)
        else:
            above, spans = current.context, current.opened_in or self.spans()
            context = above.child(self._ids.span_id())
        span = Span(
            name,
            context,
            above,
            start_ns or self._clock.time_ns(),
            kind=kind,
            attributes=attributes,
            links=links,
            scope=scope,
        )
        by_id = spans.by_id
        if len(by_id) < OPEN_SPANS_MAX:  # note_open, without its call
            by_id[context.span_id] = span
            span.opened_in = spans
        if self.journal is not None and context.is_sampled and not spans.replay_ns:
            self.journal.span_opened(span)
        return span

    def end_span(self, span: Span, end_ns: int = 0) -> None:
        """End `span` now, or at `end_ns`; a second time does nothing."""
        if not span.end(end_ns or self._clock.time_ns()):
            return
        spans, context = span.opened_in, span.context
        if spans is not None:
            spans.by_id.pop(context.span_id, None)
            if spans.facades:
                spans.facades.pop(context.span_id, None)
            span.opened_in = None  # no cycle for the collector to find
            if 0 < spans.replay_ns <= span.start_ns:
                return  # the invocation that did it first has sent it
        if context.is_sampled:
            try:
                if self.journal is not None:
                    self.journal.span_ended(span)
            finally:  # it is sent, whether or not it could be noted
                self._buffer.append(span)
        elif self.is_holding:
            (spans or self.spans()).hold(span)

    def leave_span(self, span: Span) -> None:
        """Note that `span` ends now, but keep it until it is known whether that was an error."""
        if span.opened_in is not None:
            span.opened_in.note_left(span, self._clock.time_ns())

    def forget_parent(self) -> None:
        """In a forked child: the parent ends the spans that were open, and its invocation."""
        self._outside = self._last = InvocationSpans()
        self.is_concurrent = False
        _invocation.set(None)

    def end_all(self, spans: InvocationSpans, mark: str, end_ns: int) -> None:
        """End all that is open but the root at `end_ns`, with the attribute `mark` set to true."""
        root = spans.root()
        for span in list(spans.by_id.values()):
            left_ns = spans.left_ns(span)
            if left_ns:
                self.end_span(span, left_ns)
            elif span is not root:
                span.set_attribute(mark, value=True)
                self.end_span(span, end_ns)

    def inject(self, span: Span, carrier: MutableMapping[str, str]) -> None:
        """Write the context of `span` into `carrier`, in the formats of OTEL_PROPAGATORS.

        Baggage is that of OpenTelemetry's current context, where its API is in use.
        """
        from lambdatrace.propagators import inject

        inject(span.context, carrier, self.propagators)
        door = modules.get("lambdatrace.otel.context")
        if door is not None and "baggage" in self.propagators:
            door.inject_baggage(span, carrier)

    def set_attributes(self, span: Span, attributes: Mapping[str, Any]) -> None:
        """Set attributes that shall be known even if the process dies before the span ends."""
        is_noted = self.journal is not None and span.is_recording
        span.set_attributes(attributes)
        if is_noted and self.journal is not None:
            self.journal.attributes_set(span, attributes)

    def add_event(self, span: Span, name: str, attributes: Mapping[str, Any]) -> None:
        """Record that something happened now in `span`."""
        span.add_event(name, self._clock.time_ns(), attributes)

    def record_exception(self, span: Span, error: BaseException, error_type: str = "") -> None:
        """Add the `exception` event and the ERROR status that OpenTelemetry prescribes.

        What suspends a durable execution is no error: the span is marked as cut short.
        """
        if not isinstance(error, Exception):
            from lambdatrace.durable import TRUNCATED, is_suspension

            if is_suspension(error):
                span.set_attribute(TRUNCATED, value=True)
                return
        error_type, message = error_type or qualified_name(type(error)), message_of(error)
        span.add_event(
            "exception",
            self._clock.time_ns(),
            {
                "exception.type": error_type,
                "exception.message": message,
                "exception.stacktrace": (span.opened_in or self.spans()).stack_trace(error),
            },
        )
        span.set_attribute("error.type", error_type)
        span.set_status(ERROR, message)


def qualified_name(kind: type) -> str:
    """The name OpenTelemetry gives an exception's type: builtins without their module."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """The text of an exception."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        return "<unprintable>"
    return text if len(text) <= STACK_TEXT_MAX else text[: STACK_TEXT_MAX - 1] + "…"


def _tail(text: str) -> str:
    return text if len(text) <= STACK_TEXT_MAX else "…\n" + text[2 - STACK_TEXT_MAX :]


def enter(spans: InvocationSpans) -> Token[InvocationSpans | None]:
    """Make `spans` those of the invocation that this thread or task works on."""
    return _invocation.set(spans)


def entered() -> InvocationSpans | None:
    """The invocation that this thread or task works on, as far as its own context tells."""
    return _invocation.get()


def leave(token: Token[InvocationSpans | None]) -> None:
    """Undo `enter`."""
    try:  # noqa: SIM105 - contextlib is not loaded on 3.10
        _invocation.reset(token)
    except ValueError:
        # Ended in another context than begun in (an async generator closed elsewhere): that one
        # does not know of the invocation.
        pass


def activated() -> Span | None:
    """The span last made current in this thread or task, even if it has ended."""
    return _current.get()


def activate(span: Span) -> Token[Span | None]:
    """Make `span` the current one of this thread or task."""
    return _current.set(span)


def deactivate(token: Token[Span | None]) -> None:
    """Undo `activate`."""
    try:  # noqa: SIM105 - contextlib is not loaded on 3.10
        _current.reset(token)
    except ValueError:
        # Entered in one context, left in another (a generator closed elsewhere): nothing to undo.
        pass


class SpanHandle:
    """What users hold of a span; once it has ended, and where there is none, calls do nothing."""

    __slots__ = ("_guard", "_span", "_tracer")

    def __init__(self, tracer: Tracer, guard: Guard, span: Span | None) -> None:
        self._tracer = tracer
        self._guard = guard
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hex digits; all zero when there is no span."""
        return self._span.context.trace_id if self._span else _NO_TRACE_ID

    @property
    def span_id(self) -> str:
        """16 hex digits; all zero when there is no span."""
        return self._span.context.span_id if self._span else _NO_SPAN_ID

    @property
    def is_recording(self) -> bool:
        """Whether what is set now will be sent."""
        return self._span is not None and self._span.is_recording

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute: str, bool, int, float, bytes, or a list or dict of these."""
        if self._span is not None:
            self._guard.run(self._tracer.set_attributes, self._span, {key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._span is not None:
            self._guard.run(self._tracer.set_attributes, self._span, attributes)

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        if self._span is not None and not self._span.end_ns:
            self._span.name = name

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Record that something happened now."""
        if self._span is not None:
            self._guard.run(self._tracer.add_event, self._span, name, attributes or {})

    def record_exception(self, error: BaseException) -> None:
        """Record `error` as an event and set the ERROR status."""
        if self._span is not None:
            self._guard.run(self._tracer.record_exception, self._span, error)

    def set_error(self, message: str = "") -> None:
        """Set the ERROR status."""
        if self._span is not None:
            self._guard.run(self._span.set_status, ERROR, message)

    def set_ok(self) -> None:
        """Set the OK status, which nothing overrides."""
        if self._span is not None:
            self._guard.run(self._span.set_status, OK)

    def inject(self, carrier: dict[str, str] | None = None) -> dict[str, str]:
        """Write this span's context into `carrier`, for what we call: W3C and X-Ray headers."""
        carrier = {} if carrier is None else carrier
        if self._span is not None:
            self._guard.run(self._tracer.inject, self._span, carrier)
        return carrier


class SpanScope:
    """`with` opens a span for the block; as a decorator, for each call of the function.

    An async function's span lasts until it returns, a generator's until its last item.
    `recorder` gives whose tracer and guard to use, asked anew at each use.
    """

    __slots__ = (
        "_attributes",
        "_guard",
        "_kind",
        "_links",
        "_name",
        "_recorder",
        "_span",
        "_token",
        "_tracer",
    )

    def __init__(
        self,
        recorder: Callable[[], Telemetry],
        name: str,
        kind: int = INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
    ) -> None:
        self._recorder = recorder
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._links = links
        self._span: Span | None = None
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> SpanHandle:
        # Here and in __exit__ the guard's work without its call: this is done for each span.
        current = self._recorder()
        self._tracer, self._guard = tracer, guard = current.tracer, current.guard
        try:
            self._span = span = tracer.start_span(
                self._name, kind=self._kind, attributes=self._attributes, links=self._links
            )
            self._token = _current.set(span)
        except Exception as error:  # noqa: BLE001 - the guard's own
            self._span = None
            guard.take("span", error)
        return SpanHandle(tracer, guard, self._span)

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, span = self._token, self._span
        if token is not None:
            self._token = None
            try:  # noqa: SIM105 - contextlib is not loaded on 3.10
                _current.reset(token)
            except ValueError:
                pass  # see `deactivate`
        if span is None:
            return
        # GeneratorExit is how a generator is closed early, not a failure.
        if error is not None and not isinstance(error, GeneratorExit):
            self._guard.run(self._tracer.record_exception, span, error)
        try:
            self._tracer.end_span(span)
        except Exception as failure:  # noqa: BLE001 - the guard's own
            self._guard.take("span", failure)

    def suspend(self) -> None:
        """Make the span no longer current, while a generator waits for its consumer."""
        if self._token is not None:
            deactivate(self._token)
            self._token = None

    def resume(self) -> None:
        """Make the span current again."""
        if self._span is not None:
            self._token = activate(self._span)

    def _again(self, *_call: Any) -> SpanScope:
        return SpanScope(self._recorder, self._name, self._kind, self._attributes, self._links)

    def __call__(self, function: F) -> F:
        """`function` with a span around each call."""
        around: Any
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        if flags & _COROUTINE:

            @wraps(function)
            async def around(*arguments: Any, **keywords: Any) -> Any:
                with self._again():
                    return await function(*arguments, **keywords)

        elif flags & (_GENERATOR | _ASYNC_GENERATOR):
            from lambdatrace.generators import trace_async_generator, trace_generator

            trace: Any = trace_generator if flags & _GENERATOR else trace_async_generator
            around = wraps(function)(trace(self._again, function))

        else:

            @wraps(function)
            def around(*arguments: Any, **keywords: Any) -> Any:
                with self._again():
                    return function(*arguments, **keywords)

        wrapped: F = around
        return wrapped

"""Recording spans: which one is current, and how one starts and ends."""

from __future__ import annotations

from _contextvars import ContextVar  # what `contextvars` gives, without its 0.2 ms of import
from sys import modules

from lambdatrace.guard import let_through
from lambdatrace.invocation_spans import OPEN_SPANS_MAX, InvocationSpans
from lambdatrace.records import ERROR, INTERNAL, OWN_SCOPE, Span, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from contextvars import Token
    from typing import Any

    from lambdatrace.buffer import Buffer
    from lambdatrace.clock import Clock, Ids
    from lambdatrace.journal import Journal
    from lambdatrace.records import Carried, Link, Scope

    # Whether a span of this trace under this parent is recorded.
    Sampler = Callable[[str, SpanContext | None], bool]

CURRENT_SPAN: ContextVar[Span | None] = ContextVar("lambdatrace_current_span", default=None)
_invocation: ContextVar[InvocationSpans | None] = ContextVar("lambdatrace_invocation", default=None)


def follow_parent(_trace_id: str, parent: SpanContext | None) -> bool:
    """OpenTelemetry's default sampler, `parentbased_always_on`."""
    return parent is None or parent.is_sampled


def active_span() -> Span | None:
    """The open span that was made current last in this thread or task; seldom the invocation's."""
    span = CURRENT_SPAN.get()
    return span if span is not None and not span.end_ns else None


def enter(spans: InvocationSpans) -> Token[InvocationSpans | None]:
    """Make `spans` those of the invocation that this thread or task works on."""
    return _invocation.set(spans)


def entered() -> InvocationSpans | None:
    """The invocation that this thread or task works on, as far as its own context tells."""
    return _invocation.get()


def leave(token: Token[InvocationSpans | None]) -> None:
    """Undo `enter`."""
    _reset(_invocation, token)


def activated() -> Span | None:
    """The span last made current in this thread or task, even if it has ended."""
    return CURRENT_SPAN.get()


def activate(span: Span) -> Token[Span | None]:
    """Make `span` the current one of this thread or task."""
    return CURRENT_SPAN.set(span)


def deactivate(token: Token[Span | None]) -> None:
    """Undo `activate`."""
    _reset(CURRENT_SPAN, token)


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    try:
        variable.reset(token)
    except ValueError as error:
        # Entered in one context, left in another (a generator closed elsewhere): nothing to undo.
        let_through(error)


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
        self._outside = InvocationSpans(is_holding=is_holding)
        self._last = self._outside
        self.is_concurrent = False

    def spans(self) -> InvocationSpans:
        """Those of the invocation under way in this thread or task, else of the last one."""
        spans = _invocation.get()
        if spans is not None and spans.invocation is not None:
            return spans
        return self._outside if self.is_concurrent else self._last

    def begin(
        self,
        open_root: Callable[[InvocationSpans], Callable[[], Span]],
        request_id: str,
        invocation: Any,
    ) -> InvocationSpans:
        """An invocation has begun, whose span is opened when it is first asked for.

        By what `open_root` gives: each thread that asks at the same time calls that, one the rest.
        """
        spans = InvocationSpans(open_root, request_id, invocation, is_holding=self.is_holding)
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
        span = CURRENT_SPAN.get()
        if span is not None and not span.end_ns:
            return span
        root = self.root_span()
        return root if root is not None and not root.end_ns else None

    def root_span(self) -> Span | None:
        """The span of the invocation under way, or of the last one.

        It is the parent of what a thread starts that has no current span of its own.
        """
        return self.spans().root()

    def is_recording(self) -> bool:
        """Whether a span that begins here is sent, or held as it may yet be."""
        above = self.current_span()
        return above is None or above.context.is_sampled or self.is_holding

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
        current = parent or CURRENT_SPAN.get()
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
            kind,
            attributes,
            links,
            scope,
        )
        by_id = spans.by_id
        if len(by_id) < OPEN_SPANS_MAX:  # note_open, without its call
            by_id[context.span_id] = span
        else:
            spans.unwatched += 1
        span.opened_in = spans
        if self.journal is not None and context.is_sampled and not spans.replay_ns:
            self.journal.span_opened(span)
        return span

    def end_span(self, span: Span, end_ns: int = 0) -> None:
        """End `span` now, or at `end_ns`; a second time does nothing."""
        if span.end_ns:
            return
        ended_ns, start_ns = end_ns or self._clock.time_ns(), span.start_ns
        # `span.end`, without its call, nor that of `max`.
        span.end_ns = ended_ns if ended_ns > start_ns else start_ns  # noqa: FURB136
        spans, context = span.opened_in, span.context
        if spans is None:
            return  # another thread was quicker
        if spans.by_id.pop(context.span_id, None) is None:  # one step: of two threads one has it
            if not spans.unwatched:
                return
            spans.unwatched -= 1
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
            spans.hold(span)

    def leave_span(self, span: Span) -> None:
        """Note that `span` ends now, but keep it until it is known whether that was an error."""
        if span.opened_in is not None:
            span.opened_in.note_left(span, self._clock.time_ns())

    def forget_parent(self) -> None:
        """In a forked child: the parent ends the spans that were open, and its invocation."""
        for spans in (self._outside, self._last, _invocation.get()):
            for span in spans.by_id.values() if spans is not None else ():
                span.noted = -1  # the child's own journal does not have it
        self._outside = self._last = InvocationSpans(is_holding=self.is_holding)
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
        journal = self.journal
        if journal is None or span.end_ns or not span.context.is_sampled:
            span.set_attributes(attributes)
            return
        before = len(span.attributes)
        is_all_noted = span.noted == before
        span.set_attributes(attributes)
        after = len(span.attributes)
        # Another thread's, which the journal has not, may be among them.
        is_all_ours = after == before + len(attributes)
        if journal.attributes_set(span, attributes) and is_all_noted and is_all_ours:
            span.noted = after

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
        from lambdatrace.exceptions import message_of, qualified_name

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

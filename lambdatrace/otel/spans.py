"""Our spans as OpenTelemetry's, and OpenTelemetry's as ours.

`OtelSpan` is what code written against the API holds of a span of ours. `ForeignSpan` is what our
recorders hold of a span that is not ours: of a remote parent, or of the user's own SDK.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.status import Status, StatusCode

from lambdatrace.exceptions import message_of, qualified_name
from lambdatrace.otel.values import clean_attributes, clean_name, clean_value
from lambdatrace.plain import INT64_MAX
from lambdatrace.records import ERROR, Link, Span, SpanContext
from lambdatrace.tracing import entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Any

    from lambdatrace.guard import Guard
    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.records import Event
    from lambdatrace.tracing import Tracer

_SAMPLED, _UNSAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED), trace.TraceFlags(0)
_CODES = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}
_STATUS_CODES = {code: status for status, code in _CODES.items()}


def to_otel(context: SpanContext) -> trace.SpanContext:
    """Our span context as OpenTelemetry's."""
    state = context.trace_state
    return trace.SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        context.is_remote,
        _SAMPLED if context.is_sampled else _UNSAMPLED,
        trace.TraceState.from_header([state]) if state else trace.DEFAULT_TRACE_STATE,
    )


def from_otel(context: trace.SpanContext) -> SpanContext:
    """OpenTelemetry's span context as ours."""
    return SpanContext(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        is_sampled=bool(context.trace_flags & trace.TraceFlags.SAMPLED),
        trace_state=context.trace_state.to_header() if context.trace_state else "",
        is_remote=context.is_remote,
    )


def read_links(links: Sequence[trace.Link] | None) -> list[Link]:
    """OpenTelemetry's links as ours; those that lead nowhere and say nothing are left out."""
    return [_link(link.context, link.attributes) for link in links or () if _is_link(link)]


def _is_link(link: trace.Link) -> bool:
    context = link.context
    return context.is_valid or bool(link.attributes or context.trace_state)


def _link(context: trace.SpanContext, attributes: Mapping[str, Any] | None) -> Link:
    cleaned, dropped = clean_attributes(attributes)
    link = Link(from_otel(context), cleaned)
    link.dropped_attributes += dropped
    return link


class ReadableEvent:
    """An event of ours with the names that the SDK's events have."""

    __slots__ = ("attributes", "name", "timestamp")

    def __init__(self, event: Event) -> None:
        self.name = event.name
        self.timestamp = event.time_ns
        self.attributes = clean_attributes(event.attributes)[0]


class OtelSpan(trace.Span):
    """A span of ours with the methods of OpenTelemetry's; what fails in here is the guard's."""

    def __init__(
        self,
        record: Span,
        tracer: Tracer,
        guard: Guard,
        *,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> None:
        self.record = record
        self._tracer = tracer
        self._guard = guard
        self._records_exception = record_exception
        self._sets_status = set_status_on_exception
        self._context: trace.SpanContext | None = None

    def get_span_context(self) -> trace.SpanContext:
        """The ids, flags and state of the span."""
        if self._context is None:
            self._context = to_otel(self.record.context)
        return self._context

    def is_recording(self) -> bool:
        """Whether what is set now is kept: it is sent, or held in case it will be."""
        return self.record.is_recording

    # What the API does not have but the SDK's spans do: contrib instrumentors and users read it.

    @property
    def name(self) -> str:
        """The name of the span."""
        return self.record.name

    @property
    def context(self) -> trace.SpanContext:
        """As `get_span_context` gives it."""
        return self.get_span_context()

    @property
    def parent(self) -> trace.SpanContext | None:
        """The context of the parent; None at the top of a trace."""
        return to_otel(self.record.parent) if self.record.parent is not None else None

    @property
    def kind(self) -> trace.SpanKind:
        """The kind of the span."""
        return trace.SpanKind(self.record.kind - 1)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes as they are now."""
        return dict(self.record.attributes)

    @property
    def events(self) -> tuple[ReadableEvent, ...]:
        """The events so far."""
        return tuple(ReadableEvent(event) for event in self.record.events)

    @property
    def links(self) -> tuple[trace.Link, ...]:
        """The links so far."""
        return tuple(
            trace.Link(to_otel(link.context), dict(link.attributes)) for link in self.record.links
        )

    @property
    def status(self) -> Status:
        """The status so far."""
        code = self.record.status_code
        return Status(_STATUS_CODES[code], self.record.status_message if code == ERROR else None)

    @property
    def start_time(self) -> int:
        """When it began, in Unix nanoseconds."""
        return self.record.start_ns

    @property
    def end_time(self) -> int | None:
        """When it ended, in Unix nanoseconds; None while it is open."""
        return self.record.end_ns or None

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self._guard.run(self._set_attribute, key, value)

    def _set_attribute(self, key: Any, value: Any) -> None:
        if key and isinstance(key, str):
            self.record.set_attribute(key, clean_value(value))
        elif not self.record.end_ns:
            self.record.dropped_attributes += 1

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self._guard.run(self._set_attributes, attributes)

    def _set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if not self.record.end_ns:
            cleaned, dropped = clean_attributes(attributes)
            self.record.set_attributes(cleaned)
            self.record.dropped_attributes += dropped

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Record that something happened, now or at `timestamp`, Unix nanoseconds."""
        self._guard.run(self._add_event, name, attributes, timestamp)

    def _add_event(
        self, name: str, attributes: Mapping[str, Any] | None, timestamp: int | None
    ) -> None:
        time_ns = self._tracer.now_ns() if timestamp is None else timestamp
        cleaned, dropped = clean_attributes(attributes)
        count = len(self.record.events)
        self.record.add_event(name, time_ns, cleaned)
        if dropped and len(self.record.events) > count:
            self.record.events[count].dropped_attributes += dropped

    def add_link(
        self, context: trace.SpanContext, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Link to the span of `context`."""
        self._guard.run(self._add_link, trace.Link(context, attributes))

    def _add_link(self, link: trace.Link) -> None:
        if _is_link(link):
            self.record.add_link(_link(link.context, link.attributes))

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        self._guard.run(self._update_name, name)

    def _update_name(self, name: Any) -> None:
        if not self.record.end_ns:
            self.record.update_name(clean_name(name))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final, and UNSET changes nothing."""
        self._guard.run(self._set_status, status, description)

    def _set_status(self, status: Status | StatusCode, description: str | None) -> None:
        if not isinstance(status, Status):
            status = Status(status, description)
        self.record.set_status(_CODES[status.status_code], status.description or "")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add the event `exception`; the status stays as it is."""
        self._guard.run(self._record_exception, exception, attributes, timestamp, escaped)

    def _record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None,
        timestamp: int | None,
        escaped: bool,
    ) -> None:
        record = self.record
        if record.end_ns:
            return
        spans = record.opened_in or self._tracer.spans()
        event = {
            "exception.type": qualified_name(type(exception)),
            "exception.message": message_of(exception),
            "exception.stacktrace": spans.stack_trace(exception),  # written out after the response
            "exception.escaped": str(escaped),
            **clean_attributes(attributes)[0],
        }
        time_ns = self._tracer.now_ns() if timestamp is None else timestamp
        record.add_event("exception", time_ns, event)

    def fail(self, error: BaseException, *, escaped: bool = False) -> None:
        """The block that the span is of raised `error`."""
        if self._records_exception:
            self.record_exception(error, escaped=escaped)
        if self._sets_status:
            message = f"{type(error).__name__}: {message_of(error)}"
            self._guard.run(self.record.set_status, ERROR, message)

    def end(self, end_time: int | None = None) -> None:
        """End the span, now or at `end_time`, Unix nanoseconds; a second time does nothing."""
        self._guard.run(self._end, end_time or 0)

    def _end(self, end_time: int) -> None:
        # As OTLP can carry it, whatever the user's own clock gives.
        self._tracer.end_span(self.record, min(max(int(end_time), 0), INT64_MAX))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None and not self.record.end_ns:
            self.fail(exc_val, escaped=True)
        self.end()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.record.name!r}, {self.record.context!r})"


class ForeignSpan(Span):
    """A span that is not ours, current where it was attached, and there the parent of ours.

    What is set on it goes to the span itself. In another invocation than the one that attached it
    counts as ended: what an earlier one did not detach is not the parent of what is done now.
    """

    __slots__ = ("_of", "_within")

    def __init__(self, of: trace.Span) -> None:
        self._of = of
        self._within: InvocationSpans | None = entered()
        super().__init__("", from_otel(of.get_span_context()), None, 0)

    @property
    def end_ns(self) -> int:
        """0 while it may be a parent."""
        return 0 if self._within is entered() else 1

    @end_ns.setter
    def end_ns(self, _: int) -> None: ...

    @property
    def name(self) -> str:
        """Its name is its own affair."""
        return ""

    @name.setter
    def name(self, name: str) -> None:
        if name:
            self._of.update_name(name)

    @property
    def is_recording(self) -> bool:
        """As the span itself says."""
        return self._of.is_recording()

    def set_attribute(self, key: str, value: Any) -> None:
        """Set it on the span itself."""
        self._of.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set them on the span itself."""
        for key, value in attributes.items():
            self._of.set_attribute(key, value)

    def add_event(self, name: str, time_ns: int, attributes: Mapping[str, Any]) -> None:
        """Add it to the span itself."""
        texts = {
            key: value if isinstance(value, (str, int, float, bool)) else clean_value(value)
            for key, value in attributes.items()
        }
        self._of.add_event(name, texts, time_ns)

    def add_link(self, link: Link) -> None:
        """Add it to the span itself."""
        self._of.add_link(to_otel(link.context), dict(link.attributes))

    def set_status(self, code: int, message: str = "") -> None:
        """Set it on the span itself."""
        self._of.set_status(Status(_STATUS_CODES[code], message if code == ERROR else None))

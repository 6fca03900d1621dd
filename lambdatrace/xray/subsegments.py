"""A subsegment that is a span: same ids, and what is put on the one is found on the other."""

from __future__ import annotations

import traceback

from aws_xray_sdk.core.models.subsegment import Subsegment
from aws_xray_sdk.version import VERSION

from lambdatrace import telemetry
from lambdatrace.records import CLIENT, ERROR, INTERNAL, Scope
from lambdatrace.tracing import activate, deactivate
from lambdatrace.xray.attributes import ANNOTATIONS, error_type, read_subsegment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from typing import Any

    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

SCOPE = Scope("aws_xray_sdk", VERSION)
_OWN_FIELDS = ("span", "_token")  # not the document's


def open_span(current: Telemetry, subsegment: Any) -> None:
    """Begin the span of `subsegment`, whose id becomes the span's, and make it current."""
    span = current.tracer.start_span(subsegment.name, kind=_kind(subsegment.namespace), scope=SCOPE)
    subsegment.__class__ = TracedSubsegment
    subsegment.begin(span)


def _kind(namespace: str) -> int:
    return CLIENT if namespace in ("aws", "remote") else INTERNAL


class TracedSubsegment(Subsegment):  # type: ignore[misc] # the SDK is not typed
    """A subsegment with its span. What it raises is what the X-Ray SDK's own raises."""

    span: Span
    _token: Token[Span | None] | None

    def begin(self, span: Span) -> None:
        """Be `span` from now on, which becomes the current one."""
        self.id = span.span_id
        if span.parent is not None:
            self.parent_id = span.parent.span_id
        self.span = span
        self._token = activate(span)

    def make_current(self) -> None:
        """Make the span the current one in another thread or task than it was begun in."""
        if not self.span.end_ns:
            activate(self.span)

    def put_annotation(self, key: str, value: Any) -> None:
        """Also on the span, at once: it may be sent before it ends."""
        super().put_annotation(key, value)
        if key in self.annotations:
            _guarded(self._put_annotation, key)

    def _put_annotation(self, _current: Telemetry, key: str) -> None:
        self.span.set_attribute(key, self.annotations[key])
        self.span.set_attribute(ANNOTATIONS, list(self.annotations))

    def add_exception(self, exception: BaseException, stack: Any, remote: bool = False) -> None:
        """Also as an event of the span."""
        super().add_exception(exception, stack, remote)
        _guarded(self._record_exception, exception, stack)

    def _record_exception(self, current: Telemetry, exception: BaseException, stack: Any) -> None:
        current.tracer.record_exception(self.span, exception)
        if stack and exception.__traceback__ is None and self.span.events:
            # It was not raised: the stack is what the user has.
            text = "".join(traceback.format_list(stack))
            event = self.span.events[-1]
            event.attributes = {**event.attributes, "exception.stacktrace": text}

    def close(self, end_time: float | None = None) -> None:
        """End the span too."""
        super().close(end_time)
        _guarded(self._end_span, end_time)

    def _end_span(self, current: Telemetry, end_time: float | None) -> None:
        span = self.span
        if self._token is not None:
            deactivate(self._token)
            self._token = None
        kind = _kind(self.namespace)
        if (span.name, span.kind) != (self.name, kind):  # patches of databases name one late
            span.update_name(self.name, kind)
        try:
            self._describe(span)
        finally:  # whatever the user has put there, the span ends
            current.tracer.end_span(span, int(end_time * 1e9) if end_time else 0)

    def _describe(self, span: Span) -> None:
        error = error_type(self)
        if error:
            span.attributes.setdefault("error.type", error)
            if span.status_code != ERROR:
                span.set_status(ERROR)
        span.set_attributes(read_subsegment(self))

    def to_dict(self) -> dict[str, Any]:
        """The subsegment's document."""
        document: dict[str, Any] = super().to_dict()
        for field in _OWN_FIELDS:
            document.pop(field, None)
        return document


def _guarded(function: Callable[..., None], *arguments: Any) -> None:
    current = telemetry.installed()
    if current is not None:
        current.guard.run(function, current, *arguments)

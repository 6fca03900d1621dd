"""Copies of spans: one as it stands, which is sent, and a handle in another process.

That has the ids and can be injected, and records nothing: so has OpenTelemetry's
`NonRecordingSpan`, which it makes of a context.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.records import Carried, Span, SpanContext
from lambdatrace.span_scope import SpanHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DROPPED = ("dropped_attributes", "dropped_events", "dropped_links")


def ended_copy(span: Span, end_ns: int) -> Span:
    """`span` as it stands, ended at `end_ns`, while the span itself goes on."""
    copy = Span(
        span.name, span.context, span.parent, span.start_ns, kind=span.kind, scope=span.scope
    )
    for field in ("status_code", "status_message", *_DROPPED):
        setattr(copy, field, getattr(span, field))
    copy.attributes = dict(span.attributes)
    copy.events = list(span.events)
    copy.links = list(span.links)
    copy.end_ns = max(end_ns, copy.start_ns)
    return copy


def reduced(span: Span | None) -> tuple[Any, ...]:
    """What `pickle` keeps of the handle of `span`."""
    if span is None:
        return handle_elsewhere, ()
    context, carried = span.context, span.context.carried
    return handle_elsewhere, (
        context.trace_id,
        context.span_id,
        context.is_sampled,
        context.trace_state,
        None if carried is None else (carried.baggage, carried.lineage),
    )


def handle_elsewhere(*fields: Any) -> SpanHandle:
    """The handle of a span of which this process has the context alone; of none without fields."""
    current = telemetry.current()
    span = None
    if fields:
        trace_id, span_id, is_sampled, trace_state, carried = fields
        context = SpanContext(
            trace_id,
            span_id,
            is_sampled=is_sampled,
            trace_state=trace_state,
            is_remote=True,
            carried=None if carried is None else Carried(*carried),
        )
        span = Span("", context, None, 0)
        span.end(1)  # so that it takes nothing more
    return SpanHandle(current.tracer, current.guard, span)

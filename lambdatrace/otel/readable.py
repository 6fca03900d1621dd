"""Our spans as the SDK's `ReadableSpan`, and its spans as ours, whole in both directions."""

from __future__ import annotations

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as ApiLink
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status, StatusCode

from lambdatrace.otel.spans import from_otel, to_otel
from lambdatrace.otel.values import clean_attributes
from lambdatrace.records import ERROR, OWN_SCOPE, Event, Link, Scope, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_CODES = {0: StatusCode.UNSET, 1: StatusCode.OK, 2: StatusCode.ERROR}
_NO_SERVICE = "unknown_service"  # what the SDK calls a service that has no name


def joined_resource(own: Mapping[str, Any], theirs: Resource) -> Resource:
    """Their resource, with what ours says of the function and theirs does not."""
    values = dict(theirs.attributes)
    if str(values.get("service.name", "")).startswith(_NO_SERVICE) and own.get("service.name"):
        del values["service.name"]
    return Resource({**own, **values}, theirs.schema_url)


def to_readable(span: Span, resource: Resource) -> ReadableSpan:
    """A finished span of ours as the SDK's processors and exporters take it."""
    scope = span.scope
    return ReadableSpan(
        span.name,
        to_otel(span.context),
        to_otel(span.parent) if span.parent is not None else None,
        resource,
        _bounded(span.attributes, span.dropped_attributes),
        _bounded_list(
            [
                SdkEvent(
                    event.name,
                    _bounded(event.attributes, event.dropped_attributes),
                    event.time_ns,
                )
                for event in span.events
            ],
            span.dropped_events,
        ),
        _bounded_list(
            [
                ApiLink(to_otel(link.context), _bounded(link.attributes, link.dropped_attributes))
                for link in span.links
            ],
            span.dropped_links,
        ),
        SpanKind(span.kind - 1),
        status=Status(
            _CODES[span.status_code], span.status_message if span.status_code == ERROR else None
        ),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope(
            scope.name, scope.version, scope.schema_url, dict(scope.attributes)
        ),
    )


def to_record(span: ReadableSpan) -> Span:
    """A span of the SDK as ours."""
    context, parent, scope = span.get_span_context(), span.parent, span.instrumentation_scope
    if context is None:
        raise ValueError(f"span {span.name!r} has no context")
    record = Span(
        span.name,
        from_otel(context),
        from_otel(parent) if parent is not None else None,
        span.start_time or 0,
        kind=span.kind.value + 1,
        scope=OWN_SCOPE
        if scope is None
        else Scope(
            scope.name,
            scope.version or "",
            schema_url=scope.schema_url or "",
            attributes=scope.attributes,
        ),
    )
    record.attributes = dict(span.attributes or {})
    record.events = [
        Event(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events
    ]
    record.links = [
        Link(from_otel(link.context), dict(link.attributes or {})) for link in span.links
    ]
    for event, their_event in zip(record.events, span.events, strict=True):
        event.dropped_attributes = their_event.dropped_attributes
    for link, their_link in zip(record.links, span.links, strict=True):
        link.dropped_attributes = their_link.dropped_attributes
    record.status_code = span.status.status_code.value
    record.status_message = span.status.description or ""
    record.dropped_attributes = span.dropped_attributes
    record.dropped_events = span.dropped_events
    record.dropped_links = span.dropped_links
    record.end_ns = span.end_time or 0
    return record


def cut_short(span: ReadableSpan, end_ns: int, error_type: str, message: str) -> ReadableSpan:
    """An open span of the SDK as it stands, ended at `end_ns` with an error."""
    record = to_record(span)
    record.end_ns = max(end_ns, record.start_ns)
    record.attributes["error.type"] = error_type
    record.status_code, record.status_message = ERROR, message
    return to_readable(record, span.resource)


def _bounded(attributes: Mapping[str, Any], dropped: int = 0) -> BoundedAttributes:
    bounded = BoundedAttributes(attributes=clean_attributes(attributes)[0])
    bounded.dropped = dropped
    return bounded


def _bounded_list(items: Sequence[Any], dropped: int) -> BoundedList[Any]:
    bounded: BoundedList[Any] = BoundedList.from_seq(len(items), items)
    bounded.dropped = dropped
    return bounded

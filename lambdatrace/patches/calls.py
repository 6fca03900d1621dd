"""One call of a patched library: its span, current while the library works, and its end.

Also what goes out with the call: the trace context as headers.
"""

from __future__ import annotations

import os
from _contextvars import ContextVar
from sys import modules

from lambdatrace import __version__, propagation
from lambdatrace.records import CLIENT, ERROR, Scope
from lambdatrace.tracing import CURRENT_SPAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from lambdatrace.guard import Guard
    from lambdatrace.records import Span, SpanContext
    from lambdatrace.telemetry import Telemetry

X_RAY_SDK = "aws_xray_sdk"  # the scope of spans that are its subsegments

_within: ContextVar[Call | None] = ContextVar("lambdatrace_within_call", default=None)

within = _within.get  # the call of ours that the library is at work for


def scope(library: str) -> Scope:
    """The instrumentation scope of the patch of `library`."""
    return Scope(f"lambdatrace.patches.{library}", __version__)


class Call:
    """A span of a call.

    `unsent` are headers that `http.client` is to put on the request it sends for this call.
    """

    __slots__ = ("current", "span", "unsent")

    def __init__(
        self,
        current: Telemetry,
        name: str,
        scope: Scope,
        attributes: Mapping[str, Any],
        kind: int = CLIENT,
    ) -> None:
        self.current = current
        self.span = current.tracer.start_span(name, kind=kind, attributes=attributes, scope=scope)
        self.unsent: dict[str, str] | None = None

    @property
    def guard(self) -> Guard:
        """What keeps from the library what goes wrong in here."""
        return self.current.guard

    def run(
        self, wrapped: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """What `wrapped` gives, or raises, with the span the current one while it works."""
        span_token = CURRENT_SPAN.set(self.span)
        within_token = _within.set(self)
        try:
            return wrapped(*arguments, **keywords)
        finally:
            _within.reset(within_token)
            CURRENT_SPAN.reset(span_token)

    def end(self) -> None:
        """End the span."""
        self.current.tracer.end_span(self.span)

    def end_with_status(self, status: Any) -> None:
        """End the span with the HTTP status code; from 400, a client counts it as an error."""
        span = self.span
        if isinstance(status, int):
            span.set_attribute("http.response.status_code", int(status))
            if status >= 400:  # noqa: PLR2004 - HTTP semantic conventions, "Status"
                span.set_attribute("error.type", str(int(status)))
                span.set_status(ERROR)
        self.current.tracer.end_span(span)

    def fail(self, error: BaseException, error_type: str = "") -> None:
        """End the span with `error`; `error_type` where there is a better one than its class."""
        tracer = self.current.tracer
        tracer.record_exception(self.span, error)
        if error_type:
            self.span.set_attribute("error.type", error_type)
        tracer.end_span(self.span)


# What says in a context of OpenTelemetry's that there shall be no spans, by name of its module's:
# an exporter is at work; and for HTTP alone, an instrumentor has a span for the request.
SUPPRESSED = ("_SUPPRESS_INSTRUMENTATION_KEY",)
HTTP_SUPPRESSED = (*SUPPRESSED, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")


def is_suppressed(keys: tuple[str, ...] = SUPPRESSED) -> bool:
    """Whether OpenTelemetry's current context has one of `keys`."""
    context = modules.get("opentelemetry.context")
    if context is None:
        return False
    names = [getattr(context, key, None) for key in keys]
    return any(name is not None and context.get_value(name) for name in names)


def is_subsegment(span: Span, headers: Mapping[Any, Any] | Iterable[bytes]) -> bool:
    """Whether the current `span` is the X-Ray SDK's for the HTTP request with `headers` made now.

    Its patches open a CLIENT subsegment and write its id into the headers; a remote subsegment that
    the user opens is as any span around the call. `headers` may be the lines of a request's head.
    """
    if span.end_ns or span.kind != CLIENT or span.scope.name != X_RAY_SDK:
        return False
    items: Any = getattr(headers, "items", None)
    fields = [line.partition(b":")[::2] for line in headers] if items is None else items()
    return any(
        span.span_id in _text(value) for key, value in fields if _text(key).lower() in _PARENTS
    )


class _Headers:
    """The headers of all spans alike, each in the parts that a span's id stands between.

    Alike are those of one invocation and trace, sampled or not: only the first has them written.
    A tracestate with what may not stand in a header is not among them. `x_ray` is
    `X-Amzn-Trace-Id`, which AWS's APIs take whatever OTEL_PROPAGATORS says.
    """

    __slots__ = ("carried", "fields", "is_sampled", "spans", "trace_id", "trace_state", "x_ray")

    def __init__(self, current: Telemetry, span: Span) -> None:
        from lambdatrace.propagators import inject  # as all here, once for a trace

        context = span.context
        self.spans = span.opened_in
        self.trace_id = context.trace_id
        self.is_sampled = context.is_sampled
        self.trace_state = context.trace_state
        self.carried = context.carried
        blank = context.child(_ID)
        carrier: dict[str, str] = {}
        inject(blank, carrier, current.tracer.propagators)
        header = _x_ray_header(current, blank)
        if propagation.X_RAY in carrier:
            carrier[propagation.X_RAY] = header
        self.fields = [
            (name, value.split(_ID))
            for name, value in carrier.items()
            if value.isascii() and value.replace(_ID, "").isprintable()
        ]
        self.x_ray = header.split(_ID)

    def are_of(self, span: Span) -> bool:
        """Whether they are those of `span` too."""
        context, spans = span.context, span.opened_in
        return (
            spans is self.spans
            and context.trace_id == self.trace_id
            and context.is_sampled == self.is_sampled
            and context.trace_state == self.trace_state
            and context.carried is self.carried
            and spans is not None
            and bool(spans.request_id)  # else Lambda's own header may have changed since
        )


_ID = "\0"  # where a span's id stands; of no header's own characters
_last: _Headers | None = None


def _headers(current: Telemetry, span: Span) -> _Headers:
    global _last  # noqa: PLW0603 - a thread that sees another's has its own written
    headers = _last
    if headers is None or not headers.are_of(span):
        _last = headers = _Headers(current, span)
    return headers


def x_ray_header(current: Telemetry, span: Span) -> str:
    """The `X-Amzn-Trace-Id` that a call goes out with.

    Parent is the span, and Lineage stays, since Lambda finds loops with it. Sampled stays 0 when
    Lambda's own header says so and our spans do not go to X-Ray: a 1 would make the services we
    call record for X-Ray, and it is the account that pays.
    """
    return span.context.span_id.join(_headers(current, span).x_ray)


def _x_ray_header(current: Telemetry, context: SpanContext) -> str:
    header = propagation.write_x_ray(context, context.carried.lineage if context.carried else "")
    # With several invocations at a time the variable may be that of another one.
    is_alone = not current.function.is_multi_concurrent
    is_x_rays = current.settings.traces_exporter == "xray"
    if is_alone and not is_x_rays and "Sampled=0" in os.environ.get("_X_AMZN_TRACE_ID", ""):
        return header.replace(";Sampled=1", ";Sampled=0")
    return header


def outgoing(current: Telemetry, span: Span) -> dict[str, str]:
    """The headers of a request within `span`, in the formats of OTEL_PROPAGATORS."""
    span_id = span.context.span_id
    carrier = {name: span_id.join(parts) for name, parts in _headers(current, span).fields}
    # Baggage is that of OpenTelemetry's current context, where its API is in use.
    door = modules.get("lambdatrace.otel.context")
    if door is not None and "baggage" in current.tracer.propagators:
        door.inject_baggage(span, carrier)
    return carrier


# The headers that name the caller's span.
_PARENTS = frozenset((propagation.TRACEPARENT, propagation.X_RAY.lower()))
# Who has written one of these has propagated the trace.
_OWN = frozenset((propagation.TRACEPARENT, propagation.B3, "x-b3-traceid"))


def missing(carrier: Mapping[str, str], headers: Any) -> dict[str, str]:
    """Of `carrier`, what `headers`, whose keys may be in any case and bytes, do not have yet.

    Nothing, if the caller has propagated the trace.
    """
    present = {(key if isinstance(key, str) else _text(key)).lower() for key in headers}
    if not present.isdisjoint(_OWN):
        return {}
    return {key: value for key, value in carrier.items() if key.lower() not in present}


def _text(name: Any) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)

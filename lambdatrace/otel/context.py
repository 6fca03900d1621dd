"""OpenTelemetry's current context and ours, as one.

`SharedContext` takes the place of the API's runtime context. Attaching an OpenTelemetry context
makes its span our current one too; asking for the current context gives the one attached, with our
current span in it where that was made current later. So neither API's hot path knows the other.
"""

from __future__ import annotations

from contextvars import ContextVar
from sys import modules

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.trace.propagation import _SPAN_KEY

from lambdatrace import telemetry
from lambdatrace.otel.spans import ForeignSpan, OtelSpan
from lambdatrace.propagation import BAGGAGE
from lambdatrace.records import Span, SpanContext
from lambdatrace.tracing import activate, activated, entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from contextvars import Token
    from typing import Any

    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.telemetry import Telemetry

SPAN_KEY = _SPAN_KEY  # where a context has its span

# Current where a context without a span was attached; it has ended, so it is nobody's parent.
_NO_SPAN = Span("", SpanContext("0" * 32, "0" * 16, is_sampled=False), None, 0)
_NO_SPAN.end_ns = 1


class Attached:
    """A context as it was attached: with which span of ours, and in which invocation."""

    __slots__ = ("context", "span", "within")

    def __init__(self, context: Context, span: Span, within: InvocationSpans | None) -> None:
        self.context = context
        self.span = span
        self.within = within


_attached: ContextVar[Attached | None] = ContextVar("lambdatrace_attached", default=None)


class SharedContext:
    """What stands where `opentelemetry.context` keeps its runtime context.

    `_inner` is what stood there: it has what was attached before us. What an earlier invocation
    attached and did not detach is not seen by later ones.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def attach(self, context: Context) -> Any:
        """Make `context` the current one; what is given undoes it."""
        value = context.get(SPAN_KEY)
        if type(value) is OtelSpan:
            span = value.record
        elif isinstance(value, trace.Span) and value.get_span_context().is_valid:
            span = ForeignSpan(value)
        else:
            span = _NO_SPAN
        return attach(context, span)

    def get_current(self) -> Context:
        """The current context."""
        attached = _attached.get()
        if attached is not None and attached.span is activated() and attached.within is entered():
            return attached.context
        current = telemetry.installed()
        if current is None or not current.is_active:
            return self._base(attached)
        joined: Context | None = current.guard.run(self._joined, current, attached)
        return joined if joined is not None else self._base(attached)

    def detach(self, token: Any) -> None:
        """Undo an `attach`. Raises ValueError in another context than it was done in."""
        if type(token) is tuple:
            detach(token)
        else:
            self._inner.detach(token)

    def _base(self, attached: Attached | None) -> Context:
        if attached is not None and attached.within in (None, entered()):
            return attached.context
        context: Context = self._inner.get_current()
        return context

    def _joined(self, current: Telemetry, attached: Attached | None) -> Context:
        context = self._base(attached)
        span = current.tracer.current_span()
        if span is None:
            return context
        values: dict[str, Any] = dict(context)
        if span.context.carried is not None and (
            attached is None or attached.within is not entered()
        ):
            # What is attached in the invocation has it already, or has been rid of it.
            values = _with_baggage(context, span.context.carried.baggage)
        values[SPAN_KEY] = facade(current, span)
        return Context(values)


def attach(context: Context, span: Span) -> tuple[Token[Any], Token[Any]]:
    """Make `context` the current one, whose span is `span`."""
    return _attached.set(Attached(context, span, entered())), activate(span)


def detach(tokens: tuple[Token[Any], Token[Any]]) -> None:
    """Undo an `attach`. Raises ValueError in another context than it was done in."""
    attached, activated_token = tokens
    attached.var.reset(attached)
    activated_token.var.reset(activated_token)


def facade(current: Telemetry, span: Span) -> OtelSpan:
    """What code written against OpenTelemetry holds of `span`: the same each time, while open."""
    spans = span.opened_in
    if spans is None:
        return OtelSpan(span, current.tracer, current.guard)
    if spans.facades is None:
        spans.facades = {}
    found: OtelSpan | None = spans.facades.get(span.context.span_id)
    if found is None:
        made = OtelSpan(span, current.tracer, current.guard)
        found = spans.facades.setdefault(span.context.span_id, made)
        if span.end_ns:  # by another thread, which may have looked before it was there
            spans.facades.pop(span.context.span_id, None)
    return found


def _with_baggage(context: Context, header: str) -> dict[str, Any]:
    if not header:
        return dict(context)
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    return dict(W3CBaggagePropagator().extract({"baggage": header}, context))


def inject_baggage(span: Span, carrier: MutableMapping[str, str]) -> None:
    """Put the baggage of the current context into `carrier`, which has that of `span`.

    What came with the invocation goes on as it stood, its properties too, unless it was changed.
    """
    if "opentelemetry.baggage" not in modules:
        return  # nobody has changed it
    from opentelemetry import baggage
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    carried = span.context.carried
    came = _with_baggage(Context(), carried.baggage) if carried is not None else {}
    current = context_api.get_current()
    if baggage.get_all(current) == baggage.get_all(Context(came)):
        return
    carrier.pop(BAGGAGE, None)
    W3CBaggagePropagator().inject(carrier, current)


def share() -> None:
    """Put a SharedContext in the place of the API's runtime context; once."""
    inner = context_api._RUNTIME_CONTEXT
    if not isinstance(inner, SharedContext):
        shared: Any = SharedContext(inner)
        context_api._RUNTIME_CONTEXT = shared

"""One call of a patched library: its span, current while the library works, and its end.

Also what goes out with the call: the trace context as headers.
"""

from __future__ import annotations

import os
import sys
from _contextvars import ContextVar

from lambdatrace import __version__, propagation
from lambdatrace.records import CLIENT, ERROR, Scope
from lambdatrace.tracing import activate, deactivate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from typing import Any

    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

X_RAY_SDK = "aws_xray_sdk"  # the scope of spans that are its subsegments

_within: ContextVar[bool] = ContextVar("lambdatrace_within_call", default=False)


def scope(library: str) -> Scope:
    """The instrumentation scope of the patch of `library`."""
    return Scope(f"lambdatrace.patches.{library}", __version__)


class Call:
    """A span of a call; between `enter` and `leave` it is the current one."""

    __slots__ = ("_current", "_span_token", "_within_token", "span")

    def __init__(self, current: Telemetry, name: str, scope: Scope, *, kind: int = CLIENT) -> None:
        self._current = current
        self._span_token: Token[Span | None] | None = None
        self._within_token: Token[bool] | None = None
        self.span = current.tracer.start_span(name, kind=kind, scope=scope)

    def enter(self) -> None:
        """The library begins its work."""
        self._span_token = activate(self.span)
        self._within_token = _within.set(True)

    def leave(self) -> None:
        """The library has done its work."""
        if self._within_token is not None and self._span_token is not None:
            _within.reset(self._within_token)  # the same frame has set it
            deactivate(self._span_token)

    def end(self) -> None:
        """End the span."""
        self._current.tracer.end_span(self.span)

    def fail(self, error: BaseException, error_type: str = "") -> None:
        """End the span with `error`; `error_type` where there is a better one than its class."""
        tracer = self._current.tracer
        tracer.record_exception(self.span, error)
        if error_type:
            self.span.set_attribute("error.type", error_type)
        tracer.end_span(self.span)

    def note_status(self, status: Any) -> None:
        """Set the HTTP status code; from 400, a client counts it as an error."""
        if isinstance(status, int):
            self.span.set_attribute("http.response.status_code", int(status))
            if status >= 400:  # noqa: PLR2004 - HTTP semantic conventions, "Status"
                self.span.set_attribute("error.type", str(int(status)))
                self.span.set_status(ERROR)


def is_within_ours() -> bool:
    """Whether a patch of ours has a span for what is called now."""
    return _within.get()


def is_suppressed() -> bool:
    """Whether an exporter of OpenTelemetry's is at work, which nobody wants spans of."""
    return _is_set("_SUPPRESS_INSTRUMENTATION_KEY")


def _is_set(key: str) -> bool:
    """Whether the key that `opentelemetry.context` has under this name is true in its context."""
    context = sys.modules.get("opentelemetry.context")
    name = getattr(context, key, None)
    return context is not None and name is not None and bool(context.get_value(name))


def is_within_call(current: Telemetry, headers: Mapping[Any, Any]) -> bool:
    """Whether a library above has a span for the HTTP request with `headers` made now.

    OpenTelemetry's instrumentors say so with `suppress_http_instrumentation`. The X-Ray SDK's
    patches open a CLIENT subsegment and write its id into the headers; a remote subsegment that
    the user opens is as any span around the call.
    """
    if _within.get() or _is_set("_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
        return True
    span = current.tracer.current_span()
    if span is None or span.kind != CLIENT or span.scope.name != X_RAY_SDK:
        return False
    return any(
        span.span_id in _text(value)
        for key, value in headers.items()
        if _text(key).lower() in _PARENTS
    )


def x_ray_header(current: Telemetry, span: Span) -> str:
    """The `X-Amzn-Trace-Id` that a call goes out with.

    Parent is the span, and Lineage stays, since Lambda finds loops with it. Sampled stays 0 when
    Lambda's own header says so and our spans do not go to X-Ray: a 1 would make the services we
    call record for X-Ray, and it is the account that pays.
    """
    context = span.context
    header = propagation.write_x_ray(context, context.carried.lineage if context.carried else "")
    # With several invocations at a time the variable may be that of another one.
    is_alone = not current.function.is_multi_concurrent
    is_x_rays = current.settings.traces_exporter == "xray"
    if is_alone and not is_x_rays and "Sampled=0" in os.environ.get("_X_AMZN_TRACE_ID", ""):
        return header.replace(";Sampled=1", ";Sampled=0")
    return header


def outgoing(current: Telemetry, span: Span) -> dict[str, str]:
    """The headers of a request within `span`, in the formats of OTEL_PROPAGATORS."""
    carrier: dict[str, str] = {}
    current.tracer.inject(span, carrier)
    if propagation.X_RAY in carrier:
        carrier[propagation.X_RAY] = x_ray_header(current, span)
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

"""The door before `opentelemetry.trace`: our recorder behind the API's own proxy tracers.

The API gives a `ProxyTracer` as long as no provider is set, and each resolves to a no-op until one
is. Here it resolves to ours instead. So nothing is set that a user's own provider would have to
override, which the API does not allow, and `get_tracer_provider` gives what it gives without us.
"""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction  # the API has loaded it

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context.context import Context

from lambdatrace import telemetry
from lambdatrace.guard import let_through
from lambdatrace.otel import context as shared
from lambdatrace.otel.context import SPAN_KEY
from lambdatrace.otel.global_providers import watch
from lambdatrace.otel.proxies import stand_behind
from lambdatrace.otel.spans import OtelSpan, from_otel, read_links
from lambdatrace.otel.values import clean_attributes, clean_name
from lambdatrace.records import INTERNAL, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType, TracebackType
    from typing import Any, TypeVar

    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

    F = TypeVar("F", bound=Callable[..., Any])

_KINDS = {kind: kind.value + 1 for kind in trace.SpanKind}  # OTLP has one more, at 0


def attach(_module: ModuleType) -> None:
    """Stand behind the proxy tracers, those that are and those to come; once."""
    proxy: Any = trace.ProxyTracer
    if stand_behind(proxy, "_tracer", trace.NoOpTracer, _own_tracer):
        shared.share()
        proxy.start_as_current_span = start_as_current_span
        watch(trace, "_set_tracer_provider", "_TRACER_PROVIDER")


def _own_tracer(proxy: Any) -> OwnTracer:
    return OwnTracer(
        read_scope(
            proxy._instrumenting_module_name,
            proxy._instrumenting_library_version,
            proxy._schema_url,
            proxy._attributes,
        )
    )


def read_scope(
    name: str, version: str | None, schema_url: str | None, attributes: Mapping[str, Any] | None
) -> Scope:
    """The instrumentation scope that a tracer, meter or logger was asked for with."""
    return Scope(
        str(name or ""),
        str(version or ""),
        schema_url=str(schema_url or ""),
        attributes=clean_attributes(attributes)[0],
    )


class OwnTracer(trace.Tracer):
    """Starts spans of ours; where lambdatrace is off, what the API's own no-op would."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A span that is a child of the one in `context`, by default the current one."""
        current = telemetry.current()
        if current.is_active:
            record = current.guard.run(
                self._start, current, name, context, kind, attributes, links, start_time
            )
            if record is not None:
                return OtelSpan(
                    record,
                    current.tracer,
                    current.guard,
                    record_exception=record_exception,
                    set_status_on_exception=set_status_on_exception,
                )
        return trace.NoOpTracer().start_span(name, context)

    def _start(
        self,
        current: Telemetry,
        name: str,
        context: Context | None,
        kind: trace.SpanKind,
        attributes: Mapping[str, Any] | None,
        links: Sequence[trace.Link] | None,
        start_time: int | None,
    ) -> Span:
        tracer, run = current.tracer, current.guard.run
        above = (context_api.get_current() if context is None else context).get(SPAN_KEY)
        if type(name) is not str:
            name = run(clean_name, name) or ""
        number = _KINDS.get(kind, INTERNAL)
        # Guarded each by itself: without them the span is still worth having.
        cleaned, dropped = (run(clean_attributes, attributes) or ({}, 0)) if attributes else ({}, 0)
        own_links = (run(read_links, links) or ()) if links else ()
        start_ns = tracer.now_ns() if start_time is None else int(start_time)
        if type(above) is OtelSpan:
            record = tracer.start_span(
                name,
                kind=number,
                attributes=cleaned,
                links=own_links,
                start_ns=start_ns,
                parent=above.record,
                scope=self._scope,
            )
        else:
            parent = above.get_span_context() if isinstance(above, trace.Span) else None
            record = tracer.start_root(
                name,
                from_otel(parent) if parent is not None and parent.is_valid else None,
                None,
                start_ns,
                kind=number,
                attributes=cleaned,
                links=own_links,
                scope=self._scope,
            )
        record.dropped_attributes += dropped
        return record

    def start_as_current_span(  # type: ignore[override]  # a context manager, as the API's is
        self, name: str, *arguments: Any, **keywords: Any
    ) -> CurrentSpan:
        """A context manager around a span; as a decorator, for each call."""
        end_on_exit = keywords.pop("end_on_exit", True)
        return CurrentSpan(lambda: self, (name, *arguments), keywords, end_on_exit=end_on_exit)


def start_as_current_span(
    proxy: Any,
    name: str,
    context: Context | None = None,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Mapping[str, Any] | None = None,
    links: Sequence[trace.Link] | None = None,
    start_time: int | None = None,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
    end_on_exit: bool = True,
) -> CurrentSpan:
    """As the API's, of which it takes the place: a context manager and decorator."""
    arguments = (
        name,
        context,
        kind,
        attributes,
        links,
        start_time,
        record_exception,
        set_status_on_exception,
    )
    return CurrentSpan(lambda: proxy._tracer, arguments, {}, end_on_exit=end_on_exit)


class CurrentSpan:
    """A span around a block, or around each call of a function, `async def` ones too.

    Which tracer starts it is asked when the block begins: a provider may have been set since.
    """

    __slots__ = (
        "_arguments",
        "_end_on_exit",
        "_keywords",
        "_resolve",
        "_span",
        "_theirs",
        "_token",
    )

    def __init__(
        self,
        resolve: Callable[[], trace.Tracer],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        *,
        end_on_exit: bool,
    ) -> None:
        self._resolve = resolve
        self._arguments = arguments
        self._keywords = keywords
        self._end_on_exit = end_on_exit
        self._theirs: Any = None

    def __enter__(self) -> trace.Span:
        tracer = self._resolve()
        if type(tracer) is not OwnTracer:
            keywords = {**self._keywords, "end_on_exit": self._end_on_exit}
            self._theirs = tracer.start_as_current_span(*self._arguments, **keywords)
            span: trace.Span = self._theirs.__enter__()
            return span
        self._span = span = tracer.start_span(*self._arguments, **self._keywords)
        context = Context({**context_api.get_current(), SPAN_KEY: span})
        if type(span) is OtelSpan:
            self._token: Any = shared.attach(context, span.record)
        else:
            self._token = context_api.attach(context)
        return span

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._theirs is not None:
            is_handled: bool | None = self._theirs.__exit__(error_type, error, traceback)
            return is_handled
        try:
            shared.detach(self._token)
        except ValueError as failure:
            # Entered in one context, left in another (a generator closed elsewhere).
            let_through(failure)
        span = self._span
        # As in the API, what is no Exception (GeneratorExit, …) is not an error.
        if isinstance(error, Exception) and type(span) is OtelSpan and not span.record.end_ns:
            span.fail(error)
        if self._end_on_exit:
            span.end()
        return None

    def _again(self) -> CurrentSpan:
        return CurrentSpan(
            self._resolve, self._arguments, self._keywords, end_on_exit=self._end_on_exit
        )

    def __call__(self, function: F) -> F:
        """`function` with a span around each call."""
        around: Any
        if iscoroutinefunction(function):

            @wraps(function)
            async def around(*arguments: Any, **keywords: Any) -> Any:
                with self._again():
                    return await function(*arguments, **keywords)

        else:

            @wraps(function)
            def around(*arguments: Any, **keywords: Any) -> Any:
                with self._again():
                    return function(*arguments, **keywords)

        wrapped: F = around
        return wrapped

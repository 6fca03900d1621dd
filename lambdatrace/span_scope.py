"""What users hold of a span: the scope that opens and ends it, and the handle they set it by."""

from __future__ import annotations

from functools import partial, wraps
from types import CodeType

from lambdatrace.guard import let_through
from lambdatrace.records import ERROR, INTERNAL, OK
from lambdatrace.tracing import CURRENT_SPAN, activate, deactivate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Token
    from types import TracebackType
    from typing import Any, TypeVar

    from lambdatrace.guard import Guard
    from lambdatrace.records import Link, Span
    from lambdatrace.telemetry import Telemetry
    from lambdatrace.tracing import Tracer

    F = TypeVar("F", bound=Callable[..., Any])

# Code flags, as `inspect` names them (CO_GENERATOR, …); importing it costs 3 ms.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200

_NO_TRACE_ID, _NO_SPAN_ID = "0" * 32, "0" * 16


# What nobody can change once it is set.
_UNCHANGING = frozenset((str, int, float, bool, bytes, type(None)))


def _now(value: Any) -> Any:
    from lambdatrace.plain import as_it_is_now  # loaded when there is more than a scalar

    return as_it_is_now(value)


def _text(value: Any) -> str:
    from lambdatrace.plain import text_of  # loaded when somebody gives what is no text

    return text_of(value)


def _all_now(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """`attributes`, with copies of those that their owner may go on to change."""
    if _UNCHANGING.issuperset(map(type, attributes.values())):
        return attributes
    return {key: _now(value) for key, value in attributes.items()}


def code_of(function: Any) -> Any:
    """The code that runs when `function`, of any callable kind, is called; None if unknown."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        # B004: not whether it can be called, but by what.
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    return code if isinstance(code, CodeType) else None


class SpanHandle:
    """What users hold of a span; once it has ended, and where there is none, calls do nothing."""

    __slots__ = ("_guard", "_span", "_tracer")

    def __init__(self, tracer: Tracer, guard: Guard, span: Span | None) -> None:
        self._tracer = tracer
        self._guard = guard
        self._span = span

    def __repr__(self) -> str:
        return repr(self._span) if self._span else "<no span>"

    def _itself(self, *_memo: Any) -> SpanHandle:
        return self

    # A copy of what holds it, a request's state for one, is of the same operation.
    __copy__ = __deepcopy__ = _itself

    def __reduce__(self) -> tuple[Any, ...]:
        from lambdatrace.span_copies import reduced

        return reduced(self._span)

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
            self._guard.run(self._set_attribute, self._span, key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._span is not None:
            self._guard.run(self._set_attributes, self._span, attributes)

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        if self._span is not None:
            text = name if type(name) is str else self._guard.run(_text, name)
            self._guard.run(self._span.update_name, text or "?")

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Record that something happened now."""
        if self._span is not None:
            self._guard.run(self._add_event, self._span, name, attributes)

    def record_exception(self, error: BaseException) -> None:
        """Record `error` as an event and set the ERROR status."""
        if self._span is not None:
            self._guard.run(self._tracer.record_exception, self._span, error)

    def set_error(self, message: str = "") -> None:
        """Set the ERROR status."""
        if self._span is not None:
            text = message if type(message) is str else self._guard.run(_text, message)
            self._guard.run(self._span.set_status, ERROR, text or "")

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

    def _set_attribute(self, span: Span, key: str, value: Any) -> None:
        # In here, so that a key that cannot be one fails within the guard.
        self._tracer.set_attributes(
            span, {key: value if type(value) in _UNCHANGING else _now(value)}
        )

    def _set_attributes(self, span: Span, attributes: Mapping[str, Any]) -> None:
        self._tracer.set_attributes(span, _all_now(attributes))

    def _add_event(self, span: Span, name: str, attributes: Mapping[str, Any] | None) -> None:
        self._tracer.add_event(span, name, {} if attributes is None else _all_now(attributes))


class SpanScope(SpanHandle):
    """`with` opens a span for the block, and is its handle; as a decorator, for each call.

    An async function's span lasts until it returns, a generator's until its last item.
    `recorder` gives whose tracer and guard to use, asked anew at each use.
    """

    __slots__ = (
        "_attributes",
        "_kind",
        "_links",
        "_name",
        "_recorder",
        "_token",
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
        self._span = None
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> SpanHandle:
        # Here and in __exit__ the guard's work without its call: this is done for each span.
        current = self._recorder()
        self._tracer, self._guard = current.tracer, current.guard
        try:
            attributes = self._attributes
            if attributes is not None:
                attributes = _all_now(attributes)
            name = self._name
            if type(name) is not str:
                name = _text(name)
            self._span = span = self._tracer.start_span(
                name, kind=self._kind, attributes=attributes, links=self._links
            )
            self._token = CURRENT_SPAN.set(span)
        except BaseException as error:  # noqa: BLE001 - the guard's own
            self._span = None
            self._guard.take("span", error)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, span = self._token, self._span
        if token is not None:
            self._token = None
            try:
                CURRENT_SPAN.reset(token)
            except ValueError as failure:  # see `deactivate`
                let_through(failure)
        if span is None:
            return
        # GeneratorExit is how a generator is closed early, not a failure.
        if error is not None and not isinstance(error, GeneratorExit):
            self._guard.run(self._tracer.record_exception, span, error)
        try:
            self._tracer.end_span(span)
        except BaseException as failure:  # noqa: BLE001 - the guard's own
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
        around = self._recorder().guard.run(self._around, function)
        return function if around is None else around

    def _around(self, function: F) -> F:
        around: Any
        flags = getattr(code_of(function), "co_flags", 0)
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

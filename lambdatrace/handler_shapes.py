"""Handlers that are not done when they return: coroutines, generators, async generators.

Each stays what it is to whoever calls it and to `inspect`; the invocation lasts from the first
step of its body until it is done or closed.
"""

from __future__ import annotations

from types import AsyncGeneratorType, GeneratorType

from lambdatrace import telemetry
from lambdatrace.generators import trace_async_generator, trace_generator
from lambdatrace.handler import begin, event_and_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from lambdatrace.handler import RunningInvocation

_GENERATOR, _COROUTINE = 0x20, 0x80


def trace(function: Any, code: Any, *, is_captured: bool) -> Callable[..., Any]:
    """`function`, whose `code` makes a coroutine or a generator, with its calls traced."""

    def new_scope(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> InvocationScope:
        event, context = event_and_context(code, arguments, keywords)
        return InvocationScope(event, context, is_captured=is_captured)

    if code.co_flags & _COROUTINE:
        return _trace_coroutine(new_scope, function)
    if code.co_flags & _GENERATOR:
        return trace_generator(new_scope, function)
    return trace_async_generator(new_scope, function)


def finish_later(running: RunningInvocation, result: Any) -> Any:
    """What a plain function returned, as an equal that ends the invocation when it is done."""
    running.suspend()
    scope = InvocationScope(running=running)
    if isinstance(result, GeneratorType):
        around: Any = trace_generator(lambda *_: scope, lambda: result)
    elif isinstance(result, AsyncGeneratorType):
        around = trace_async_generator(lambda *_: scope, lambda: result)
    else:
        around = _trace_coroutine(lambda *_: scope, lambda: result)
    around.__name__, around.__qualname__ = result.__name__, result.__qualname__
    return around()


def _trace_coroutine(
    new_scope: Callable[[tuple[Any, ...], dict[str, Any]], InvocationScope], function: Any
) -> Callable[..., Any]:
    async def around(*arguments: Any, **keywords: Any) -> Any:
        with new_scope(arguments, keywords) as scope:
            scope.note_waiting()
            scope.result = await function(*arguments, **keywords)
        return scope.result

    return around


class InvocationScope:
    """An invocation as a `with` block: begun, or gone on with, at its start and ended with it."""

    __slots__ = ("_context", "_current", "_event", "_is_captured", "_running", "result")

    def __init__(
        self,
        event: Any = None,
        context: Any = None,
        *,
        is_captured: bool = False,
        running: RunningInvocation | None = None,
    ) -> None:
        self._event = event
        self._context = context
        self._is_captured = is_captured
        self._running = running
        self._current = telemetry.current()
        self.result: Any = None

    def __enter__(self) -> InvocationScope:  # noqa: PYI034 - `Self` is of Python 3.11
        if self._running is None:
            self._running = self._current.guard.run(
                begin, self._current, self._event, self._context, is_captured=self._is_captured
            )
        else:
            self.resume()
        self._event = self._context = None
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running = self._running
        if running is None:
            return
        # GeneratorExit is how a generator is closed early, not a failure.
        if error is None or isinstance(error, GeneratorExit):
            self._current.guard.run(running.succeed, self.result)
        else:
            self._current.guard.run(running.fail, error)

    def note_waiting(self) -> None:
        """A coroutine may wait for ever, and the runtime's answer be out: a task left behind."""
        extension = self._current.extension
        if self._running is not None and extension is not None:
            extension.is_suspended = True

    def refuse(self, error: BaseException, error_type: str) -> None:
        """The runtime could not write the answer."""
        if self._running is not None:
            self._running.refuse(error, error_type)

    def suspend(self) -> None:
        """The generator has given an item away."""
        running = self._running
        if running is not None:
            if not running.first_item_ns:
                running.first_item_ns = self._current.clock.time_ns()
            self._current.guard.run(running.suspend)

    def resume(self) -> None:
        """The next item is asked for."""
        if self._running is not None:
            self._current.guard.run(self._running.resume)

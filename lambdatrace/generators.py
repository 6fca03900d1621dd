"""Driving a generator inside a span: open until its last item, current only while its body runs.

What the consumer does between two items is not the generator's work, so the span is suspended
there. `send`, `throw` and `close` reach the generator as if nothing stood between (PEP 342, 525),
and what is made is a generator function again, to whoever asks `inspect`. The span is in a scope: a
context manager with `suspend` and `resume`, made for the arguments and keywords of a call.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import TracebackType
    from typing import Any, Protocol

    class Scope(Protocol):
        """The span around the body of one generator, open while its `with` block is."""

        def __enter__(self) -> Any:
            """Open the span, and make it current."""
            ...

        def __exit__(
            self,
            error_type: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            """Close the span."""
            ...

        def suspend(self) -> None:
            """Make the span no longer current: the consumer has its turn."""
            ...

        def resume(self) -> None:
            """Make the span current again."""
            ...

    NewScope = Callable[[tuple[Any, ...], dict[str, Any]], Scope]


def trace_generator(
    new_scope: NewScope,
    function: Callable[..., Generator[Any, Any, Any]],
) -> Callable[..., Generator[Any, Any, Any]]:
    """`function` with a scope of its own around the body of each generator it makes."""

    def around(*arguments: Any, **keywords: Any) -> Generator[Any, Any, Any]:
        generator = function(*arguments, **keywords)
        scope = new_scope(arguments, keywords)
        with scope:
            resume: Any = generator.send
            value = None
            while True:
                try:
                    item = resume(value)
                except StopIteration as stop:
                    return stop.value
                scope.suspend()
                try:
                    value = yield item
                    resume = generator.send
                except GeneratorExit:
                    scope.resume()
                    generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in: it is the generator's
                    resume, value = generator.throw, error
                scope.resume()

    return around


def trace_async_generator(
    new_scope: NewScope,
    function: Callable[..., AsyncGenerator[Any, Any]],
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """`function` with a scope of its own around the body of each generator it makes."""

    async def around(*arguments: Any, **keywords: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*arguments, **keywords)
        scope = new_scope(arguments, keywords)
        with scope:
            resume: Any = generator.asend
            value = None
            while True:
                try:
                    item = await resume(value)
                except StopAsyncIteration:
                    return
                scope.suspend()
                try:
                    value = yield item
                    resume = generator.asend
                except GeneratorExit:
                    scope.resume()
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown in: it is the generator's
                    resume, value = generator.athrow, error
                scope.resume()

    return around


def unstarted_scope(made: Any) -> Any:
    """The scope that `made`, a generator of ours, would have; None if it has begun or is none.

    For one that nobody is going to ask for an item.
    """
    frame = getattr(made, "gi_frame", None) or getattr(made, "ag_frame", None)
    if frame is None or frame.f_code.co_filename != trace_generator.__code__.co_filename:
        return None
    names = frame.f_locals
    if "scope" in names:
        return None
    return names["new_scope"](names["arguments"], names["keywords"])

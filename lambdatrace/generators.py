"""Driving a generator inside a span: open until its last item, current only while its body runs.

What the consumer does between two items is not the generator's work, so the span is suspended
there. `send`, `throw` and `close` reach the generator as if nothing stood between (PEP 342, 525),
and what is made is a generator function again, to whoever asks `inspect`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any

    from lambdatrace.tracing import SpanScope


def trace_generator(
    new_scope: Callable[[], SpanScope], function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    """`function` with a scope of its own around the body of each generator it makes."""

    def around(*arguments: Any, **keywords: Any) -> Generator[Any, Any, Any]:
        generator = function(*arguments, **keywords)
        scope = new_scope()
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
    new_scope: Callable[[], SpanScope], function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """`function` with a scope of its own around the body of each generator it makes."""

    async def around(*arguments: Any, **keywords: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*arguments, **keywords)
        scope = new_scope()
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

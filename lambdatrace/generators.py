"""Driving a generator inside a span: open until its last item, current only while its body runs.

What the consumer does between two items is not the generator's work, so the span is suspended
there. `send`, `throw` and `close` reach the generator as if nothing stood between (PEP 342, 525).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from typing import Any

    from lambdatrace.tracing import SpanScope


def traced_generator(
    scope: SpanScope, generator: Generator[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """`generator`, with `scope` around its body."""
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


async def traced_async_generator(
    scope: SpanScope, generator: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, Any]:
    """`generator`, with `scope` around its body."""
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

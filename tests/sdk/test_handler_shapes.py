"""What a handler may be, and how long its invocation lasts."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace.records import ERROR, UNSET
from lambdatrace.testing import START_NS, LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from lambdatrace.testing import Recorded

EVENT = {"requestContext": {"http": {"method": "GET"}}, "routeKey": "GET /pets"}
ANSWER = {"statusCode": 200}


def milliseconds(recorded: Recorded, name: str = "GET /pets") -> list[float]:
    """Begin and end of the spans of this name since the recording began, and of first items."""
    (span,) = [span for span in recorded.spans if span.name == name]
    times = [span.start_ns, *(event.time_ns for event in span.events), span.end_ns]
    return [(time - START_NS) / 1e6 for time in times]


def callables(recorded: Recorded) -> dict[str, Callable[..., Any]]:
    """One handler of each kind of callable; all take 5 ms and give back the ANSWER."""

    def plain(event: Any, context: Any) -> Any:
        recorded.clock.advance(5)
        return ANSWER

    def extra(more: Any, event: Any, context: Any) -> Any:
        return plain(event, context)

    class App:
        __slots__ = ()

        def __call__(self, event: Any, context: Any) -> Any:
            return plain(event, context)

        def method(self, event: Any, context: Any) -> Any:
            return plain(event, context)

        @lambdatrace.instrument
        def decorated(self, event: Any, context: Any) -> Any:
            return plain(event, context)

        @lambdatrace.instrument
        @classmethod
        def of_class(cls, event: Any, context: Any) -> Any:
            return plain(event, context)

        @classmethod
        @lambdatrace.instrument
        def of_class_below(cls, event: Any, context: Any) -> Any:
            return plain(event, context)

        @lambdatrace.instrument
        @staticmethod
        def static(event: Any, context: Any) -> Any:
            return plain(event, context)

    return {
        "function": lambdatrace.instrument(plain),
        "lambda": lambdatrace.instrument(lambda event, context: extra("more", event, context)),
        "partial": lambdatrace.instrument(functools.partial(extra, "more")),
        "object": lambdatrace.instrument(App()),
        "bound method": lambdatrace.instrument(App().method),
        "method": App().decorated,
        "class method": App.of_class,
        "class method, decorated below": App.of_class_below,
        "static method": App.static,
        "any arguments": lambdatrace.instrument(lambda *arguments, **keywords: plain(None, None)),
    }


KINDS = [
    *("function", "lambda", "partial", "object", "bound method", "method", "class method"),
    *("class method, decorated below", "static method", "any arguments"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_by_keyword", [False, True])
def test_every_kind_of_callable_is_an_invocation_of_its_event(
    kind: str, *, is_by_keyword: bool
) -> None:
    with recording() as recorded:
        handler = callables(recorded)[kind]
        if is_by_keyword:
            assert handler(event=EVENT, context=LambdaContext()) == ANSWER
        else:
            assert handler(EVENT, LambdaContext()) == ANSWER
        assert milliseconds(recorded) == [0, 5]
        request_id = recorded.span("GET /pets").attributes["faas.invocation_id"]
    assert request_id == LambdaContext().aws_request_id


def test_parameters_may_have_any_names() -> None:
    with recording() as recorded:
        handler: Any = lambdatrace.instrument(lambda e, c: (e, c))
        context = LambdaContext()
        assert handler(c=context, e=EVENT) == (EVENT, context)
        assert handler(EVENT, c=context) == (EVENT, context)
        assert [s.name for s in recorded.spans if s.name == "GET /pets"] == ["GET /pets"] * 2


def test_a_call_with_wrong_arguments_fails_as_it_would_without_us() -> None:
    with recording() as recorded:
        handler: Any = lambdatrace.instrument(lambda: None)
        with pytest.raises(TypeError, match=r"takes 0 positional arguments but 2 were given"):
            handler(EVENT, LambdaContext())
        assert recorded.span("GET /pets").attributes["error.type"] == "TypeError"


def test_a_coroutine_functions_invocation_lasts_until_it_is_done() -> None:
    async def handler(event: Any, context: Any) -> Any:
        """Answer."""
        recorded.clock.advance(5)
        await asyncio.sleep(0)
        with lambdatrace.span("inside"):
            recorded.clock.advance(5)
        return ANSWER

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        assert inspect.iscoroutinefunction(instrumented)
        assert (instrumented.__name__, instrumented.__doc__) == ("handler", "Answer.")
        assert asyncio.run(instrumented(EVENT, LambdaContext())) is ANSWER
        assert milliseconds(recorded) == [0, 10]
        root = recorded.span("GET /pets")
        assert recorded.span("inside").parent is root.context
    assert root.attributes["http.response.status_code"] == 200


def test_a_coroutine_that_a_plain_function_returns_is_the_same() -> None:
    async def work(event: Any) -> Any:
        await asyncio.sleep(0)
        recorded.clock.advance(5)
        return event

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(lambda event, context: work(event))
        coroutine = instrumented(EVENT, LambdaContext())
        assert inspect.iscoroutine(coroutine)
        assert coroutine.__name__ == "work"
        assert asyncio.run(coroutine) is EVENT
        assert milliseconds(recorded) == [0, 5]


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
def test_what_a_coroutine_raises_is_recorded_and_raised_unchanged(error: BaseException) -> None:
    async def handler(event: Any, context: Any) -> None:
        await asyncio.sleep(0)
        raise error

    async def attempt(awaitable: Any) -> BaseException | None:
        try:
            await awaitable
        except BaseException as raised:  # noqa: BLE001 - it is looked at
            return raised
        return None

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        assert asyncio.run(attempt(instrumented(EVENT, LambdaContext()))) is error
        span = recorded.span("GET /pets")
    assert span.status_code == ERROR


def test_a_generators_invocation_lasts_until_its_last_item() -> None:
    def handler(event: Any, context: Any) -> Iterator[int]:
        recorded.clock.advance(5)
        yield 1
        with lambdatrace.span("inside"):
            recorded.clock.advance(5)
        yield 2
        recorded.clock.advance(5)

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        assert inspect.isgeneratorfunction(instrumented)
        items = []
        for item in instrumented(EVENT, LambdaContext()):
            items.append(item)
            recorded.clock.advance(100)
        assert items == [1, 2]
        assert milliseconds(recorded) == [0, 5, 215]
        root = recorded.span("GET /pets")
        assert recorded.span("inside").parent is root.context
    assert [event.name for event in root.events] == ["aws.lambda.response.first_item"]


def test_a_generator_that_a_plain_function_returns_is_the_same() -> None:
    def stream(event: Any) -> Iterator[int]:
        recorded.clock.advance(5)
        yield 1

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(lambda event, context: stream(event))
        assert list(instrumented(EVENT, LambdaContext())) == [1]
        assert milliseconds(recorded) == [0, 5, 5]


def test_an_async_generators_invocation_lasts_until_its_last_item() -> None:
    async def handler(event: Any, context: Any) -> AsyncIterator[int]:
        for number in (1, 2):
            recorded.clock.advance(5)
            await asyncio.sleep(0)
            yield number

    async def consume(items: AsyncIterator[int]) -> list[int]:
        return [item async for item in items]

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        assert inspect.isasyncgenfunction(instrumented)
        assert asyncio.run(consume(instrumented(EVENT, LambdaContext()))) == [1, 2]
        assert milliseconds(recorded) == [0, 5, 10]
        plain: Any = lambdatrace.instrument(lambda event, _: handler(event, None))
        assert asyncio.run(consume(plain({}, LambdaContext()))) == [1, 2]
        assert milliseconds(recorded, "orders") == [10, 15, 20]


def test_what_is_sent_thrown_and_returned_passes_through_a_generator() -> None:
    def handler(event: Any, context: Any) -> Any:
        received = yield "first"
        try:
            yield received
        except KeyError as error:
            yield str(error)
        return "returned"

    with recording() as recorded:
        generator: Any = lambdatrace.instrument(handler)(EVENT, LambdaContext())
        assert next(generator) == "first"
        assert generator.send("sent") == "sent"
        assert generator.throw(KeyError("thrown")) == "'thrown'"
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value == "returned"
        assert recorded.span("GET /pets").status_code == UNSET


def test_a_generator_closed_early_ends_its_invocation_then_and_is_no_error() -> None:
    closed = []

    def handler(event: Any, context: Any) -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    with recording() as recorded:
        generator: Any = lambdatrace.instrument(handler)(EVENT, LambdaContext())
        assert next(generator) == 1
        recorded.clock.advance(5)
        generator.close()
        assert closed == [True]
        assert milliseconds(recorded) == [0, 0, 5]
        assert recorded.span("GET /pets").status_code == UNSET


def test_what_a_generator_raises_is_recorded_and_raised_unchanged() -> None:
    error = ValueError("no")

    def handler(event: Any, context: Any) -> Iterator[int]:
        yield 1
        raise error

    with recording() as recorded:
        with pytest.raises(ValueError, match="no") as raised:
            list(lambdatrace.instrument(handler)(EVENT, LambdaContext()))
        assert raised.value is error
        assert recorded.span("GET /pets").attributes["error.type"] == "ValueError"


def test_a_generator_left_unfinished_ends_when_the_next_invocation_begins() -> None:
    def handler(event: Any, context: Any) -> Iterator[int]:
        yield 1
        yield 2

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        left = instrumented(EVENT, LambdaContext(aws_request_id="1"))
        assert next(left) == 1
        recorded.clock.advance(5)
        assert list(instrumented({}, LambdaContext(aws_request_id="2"))) == [1, 2]
        abandoned = recorded.span("GET /pets")
        assert milliseconds(recorded) == [0, 0, 5]
        assert abandoned.attributes["lambdatrace.incomplete"] is True
        assert list(left) == [2], "and what it still gives is given"
        assert "lambdatrace.incomplete" not in recorded.span("orders").attributes


def test_a_coroutine_left_unfinished_ends_when_the_next_invocation_begins() -> None:
    async def stuck(event: Any, context: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def attempt() -> None:
        task = asyncio.ensure_future(instrumented(EVENT, LambdaContext(aws_request_id="1")))
        await asyncio.sleep(0)
        lambdatrace.instrument(lambda *_: None)({}, LambdaContext(aws_request_id="2"))
        task.cancel()

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(stuck)
        asyncio.run(attempt())
        assert recorded.span("GET /pets").attributes["lambdatrace.incomplete"] is True
        assert recorded.span("orders").end_ns


def test_an_invocation_that_never_takes_its_first_step_is_none() -> None:
    def handler(event: Any, context: Any) -> Iterator[int]:
        yield 1

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        instrumented(EVENT, LambdaContext()).close()
        recorded.telemetry.flush()
        assert recorded.spans == []


def keep(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as others do."""

    @functools.wraps(function)
    def around(event: Any, context: Any) -> Any:
        return function(event, context)

    return around


def test_decorating_above_and_below_the_decorators_of_others_is_one_invocation() -> None:
    with recording() as recorded:

        @lambdatrace.instrument
        @keep
        @lambdatrace.instrument
        @keep
        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> Any:
            return event

        assert handler(EVENT, LambdaContext()) is EVENT
        assert milliseconds(recorded) == [0, 0]
        assert lambdatrace.instrument(handler) is handler


def test_what_cannot_be_decorated_is_left_as_it_is() -> None:
    class Odd:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __call__(self, event: Any, context: Any) -> Any:
            return event

    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        odd = Odd()
        assert lambdatrace.instrument(odd) is odd
        assert recorded.telemetry.guard.failures == 1


def test_what_looks_like_a_function_and_is_none_is_called_as_it_is() -> None:
    class Lookalike:
        __code__ = "no code"
        __name__ = "handler"

        def __call__(self, event: Any, context: Any) -> Any:
            return event

    with recording() as recorded:
        handler: Any = lambdatrace.instrument(Lookalike())
        assert handler(EVENT, context=LambdaContext()) is EVENT
        assert milliseconds(recorded) == [0, 0]

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import defaultdict
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest

import lambdatrace
from lambdatrace.records import ATTRIBUTE_COUNT_MAX, ERROR, OK, UNSET, Span
from lambdatrace.testing import START_NS, LambdaContext, Recorded, SettableClock, recording

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

T = TypeVar("T")


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded


def invoke(function: Callable[[], T]) -> T:
    """Run `function` as the body of a handler."""

    def handler(_event: object, _context: object) -> T:
        return function()

    return lambdatrace.instrument(handler)({}, LambdaContext())


def test_a_list_or_mapping_is_recorded_as_it_was_when_it_was_set(recorded: Recorded) -> None:
    items = ["first"]
    order: defaultdict[str, list[Any]] = defaultdict(list, {"items": items})

    def body() -> None:
        with lambdatrace.span("pay", attributes={"given": items}) as span:
            span.set_attribute("items", items)
            span.set_attributes({"order": order})
            span.add_event("paid", {"items": items})
            items.append("second")
            order["more"].append(1)

    invoke(body)
    span = recorded.span("pay")
    assert span.attributes == {
        "given": ["first"],
        "items": ["first"],
        "order": {"items": ["first"]},
    }
    assert span.events[0].attributes == {"items": ["first"]}


def tree(recorded: Recorded) -> dict[str, str]:
    """Name → name of the parent, without the spans of the init."""
    names = {span.span_id: span.name for span in recorded.spans}
    return {
        span.name: names.get(span.parent.span_id, "?") if span.parent else ""
        for span in recorded.spans
        if not span.name.startswith(("init ", "import "))
    }


def test_spans_nest_as_their_blocks_do(recorded: Recorded) -> None:
    def body() -> None:
        with lambdatrace.span("outer"):
            recorded.clock.advance(2)
            with lambdatrace.span("inner", attributes={"n": 1}) as inner:
                recorded.clock.advance(3)
                assert lambdatrace.current_span().span_id == inner.span_id
        with lambdatrace.span("second"):
            pass

    invoke(body)
    assert tree(recorded) == {
        "inner": "outer",
        "outer": "orders",
        "second": "orders",
        "orders": "",
    }
    inner = recorded.span("inner")
    assert (inner.start_ns - START_NS, inner.end_ns - START_NS) == (2_000_000, 5_000_000)
    assert inner.attributes == {"n": 1}


def test_an_exception_is_recorded_and_goes_on_unchanged(recorded: Recorded) -> None:
    error = KeyError("cart")

    def body() -> None:
        with lambdatrace.span("load"):
            raise error

    with pytest.raises(KeyError) as raised:
        invoke(body)
    assert raised.value is error
    for name in ("load", "orders"):
        span = recorded.span(name)
        assert (span.status_code, span.status_message) == (ERROR, "'cart'")
        assert span.attributes["error.type"] == "KeyError"
        (event,) = span.events
        assert event.name == "exception"
        assert event.attributes["exception.type"] == "KeyError"
        assert event.attributes["exception.message"] == "'cart'"
        assert "KeyError: 'cart'" in str(event.attributes["exception.stacktrace"])


def test_a_decorated_function_keeps_its_name_arguments_and_result(recorded: Recorded) -> None:
    @lambdatrace.span("add up")
    def add(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    @lambdatrace.span
    def plain() -> str:
        return "plain"

    assert invoke(lambda: (add(1, b=2), plain())) == (3, "plain")
    assert (add.__name__, add.__doc__) == ("add", "Add.")
    assert tree(recorded) == {"add up": "orders", plain.__qualname__: "orders", "orders": ""}


def test_a_coroutines_span_lasts_until_it_returns(recorded: Recorded) -> None:
    @lambdatrace.span("wait")
    async def wait(name: str) -> str:
        with lambdatrace.span(name):
            await asyncio.sleep(0)
            recorded.clock.advance(1)
            await asyncio.sleep(0)
        return name

    async def both() -> list[str]:
        return list(await asyncio.gather(wait("a"), wait("b")))

    assert invoke(lambda: asyncio.run(both())) == ["a", "b"]
    waits = {span.span_id: span for span in recorded.spans if span.name == "wait"}
    parents = [recorded.span(name).parent for name in ("a", "b")]
    assert {parent.span_id for parent in parents if parent} == set(waits)
    assert all(span.end_ns > span.start_ns for span in waits.values())


def test_the_span_of_a_partial_or_of_an_object_that_is_called_lasts_until_it_returns(
    recorded: Recorded,
) -> None:
    async def pause(milliseconds: int) -> int:
        await asyncio.sleep(0)
        recorded.clock.advance(milliseconds)
        return milliseconds

    class Pause:
        async def __call__(self, milliseconds: int) -> int:
            return await pause(milliseconds)

    functions: dict[str, Callable[[], Any]] = {
        "partial": partial(partial(pause), 7),
        "object": partial(Pause(), 7),
        "method": partial(Pause().__call__, 7),
    }
    for name, function in functions.items():
        around = lambdatrace.span(name)(function)
        assert inspect.iscoroutinefunction(around)
        assert invoke(lambda around=around: asyncio.run(around())) == 7  # type: ignore[misc]
        span = recorded.span(name)
        assert span.end_ns - span.start_ns == 7_000_000


def test_a_generators_span_lasts_until_its_last_item_and_is_current_only_inside_it(
    recorded: Recorded,
) -> None:
    @lambdatrace.span("rows")
    def rows() -> Generator[int, str, str]:
        with lambdatrace.span("read"):
            pass
        said = yield 1
        assert said == "more"
        try:
            yield 2
        except ValueError:
            recorded.clock.advance(4)
        return "end"

    def body() -> str:
        generator = rows()
        assert next(generator) == 1
        with lambdatrace.span("consume"):
            pass
        assert generator.send("more") == 2
        with pytest.raises(StopIteration) as stopped:
            generator.throw(ValueError())
        return str(stopped.value.value)

    assert invoke(body) == "end"
    assert tree(recorded) == {"read": "rows", "consume": "orders", "rows": "orders", "orders": ""}
    span = recorded.span("rows")
    assert (span.end_ns - span.start_ns, span.status_code) == (4_000_000, 0)


def test_a_generator_closed_early_is_no_failure(recorded: Recorded) -> None:
    closed = []

    @lambdatrace.span("rows")
    def rows() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            closed.append(True)

    def body() -> None:
        generator = rows()
        next(generator)
        generator.close()

    invoke(body)
    assert closed == [True]
    assert recorded.span("rows").status_code == 0


def test_an_async_generator_keeps_its_protocol(recorded: Recorded) -> None:
    @lambdatrace.span("pages")
    async def pages() -> AsyncGenerator[int, str]:
        said = yield 1
        assert said == "more"
        try:
            yield 2
        except ValueError:
            yield 3

    async def body() -> list[int]:
        generator = pages()
        items = [await anext(generator)]
        with lambdatrace.span("consume"):
            pass
        items += [await generator.asend("more"), await generator.athrow(ValueError())]
        await generator.aclose()
        return items

    assert invoke(lambda: asyncio.run(body())) == [1, 2, 3]
    assert tree(recorded) == {"consume": "orders", "pages": "orders", "orders": ""}
    assert recorded.span("pages").status_code == 0


def test_what_is_decorated_is_to_inspect_what_it_was() -> None:
    @lambdatrace.span("g")
    def generator() -> Iterator[int]:
        yield 1

    @lambdatrace.span("a")
    async def async_generator() -> AsyncGenerator[int, None]:
        yield 1

    @lambdatrace.span("c")
    async def coroutine() -> None: ...

    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert inspect.iscoroutinefunction(coroutine)


def test_a_stack_trace_keeps_the_innermost_frames_of_a_recursion(recorded: Recorded) -> None:
    def sink(depth: int) -> None:
        if depth:
            sink(depth - 1)
        raise RecursionError("too deep")

    with pytest.raises(RecursionError):
        invoke(lambda: sink(200))
    text = str(recorded.span("orders").events[0].attributes["exception.stacktrace"])
    assert text.endswith("RecursionError: too deep\n")
    assert text.count("in sink") <= 64


def test_a_span_started_in_a_thread_belongs_to_the_invocation(recorded: Recorded) -> None:
    def work() -> None:
        with lambdatrace.span("in thread"):
            pass

    def body() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    invoke(body)
    assert tree(recorded) == {"in thread": "orders", "orders": ""}


def test_a_span_left_open_when_the_handler_returns_is_closed_and_marked_incomplete(
    recorded: Recorded,
) -> None:
    left = lambdatrace.span("left")
    invoke(left.__enter__)
    span = recorded.span("left")
    assert span.attributes == {"lambdatrace.incomplete": True}
    assert span.end_ns
    left.__exit__(None, None, None)
    assert len([span for span in recorded.spans if span.name == "left"]) == 1


def test_what_is_set_after_the_end_is_ignored(recorded: Recorded) -> None:
    def body() -> None:
        with lambdatrace.span("short") as span:
            span.update_name("done")
            span.add_event("said", {"a": 1})
            span.set_ok()
        assert not span.is_recording
        span.set_attribute("late", 1)
        span.set_attributes({"late": 1})
        span.update_name("late")
        span.add_event("late")
        span.set_error("late")
        span.record_exception(ValueError())

    invoke(body)
    span = recorded.span("done")
    assert (span.attributes, [event.name for event in span.events], span.status_code) == (
        {},
        ["said"],
        OK,
    )


def test_attributes_beyond_the_limit_are_dropped_and_counted(recorded: Recorded) -> None:
    def body() -> None:
        with lambdatrace.span("many") as span:
            for number in range(ATTRIBUTE_COUNT_MAX + 2):
                span.set_attribute(f"a{number}", number)
            span.set_attribute("a0", "again")

    invoke(body)
    span: Span = recorded.span("many")
    assert (len(span.attributes), span.dropped_attributes, span.attributes["a0"]) == (
        ATTRIBUTE_COUNT_MAX,
        2,
        "again",
    )


def test_a_span_writes_its_context_for_what_it_calls(recorded: Recorded) -> None:
    def body() -> dict[str, str]:
        with lambdatrace.span("call") as span:
            return span.inject({"other": "kept"})

    carrier = invoke(body)
    span = recorded.span("call")
    assert carrier == {
        "other": "kept",
        "traceparent": f"00-{span.trace_id}-{span.span_id}-01",
        "X-Amzn-Trace-Id": (
            f"Root=1-{span.trace_id[:8]}-{span.trace_id[8:]};Parent={span.span_id};Sampled=1"
        ),
    }


def test_outside_of_any_span_the_current_one_does_nothing(recorded: Recorded) -> None:
    span = lambdatrace.current_span()
    span.set_attribute("a", 1)
    span.add_event("e")
    span.record_exception(ValueError())
    assert (span.trace_id, span.span_id, span.is_recording, span.inject()) == (
        "0" * 32,
        "0" * 16,
        False,
        {},
    )
    assert recorded.spans == []


def test_a_trace_that_is_not_sampled_records_nothing_and_passes_its_context_on() -> None:
    with recording({"OTEL_TRACES_SAMPLER": "always_off"}) as recorded:

        def body() -> str:
            with lambdatrace.span("call") as span:
                assert not span.is_recording
                return span.inject()["traceparent"]

        assert invoke(body).endswith("-00")
        assert recorded.spans == []


def test_a_name_or_message_that_is_no_text_is_taken_as_its_text() -> None:
    with recording() as recorded:

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> None:
            odd: Any = 5
            with lambdatrace.span(odd) as span:
                span.set_error(cast("Any", ValueError("no")))
            with lambdatrace.span("other") as span:
                span.update_name(cast("Any", None))

        handler({}, LambdaContext())
        assert recorded.span("5").status_message == "no"
        assert recorded.span("None").end_ns


def test_an_error_of_the_handler_is_not_one_of_what_a_thread_of_its_own_does() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with lambdatrace.span("beside"):
            begun.set()
            may_end.wait(10)

    with recording() as recorded:

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> None:
            threading.Thread(target=copy_context().run, args=(work,)).start()
            begun.wait(10)
            raise KeyError("no")

        with pytest.raises(KeyError):
            handler({}, LambdaContext())
        may_end.set()
        beside = recorded.span("beside")
        assert (beside.status_code, beside.events) == (UNSET, [])
        assert recorded.span("orders").status_code == ERROR


def test_a_span_that_two_threads_end_at_once_is_sent_once() -> None:
    with recording() as recorded:
        tracer = recorded.telemetry.tracer
        clock_read = threading.Barrier(2, timeout=10)
        now_ns = recorded.clock.time_ns()

        class Clock(SettableClock):
            def time_ns(self) -> int:
                clock_read.wait()  # both have seen the span open by then
                return now_ns

        span = tracer.start_span("ended twice")
        tracer._clock = Clock()
        threads = [threading.Thread(target=tracer.end_span, args=(span,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(recorded.telemetry.buffer) == 1


def test_a_span_shows_its_name_its_ids_and_its_state() -> None:
    with recording() as recorded:
        assert repr(lambdatrace.current_span()) == "<no span>"

        def handler(_event: Any, _context: Any) -> list[str]:
            with lambdatrace.span("charge card") as span:
                recorded.clock.advance(1.5)
                shown = repr(span)
                span.set_error()
            return [shown, repr(span)]

        shown = lambdatrace.instrument(handler)({}, LambdaContext())
        ids = f"{1:032x}:{2:016x}"
        assert shown == [
            f"<Span 'charge card' {ids}, open>",
            f"<Span 'charge card' {ids}, 1.500 ms, ERROR>",
        ]
        assert repr(recorded.span("charge card")) == shown[1]

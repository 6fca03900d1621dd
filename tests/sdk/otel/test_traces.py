from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import baggage, propagate, trace
from opentelemetry import context as context_api
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

import lambdatrace
from lambdatrace.patches.calls import outgoing
from lambdatrace.records import ATTRIBUTE_COUNT_MAX, EVENT_COUNT_MAX, LINK_COUNT_MAX
from lambdatrace.testing import LambdaContext, Recorded, recording
from lambdatrace.tracing import activate, deactivate
from lambdatrace.wire.otlp_protobuf import span_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

T = TypeVar("T")

EARLY = trace.get_tracer("early")
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
REMOTE = SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), True, TraceFlags(1))


def invoke(function: Callable[[], T], context: LambdaContext | None = None) -> T:
    """Run `function` as the body of a handler."""

    def handler(_event: object, _context: object) -> T:
        return function()

    return lambdatrace.instrument(handler)({}, context or LambdaContext())


def tree(recorded: Recorded) -> dict[str, str]:
    """Name → name of the parent, without the spans of the init."""
    names = {span.span_id: span.name for span in recorded.spans}
    return {
        span.name: names.get(span.parent.span_id, span.parent.span_id) if span.parent else ""
        for span in recorded.spans
        if span.name not in ("init orders", "import app")
    }


def test_spans_of_both_apis_are_one_tree(recorded: Recorded) -> None:
    tracer = trace.get_tracer("mine", "1.0")

    def work() -> None:
        with tracer.start_as_current_span("otel 1"), lambdatrace.span("own 2"):
            with tracer.start_as_current_span("otel 3"), lambdatrace.span("own 4"):
                EARLY.start_span("otel 5").end()
            with lambdatrace.span("own 3"):
                pass
        with lambdatrace.span("own 1"), tracer.start_as_current_span("otel 2"):
            pass
        tracer.start_span("otel 1b").end()

    invoke(work)
    assert tree(recorded) == {
        "otel 5": "own 4",
        "own 4": "otel 3",
        "otel 3": "own 2",
        "own 3": "own 2",
        "own 2": "otel 1",
        "otel 1": "orders",
        "otel 2": "own 1",
        "own 1": "orders",
        "otel 1b": "orders",
        "orders": "",
    }
    assert recorded.span("otel 1").scope.name == "mine"
    assert recorded.span("otel 5").scope.name == "early"


def test_each_api_sees_the_others_current_span(recorded: Recorded) -> None:
    tracer = trace.get_tracer("mine")

    def id_there() -> str:
        return f"{trace.get_current_span().get_span_context().span_id:016x}"

    def work() -> None:
        assert id_there() == lambdatrace.current_span().span_id
        with lambdatrace.span("own") as own:
            assert id_there() == own.span_id
            assert trace.get_current_span() is trace.get_current_span()
            trace.get_current_span().set_attribute("from", "otel")
            with tracer.start_as_current_span("otel") as otel:
                assert trace.get_current_span() is otel
                assert lambdatrace.current_span().span_id == id_there()
                lambdatrace.current_span().set_attribute("from", "lambdatrace")
            assert id_there() == own.span_id
        trace.get_current_span().set_attribute("of", "the invocation")

    invoke(work)
    assert recorded.span("own").attributes == {"from": "otel"}
    assert recorded.span("otel").attributes == {"from": "lambdatrace"}
    assert recorded.span("orders").attributes["of"] == "the invocation"


def test_what_the_api_holds_of_a_span_of_ours_is_let_go_of_when_that_ends(
    recorded: Recorded,
) -> None:
    def work() -> list[weakref.ref[trace.Span]]:
        held = []
        for _ in range(3):
            with lambdatrace.span("own"):
                assert trace.get_current_span() is trace.get_current_span()
                held.append(weakref.ref(trace.get_current_span()))
        return held

    assert [ref() for ref in work()] == [None, None, None]  # outside of any invocation
    assert [ref() for ref in invoke(work)] == [None, None, None]
    # One that was left open at init is the next invocation's, and is closed with it.
    token = activate(recorded.telemetry.tracer.start_span("left open"))
    held = trace.get_current_span()
    assert invoke(trace.get_current_span) is held
    deactivate(token)
    ref = weakref.ref(held)
    del held
    assert ref() is None


def test_outside_of_any_span_there_is_none(recorded: Recorded) -> None:
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert context_api.get_current() == {}


def test_contexts_are_attached_and_detached(recorded: Recorded) -> None:
    def work() -> None:
        with lambdatrace.span("own") as own:
            token = context_api.attach(trace.set_span_in_context(NonRecordingSpan(REMOTE)))
            assert lambdatrace.current_span().span_id == SPAN_ID
            assert not lambdatrace.current_span().is_recording
            with lambdatrace.span("below the remote one"):
                pass
            context_api.detach(token)
            assert lambdatrace.current_span().span_id == own.span_id
            token = context_api.attach(Context())
            assert trace.get_current_span() is trace.INVALID_SPAN
            EARLY.start_span("root").end()
            context_api.detach(token)
            with trace.use_span(trace.get_current_span()), lambdatrace.span("child"):
                pass

    invoke(work)
    assert tree(recorded) == {
        "below the remote one": SPAN_ID,
        "root": "",
        "child": "own",
        "own": "orders",
        "orders": "",
    }
    assert recorded.span("below the remote one").trace_id == TRACE_ID


def test_values_in_a_context_stay_beside_our_spans(recorded: Recorded) -> None:
    def work() -> None:
        context_api.attach(baggage.set_baggage("user", "7"))
        with lambdatrace.span("own"):
            assert baggage.get_baggage("user") == "7"
            headers: dict[str, str] = {}
            propagate.inject(headers)
            assert headers["baggage"] == "user=7"

    invoke(work)


def test_what_one_invocation_leaves_attached_is_not_in_the_next(recorded: Recorded) -> None:
    def leave() -> None:
        context = trace.set_span_in_context(NonRecordingSpan(REMOTE))
        context_api.attach(baggage.set_baggage("user", "7", context))

    def work() -> None:
        assert baggage.get_all() == {}
        with lambdatrace.span("own"):
            EARLY.start_span("otel").end()

    invoke(leave)
    invoke(work, LambdaContext(aws_request_id="2"))
    assert recorded.span("own").parent is recorded.spans[-1].context
    assert tree(recorded)["otel"] == "own"


def test_what_is_attached_at_init_stays_for_all_invocations(recorded: Recorded) -> None:
    token = context_api.attach(baggage.set_baggage("region", "eu"))

    def work() -> None:
        assert baggage.get_all() == {"region": "eu"}
        EARLY.start_span("otel").end()

    invoke(work)
    context_api.detach(token)
    assert tree(recorded)["otel"] == "orders"


def test_tasks_of_asyncio_have_their_own_current_span(recorded: Recorded) -> None:
    tracer = trace.get_tracer("mine")

    @tracer.start_as_current_span("decorated")
    async def step(name: str) -> None:
        with tracer.start_as_current_span(name):
            await asyncio.sleep(0)
            with lambdatrace.span(f"{name} own"):
                await asyncio.sleep(0)
                EARLY.start_span(f"{name} inner").end()

    async def work() -> None:
        with tracer.start_as_current_span("all"):
            await asyncio.gather(step("a"), step("b"))

    invoke(lambda: asyncio.run(work()))
    found = tree(recorded)
    for name in ("a", "b"):
        assert (found[f"{name} inner"], found[f"{name} own"]) == (f"{name} own", name)
        assert found[name] == "decorated"
    parents = {s.parent.span_id for s in recorded.spans if s.name == "decorated" and s.parent}
    assert parents == {recorded.span("all").span_id}


def test_a_thread_is_below_the_invocation_or_in_the_context_it_is_given(
    recorded: Recorded,
) -> None:
    def work() -> None:
        with EARLY.start_as_current_span("outer"):
            given = context_api.get_current()

            def alone() -> None:
                EARLY.start_span("alone").end()

            def in_context() -> None:
                token = context_api.attach(given)
                EARLY.start_span("otel in context").end()
                with lambdatrace.span("own in context"):
                    pass
                context_api.detach(token)

            for target in (alone, in_context):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()

    invoke(work)
    assert tree(recorded) == {
        "alone": "orders",
        "otel in context": "outer",
        "own in context": "outer",
        "outer": "orders",
        "orders": "",
    }


def test_a_generator_closed_in_another_context_ends_its_span(recorded: Recorded) -> None:
    async def items() -> Any:
        with EARLY.start_as_current_span("items"):
            yield 1
            yield 2

    async def work() -> None:
        async for _ in items():
            break

    invoke(lambda: asyncio.run(work()))
    assert tree(recorded) == {"items": "orders", "orders": ""}


def test_the_global_propagator_reads_and_writes_our_spans(recorded: Recorded) -> None:
    def work() -> dict[str, str]:
        incoming = propagate.extract({"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"})
        with EARLY.start_as_current_span("continued", context=incoming), lambdatrace.span("own"):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            return headers

    headers = invoke(work)
    own = recorded.span("own")
    assert headers == {"traceparent": f"00-{TRACE_ID}-{own.span_id}-01"}
    assert tree(recorded)["continued"] == SPAN_ID


def test_baggage_that_came_with_the_invocation_is_in_the_context(recorded: Recorded) -> None:
    carrier = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "baggage": "user=7"}
    event = {"version": "2.0", "requestContext": {"http": {}}, "headers": carrier}

    @lambdatrace.instrument
    def handler(_event: object, _context: object) -> Any:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return [baggage.get_all(), headers["baggage"]]

    assert handler(event, LambdaContext()) == [{"user": "7"}, "user=7"]


def test_our_own_headers_have_the_baggage_of_opentelemetrys_current_context(
    recorded: Recorded,
) -> None:
    came = "user=7;of=shop,b=%C3%A4"
    carrier = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "baggage": came}
    event = {"version": "2.0", "requestContext": {"http": {}}, "headers": carrier}
    found: list[str | None] = []

    def note() -> None:
        with lambdatrace.span("own") as own:
            headers = own.inject()
            span = recorded.telemetry.tracer.current_span()
            assert span is not None
            assert outgoing(recorded.telemetry, span)["traceparent"] == headers["traceparent"]
            assert outgoing(recorded.telemetry, span).get("baggage") == headers.get("baggage")
            found.append(headers.get("baggage"))

    @lambdatrace.instrument
    def handler(_event: object, _context: object) -> None:
        note()
        for context in (
            baggage.set_baggage("user", "42"),
            baggage.remove_baggage("user"),
            baggage.clear(),
        ):
            token = context_api.attach(context)
            note()
            context_api.detach(token)
        note()

    handler(event, LambdaContext())
    assert found == [came, "user=42,b=%C3%A4", "b=%C3%A4", None, came]
    context_api.attach(baggage.set_baggage("user", "8", Context()))
    note()
    assert found[-1] == "user=8"


def test_the_propagators_that_are_set_decide_whether_baggage_goes_out() -> None:
    def work() -> dict[str, str]:
        context_api.attach(baggage.set_baggage("user", "42"))
        return lambdatrace.current_span().inject()

    with recording({"OTEL_PROPAGATORS": "tracecontext"}):
        assert list(invoke(work)) == ["traceparent"]


def test_the_first_stay_where_there_are_too_many(recorded: Recorded) -> None:
    # OpenTelemetry's specification, and our own spans; its Python SDK keeps the last instead.
    span = EARLY.start_span("full")
    for number in range(200):
        span.set_attribute(f"key {number}", number)
        span.add_event(f"event {number}")
        span.add_link(REMOTE, {"number": number})
    span.end()
    recorded.telemetry.flush()
    (found,) = recorded.spans
    assert list(found.attributes) == [f"key {n}" for n in range(ATTRIBUTE_COUNT_MAX)]
    assert [event.name for event in found.events] == [f"event {n}" for n in range(EVENT_COUNT_MAX)]
    assert [link.attributes["number"] for link in found.links] == list(range(LINK_COUNT_MAX))
    assert (found.dropped_attributes, found.dropped_events, found.dropped_links) == (72, 72, 72)


def test_a_trace_that_is_not_sampled_says_so_and_is_not_sent() -> None:
    with recording({"OTEL_TRACES_SAMPLER": "always_off"}) as recorded:

        def work() -> None:
            with EARLY.start_as_current_span("a") as span:
                assert not span.is_recording()
                assert span.get_span_context().is_valid
                assert not span.get_span_context().trace_flags.sampled

        invoke(work)
    assert recorded.spans == []


def test_what_a_handler_leaves_open_is_closed_and_marked(recorded: Recorded) -> None:
    invoke(lambda: EARLY.start_span("open"))
    assert recorded.span("open").attributes == {"lambdatrace.incomplete": True}


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_values_that_fail_cost_the_span_nothing_else_and_the_caller_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile: Any = Hostile()
    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        with EARLY.start_as_current_span(
            "a", attributes={"bad": hostile}, links=hostile, kind=hostile
        ) as span:
            span.set_attribute("bad", hostile)
            span.set_attributes(hostile)
            span.add_event("bad", {"bad": hostile})
            span.set_status(hostile)
            span.record_exception(hostile)
            span.update_name(hostile)
            span.set_attribute("good", 1)
        EARLY.start_span("b", links=[Link(hostile)], start_time=hostile).end(hostile)
        recorded.telemetry.flush()
    assert recorded.span("a").attributes == {"good": 1}
    assert "[lambdatrace]" in capsys.readouterr().err


def test_a_span_without_a_name_is_sent(recorded: Recorded) -> None:
    nothing: Any = None
    EARLY.start_span(nothing).end()
    number: Any = 7
    EARLY.start_span(number).end()
    with EARLY.start_as_current_span("a") as span:
        span.update_name(nothing)
    recorded.telemetry.flush()
    encoder = span_encoder({}, recorded.telemetry.guard.report)
    assert [span.name for span in recorded.spans] == ["", "7", ""]
    assert encoder.encode(recorded.spans)[1] == 0, "all of them can be encoded"


def test_a_provider_that_is_set_later_takes_our_place(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    tracer = trace.get_tracer("mine")

    @tracer.start_as_current_span("decorated before")
    def decorated() -> trace.Span:
        return trace.get_current_span()

    assert type(decorated()).__module__ == "lambdatrace.otel.spans"
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    assert trace.get_tracer_provider() is provider
    for span in (tracer.start_span("a"), EARLY.start_span("b"), decorated()):
        assert type(span).__module__ == "opentelemetry.sdk.trace"
    with tracer.start_as_current_span("c", end_on_exit=False) as span:
        assert type(span).__module__ == "opentelemetry.sdk.trace"
    assert caplog.messages == []


def test_the_provider_that_the_environment_names_takes_our_place(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider")
    assert isinstance(trace.get_tracer_provider(), TracerProvider)
    assert type(trace.get_tracer("mine").start_span("a")).__module__ == "opentelemetry.sdk.trace"


def test_switched_off_the_api_does_what_it_does_without_us() -> None:
    with recording({"OTEL_SDK_DISABLED": "true"}) as recorded:
        assert type(trace.get_tracer("mine").start_span("a")) is NonRecordingSpan
        with trace.get_tracer("mine").start_as_current_span("b") as span:
            assert span is trace.INVALID_SPAN
    assert recorded.spans == []

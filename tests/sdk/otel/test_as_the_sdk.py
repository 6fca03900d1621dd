"""The same calls on our tracer and on the real SDK's give the same spans."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceFlags, Tracer, TraceState

from lambdatrace.testing import recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import lambdatrace.records

    Program = Callable[[Tracer], None]

REMOTE = trace.SpanContext(
    0xA0B0C0D0, 0xE0F0, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "1")])
)
UNSAMPLED = trace.SpanContext(0xA0B0C0D0, 0xE0F0, True, TraceFlags(0))
AUTOMATIC_NS = 1_000_000_000_000_000_000  # programs give times before this


class Colour(enum.Enum):
    RED = "red"


class Speechless:
    """Has no text of its own."""


class Spoken:
    def __str__(self) -> str:
        return "spoken"


def kinds(tracer: Tracer) -> None:
    for kind in SpanKind:
        tracer.start_span(kind.name, kind=kind).end()


def nested(tracer: Tracer) -> None:
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("middle"):
        tracer.start_span("inner").end()
        with tracer.start_span("not current"):
            tracer.start_span("inner as well").end()


def times(tracer: Tracer) -> None:
    tracer.start_span("given", start_time=1_000).end(2_000)
    span = tracer.start_span("events", start_time=1_000)
    span.add_event("early", timestamp=1_100)
    span.add_event("late", {"a": 1}, 1_200)
    span.end(end_time=1_500)
    span.end(end_time=9_999)


def attributes(tracer: Tracer) -> None:
    values: list[Any] = [1, 2]
    given: dict[str, Any] = {
        "str": "s",
        "bool": True,
        "int": 1,
        "float": 1.5,
        "bytes": b"\x00",
        "none": None,
        "list": values,
        "tuple": ("a", "b"),
        "nested": {"a": [{"b": (1, None)}]},
        "mixed": [1, "a", None],
        "set": {1},
        "enum": Colour.RED,
        "speechless": Speechless(),
        "spoken": Spoken(),
        "long": 1 << 80,
    }
    span = tracer.start_span("attributes", attributes=given)
    values.append(3)
    span.set_attribute("str", "other")
    span.set_attribute("list too", values)
    values.append(4)
    spoken: list[Any] = [Spoken()]
    span.set_attributes({"a": 1, "b": spoken})
    span.end()
    span.set_attribute("late", 1)
    span.set_attributes({"late": 1})


def bad_keys(tracer: Tracer) -> None:
    given: Any = {"": 1, None: 2, 3: "three", Speechless(): 4}
    span: Any = tracer.start_span("bad keys", attributes=given)
    span.set_attribute("", 1)
    span.set_attribute(None, 1)
    span.set_attribute(7, 1)
    span.set_attributes({"": 1, "good": 2})
    span.add_event("event", {"": 1, "good": 2}, 1)
    span.end()


def links(tracer: Tracer) -> None:
    span = tracer.start_span(
        "links",
        links=[
            Link(REMOTE, {"why": "because", "": 1}),
            Link(trace.INVALID_SPAN_CONTEXT),
            Link(trace.INVALID_SPAN_CONTEXT, {"but": "said"}),
            Link(UNSAMPLED),
        ],
    )
    span.add_link(REMOTE, {"n": 2})
    span.add_link(trace.INVALID_SPAN_CONTEXT)
    span.end()
    span.add_link(REMOTE)


def statuses(tracer: Tracer) -> None:
    changes: dict[str, list[Status]] = {
        "error": [Status(StatusCode.ERROR, "why")],
        "ok is final": [Status(StatusCode.OK), Status(StatusCode.ERROR, "late")],
        "unset changes nothing": [Status(StatusCode.ERROR, "why"), Status(StatusCode.UNSET)],
        "error, then ok": [Status(StatusCode.ERROR, "why"), Status(StatusCode.OK)],
        "error twice": [Status(StatusCode.ERROR, "one"), Status(StatusCode.ERROR, "two")],
        "ok twice": [Status(StatusCode.OK), Status(StatusCode.OK)],
    }
    for name, given in changes.items():
        with tracer.start_span(name) as span:
            for status in given:
                span.set_status(status)
    with tracer.start_span("code and description") as span:
        span.set_status(StatusCode.ERROR, "why")
    with tracer.start_span("ok and description") as span:
        span.set_status(StatusCode.OK, "why")
    span.set_status(StatusCode.ERROR)


def fail(what: str = "no") -> None:
    raise ValueError(what)


def fail_after_ok(tracer: Tracer) -> None:
    with tracer.start_as_current_span("inner") as span:
        span.set_status(StatusCode.OK)
        fail()


def exceptions(tracer: Tracer) -> None:
    with tracer.start_span("recorded") as span:
        try:
            fail()
        except ValueError as error:
            span.record_exception(error)
            span.record_exception(error, {"exception.message": "mine", "a": 1}, 1_000, True)
    span.record_exception(ValueError("late"))
    settings: list[dict[str, Any]] = [{}, {"record_exception": False}]
    for flags in (*settings, {"set_status_on_exception": False}):
        with pytest.raises(ValueError, match="no"), tracer.start_span(f"block {flags}", **flags):
            fail()
        with (
            pytest.raises(ValueError, match="no"),
            tracer.start_as_current_span(f"current {flags}", **flags),
        ):
            fail()
    with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("outer"):
        fail_after_ok(tracer)
    with (
        pytest.raises(KeyboardInterrupt),
        tracer.start_as_current_span("current, no Exception"),
        tracer.start_span("block, no Exception"),
    ):
        raise KeyboardInterrupt


def names(tracer: Tracer) -> None:
    span = tracer.start_span("before")
    span.update_name("after")
    span.end()
    span.update_name("late")
    nothing: Any = None
    with tracer.start_as_current_span(nothing):
        pass
    other: Any = tracer.start_span("named none")
    other.update_name(nothing)
    other.end()


def contexts(tracer: Tracer) -> None:
    remote = trace.set_span_in_context(trace.NonRecordingSpan(REMOTE))
    tracer.start_span("remote parent", context=remote).end()
    with tracer.start_as_current_span("current", context=remote):
        tracer.start_span("child").end()
        tracer.start_span("root", context=Context()).end()
        token = context_api.attach(Context())
        tracer.start_span("root as well").end()
        context_api.detach(token)
        tracer.start_span("child again").end()
    with trace.use_span(trace.NonRecordingSpan(REMOTE)):
        tracer.start_span("in a remote span").end()
    with trace.use_span(trace.INVALID_SPAN):
        tracer.start_span("in no span").end()
    tracer.start_span("unsampled", trace.set_span_in_context(trace.NonRecordingSpan(UNSAMPLED)))
    span = tracer.start_span("kept open")
    with trace.use_span(span):
        tracer.start_span("within").end()
    assert span.is_recording()
    with trace.use_span(span, end_on_exit=True):
        pass
    assert not span.is_recording()
    with tracer.start_as_current_span("left open", end_on_exit=False) as span:
        pass
    assert span.is_recording()
    span.end()
    with pytest.raises(ValueError, match="no"), trace.use_span(tracer.start_span("used"), True):
        fail()


def decorators(tracer: Tracer) -> None:
    @tracer.start_as_current_span("decorated", attributes={"a": 1})
    def add(one: int, two: int) -> int:
        tracer.start_span("in it").end()
        return one + two

    assert [add(1, 2), add(1, two=3)] == [3, 4]


def reading(tracer: Tracer) -> None:
    """What the SDK's spans have beyond the API, and contrib instrumentors read."""
    remote = trace.set_span_in_context(trace.NonRecordingSpan(REMOTE))
    links = [Link(REMOTE, {"l": 1})]
    span: Any = tracer.start_span(
        "read", remote, SpanKind.CLIENT, attributes={"a": 1}, links=links, start_time=1_000
    )
    span.add_event("event", {"e": 1}, 1_100)
    span.set_status(Status(StatusCode.ERROR, "why"))
    assert (span.name, span.kind, span.attributes) == ("read", SpanKind.CLIENT, {"a": 1})
    assert (span.context, span.parent) == (span.get_span_context(), REMOTE)
    (event,), (link,) = span.events, span.links
    assert (event.name, event.timestamp, event.attributes) == ("event", 1_100, {"e": 1})
    assert (link.context, link.attributes) == (REMOTE, {"l": 1})
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "why")
    assert (span.start_time, span.end_time) == (1_000, None)
    span.end(2_000)
    assert span.end_time == 2_000


def too_many(tracer: Tracer) -> None:
    given: dict[str, Any] = {"": 0, **{str(number): number for number in range(130)}}
    span = tracer.start_span("too many", links=[Link(REMOTE, given)])
    span.add_event("event", given, 1_000)
    span.end()


PROGRAMS: list[Program] = [
    *(kinds, nested, times, attributes, bad_keys, links, statuses, exceptions, names, contexts),
    *(decorators, reading, too_many),
]


def run_on_the_sdk(program: Program) -> list[dict[str, Any]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    program(provider.get_tracer("scope", "1.2", "https://schema", {"k": "v"}))
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context}
    return [theirs(span, names) for span in spans]


def run_on_ours(program: Program) -> list[dict[str, Any]]:
    with recording() as recorded:
        program(
            trace.get_tracer("scope", "1.2", schema_url="https://schema", attributes={"k": "v"})
        )
        recorded.telemetry.flush()
        names = {span.span_id: span.name for span in recorded.spans}
        return [ours(span, names) for span in recorded.spans]


def theirs(span: ReadableSpan, names: dict[int, str]) -> dict[str, Any]:
    context, parent, scope = span.context, span.parent, span.instrumentation_scope
    assert context is not None
    assert scope is not None
    return {
        "name": span.name or "",  # as OTLP has it
        "kind": span.kind.value + 1,
        "parent": parent and names.get(parent.span_id, f"{parent.span_id:016x}"),
        "is in the parent's trace": parent and parent.trace_id == context.trace_id,
        "parent is remote": parent and parent.is_remote,
        "is sampled": context.trace_flags.sampled,
        "state": context.trace_state.to_header(),
        "start": time(span.start_time),
        "end": time(span.end_time),
        "attributes": dict(span.attributes or {}),
        "events": [
            (
                event.name,
                time(event.timestamp),
                event.dropped_attributes,
                of_event(event.attributes),
            )
            for event in span.events
        ],
        "links": [
            (
                link.context.span_id,
                link.context.trace_flags.sampled,
                link.dropped_attributes,
                first(link.attributes),
            )
            for link in span.links
        ],
        "status": (span.status.status_code.value, span.status.description or ""),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": (scope.name, scope.version, scope.schema_url, dict(scope.attributes or {})),
    }


def ours(span: lambdatrace.records.Span, names: dict[str, str]) -> dict[str, Any]:
    context, parent, scope = span.context, span.parent, span.scope
    return {
        "name": span.name,
        "kind": span.kind,
        "parent": parent and names.get(parent.span_id, parent.span_id),
        "is in the parent's trace": parent and parent.trace_id == context.trace_id,
        "parent is remote": parent and parent.is_remote,
        "is sampled": context.is_sampled,
        "state": context.trace_state,
        "start": time(span.start_ns),
        "end": time(span.end_ns),
        "attributes": span.attributes,
        "events": [
            (event.name, time(event.time_ns), event.dropped_attributes, of_event(event.attributes))
            for event in span.events
        ],
        "links": [
            (
                int(link.context.span_id, 16),
                link.context.is_sampled,
                link.dropped_attributes,
                first(link.attributes),
            )
            for link in span.links
        ],
        "status": (span.status_code, span.status_message),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": (scope.name, scope.version, scope.schema_url, scope.attributes),
    }


def first(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes; of as many as may be, their number, since the SDK keeps other ones."""
    found = dict(given or {})
    return found if len(found) < 128 else {"count": len(found)}


def of_event(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a stack trace the ends: between them the SDK's has lines of its own code."""
    found = first(given)
    trace_lines = str(found.get("exception.stacktrace", "")).splitlines()
    if trace_lines:
        found["exception.stacktrace"] = [trace_lines[0], *trace_lines[-3:]]
    return found


def time(given_ns: int | None) -> int | str:
    assert given_ns is not None
    return given_ns if given_ns < AUTOMATIC_NS else "now"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_gives_the_spans_that_the_sdk_would_give(program: Program) -> None:
    expected, found = run_on_the_sdk(program), run_on_ours(program)
    assert expected
    assert found == expected

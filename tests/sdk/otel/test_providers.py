from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

import lambdatrace
import lambdatrace.otel
from lambdatrace.errors import SendError
from lambdatrace.testing import LambdaContext, MemorySink, Recorded, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambdatrace.records import Span

NEVER_MS = 3_600_000  # by itself the batch processor would export after an hour
REMOTE = SpanContext(0xA1, 0xB2, True, TraceFlags(1))


def batching(exporter: SpanExporter, **options: Any) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=NEVER_MS))
    return provider


def invoke(function: Callable[[], object], *, remaining_time_ms: int = 3000) -> None:
    def handler(_event: object, _context: object) -> None:
        function()

    lambdatrace.instrument(handler)({}, LambdaContext(remaining_time_ms=remaining_time_ms))


def tree(spans: Sequence[ReadableSpan]) -> dict[str, str]:
    """Name → name of the parent, without the spans of the init."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {
        span.name: names.get(span.parent.span_id, "?") if span.parent else ""
        for span in spans
        if span.name not in ("init orders", "import app")
    }


def test_our_spans_and_theirs_are_one_trace_in_their_exporter(recorded: Recorded) -> None:
    exporter = InMemorySpanExporter()
    provider = batching(exporter, resource=Resource({"service.name": "mine", "team": "a"}))
    trace.set_tracer_provider(provider)

    def work() -> None:
        with lambdatrace.span("own 1"), trace.get_tracer("t").start_as_current_span("sdk 2"):
            with lambdatrace.span("own 3"):
                trace.get_tracer("t").start_span("sdk 4").end()
            lambdatrace.current_span().set_attribute("set by", "lambdatrace")
            lambdatrace.current_span().record_exception(ValueError("no"))

    invoke(work)
    spans = exporter.get_finished_spans()
    assert tree(spans) == {
        "sdk 4": "own 3",
        "own 3": "sdk 2",
        "sdk 2": "own 1",
        "own 1": "orders",
        "orders": "",
    }
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert recorded.spans == [], "and not to our own exporter as well"
    (theirs,) = [span for span in spans if span.name == "sdk 2"]
    assert theirs.attributes == {"set by": "lambdatrace", "error.type": "ValueError"}
    assert [event.name for event in theirs.events] == ["exception"]
    assert (theirs.status.status_code, theirs.status.description) == (StatusCode.ERROR, "no")
    (own,) = [span for span in spans if span.name == "orders"]
    resource = dict(own.resource.attributes)
    assert (resource["service.name"], resource["team"]) == ("mine", "a")
    assert (resource["faas.name"], resource["cloud.provider"]) == ("orders", "aws")


def test_a_span_of_ours_reaches_their_exporter_whole(recorded: Recorded) -> None:
    exporter = InMemorySpanExporter()
    tracer = trace.get_tracer("mine", "1.0", schema_url="https://s", attributes={"k": "v"})
    span = tracer.start_span(
        "whole",
        kind=SpanKind.CLIENT,
        attributes={"a": [1, 2], "b": b"\x00"},
        links=[Link(REMOTE, {"l": 1})],
        start_time=1_000,
    )
    for number in range(130):
        span.add_event("event", {"n": number}, 1_500)
        span.add_link(REMOTE)
    span.set_attributes({str(number): number for number in range(130)})
    span.set_status(Status(StatusCode.ERROR, "why"))
    span.end(2_000)
    lambdatrace.otel.instrument(batching(exporter))
    recorded.telemetry.flush()
    (found,) = exporter.get_finished_spans()
    attributes, scope = dict(found.attributes or {}), found.instrumentation_scope
    assert (found.name, found.kind) == ("whole", SpanKind.CLIENT)
    assert (attributes["a"], attributes["b"]) == ((1, 2), b"\x00")
    assert (found.start_time, found.end_time) == (1_000, 2_000)
    assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, "why")
    assert (len(found.events), found.events[0].attributes) == (128, {"n": 0})
    assert (found.links[0].context, found.links[0].attributes) == (REMOTE, {"l": 1})
    assert (found.dropped_attributes, found.dropped_events, found.dropped_links) == (4, 2, 3)
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == ("mine", "1.0", "https://s")


def test_spans_of_a_provider_that_exports_nowhere_go_where_ours_go(recorded: Recorded) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)

    def work() -> None:
        with provider.get_tracer("t", "1.0").start_as_current_span("sdk", kind=SpanKind.CLIENT):
            with lambdatrace.span("own"):
                pass
            with pytest.raises(ValueError, match="no"), trace.get_tracer("t").start_span("failed"):
                raise ValueError("no")

    invoke(work)
    names = {span.span_id: span.name for span in recorded.spans}
    parents = {span.name: span.parent and names[span.parent.span_id] for span in recorded.spans}
    assert (parents["sdk"], parents["own"], parents["failed"]) == ("orders", "sdk", "sdk")
    sdk, failed = recorded.span("sdk"), recorded.span("failed")
    assert (sdk.kind, sdk.scope.name, sdk.scope.version) == (3, "t", "1.0")
    assert (failed.status_code, failed.status_message) == (2, "ValueError: no")
    assert failed.events[0].attributes["exception.type"] == "ValueError"


def test_all_three_kinds_of_provider_are_flushed_after_each_invocation(
    recorded: Recorded,
) -> None:
    exported: list[str] = []

    class Reader(InMemoryMetricReader):
        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            exported.append("metrics")
            return super().force_flush(timeout_millis)

    class Other(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            assert 0 < timeout_millis <= 10_000
            exported.append("traces")
            return True

    metrics.set_meter_provider(MeterProvider([Reader()], shutdown_on_exit=False))
    lambdatrace.otel.instrument(Other(shutdown_on_exit=False))
    invoke(lambda: None)
    invoke(lambda: None)
    assert sorted(exported) == ["metrics", "metrics", "traces", "traces"]


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_provider_that_was_made_without_a_service_name_is_told_of_once(
    name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording():
        for _ in range(2):
            resource = Resource.create({"service.name": name} if name else {})
            lambdatrace.otel.instrument(TracerProvider(resource=resource, shutdown_on_exit=False))
    hint = (
        "[lambdatrace] your TracerProvider has no service.name: set OTEL_SERVICE_NAME, or give it "
        "Resource.create({'service.name': …}) (said once)\n"
    )
    assert capsys.readouterr().err == ("" if name else hint)


class HangingExporter(SpanExporter):
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_hanging = threading.Event()
        self.exported: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_hanging.set()
        assert self.gate.wait(20)
        self.exported += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_an_exporter_that_hangs_is_waited_for_in_bounded_time_and_gets_all_of_it_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exporter = HangingExporter()
    with recording() as recorded:
        trace.set_tracer_provider(batching(exporter))
        invoke(lambda: trace.get_tracer("t").start_span("first").end(), remaining_time_ms=200)
        assert exporter.is_hanging.is_set()
        assert exporter.exported == [], "the answer did not wait for it"
        invoke(lambda: trace.get_tracer("t").start_span("second").end(), remaining_time_ms=200)
        exporter.gate.set()
        recorded.clock.advance(60_000)
        assert recorded.telemetry.flush()
    names = [span.name for span in exporter.exported if not span.name.startswith(("in", "im"))]
    assert sorted(names) == ["first", "orders", "orders", "second"]
    assert "TracerProvider.force_flush: took too long" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [False, RuntimeError("no")])
def test_a_flush_that_fails_is_one_and_is_not_tried_again_at_once(
    answer: Exception | bool, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    class Failing(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            calls.append(timeout_millis)
            if isinstance(answer, Exception):
                raise answer
            return answer

    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        lambdatrace.otel.instrument(Failing(shutdown_on_exit=False))
        assert not recorded.telemetry.flush()
        assert not recorded.telemetry.flush()
        assert len(calls) == 1
        recorded.clock.advance(60_000)
        assert not recorded.telemetry.flush()
    assert len(calls) == 2
    assert "Failing.force_flush: it failed: it is tried again later" in capsys.readouterr().err


class Refusing(TracerProvider):
    """Cannot flush, until told so."""

    can_flush = False

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return super().force_flush(timeout_millis) and self.can_flush


def test_beyond_what_may_wait_for_their_provider_spans_wait_with_us_and_then_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exporter, provider = InMemorySpanExporter(), Refusing(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def sent() -> list[str]:
        return [span.name for span in exporter.get_finished_spans()]

    with recording({"OTEL_BSP_MAX_QUEUE_SIZE": "3"}) as recorded:
        lambdatrace.otel.instrument(provider)
        assert not recorded.telemetry.flush()
        for name in "abcdefgh":
            with lambdatrace.span(name):
                pass
            assert not recorded.telemetry.flush()
        traces = recorded.telemetry.delivery.statistics()["traces"]
        assert (traces["sent"], traces["waiting"], traces["dropped"]["buffer_full"]) == (3, 3, 2)
        assert sent() == []
        recorded.clock.advance(60_000)
        provider.can_flush = True
        recorded.telemetry.flush()
        assert recorded.telemetry.flush()
    assert sent() == ["a", "b", "c", "f", "g", "h"]
    error = capsys.readouterr().err
    assert "spans could not be sent and wait: the provider has not been flushed" in error
    assert "the buffer of spans was full: 1 dropped" in error


def test_a_processor_that_fails_costs_the_others_no_span() -> None:
    class Failing(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError(span.name)

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Failing())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        lambdatrace.otel.instrument(provider)
        for name in ("a", "b"):
            with lambdatrace.span(name):
                pass
        assert recorded.telemetry.flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["a", "b"]


@pytest.mark.parametrize("is_exporting", [True, False])
def test_before_a_timeout_open_spans_of_both_are_sent_as_they_are(
    recorded: Recorded, is_exporting: bool
) -> None:
    exporter = InMemorySpanExporter()
    provider = batching(exporter) if is_exporting else TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    telemetry = recorded.telemetry

    def found() -> list[tuple[str, str, Any]]:
        theirs = [
            (span.name, span.status.description or "", dict(span.attributes or {}))
            for span in exporter.get_finished_spans()
        ]
        spans: list[Span] = recorded.spans
        return theirs + [(span.name, span.status_message, span.attributes) for span in spans]

    def work() -> None:
        with trace.get_tracer("t").start_as_current_span("sdk"), lambdatrace.span("own"):
            telemetry.invocation_times_out(telemetry.clock.time_ns() + 10**9)
            statuses = {name: status for name, status, _ in found() if name in ("sdk", "own")}
            message = "the invocation was about to time out"
            assert statuses == {"sdk": message, "own": message}
            for _, _, attributes in found():
                assert attributes.get("error.type", "Sandbox.Timedout") == "Sandbox.Timedout"

    invoke(work)
    names = [name for name, _, _ in found()]
    assert (names.count("sdk"), names.count("own")) == (2, 2), "and complete, if it ends in time"


@pytest.mark.parametrize("is_exporting", [True, False])
def test_what_still_waits_since_time_ran_out_gives_way_to_the_whole_span(
    is_exporting: bool,
) -> None:
    exporter, provider = InMemorySpanExporter(), Refusing(shutdown_on_exit=False)
    if is_exporting:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = MemorySink([SendError("no")])
    with recording(sink=sink) as recorded:
        telemetry = recorded.telemetry
        trace.set_tracer_provider(provider)

        def work() -> None:
            telemetry.flush()  # fails, and what comes now waits
            with trace.get_tracer("t").start_as_current_span("sdk"), lambdatrace.span("own"):
                telemetry.invocation_times_out(telemetry.clock.time_ns() + 10**9)
                assert not any(s.name in ("sdk", "own") for s in exporter.get_finished_spans())
                assert recorded.spans == []

        telemetry.buffer.append(telemetry.tracer.start_span("before"))
        invoke(work)
        recorded.clock.advance(60_000)
        telemetry.flush()
    found = [(span.name, span.status.status_code.value) for span in exporter.get_finished_spans()]
    found += [(span.name, span.status_code) for span in recorded.spans]
    assert sorted(pair for pair in found if pair[0] in ("sdk", "own")) == [("own", 0), ("sdk", 0)]


def test_a_provider_that_is_no_sdks_is_left_alone(recorded: Recorded) -> None:
    trace.set_tracer_provider(trace.NoOpTracerProvider())
    lambdatrace.otel.instrument(object(), None)
    invoke(lambda: None)
    assert recorded.span("orders").name == "orders"
    assert recorded.telemetry.providers is None


def test_switched_off_a_provider_is_left_alone() -> None:
    with recording({"LAMBDATRACE_ENABLED": "false"}) as recorded:
        provider = TracerProvider(shutdown_on_exit=False)
        lambdatrace.otel.instrument(provider)
        assert recorded.telemetry.providers is None

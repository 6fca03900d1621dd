"""Several invocations at a time in one process: threads, tasks, and what a thread can know."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace import telemetry
from lambdatrace.guard import Guard
from lambdatrace.handler import begin
from lambdatrace.records import SERVER
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

MULTI_CONCURRENT = {
    **ENVIRONMENT,
    "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
    "AWS_LAMBDA_MAX_CONCURRENCY": "16",
    "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
}
X_RAY = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@contextmanager
def installed(environment: dict[str, str]) -> Iterator[MemorySink]:
    """The real clock and ids, which several threads may use; what is sent stays in memory."""
    sink = MemorySink()
    before = telemetry.installed()
    telemetry.install(Telemetry(environment, sink=sink, guard=Guard(is_strict=True)))
    try:
        yield sink
    finally:
        telemetry.install(before)


def ignore(event: Any, context: Any) -> None:
    """Handle nothing."""


class Context(LambdaContext):
    """The context of invocation `number`, of a trace and a tenant of its own."""

    def __init__(self, number: int) -> None:
        traceparent = f"00-{number:032x}-{number:016x}-01"
        super().__init__(
            aws_request_id=f"request-{number}",
            w3c={"traceparent": traceparent},
            tenant_id=f"tenant-{number}",
        )


def test_invocations_in_sixteen_threads_keep_to_themselves() -> None:
    count = 10_000

    def handler(event: dict[str, int], context: Any) -> int:
        lambdatrace.current_span().set_attribute("seen", event["number"])
        with lambdatrace.span("outer", attributes={"number": event["number"]}):
            if event["number"] % 7 == 0:
                threading.Event().wait(0.0002)  # give the interpreter to the others
            with lambdatrace.span("inner", attributes={"number": event["number"]}):
                pass
        return event["number"]

    with installed(MULTI_CONCURRENT) as sink:
        instrumented = lambdatrace.instrument(handler)

        def invoke(number: int) -> int:
            return instrumented({"number": number}, Context(number))

        with ThreadPoolExecutor(16) as threads:
            assert list(threads.map(invoke, range(1, count + 1))) == list(range(1, count + 1))
        telemetry.current().flush()

    roots = [span for span in sink.spans if span.kind == SERVER]
    assert sorted(int(span.trace_id, 16) for span in roots) == list(range(1, count + 1))
    for span in roots:
        number = int(span.trace_id, 16)
        assert span.attributes["faas.invocation_id"] == f"request-{number}"
        assert span.attributes["aws.lambda.tenant_id"] == f"tenant-{number}"
        assert span.attributes["seen"] == number
        assert "lambdatrace.incomplete" not in span.attributes
    root_ids = {span.trace_id: span.span_id for span in roots}
    outer = {span.trace_id: span for span in sink.spans if span.name == "outer"}
    inner = {span.trace_id: span for span in sink.spans if span.name == "inner"}
    assert len(outer) == len(inner) == count
    for trace_id, span in outer.items():
        assert (
            span.attributes["number"] == int(trace_id, 16) == inner[trace_id].attributes["number"]
        )
        assert span.parent is not None
        assert span.parent.span_id == root_ids[trace_id]
        assert inner[trace_id].parent is span.context
    names = Counter(span.name for span in sink.spans)
    assert names == {"orders": count, "outer": count, "inner": count} | {
        "init orders": 1,
        "import app": 1,
    }


def test_metrics_of_invocations_at_the_same_time_carry_their_own_request_ids(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def handler(event: int, context: Any) -> None:
        lambdatrace.metric("Number", event)
        threading.Event().wait(0.0005)
        if event % 2:
            lambdatrace.flush()
        lambdatrace.metric("Twice", 2 * event)

    with installed(MULTI_CONCURRENT):
        instrumented = lambdatrace.instrument(handler)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda number: instrumented(number, Context(number)), range(1, 401)))
    values: dict[str, dict[str, float]] = {}
    for line in capsys.readouterr().out.splitlines():
        document = json.loads(line)
        assert document["traceId"] == f"{int(document['requestId'][8:]):032x}"
        found = values.setdefault(document["requestId"], {})
        found.update({name: document[name] for name in ("Number", "Twice") if name in document})
    assert values == {
        f"request-{number}": {"Number": number, "Twice": 2 * number} for number in range(1, 401)
    }


def test_invocations_in_tasks_of_one_loop_keep_to_themselves() -> None:
    async def serve(number: int) -> None:
        running = begin(telemetry.current(), {}, Context(number))
        assert running is not None
        with lambdatrace.span(f"before {number}"):
            await asyncio.sleep(0.01)  # the others begin
        with lambdatrace.span(f"after {number}"):
            assert lambdatrace.current_span().trace_id == f"{number:032x}"
        running.succeed(None)

    async def serve_all() -> None:
        await asyncio.gather(*(serve(number) for number in (1, 2, 3)))

    with installed(MULTI_CONCURRENT) as sink:
        asyncio.run(serve_all())
        telemetry.current().flush()
    found = sorted(
        (int(span.trace_id, 16), span.name) for span in sink.spans if "init" not in span.name
    )
    assert [pair for pair in found if "import" not in pair[1]] == [
        (number, name)
        for number in (1, 2, 3)
        for name in (f"after {number}", f"before {number}", "orders")
    ]


def test_threads_that_ask_first_for_the_invocations_span_at_the_same_time_open_one() -> None:
    both_ask = threading.Barrier(2)

    class Asked(LambdaContext):
        def w3c(self) -> dict[str, str]:
            both_ask.wait(10)
            return {}

    def handler(event: Any, context: Any) -> set[str]:
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(lambda: lambdatrace.current_span().span_id) for _ in range(2)]
        return {each.result() for each in asked}

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(handler)
        assert instrumented({}, Asked()) == {f"{1:016x}"}
        assert recorded.span("orders").span_id == f"{1:016x}"
        # Then came those of the init; the second thread has taken none.
        assert recorded.telemetry.ids.span_id() == f"{4:016x}"


def test_a_thread_started_by_the_handler_finds_the_invocation_where_one_runs_at_a_time() -> None:
    def work() -> None:
        with lambdatrace.span("in a thread"):
            pass

    def handler(event: Any, context: Any) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    with installed(ENVIRONMENT) as sink:
        lambdatrace.instrument(handler)({}, Context(1))
    (root,) = [span for span in sink.spans if span.name == "orders"]
    (child,) = [span for span in sink.spans if span.name == "in a thread"]
    assert child.parent is root.context


def test_a_thread_that_knows_of_no_invocation_makes_a_trace_of_its_own_where_several_run() -> None:
    both_run = threading.Barrier(2)

    def work() -> None:
        with lambdatrace.span("in a thread"):
            pass

    def handler(event: Any, context: Any) -> None:
        both_run.wait(10)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        both_run.wait(10)

    with installed(MULTI_CONCURRENT) as sink:
        instrumented = lambdatrace.instrument(handler)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda number: instrumented({}, Context(number)), (1, 2)))
        telemetry.current().flush()
    found = [span for span in sink.spans if span.name == "in a thread"]
    assert [span.parent for span in found] == [None, None]
    assert len({span.trace_id for span in found}) == 2


def test_a_span_left_open_is_closed_with_its_own_invocation() -> None:
    both_run = threading.Barrier(2)

    def handler(event: Any, context: Any) -> None:
        lambdatrace.span(f"left by {event}").__enter__()
        both_run.wait(10)
        if event == "first":
            return
        first_is_over.wait(10)
        assert lambdatrace.current_span().is_recording

    first_is_over = threading.Event()
    with installed(MULTI_CONCURRENT) as sink:
        instrumented: Any = lambdatrace.instrument(handler)
        second = threading.Thread(target=instrumented, args=("second", Context(2)))
        second.start()
        instrumented("first", Context(1))
        assert [span.name for span in sink.spans if "left" in span.name] == ["left by first"]
        first_is_over.set()
        second.join(10)
    left = {span.name: int(span.trace_id, 16) for span in sink.spans if "left" in span.name}
    assert left == {"left by first": 1, "left by second": 2}


@pytest.mark.parametrize(
    ("is_main_thread", "own_header", "trace_id"),
    [
        (True, None, "5759e988bd862e3fe1be46a994272793"),
        (False, None, None),
        (False, X_RAY.replace("5759", "6759"), "6759e988bd862e3fe1be46a994272793"),
    ],
)
def test_the_trace_header_is_the_contexts_and_in_a_thread_never_the_variables(
    is_main_thread: bool,
    own_header: str | None,
    trace_id: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", X_RAY)
    context: Any = LambdaContext()
    if own_header is not None:
        context.xray_trace_id = own_header
    with installed(MULTI_CONCURRENT) as sink:
        instrumented = lambdatrace.instrument(ignore)
        if is_main_thread:
            instrumented({}, context)
        else:
            thread = threading.Thread(target=instrumented, args=({}, context))
            thread.start()
            thread.join()
    (root,) = [span for span in sink.spans if span.name == "orders"]
    assert (root.trace_id == trace_id) is (trace_id is not None)
    assert (root.parent is not None) is (trace_id is not None)


def test_managed_instances_are_no_cold_start() -> None:
    with installed(MULTI_CONCURRENT) as sink:
        lambdatrace.instrument(ignore)({}, Context(1))
    (root,) = [span for span in sink.spans if span.name == "orders"]
    assert root.attributes["faas.coldstart"] is False


def test_a_span_left_open_before_the_first_invocation_is_closed_with_it() -> None:
    with installed(ENVIRONMENT) as sink:
        lambdatrace.span("left in init").__enter__()
        lambdatrace.instrument(ignore)({}, Context(1))
        assert len(telemetry.current().tracer.open_spans) == 0
    (span,) = [span for span in sink.spans if span.name == "left in init"]
    assert span.attributes == {"lambdatrace.incomplete": True}


def test_a_fork_within_an_invocation_leaves_it_to_the_parent() -> None:
    def handler(event: Any, context: Any) -> int:
        lambdatrace.current_span().set_attribute("seen", value=True)
        child = os.fork()
        if not child:
            current = telemetry.current()
            current.forget_parent()
            os._exit(len(current.tracer.open_spans) + (current.running is not None))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with installed(ENVIRONMENT):
        assert lambdatrace.instrument(handler)({}, Context(1)) == 0

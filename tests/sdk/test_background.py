from __future__ import annotations

import _thread
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import lambdatrace
from lambdatrace import background, telemetry
from lambdatrace.background import BackgroundSender
from lambdatrace.guard import Guard
from lambdatrace.sinks import Outcome
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, LambdaContext, MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from lambdatrace.records import Span

WAIT_S = 10.0
FAR_S = 3600.0
MANAGED = {
    **ENVIRONMENT,
    "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
    "AWS_LAMBDA_MAX_CONCURRENCY": "16",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens, and nobody asks
}


class ArrivingSink(MemorySink):
    """Tells of each batch in `batches`; answers once `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: queue.Queue[list[str]] = queue.Queue()
        self.gate = threading.Event()
        self.gate.set()

    def send(self, spans: list[Span], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        outcome = super().send(spans, timeout_s, meanwhile)
        self.batches.put([span.name for span in spans])
        assert self.gate.wait(WAIT_S)
        return outcome


def ignore(event: Any, context: Any) -> None:
    """Handle nothing."""


def managed(sink: MemorySink, **environment: str) -> Telemetry:
    return Telemetry({**MANAGED, **environment}, sink=sink, guard=Guard(is_strict=True))


def test_it_sends_at_once_after_a_pause_and_then_once_an_interval() -> None:
    sends: queue.Queue[float] = queue.Queue()
    sender = BackgroundSender(sends.put, FAR_S, Guard(is_strict=True))
    sender._sent_s = -FAR_S
    assert sender.start()
    sender.wake(is_urgent=False)
    sends.get(timeout=WAIT_S)
    sender.wake(is_urgent=False)
    sender.wake(is_urgent=False)
    try:
        sends.get(timeout=0.1)
    except queue.Empty:
        pass
    else:
        raise AssertionError("within the interval it waits")
    sender.wake(is_urgent=True)
    sends.get(timeout=WAIT_S)


def test_without_a_thread_the_send_stands_before_the_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    sink, reports = ArrivingSink(), list[str]()
    before = telemetry.installed()
    telemetry.install(Telemetry(MANAGED, sink=sink, guard=Guard(write=reports.append)))
    try:
        lambdatrace.instrument(ignore)({}, LambdaContext())
        assert "orders" in sink.batches.get_nowait()
    finally:
        telemetry.install(before)
    assert reports == [
        "spans are sent before the response: RuntimeError: can't start new thread (said once)"
    ]


def test_no_response_waits_for_a_send(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ArrivingSink()
    sink.gate.clear()
    before = telemetry.installed()
    telemetry.install(managed(sink))
    try:
        handler = lambdatrace.instrument(ignore)
        handler({}, LambdaContext())
        assert sink.batches.get(timeout=WAIT_S) == ["import app", "init orders", "orders"]
        for _ in range(3):
            handler({}, LambdaContext())  # the first send is still under way
        sink.gate.set()
        assert sink.batches.get(timeout=WAIT_S) == ["orders"] * 3
    finally:
        telemetry.install(before)
    assert capsys.readouterr().err == (
        "[lambdatrace] several invocations at a time: spans are sent in the background\n"
    )


def test_what_a_slow_endpoint_leaves_behind_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry, "ENDED_COUNT_MAX", 5)
    sink = ArrivingSink()
    sink.gate.clear()
    before = telemetry.installed()
    current = managed(sink)
    telemetry.install(current)
    try:
        handler = lambdatrace.instrument(ignore)
        handler({}, LambdaContext())
        sink.batches.get(timeout=WAIT_S)
        for _ in range(20):
            handler({}, LambdaContext())
            assert len(current.ended) <= 6
        sink.gate.set()
    finally:
        telemetry.install(before)


def test_a_worker_forked_after_the_import_sends_for_itself() -> None:
    before = telemetry.installed()
    reader, writer = os.pipe()

    class PipeSink(MemorySink):
        def send(
            self, spans: list[Span], timeout_s: float, meanwhile: Callable[[], None]
        ) -> Outcome:
            os.write(writer, b"".join(f"{span.name}\n".encode() for span in spans))
            return Outcome(is_accepted=True)

    current = managed(PipeSink(), OTEL_BSP_SCHEDULE_DELAY="10")
    telemetry.install(current)
    try:
        handler = lambdatrace.instrument(ignore)
        child = os.fork()
        if not child:
            current.forget_parent()
            handler({}, LambdaContext())
            threading.Event().wait(0.5)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            assert pipe.read() == "import app\ninit orders\norders\n"
        assert os.waitpid(child, 0)[1] == 0
    finally:
        telemetry.install(before)


def test_invocations_in_many_threads_are_sent_once_each_by_one_thread() -> None:
    count = 3_000
    sink = ArrivingSink()
    before = telemetry.installed()
    current = managed(sink, OTEL_BSP_SCHEDULE_DELAY="20", OTEL_BSP_MAX_QUEUE_SIZE="100000")
    telemetry.install(current)
    try:
        handler = lambdatrace.instrument(ignore)

        def invoke(number: int) -> None:
            handler({}, LambdaContext(aws_request_id=f"request-{number}"))

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(invoke, range(count)))
        arrived = 0
        while arrived < count + 2:
            arrived += len(sink.batches.get(timeout=WAIT_S))
        current.flush()  # after the background's own, which it waits for: a duplicate would come
    finally:
        telemetry.install(before)
    found = [s.attributes["faas.invocation_id"] for s in sink.spans if s.name == "orders"]
    assert sorted(found) == sorted(f"request-{number}" for number in range(count))
    assert not current.running_now
    assert not current.ended


def test_at_the_exit_of_a_worker_what_waits_is_sent_in_bounded_time() -> None:
    sink = MemorySink()
    current = managed(sink)
    current.start_extension()
    span = current.tracer.start_span("waits")
    current.tracer.end_span(span)
    current._send_in_background(background.EXIT_S_MAX)
    assert [span.name for span in sink.spans] == ["waits"]
    assert 0 < sink.timeouts_s[0] <= background.EXIT_S_MAX

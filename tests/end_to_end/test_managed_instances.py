"""Managed Instances: workers forked by the real runtime client, invocations in parallel."""

from __future__ import annotations

import json
import textwrap
import time
from typing import TYPE_CHECKING

from tests.end_to_end.conftest import OtlpReceiver, attributes
from tests.end_to_end.runtime_api import WAIT_S, managed_instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORKERS, INVOCATIONS = 4, 800
ERROR = 2

SOURCE = """
    import os, time
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work", attributes={"number": event["number"]}):
            lambdatrace.metric("Number", event["number"])
            time.sleep(event.get("seconds", 0))
        return [event["number"], os.getpid()]
"""

KILLED = """
    import os, signal, time
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work"):
            time.sleep(0.05)
            if event["is_last"]:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_true()


def trace_id(number: int) -> str:
    return f"5759e988{number:024x}"


def test_every_span_of_parallel_invocations_arrives_once_and_with_its_own_facts(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with managed_instance(tmp_path, WORKERS, environment) as (api, output):
        for number in range(INVOCATIONS):
            root = f"Root=1-5759e988-{number:024x};Parent={number + 1:016x};Sampled=1"
            api.put(
                f"request-{number}",
                {"number": number},
                Lambda_Runtime_Trace_Id=root,
                Lambda_Runtime_Aws_Tenant_Id=f"tenant-{number}",
            )
        api.wait_for(INVOCATIONS)
        wait_until(lambda: len(receiver.named("orders")) >= INVOCATIONS)
        # A duplicate would come with the next interval.
        time.sleep(0.3)
        text = output.read_text()

    assert {result[0] for result in api.results.values()} == set(range(INVOCATIONS))
    pids = {result[1] for result in api.results.values()}
    assert len(pids) == WORKERS
    assert api.paths == {"/2018-06-01/runtime/invocation/next", "response"}, "no extension"

    roots = {span.trace_id.hex(): span for span in receiver.named("orders")}
    works = {span.trace_id.hex(): span for span in receiver.named("work")}
    assert len(receiver.named("orders")) == len(receiver.named("work")) == INVOCATIONS
    assert set(roots) == set(works) == {trace_id(number) for number in range(INVOCATIONS)}
    for number in range(INVOCATIONS):
        root_span, work = roots[trace_id(number)], works[trace_id(number)]
        found = attributes(root_span)
        assert found["faas.invocation_id"] == f"request-{number}"
        assert found["aws.lambda.tenant_id"] == f"tenant-{number}"
        assert found["faas.coldstart"] is False
        assert root_span.parent_span_id.hex() == f"{number + 1:016x}"
        assert attributes(work) == {"number": number}
        assert work.parent_span_id == root_span.span_id
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    assert {resource["process.pid"] for resource in receiver.resources} == pids
    assert len(receiver.named("init orders")) == WORKERS, "each worker has an init of its own"

    documents = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {(d["requestId"], d["traceId"], d["Number"]) for d in documents} == {
        (f"request-{number}", trace_id(number), float(number)) for number in range(INVOCATIONS)
    }
    assert len(documents) == INVOCATIONS
    assert text.count("several invocations at a time: spans are sent in the background") == WORKERS


def test_an_invocation_that_has_timed_out_is_told_of_while_it_runs_on_and_when_it_ends(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with managed_instance(tmp_path, 1, environment) as (api, _):
        api.put("slow", {"number": 1, "seconds": 1.5}, timeout_s=0.3)
        wait_until(lambda: len(receiver.named("orders")) == 1)
        assert not api.results
        api.wait_for(1)
        wait_until(lambda: len(receiver.named("orders")) == 2)
    early, late = receiver.named("orders")
    assert early.span_id == late.span_id
    assert early.end_time_unix_nano < late.end_time_unix_nano
    for span in (early, late):
        assert span.status.code == ERROR
        assert attributes(span)["error.type"] == "Sandbox.Timedout"


def test_what_a_killed_worker_has_recorded_is_sent_by_another(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(KILLED))
    # It is killed before the thread that sends comes to it.
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with managed_instance(tmp_path, 2, environment) as (api, _):
        for number in range(10):
            root = f"Root=1-5759e988-{number:024x};Parent={number + 1:016x};Sampled=1"
            event = {"is_last": number == 9}
            api.put(f"request-{number}", event, Lambda_Runtime_Trace_Id=root)
        api.wait_for(9)
        wait_until(lambda: len(receiver.named("work")) >= 10)
        time.sleep(0.3)
    killed = [span for span in receiver.named("work") if span.status.code == ERROR]
    assert [span.trace_id.hex() for span in killed] == [trace_id(9)]
    assert attributes(killed[0])["error.type"] == "Runtime.ExitError"
    assert len(receiver.named("orders")) == len(receiver.named("work")) == 10
    assert {span.trace_id.hex() for span in receiver.named("orders")} == {
        trace_id(number) for number in range(10)
    }

"""Every kind of execution environment, on the real runtime client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.conftest import OtlpReceiver, attributes
from tests.sdk.test_durable import TRACE_ID, event

if TYPE_CHECKING:
    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

TRACED = """
    import lambdatrace

    with lambdatrace.span("load"):
        pass

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work"):
            return lambdatrace.current_span().trace_id
"""


def test_a_provisioned_environment_is_not_cold(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    deploy(TRACED, initialization_type="provisioned-concurrency")
    for _ in range(2):
        harness.invoke("orders")
        harness.wait_frozen("orders")
    roots, init = receiver.named("orders"), receiver.one("init orders")
    assert [attributes(root)["faas.coldstart"] for root in roots] == [False, False]
    assert attributes(init) == {
        "faas.coldstart": False,
        "aws.lambda.initialization_type": "provisioned-concurrency",
    }
    assert (init.parent_span_id, init.trace_id == roots[0].trace_id) == (b"", False)
    assert [link.span_id for link in init.links] == [roots[0].span_id]


def test_an_environment_restored_from_a_snapshot(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    deploy(TRACED, initialization_type="snap-start")
    assert [span.name for span in receiver.spans] == ["load"], "sent before the snapshot"
    time.sleep(0.3)  # it lies for a while
    invoked_ns = time.time_ns()
    traces = []
    for _ in range(2):
        traces.append(harness.invoke("orders").json())
        harness.wait_frozen("orders")
    roots, restore = receiver.named("orders"), receiver.one("restore orders")
    assert receiver.named("init orders") == receiver.named("import app") == []
    assert [attributes(root)["faas.coldstart"] for root in roots] == [True, False]
    assert [root.trace_id.hex() for root in roots] == traces
    assert restore.parent_span_id == roots[0].span_id
    assert attributes(restore)["aws.lambda.initialization_type"] == "snap-start"
    # Its start is told by the processor time here, since freezing stops no clock.
    assert invoked_ns - 100_000_000 < restore.start_time_unix_nano
    assert restore.end_time_unix_nano <= roots[0].start_time_unix_nano
    snapshot, restored = (resource.get("faas.instance") for resource in receiver.resources[:2])
    assert snapshot is None
    assert restored is not None
    assert len(restored) == 32
    [report] = [e.message for e in harness.logs("orders") if "Restore Duration" in e.message][1:]
    assert report.startswith("REPORT RequestId:")


def test_the_extension_lives_through_the_snapshot(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    deploy(TRACED, initialization_type="snap-start")
    receiver.gate.clear()
    # The answer comes while the records cannot be sent: they go after it, by the extension.
    assert len(harness.invoke("orders").json()) == 32
    receiver.gate.set()
    harness.wait_frozen("orders")
    assert len(receiver.named("orders")) == 1


DURABLE = """
    import lambdatrace
    from aws_durable_execution_sdk_python import durable_execution
    from aws_durable_execution_sdk_python.config import Duration
    from tests.sdk.test_durable import Service

    service = Service()

    def reserve(step):
        return "reserved"

    @lambdatrace.instrument
    @durable_execution(boto3_client=service)
    def run(event, context):
        with lambdatrace.span("prepare"):
            context.step(reserve, name="reserve")
        context.wait(Duration.from_seconds(60))
        return "done"

    def handler(event, context):
        if event == "second":
            service.end_waits()
            event = service.event()
        return run(event, context)
"""


def test_a_durable_execution_is_one_trace_with_each_step_in_it_once(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    pytest.importorskip("aws_durable_execution_sdk_python")
    deploy(
        DURABLE,
        environment={"PYTHONPATH": str(Path(__file__).parents[2])},
        memory_size_mb=512,
        timeout_s=30,
    )
    assert harness.invoke("orders", event()).json() == {"Status": "PENDING"}
    harness.wait_frozen("orders")
    assert harness.invoke("orders", "second").json() == {"Status": "SUCCEEDED", "Result": '"done"'}
    harness.wait_frozen("orders")
    roots = receiver.named("orders")
    assert [attributes(root)["durable.invocation.first"] for root in roots] == [True, False]
    execution = receiver.one("durable execution orders")
    assert [root.parent_span_id for root in roots] == [execution.span_id] * 2
    assert receiver.one("reserve").parent_span_id == receiver.one("prepare").span_id
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE_ID}

"""Durable executions, with AWS's own SDK and a service that the test plays."""

from __future__ import annotations

import datetime as dt
import json
from hashlib import blake2b
from typing import Any

import pytest

import lambdatrace
from lambdatrace.durable import DurableExecution, is_suspension, operation_span_id, read_output
from lambdatrace.durable_steps import attach
from lambdatrace.records import ERROR, Span, SpanContext
from lambdatrace.testing import LambdaContext, recording
from lambdatrace.triggers import read_trigger

ARN = (
    "arn:aws:lambda:eu-west-1:123456789012:function:orders:$LATEST"
    "/durable-execution/order-7/0f1e2d3c"
)
STARTED_MS = 1_700_000_000_000
TRACE_ID = f"{STARTED_MS // 1000:08x}" + blake2b(ARN.encode()).hexdigest()[:24]
ROOT_ID = blake2b(f"execution-root:{ARN}".encode()).hexdigest()[:16]


def event(*operations: dict[str, Any], **more: Any) -> dict[str, Any]:
    execution = {
        "Id": ARN.rpartition("/")[2],
        "Type": "EXECUTION",
        "Status": "STARTED",
        "StartTimestamp": STARTED_MS,
        "ExecutionDetails": {"InputPayload": '{"order": 7}'},
    }
    return {
        "DurableExecutionArn": ARN,
        "CheckpointToken": "token",
        "InitialExecutionState": {"Operations": [execution, *operations], "NextMarker": "", **more},
    }


class Service:
    """Keeps the operations of one execution as Lambda's API does; stands for the boto3 client."""

    def __init__(self) -> None:
        self.operations: dict[str, dict[str, Any]] = {}

    def checkpoint_durable_execution(self, *, Updates: Any, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
        changed = [self._apply(update) for update in Updates]
        return {"CheckpointToken": "token", "NewExecutionState": {"Operations": changed}}

    def _apply(self, update: dict[str, Any]) -> dict[str, Any]:
        now = dt.datetime.now(dt.timezone.utc)
        states = {"START": "STARTED", "SUCCEED": "SUCCEEDED", "FAIL": "FAILED", "RETRY": "PENDING"}
        operation = self.operations.setdefault(
            update["Id"], {"Id": update["Id"], "Type": update["Type"], "StartTimestamp": now}
        )
        operation["Status"] = states[update["Action"]]
        operation.update({key: update[key] for key in ("Name", "SubType") if update.get(key)})
        if update["Type"] == "STEP":
            details = {"Attempt": 1, "Result": update.get("Payload"), "Error": update.get("Error")}
            operation["StepDetails"] = {k: v for k, v in details.items() if v is not None}
        elif update["Type"] == "WAIT":
            operation["WaitDetails"] = {"ScheduledEndTimestamp": now}
        return operation

    def end_waits(self) -> None:
        for operation in self.operations.values():
            if operation["Type"] == "WAIT":
                operation["Status"] = "SUCCEEDED"
                operation["EndTimestamp"] = operation["StartTimestamp"] + dt.timedelta(seconds=60)

    def event(self) -> dict[str, Any]:
        """The event of the next invocation."""

        def in_ms(value: Any) -> int:
            assert isinstance(value, dt.datetime)
            return int(value.timestamp() * 1000)

        operations = json.loads(json.dumps(list(self.operations.values()), default=in_ms))
        waits = [operation["Id"] for operation in operations if operation["Type"] == "WAIT"]
        return {**event(*operations), "UpdatedOperationIds": waits}


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """AWS's SDK with our plugin, as the door attaches it."""
    sdk: Any = pytest.importorskip("aws_durable_execution_sdk_python")
    module = pytest.importorskip("aws_durable_execution_sdk_python.execution")
    monkeypatch.setattr(module, "load_configured_plugins", module.load_configured_plugins)
    attach(module)
    return sdk


@pytest.fixture
def invocations(durable: Any) -> tuple[dict[str, Span], dict[str, Span]]:
    """The spans, by name, of an execution's two invocations, with a wait between them."""
    service = Service()
    config = pytest.importorskip("aws_durable_execution_sdk_python.config")

    def reserve(_: Any) -> str:
        with lambdatrace.span("call the warehouse"):
            return "reserved"

    def charge(_: Any) -> str:
        lambdatrace.current_span().set_attribute("amount", 5)
        return "charged"

    def handler(given: Any, context: Any) -> list[str]:
        assert given == {"order": 7}
        lambdatrace.metric("Begun", 1)
        with lambdatrace.span("prepare"):
            first = context.step(reserve, name="reserve")
        with lambdatrace.span("approval"):
            context.wait(config.Duration.from_seconds(60), name="approved")
        with lambdatrace.span("finish"):
            return [first, context.step(charge, name="charge")]

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(
            durable.durable_execution(handler, boto3_client=service)
        )
        first = instrumented(event(), LambdaContext(aws_request_id="first"))
        assert first == {"Status": "PENDING"}
        count = len(recorded.spans)
        service.end_waits()
        second = instrumented(service.event(), LambdaContext(aws_request_id="second"))
        assert second == {"Status": "SUCCEEDED", "Result": '["reserved", "charged"]'}
        assert [document["Begun"] for document in recorded.metric_documents] == [1]
        assert len({span.span_id for span in recorded.spans}) == len(recorded.spans)
        return (
            {span.name: span for span in recorded.spans[:count]},
            {span.name: span for span in recorded.spans[count:]},
        )


def test_what_is_done_is_recorded_once_over_all_invocations(
    invocations: tuple[dict[str, Span], dict[str, Span]],
) -> None:
    first, second = invocations
    assert list(first) == [
        *("durable execution orders", "call the warehouse", "reserve", "prepare", "approval"),
        *("import app", "init orders", "orders"),
    ]
    assert list(second) == ["approved", "approval", "charge", "finish", "orders"]
    assert first["reserve"].parent is first["prepare"].context
    assert first["call the warehouse"].parent is first["reserve"].context
    assert first["reserve"].attributes["durable.operation.type"] == "STEP"
    assert first["reserve"].attributes["durable.attempt.outcome"] == "SUCCEEDED"
    assert second["charge"].attributes["amount"] == 5


def test_all_invocations_are_one_trace_below_the_execution(
    invocations: tuple[dict[str, Span], dict[str, Span]],
) -> None:
    assert {span.trace_id for spans in invocations for span in spans.values()} == {TRACE_ID}
    execution = invocations[0]["durable execution orders"]
    assert (execution.span_id, execution.parent) == (ROOT_ID, None)
    for spans, is_first, status in zip(
        invocations, (True, False), ("PENDING", "SUCCEEDED"), strict=True
    ):
        root = spans["orders"]
        assert root.parent is not None
        assert root.parent.span_id == ROOT_ID
        assert root.attributes["durable.execution.arn"] == ARN
        assert root.attributes["durable.invocation.first"] is is_first
        assert root.attributes["durable.invocation.status"] == status
        assert root.status_code != ERROR


def test_what_waits_is_cut_short_in_one_invocation_and_gone_on_with_in_the_next(
    invocations: tuple[dict[str, Span], dict[str, Span]],
) -> None:
    first, second = invocations
    assert first["approval"].attributes == {"durable.span.truncated_at_invocation_boundary": True}
    assert first["approval"].status_code != ERROR
    assert second["approval"].attributes == {"durable.span.replayed": True}
    waited = second["approved"]
    assert waited.end_ns - waited.start_ns == 60_000_000_000
    assert waited.parent is second["orders"].parent
    assert waited.attributes["durable.operation.type"] == "WAIT"
    operation_id = waited.attributes["durable.operation.id"]
    assert waited.span_id == blake2b(f"{ARN}:{operation_id}".encode()).hexdigest()[:16]


def test_a_step_that_fails_has_the_error_and_so_has_the_invocation(durable: Any) -> None:
    retries = pytest.importorskip("aws_durable_execution_sdk_python.retries")
    config = pytest.importorskip("aws_durable_execution_sdk_python.config")

    def fail(_: Any) -> None:
        raise ValueError("no stock")

    def handler(given: Any, context: Any) -> None:
        once = config.StepConfig(
            retry_strategy=retries.create_retry_strategy(
                retries.RetryStrategyConfig(max_attempts=1)
            )
        )
        context.step(fail, name="reserve", config=once)

    with recording() as recorded:
        instrumented: Any = lambdatrace.instrument(
            durable.durable_execution(handler, boto3_client=Service())
        )
        assert instrumented(event(), LambdaContext())["Status"] == "FAILED"
        step, root = recorded.span("reserve"), recorded.span("orders")
    assert (step.status_code, step.status_message) == (ERROR, "no stock")
    assert step.attributes["error.type"] == "ValueError"
    assert step.attributes["durable.attempt.outcome"] == "FAILED"
    assert root.status_code == ERROR
    assert root.attributes["durable.invocation.status"] == "FAILED"


def test_the_decorator_below_the_durable_one_takes_a_suspension_for_no_error(durable: Any) -> None:
    config = pytest.importorskip("aws_durable_execution_sdk_python.config")

    def handler(given: Any, context: Any) -> None:
        context.wait(config.Duration.from_seconds(60))

    with recording() as recorded:
        instrumented = durable.durable_execution(
            lambdatrace.instrument(handler), boto3_client=Service()
        )
        assert instrumented(event(), LambdaContext()) == {"Status": "PENDING"}
        root = recorded.span("orders")
    assert root.status_code != ERROR
    assert root.attributes["durable.span.truncated_at_invocation_boundary"] is True


def test_ids_of_an_execution_are_always_the_same_and_of_others_different() -> None:
    execution = DurableExecution(ARN, STARTED_MS, is_first=True)
    assert execution.trace_id() == TRACE_ID
    assert execution.context(is_sampled=True).span_id == ROOT_ID
    without_start = DurableExecution(ARN, 0, is_first=True).trace_id()
    assert without_start == blake2b(ARN.encode()).hexdigest()[:32]
    assert DurableExecution(ARN + "x", STARTED_MS, is_first=True).trace_id() != TRACE_ID


def test_ids_are_those_of_awss_own_plugin() -> None:
    generator = pytest.importorskip(
        "aws_durable_execution_sdk_python_otel.deterministic_id_generator"
    )
    started = dt.datetime.fromtimestamp(STARTED_MS / 1000, dt.timezone.utc)
    assert int(TRACE_ID, 16) == generator._to_otel_trace_id(ARN, started)
    assert int(ROOT_ID, 16) == generator.derive_execution_root_span_id(ARN)
    own = int(operation_span_id(ARN, "1-2"), 16)
    assert own == generator.operation_id_to_span_id(ARN, "1-2")


@pytest.mark.parametrize(
    ("given", "is_first"),
    [
        (event(), True),
        (event({"Id": "1", "Type": "STEP"}), False),
        (event(NextMarker="more"), False),
        ({"DurableExecutionArn": ARN}, True),
        ({"DurableExecutionArn": ARN, "InitialExecutionState": {"Operations": "odd"}}, True),
        ({"DurableExecutionArn": ARN, "InitialExecutionState": {"Operations": [None]}}, False),
    ],
)
def test_an_invocation_with_operations_done_before_is_a_replay(given: Any, is_first: bool) -> None:
    trigger = read_trigger(given)
    assert trigger is not None
    assert trigger.attributes == {
        "durable.execution.arn": ARN,
        "durable.invocation.first": is_first,
    }


def test_a_sampled_context_that_comes_in_is_the_parent() -> None:
    context = LambdaContext(w3c={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    with recording() as recorded:
        lambdatrace.instrument(lambda given, context: None)(event(), context)
        root = recorded.span("orders")
    assert (root.trace_id, root.parent and root.parent.span_id) == ("ab" * 16, "cd" * 8)
    assert [span.name for span in recorded.spans] == ["import app", "init orders", "orders"]


def test_sampling_is_decided_once_for_the_execution() -> None:
    environment = {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with recording(environment) as recorded:
        lambdatrace.instrument(lambda given, context: None)(event(), LambdaContext())
        assert recorded.spans == []


@pytest.mark.parametrize("output", [None, 7, {}, {"Status": 7}, {"Status": "FAILED", "Error": 3}])
def test_odd_outputs_are_taken_as_far_as_they_go(output: Any) -> None:
    span = Span("orders", SpanContext("ab" * 16, "cd" * 8), None, 1)
    read_output(output, span)
    assert (span.status_code == ERROR) is (output == {"Status": "FAILED", "Error": 3})


def test_an_error_of_the_same_name_is_no_suspension() -> None:
    class SuspendExecution(BaseException):
        pass

    assert not is_suspension(SuspendExecution())

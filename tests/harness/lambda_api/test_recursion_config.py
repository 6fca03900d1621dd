"""A function that invokes itself, through its own AWS SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tests.harness.lambda_api.conftest import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness import Harness

SOURCE = """
    import json, boto3

    lambda_ = boto3.client("lambda")

    def handler(event, context):
        if event["left"]:
            rest = json.dumps({"left": event["left"] - 1})
            lambda_.invoke(FunctionName="app", InvocationType="Event", Payload=rest)
"""


def test_a_loop_ends_with_the_sixteenth_invoke_unless_it_is_allowed(
    api: Any, create: Callable[..., dict[str, Any]], harness: Harness
) -> None:
    create("app", SOURCE, Timeout=30)
    assert api.get_function_recursion_config(FunctionName="app")["RecursiveLoop"] == "Terminate"
    api.invoke(FunctionName="app", InvocationType="Event", Payload=json.dumps({"left": 50}))
    until(lambda: len(harness.executions("app")) == 16)
    until(lambda: harness.wait_events() == 0)
    names = [datum["MetricName"] for datum in harness.metrics("app")]
    assert names.count("RecursiveInvocationsDropped") == 2  # FunctionName, and with Resource
    assert len(harness.executions("app")) == 16

    api.put_function_recursion_config(FunctionName="app", RecursiveLoop="Allow")
    api.invoke(FunctionName="app", InvocationType="Event", Payload=json.dumps({"left": 20}))
    until(lambda: len(harness.executions("app")) == 16 + 21)


def test_a_caller_who_waits_is_told_of_the_loop(
    api: Any, create: Callable[..., dict[str, Any]], harness: Harness
) -> None:
    create("app", "def handler(event, context): return 1")
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
    for _ in range(16):
        result = harness.invoke("app", 1, trace_header=header)
        header = result.trace_header
    api.meta.events.register(
        "before-sign.lambda.Invoke",
        lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", header),
    )
    try:
        api.invoke(FunctionName="app")
    except ClientError as error:
        response: Any = error.response
    assert response["Error"]["Code"] == "RecursiveInvocationException"
    assert response["Error"]["Message"].startswith(
        "Lambda has detected your function being invoked"
    )
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400

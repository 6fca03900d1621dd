"""Reserved and provisioned concurrency, the account's pool, and how fast functions may grow."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from lambdatrace.harness.concurrency import Concurrency
from lambdatrace.harness.errors import InvokeError
from tests.harness.lambda_api.conftest import active_configuration, refused, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness import Harness

    Create = Callable[..., dict[str, Any]]

WAITS = """
    import os, time

    kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]

    def handler(event, context):
        while event and not os.path.exists(event):
            time.sleep(0.01)
        return [kind, os.getpid()]
"""
INVALID = "InvalidParameterValueException"


def gate(api: Any) -> Path:
    """The file WAITS waits for: beside its code, which is its working directory."""
    location = api.get_function(FunctionName="app")["Code"]["Location"]
    return Path(location.removeprefix("file://"), "go")


def throttle_reason(api: Any, **parameters: Any) -> str:
    """The Reason an invoke is throttled for."""
    with pytest.raises(ClientError) as caught:
        api.invoke(FunctionName="app", **parameters)
    response: Any = caught.value.response
    error = response["Error"]
    assert (error["Code"], error["Message"]) == ("TooManyRequestsException", "Rate Exceeded.")
    reason: str = response["Reason"]
    return reason


def provisioned_samples(harness: Harness) -> dict[str, dict[float, float]]:
    """How often each value of the metrics of provisioned concurrency was sampled."""
    found: defaultdict[str, Counter[float]] = defaultdict(Counter)
    for datum in harness.metrics("app"):
        if datum["MetricName"].startswith("Provisioned") and len(datum["Dimensions"]) == 1:
            counts = zip(datum["Values"], datum["Counts"], strict=True)
            found[datum["MetricName"]].update({value: int(count) for value, count in counts})
    return {name: dict(counts) for name, counts in found.items()}


def test_reserved_concurrency_is_a_functions_limit_and_taken_from_the_pool(
    api: Any, create: Create, harness: Harness
) -> None:
    create("app", WAITS, Timeout=30)
    assert "ReservedConcurrentExecutions" not in api.get_function_concurrency(FunctionName="app")
    api.put_function_concurrency(FunctionName="app", ReservedConcurrentExecutions=1)
    limits = api.get_account_settings()["AccountLimit"]
    assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (1000, 999)
    assert api.get_function(FunctionName="app")["Concurrency"] == {
        "ReservedConcurrentExecutions": 1
    }
    go = gate(api)
    with ThreadPoolExecutor(1) as callers:
        busy = callers.submit(harness.invoke, "app", go.name)
        until(lambda: [e for e in harness.logs("app") if e.message.startswith("START")])
        reason = throttle_reason(api)
        go.touch()
        assert busy.result().function_error == ""
    assert reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
    api.put_function_concurrency(FunctionName="app", ReservedConcurrentExecutions=0)
    assert throttle_reason(api) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    api.delete_function_concurrency(FunctionName="app")
    harness.wait_frozen("app")
    assert json.load(api.invoke(FunctionName="app")["Payload"])[0] == "on-demand"
    assert api.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 1000


def test_the_pool_keeps_a_hundred_unreserved(api: Any, create: Create) -> None:
    create("app", "def handler(event, context): pass")
    put = api.put_function_concurrency
    assert refused(put, FunctionName="app", ReservedConcurrentExecutions=901) == (
        400,
        INVALID,
        (
            "Specified ReservedConcurrentExecutions for function decreases account's "
            "UnreservedConcurrentExecution below its minimum value of [100]."
        ),
    )
    assert put(FunctionName="app", ReservedConcurrentExecutions=900)
    assert put(FunctionName="app", ReservedConcurrentExecutions=899)  # its own counts no more
    assert refused(put, FunctionName="app:1", ReservedConcurrentExecutions=1)[2].startswith(
        "This operation is permitted on Lambda functions only."
    )


def test_provisioned_environments_are_ready_before_any_event_and_the_rest_spills_over(
    api: Any, create: Create, harness: Harness
) -> None:
    create("app", WAITS, Timeout=30)
    api.publish_version(FunctionName="app")
    until(lambda: active_configuration(api, "app", "1"))
    api.create_alias(FunctionName="app", Name="live", FunctionVersion="1")
    put = api.put_provisioned_concurrency_config(
        FunctionName="app", Qualifier="live", ProvisionedConcurrentExecutions=2
    )
    assert (put["ResponseMetadata"]["HTTPStatusCode"], put["Status"]) == (202, "IN_PROGRESS")

    def config() -> dict[str, Any]:
        found = api.get_provisioned_concurrency_config(FunctionName="app", Qualifier="live")
        assert isinstance(found, dict)
        return found

    until(lambda: config()["Status"] == "READY")
    assert config()["AvailableProvisionedConcurrentExecutions"] == 2
    assert config()["AllocatedProvisionedConcurrentExecutions"] == 2
    provisioned = {e.pid for e in harness.environments("app:1")}
    go = gate(api)
    with ThreadPoolExecutor(3) as callers:
        busy = [callers.submit(harness.invoke, "app:live", go.name) for _ in range(3)]
        until(lambda: sum(e.message.startswith("START") for e in harness.logs("app")) == 3)
        go.touch()
        answers = [future.result().json() for future in busy]
    kinds = sorted(kind for kind, _ in answers)
    assert kinds == ["on-demand", "provisioned-concurrency", "provisioned-concurrency"]
    assert provisioned < {pid for _, pid in answers}
    harness.wait_frozen("app:1")
    assert [f.is_provisioned for f in harness.executions("app")].count(True) == 2
    assert provisioned_samples(harness) == {
        "ProvisionedConcurrencyInvocations": {1.0: 2},
        "ProvisionedConcurrencySpilloverInvocations": {1.0: 1},
        "ProvisionedConcurrentExecutions": {1.0: 1, 2.0: 2},
        "ProvisionedConcurrencyUtilization": {0.5: 1, 1.0: 2},
    }
    [listed] = api.list_provisioned_concurrency_configs(FunctionName="app")[
        "ProvisionedConcurrencyConfigs"
    ]
    assert listed["FunctionArn"].endswith(":function:app:live")
    api.delete_provisioned_concurrency_config(FunctionName="app", Qualifier="live")
    until(lambda: len(harness.environments("app:1")) == 1)  # the one that is on demand
    assert refused(
        api.get_provisioned_concurrency_config, FunctionName="app", Qualifier="live"
    ) == (
        404,
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )


def test_provisioned_concurrency_follows_its_alias_and_fails_with_its_functions_init(
    api: Any, create: Create, harness: Harness
) -> None:
    create("app", "raise ValueError('no')\ndef handler(event, context): pass")
    for _ in range(2):
        api.publish_version(FunctionName="app")
        api.update_function_configuration(FunctionName="app", Timeout=5)
        until(lambda: active_configuration(api, "app"))
    until(lambda: active_configuration(api, "app", "2"))
    api.create_alias(FunctionName="app", Name="live", FunctionVersion="1")
    wanted = {"FunctionName": "app", "Qualifier": "live"}
    api.put_provisioned_concurrency_config(**wanted, ProvisionedConcurrentExecutions=1)
    get = api.get_provisioned_concurrency_config
    until(lambda: get(**wanted)["Status"] == "FAILED")
    assert get(**wanted)["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    api.update_alias(FunctionName="app", Name="live", FunctionVersion="2")
    until(lambda: not harness.environments("app:1"))
    assert len(harness.environments("app:2")) == 1


@pytest.mark.parametrize(
    ("qualifier", "executions", "expected"),
    [
        (
            "$LATEST",
            1,
            (
                400,
                INVALID,
                (
                    "Provisioned Concurrency Configs cannot be applied to unpublished function "
                    "versions."
                ),
            ),
        ),
        (
            "1",
            901,
            (
                400,
                INVALID,
                (
                    "Specified ConcurrentExecutions for function decreases account's "
                    "UnreservedConcurrentExecution below its minimum value of [100]."
                ),
            ),
        ),
        (
            "1",
            65,
            (
                400,
                INVALID,
                (
                    "This local Lambda runs 64 execution environments at most: raise its "
                    "concurrency_max"
                ),
            ),
        ),
        (
            "1",
            0,
            (
                400,
                "ValidationException",
                (
                    "1 validation error detected: Value '0' at "
                    "'provisionedConcurrentExecutions' "
                    "failed to satisfy constraint: Member must have value greater than or equal "
                    "to 1"
                ),
            ),
        ),
        (
            "none",
            1,
            (
                404,
                "ResourceNotFoundException",
                "Cannot find alias arn: arn:aws:lambda:us-east-1:123456789012:function:app:none",
            ),
        ),
    ],
)
def test_a_provisioned_concurrency_lambda_would_refuse_is_refused_in_its_words(
    api: Any, create: Create, qualifier: str, executions: int, expected: tuple[int, str, str]
) -> None:
    create("app", "def handler(event, context): pass")
    api.publish_version(FunctionName="app")
    given = {"Qualifier": qualifier, "ProvisionedConcurrentExecutions": executions}
    put = api.put_provisioned_concurrency_config
    assert refused(put, FunctionName="app", **given) == expected


# Without processes: the counting alone.


def test_a_function_gets_a_thousand_environments_in_ten_seconds() -> None:
    now_s = 0.0
    concurrency = Concurrency(limit=5000, clock_s=lambda: now_s)

    def started() -> int:
        for number in range(2000):
            try:
                concurrency.enter("app", needs_environment=True)
            except InvokeError:
                return number
            concurrency.leave("app")
        return 2000

    assert started() == 1000
    with pytest.raises(InvokeError) as caught:
        concurrency.enter("app", needs_environment=True)
    assert caught.value.reason == "ConcurrentInvocationLimitExceeded"
    concurrency.enter("app")  # in an environment that is there
    concurrency.enter("other", needs_environment=True)
    now_s = 1.0
    assert started() == 100
    now_s = 100.0
    assert started() == 1000


def test_a_reserved_execution_takes_ten_requests_a_second() -> None:
    now_s = 0.0
    concurrency = Concurrency(clock_s=lambda: now_s)
    concurrency.reserve("app", 2)
    for _ in range(20):
        concurrency.enter("app")
        concurrency.leave("app")
    with pytest.raises(InvokeError) as caught:
        concurrency.enter("app")
    assert caught.value.reason == "ReservedFunctionInvocationRateLimitExceeded"
    now_s = 0.1
    assert concurrency.enter("app") == (1, 1)


def test_what_is_reserved_or_provisioned_is_lost_to_the_others() -> None:
    concurrency = Concurrency(limit=5000)
    concurrency.reserve("a", 898)
    concurrency.provisioned["b"] = {"1": 100}
    assert concurrency.unreserved == 2
    concurrency.enter("c")
    concurrency.enter("b")  # spilled over
    with pytest.raises(InvokeError) as caught:
        concurrency.enter("c")
    assert caught.value.reason == "ConcurrentInvocationLimitExceeded"
    concurrency.enter("b", is_provisioned=True)
    concurrency.enter("a")
    concurrency.leave("b")
    assert concurrency.enter("c") == (2, 4)

"""Tenant isolation: invokes name a tenant, and no environment serves two of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import (
    Function,
    FunctionConfigurationError,
    InvokeError,
    LoggingConfig,
    pool,
)
from tests.harness.lambda_api.conftest import lambda_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

SOURCE = """
    import os

    tenants = []

    def handler(event, context):
        tenants.append(context.tenant_id)
        if event == "raise":
            raise ValueError("no")
        return [os.getpid(), tenants]
"""


def test_each_tenant_has_environments_of_its_own(run: Run) -> None:
    with run(SOURCE, tenant_isolation_mode="PER_TENANT") as harness:
        answers = []
        for tenant in ("blue", "green", "blue", "green", "blue"):
            answers.append(harness.invoke("app", tenant_id=tenant).json())
            harness.wait_frozen("app")
        assert sorted(each.invocations for each in harness.environments("app")) == [2, 3]
    assert answers[-2][1] == ["green", "green"]
    assert answers[-1][1] == ["blue", "blue", "blue"]
    assert len({pid for pid, _ in answers}) == 2


def test_clients_of_different_tenants_take_no_environment_from_each_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next event of a client comes while its tenant's environment is on its way back."""
    monkeypatch.setattr(pool, "ROUND_TRIP_S", 5.0)  # so that a busy machine starts none
    tenants = ("blue", "green", "red", "white")
    with run(SOURCE, tenant_isolation_mode="PER_TENANT") as harness, ThreadPoolExecutor(4) as each:

        def one_after_the_other(tenant: str) -> int:
            answers = [harness.invoke("app", tenant_id=tenant).json() for _ in range(100)]
            return len({pid for pid, _ in answers})

        assert list(each.map(one_after_the_other, tenants)) == [1, 1, 1, 1]


def test_a_tenant_must_be_named_where_there_are_tenants_and_nowhere_else(run: Run) -> None:
    with run(SOURCE, tenant_isolation_mode="PER_TENANT") as harness:
        with pytest.raises(InvokeError, match="is enabled with tenancy configuration") as without:
            harness.invoke("app")
        assert (without.value.status, without.value.code) == (400, "InvalidParameterValueException")
        for tenant in ("x" * 257, "new\tline", "é"):
            with pytest.raises(InvokeError, match="at 'tenantId' failed to satisfy") as malformed:
                harness.invoke("app", tenant_id=tenant)
            assert (malformed.value.status, malformed.value.code) == (400, "ValidationException")
    with run(SOURCE) as harness:
        with pytest.raises(InvokeError, match="is not enabled with tenancy configuration"):
            harness.invoke("app", tenant_id="blue")
        assert harness.invoke("app").json()[1] == [None]


def test_events_keep_their_tenant_through_the_queue_and_its_retries(run: Run) -> None:
    with run(SOURCE, tenant_isolation_mode="PER_TENANT") as harness:
        api = lambda_client(harness.endpoint_url)
        api.invoke(FunctionName="app", InvocationType="Event", TenantId="blue", Payload=b'"raise"')
        harness.wait_events()
        answer = api.invoke(FunctionName="app", TenantId="blue")
        tenants = json.load(answer["Payload"])[1]
    assert tenants == ["blue", "blue"]


def test_platform_records_name_the_tenant(run: Run) -> None:
    config = LoggingConfig("JSON", "INFO", "DEBUG")
    options = {"tenant_isolation_mode": "PER_TENANT", "logging_config": config}
    with run(SOURCE, **options) as harness:
        harness.invoke("app", tenant_id="blue")
        harness.wait_frozen("app")
        records = [json.loads(event.message) for event in harness.logs("app")]
    named = [record["type"] for record in records if record["record"].get("tenantId") == "blue"]
    assert named == ["platform.start", "platform.runtimeDone", "platform.report"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tenant_isolation_mode": "SHARED"}, "tenant isolation mode 'SHARED' of app"),
        (
            {"tenant_isolation_mode": "PER_TENANT", "initialization_type": "snap-start"},
            "app has tenants and initialization type 'snap-start'",
        ),
    ],
)
def test_what_lambda_does_not_combine_with_tenants_is_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(FunctionConfigurationError, match=message):
        Function("app", "app.handler", **options)  # type: ignore[arg-type]

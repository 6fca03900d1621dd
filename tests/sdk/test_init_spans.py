from __future__ import annotations

from typing import Any

import pytest

import lambdatrace
from lambdatrace.testing import START_NS, LambdaContext, recording


def ignore(event: Any, context: Any) -> None:
    """Handle nothing."""


def test_an_init_that_no_request_waited_for_is_a_trace_of_its_own() -> None:
    environment = {"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"}
    with recording(environment) as recorded:
        handler = lambdatrace.instrument(ignore)
        recorded.clock.advance(3_600_000)
        for _ in range(2):
            handler({}, LambdaContext())
        root = recorded.spans[2]
        init, imported = recorded.span("init orders"), recorded.span("import app")
    assert [span.name for span in recorded.spans] == ["import app", "init orders", *["orders"] * 2]
    assert root.attributes["faas.coldstart"] is False
    assert (init.parent, init.trace_id == root.trace_id) == (None, False)
    assert [link.context for link in init.links] == [root.context]
    assert imported.parent is init.context
    assert init.attributes == {
        "faas.coldstart": False,
        "aws.lambda.initialization_type": "provisioned-concurrency",
    }
    assert init.end_ns == START_NS


@pytest.mark.parametrize(("waited_ms", "is_cold"), [(0, True), (9_999, True), (10_001, False)])
def test_lambda_initializing_on_its_own_account_is_no_cold_start(
    waited_ms: int, is_cold: bool
) -> None:
    with recording() as recorded:
        handler = lambdatrace.instrument(ignore)
        recorded.clock.advance(waited_ms)
        handler({}, LambdaContext())
        root, init = recorded.span("orders"), recorded.span("init orders")
    assert root.attributes["faas.coldstart"] is init.attributes["faas.coldstart"] is is_cold
    assert (init.parent is root.context) is is_cold

from __future__ import annotations

from lambdatrace.invocation import Function, Invocation
from lambdatrace.resource import resource_attributes
from lambdatrace.testing import ENVIRONMENT, START_NS, LambdaContext


def test_the_resource_leaves_out_what_is_not_known_and_lets_the_configured_win() -> None:
    function = Function({"AWS_LAMBDA_FUNCTION_NAME": "orders"})
    attributes = resource_attributes(function, "", {"cloud.region": "mars", "team": "a"})
    assert attributes == {
        "service.name": "orders",
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": "mars",
        "faas.name": "orders",
        "telemetry.sdk.name": "lambdatrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "0.1.0",
        "team": "a",
    }


def test_the_service_name_is_the_setting_then_the_resource_attribute_then_the_function() -> None:
    function = Function(ENVIRONMENT)
    configured = {"service.name": "configured"}
    assert resource_attributes(function, "set", configured)["service.name"] == "set"
    assert resource_attributes(function, "", configured)["service.name"] == "configured"
    assert resource_attributes(function, "", {})["service.name"] == "orders"


def test_memory_is_told_in_bytes() -> None:
    assert Function(ENVIRONMENT).memory_bytes == 128 * 1024 * 1024
    assert Function({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "lots"}).memory_bytes == 0


def test_the_deadline_comes_from_the_remaining_time_where_the_context_has_no_other() -> None:
    invocation = Invocation(LambdaContext(remaining_time_ms=1500), START_NS, is_cold_start=False)
    assert invocation.deadline_ns == START_NS + 1_500_000_000
    assert Invocation(None, START_NS, is_cold_start=False).deadline_ns == 0


def test_an_arn_that_is_none_gives_no_account() -> None:
    context = LambdaContext(invoked_function_arn="short")
    attributes = Invocation(context, START_NS, is_cold_start=False).attributes()
    assert attributes == {
        "faas.coldstart": False,
        "faas.invocation_id": "11111111-2222-3333-4444-555555555555",
        "aws.lambda.invoked_arn": "short",
    }

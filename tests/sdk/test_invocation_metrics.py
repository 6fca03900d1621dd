from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import lambdatrace
from lambdatrace.invocation import Function
from lambdatrace.invocation_metrics import estimated_cost, measure
from lambdatrace.invocation_spans import InvocationSpans
from lambdatrace.outcome import InvocationOutcome
from lambdatrace.settings import INVOCATION_METRICS, Settings
from lambdatrace.testing import ENVIRONMENT, LambdaContext, Recorded, recording

SECOND = 1_000_000_000


def outcome(**facts: Any) -> InvocationOutcome:
    return InvocationOutcome("r", 0, facts.pop("end_ns", SECOND), spans=InvocationSpans(), **facts)


def function(**variables: str) -> Function:
    return Function({**ENVIRONMENT, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024", **variables})


def test_an_invocation_that_went_well_has_a_duration_no_error_and_a_cost() -> None:
    assert measure(outcome(), function(), "x86_64", INVOCATION_METRICS) == {
        "Errors": 0,
        "Duration": 1000.0,
        "EstimatedCost": pytest.approx(0.0000168667),
    }


def test_what_went_wrong_and_what_a_first_caller_waited_for_is_counted() -> None:
    facts = outcome(
        end_ns=1_500_000,
        is_cold_start=True,
        init_ns=250_000_000,
        error_type="Sandbox.Timedout",
        is_timed_out=True,
        batch_item_failures=3,
    )
    wanted = set(INVOCATION_METRICS) - {"EstimatedCost"}
    assert measure(facts, function(), "x86_64", wanted) == {
        "Errors": 1,
        "Duration": 1.5,
        "ColdStart": 1,
        "InitDuration": 250.0,
        "Timeouts": 1,
        "BatchItemFailures": 3,
    }


@pytest.mark.parametrize(
    ("kind", "machine", "init_ns", "cost"),
    [
        ("on-demand", "x86_64", 0, 0.2e-6 + 0.0000166667),
        ("on-demand", "aarch64", 0, 0.2e-6 + 0.0000133334),
        ("on-demand", "x86_64", SECOND, 0.2e-6 + 2 * 0.0000166667),
        ("on-demand", "riscv", 0, 0.2e-6 + 0.0000166667),
        ("provisioned-concurrency", "x86_64", 0, 0.2e-6 + 0.0000097222),
        ("lambda-managed-instances", "x86_64", 0, None),
    ],
)
def test_the_cost_is_by_request_memory_architecture_and_whole_milliseconds(
    kind: str, machine: str, init_ns: int, cost: float | None
) -> None:
    facts = outcome(end_ns=SECOND - 999_999, init_ns=init_ns)
    found = estimated_cost(facts, function(AWS_LAMBDA_INITIALIZATION_TYPE=kind), machine)
    assert found == (None if cost is None else pytest.approx(cost))


def invoke(recorded: Recorded, *errors: Exception | None) -> None:
    @lambdatrace.instrument
    def handler(event: Any, context: Any) -> None:
        recorded.clock.advance(5)
        if event:
            raise event

    for number, error in enumerate(errors):
        context = LambdaContext(aws_request_id=f"r{number}")
        with suppress(ZeroDivisionError):
            handler(error, context)


def test_a_first_call_that_raises_is_a_cold_start_and_an_error_and_the_next_is_neither() -> None:
    with recording({"LAMBDATRACE_INVOCATION_METRICS": "ColdStart,errors"}) as recorded:
        invoke(recorded, ZeroDivisionError(), None)
    first, second = recorded.metric_documents
    assert {name: first[name] for name in ("ColdStart", "Errors", "requestId")} == {
        "ColdStart": 1.0,
        "Errors": 1.0,
        "requestId": "r0",
    }
    assert first["_aws"]["CloudWatchMetrics"] == [
        {
            "Namespace": "lambdatrace",
            "Dimensions": [["function_name", "service"]],
            "Metrics": [
                {"Name": "Errors", "Unit": "Count"},
                {"Name": "ColdStart", "Unit": "Count"},
            ],
        }
    ]
    assert "ColdStart" not in second
    assert (second["Errors"], second["requestId"]) == (0.0, "r1")


def test_provisioned_concurrency_is_no_cold_start() -> None:
    environment = {
        "LAMBDATRACE_INVOCATION_METRICS": "ColdStart,InitDuration,Duration",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency",
    }
    with recording(environment) as recorded:
        invoke(recorded, None)
    (document,) = recorded.metric_documents
    names = [m["Name"] for m in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert (names, document["Duration"]) == (["Duration"], 5.0)


def test_by_default_no_invocation_is_counted() -> None:
    with recording() as recorded:
        invoke(recorded, None)
    assert recorded.metric_documents == []


def test_with_managed_instances_they_are_written_with_the_invocation_they_are_of() -> None:
    environment = {
        "LAMBDATRACE_INVOCATION_METRICS": "Duration",
        "AWS_LAMBDA_MAX_CONCURRENCY": "4",
    }
    with recording(environment) as recorded:
        invoke(recorded, None, None)
        lambdatrace.flush()
    assert [document["requestId"] for document in recorded.metric_documents] == ["r0", "r1"]


def test_a_timeout_is_counted_before_it_comes_and_not_again_when_the_call_ends_after_all() -> None:
    with recording({"LAMBDATRACE_INVOCATION_METRICS": "Timeouts,Errors"}) as recorded:

        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> None:
            recorded.telemetry.invocation_times_out(0)

        handler({}, LambdaContext())
    (document,) = recorded.metric_documents
    assert (document["Timeouts"], document["Errors"]) == (1.0, 1.0)


def test_the_setting_takes_all_none_or_names_in_any_case() -> None:
    def read(value: str) -> tuple[str, ...]:
        settings = Settings.from_env({"LAMBDATRACE_INVOCATION_METRICS": value})
        assert settings.errors == []
        return settings.invocation_metrics

    assert read("all") == INVOCATION_METRICS
    assert read("none") == ()
    assert read("duration, COLDSTART") == ("ColdStart", "Duration")
    (error,) = Settings.from_env({"LAMBDATRACE_INVOCATION_METRICS": "Cost"}).errors
    assert str(error) == (
        "LAMBDATRACE_INVOCATION_METRICS is 'Cost': expected all, none, or some of ColdStart, "
        "Errors, Duration, InitDuration, Timeouts, BatchItemFailures, EstimatedCost; "
        "taken: none"
    )


def test_the_messages_that_an_answer_reports_as_failed_are_counted() -> None:
    with recording({"LAMBDATRACE_INVOCATION_METRICS": "BatchItemFailures"}) as recorded:

        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> Any:
            failed = [{"itemIdentifier": record["messageId"]} for record in event["Records"]]
            return {"batchItemFailures": failed[1:]}

        records = [
            {
                "messageId": str(number),
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders",
                "body": "",
                "attributes": {},
                "messageAttributes": {},
            }
            for number in range(3)
        ]
        handler({"Records": records}, LambdaContext())
    (document,) = recorded.metric_documents
    assert document["BatchItemFailures"] == 2.0

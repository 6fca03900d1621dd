from __future__ import annotations

from datetime import datetime, timezone

import pytest

from lambdatrace.harness.concurrency import Claims
from lambdatrace.harness.invocation import InvocationFacts
from lambdatrace.harness.metrics import Sample, executed, metric_data, requests, throttle

AT = datetime.fromtimestamp(1_700_000_000, timezone.utc)
AT_MS = 1_700_000_000_250.0
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
FUNCTION = [{"Name": "FunctionName", "Value": "f"}]
RESOURCE = [*FUNCTION, {"Name": "Resource", "Value": "f"}]


def datum(
    name: str, dimensions: list[dict[str, str]], values: dict[float, float], unit: str = "Count"
) -> dict[str, object]:
    return {
        "MetricName": name,
        "Dimensions": dimensions,
        "Timestamp": AT,
        "Unit": unit,
        "Values": list(values),
        "Counts": list(values.values()),
    }


def test_an_executed_invoke_gives_errors_and_throttles_a_sample_of_zero() -> None:
    facts = InvocationFacts("f", AT_MS, 12.345, is_error=False, concurrency=(2, 5))
    assert metric_data(executed(facts)) == [
        *(
            datum(name, dimensions, {value: 1.0}, unit)
            for name, unit, of_function, of_account in (
                ("Invocations", "Count", 1.0, 1.0),
                ("Errors", "Count", 0.0, 0.0),
                ("Throttles", "Count", 0.0, 0.0),
                ("Duration", "Milliseconds", 12.35, 12.35),
                ("ConcurrentExecutions", "Count", 2.0, 5.0),
            )
            for dimensions, value in (
                ([], of_account),
                (FUNCTION, of_function),
                (RESOURCE, of_function),
            )
        ),
        datum("UnreservedConcurrentExecutions", [], {5.0: 1.0}),
        datum("ClaimedAccountConcurrency", [], {5.0: 1.0}),
    ]


def test_a_version_has_the_concurrency_of_its_own() -> None:
    facts = InvocationFacts("f", AT_MS, 1.0, False, (3, 5), version_concurrency=2)
    found = [d for d in metric_data(executed(facts)) if d["MetricName"] == "ConcurrentExecutions"]
    assert [d["Values"] for d in found] == [[5.0], [3.0], [2.0]]


def test_what_is_set_aside_is_claimed_and_what_runs_there_is_not_unreserved() -> None:
    facts = InvocationFacts("f", AT_MS, 1.0, False, (2, 5), claims=Claims(3, 100))
    data = metric_data(executed(facts))
    assert datum("UnreservedConcurrentExecutions", [], {3.0: 1.0}) in data
    assert datum("ClaimedAccountConcurrency", [], {103.0: 1.0}) in data


@pytest.mark.parametrize(
    ("is_provisioned", "counted"),
    [
        (True, "ProvisionedConcurrencyInvocations"),
        (False, "ProvisionedConcurrencySpilloverInvocations"),
    ],
)
def test_an_invoke_of_a_version_with_provisioned_concurrency_says_what_served_it(
    is_provisioned: bool, counted: str
) -> None:
    facts = InvocationFacts(
        "f", AT_MS, 1.0, False, (2, 2), is_provisioned=is_provisioned, provisioned=(2, 4)
    )
    data = metric_data(executed(facts))
    found = [d for d in data if d["Dimensions"] == RESOURCE and "Provisioned" in d["MetricName"]]
    assert found == [
        datum(counted, RESOURCE, {1.0: 1.0}),
        datum("ProvisionedConcurrentExecutions", RESOURCE, {2.0: 1.0}),
        datum("ProvisionedConcurrencyUtilization", RESOURCE, {0.5: 1.0}, "None"),
    ]


def test_samples_of_one_second_share_a_datum_with_counts() -> None:
    facts = [
        InvocationFacts("f", AT_MS, 1.0, is_error=n == 0, concurrency=(1, 1)) for n in range(3)
    ]
    data = metric_data(sample for f in facts for sample in executed(f))
    assert datum("Invocations", FUNCTION, {1.0: 3.0}) in data
    assert datum("Errors", [], {1.0: 1.0, 0.0: 2.0}) in data
    assert len(data) == 17


def test_a_refused_invoke_is_a_throttle_and_nothing_else() -> None:
    assert metric_data([throttle(ARN, AT_MS)]) == [
        datum("Throttles", dimensions, {1.0: 1.0}) for dimensions in ([], FUNCTION, RESOURCE)
    ]


def test_time_of_extensions_is_reported_where_there_are_any() -> None:
    facts = InvocationFacts("f", AT_MS, 9.0, False, (1, 1), extensions_ms=0.0)
    expected = datum("PostRuntimeExtensionsDuration", RESOURCE, {0.0: 1.0}, "Milliseconds")
    assert expected in metric_data(executed(facts))


def test_more_values_than_a_datum_may_carry_give_more_data() -> None:
    facts = [InvocationFacts("f", AT_MS, float(n), False, (1, 1)) for n in range(301)]
    durations = [
        len(d["Values"])
        for d in metric_data(sample for f in facts for sample in executed(f))
        if d["MetricName"] == "Duration" and d["Dimensions"] == FUNCTION
    ]
    assert durations == [150, 150, 1]
    assert [len(part) for part in requests([{}] * 2001)] == [1000, 1000, 1]


def test_an_invoke_of_an_alias_has_its_resource_and_the_version_behind_it() -> None:
    facts = InvocationFacts("f", AT_MS, 1.0, False, (1, 1), qualifier="live", executed_version="3")
    resource = [*FUNCTION, {"Name": "Resource", "Value": "f:live"}]
    found = [d["Dimensions"] for d in metric_data(executed(facts)) if d["MetricName"] == "Errors"]
    assert found == [
        [],
        FUNCTION,
        resource,
        [*resource, {"Name": "ExecutedVersion", "Value": "3"}],
    ]


def test_an_invoke_of_a_version_has_its_resource() -> None:
    sample = Sample.of_invoke(f"{ARN}:3", "AsyncEventAge", 7.0, AT_MS, "Milliseconds")
    assert metric_data([sample]) == [
        datum("AsyncEventAge", dimensions, {7.0: 1.0}, "Milliseconds")
        for dimensions in ([], FUNCTION, [*FUNCTION, {"Name": "Resource", "Value": "f:3"}])
    ]

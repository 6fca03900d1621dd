"""The `AWS/Lambda` metrics of executed, refused and queued invokes, as data for PutMetricData.

Source: AWS Lambda developer guide, "Types of metrics for Lambda functions", and captures of the
samples real functions leave: every executed invoke gives Errors and Throttles a sample, 0 if none,
so that alarms see data; a refused one gives Throttles 1 and nothing else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.harness.invocation import InvocationFacts

NAMESPACE = "AWS/Lambda"
DATUM_VALUES_MAX = 150  # distinct values one datum may carry
REQUEST_DATA_MAX = 1000  # data one PutMetricData may carry


class Sample(NamedTuple):
    """One value of one metric; `at_ms` is Unix time.

    An empty function name is the account alone. `qualifier` is what the caller named, if anything;
    `account_value` is given where the account's value is another one than the function's, and
    `resource_value` where that of what was named, or $LATEST, is.
    """

    function_name: str
    metric: str
    value: float
    at_ms: float
    unit: str = "Count"
    qualifier: str = ""
    executed_version: str = ""
    account_value: float | None = None
    resource_value: float | None = None

    @classmethod
    def of_invoke(
        cls, invoked_function_arn: str, metric: str, value: float, at_ms: float, unit: str = "Count"
    ) -> Sample:
        """A sample of a function that was named by an ARN, with or without a qualifier."""
        name, _, qualifier = invoked_function_arn.split(":", 6)[6].partition(":")
        return cls(name, metric, value, at_ms, unit, qualifier)


class _Series(NamedTuple):
    """Where a sample belongs: its dimensions, by name and value."""

    dimensions: tuple[tuple[str, str], ...]
    metric: str
    unit: str
    second: int


def throttle(invoked_function_arn: str, at_ms: float) -> Sample:
    """The one sample of a refused invoke."""
    return Sample.of_invoke(invoked_function_arn, "Throttles", 1.0, at_ms)


def managed_throttle(invoked_function_arn: str, at_ms: float) -> list[Sample]:
    """The samples beside it on Managed Instances: what there was too little of.

    Here that is always concurrency: no worker was free.
    """
    return [
        Sample.of_invoke(invoked_function_arn, f"{kind}Throttles", value, at_ms)
        for kind, value in (("CPU", 0.0), ("Memory", 0.0), ("Disk", 0.0), ("Concurrency", 1.0))
    ]


def executed(facts: InvocationFacts) -> list[Sample]:
    """The samples of one executed invoke, all at the time it started."""
    of_function, of_account = facts.concurrency
    samples = [
        ("Invocations", "Count", 1.0, None),
        ("Errors", "Count", float(facts.is_error), None),
        ("Throttles", "Count", 0.0, None),
        ("Duration", "Milliseconds", round(facts.duration_ms, 2), None),
        ("ConcurrentExecutions", "Count", float(of_function), float(of_account)),
    ]
    if facts.extensions_ms is not None:
        after_ms = round(facts.extensions_ms, 2)
        samples.append(("PostRuntimeExtensionsDuration", "Milliseconds", after_ms, None))
    if facts.provisioned:
        in_use, ready = facts.provisioned
        kind = "Invocations" if facts.is_provisioned else "SpilloverInvocations"
        samples += [
            (f"ProvisionedConcurrency{kind}", "Count", 1.0, None),
            ("ProvisionedConcurrentExecutions", "Count", float(in_use), None),
            ("ProvisionedConcurrencyUtilization", "None", in_use / max(1, ready), None),
        ]
    own = [
        Sample(
            facts.function_name,
            metric,
            value,
            facts.started_ms,
            unit,
            facts.qualifier,
            facts.executed_version,
            account_value,
            facts.version_concurrency if metric == "ConcurrentExecutions" else None,
        )
        for metric, unit, value, account_value in samples
    ]
    return own + _of_account(facts)


def _of_account(facts: InvocationFacts) -> list[Sample]:
    """Those that only the account has: what ran outside all reservations, and with them."""
    claims = facts.claims
    unreserved = claims.unreserved_running if claims else facts.concurrency[1]
    claimed = unreserved + (claims.claimed if claims else 0)
    return [
        Sample("", "UnreservedConcurrentExecutions", float(unreserved), facts.started_ms),
        Sample("", "ClaimedAccountConcurrency", float(claimed), facts.started_ms),
    ]


def metric_data(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Data for PutMetricData, one per series and second, values and their counts."""
    found: defaultdict[_Series, Counter[float]] = defaultdict(Counter)
    for sample in samples:
        second = int(sample.at_ms // 1000)
        account_value = sample.value if sample.account_value is None else sample.account_value
        found[_Series((), sample.metric, sample.unit, second)][account_value] += 1
        for dimensions in _dimension_sets(sample):
            value = sample.value
            if sample.resource_value is not None and len(dimensions) > 1:
                value = sample.resource_value
            found[_Series(dimensions, sample.metric, sample.unit, second)][value] += 1
    return [datum for series, counts in found.items() for datum in _data(series, counts)]


def requests(data: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    """The data cut into the size of one request each."""
    return [data[i : i + REQUEST_DATA_MAX] for i in range(0, len(data), REQUEST_DATA_MAX)]


def _dimension_sets(sample: Sample) -> list[tuple[tuple[str, str], ...]]:
    """Those of a sample below the account: function, resource, and the version behind an alias."""
    name, qualifier = sample.function_name, sample.qualifier
    if not name:
        return []
    function = ("FunctionName", name)
    resource = ("Resource", f"{name}:{qualifier}" if qualifier else name)
    sets: list[tuple[tuple[str, str], ...]] = [(function,), (function, resource)]
    if sample.executed_version and qualifier and not qualifier.isdecimal():
        sets.append((function, resource, ("ExecutedVersion", sample.executed_version)))
    return sets


def _data(series: _Series, counts: Counter[float]) -> list[dict[str, Any]]:
    items = list(counts.items())
    return [
        {
            "MetricName": series.metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
            "Timestamp": datetime.fromtimestamp(series.second, timezone.utc),
            "Unit": series.unit,
            "Values": [value for value, _ in part],
            "Counts": [float(count) for _, count in part],
        }
        for part in (
            items[i : i + DATUM_VALUES_MAX] for i in range(0, len(items), DATUM_VALUES_MAX)
        )
    ]

"""The `AWS/Lambda` metrics of executed and refused invokes, as data for PutMetricData.

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


class Throttle(NamedTuple):
    """One refused invoke; `at_ms` is Unix time."""

    function_name: str
    at_ms: float


class _Series(NamedTuple):
    """Where a sample belongs. An empty function name is the whole account."""

    function_name: str
    has_resource: bool
    metric: str
    unit: str
    second: int


def metric_data(
    executed: Iterable[InvocationFacts], throttled: Iterable[Throttle]
) -> list[dict[str, Any]]:
    """Data for PutMetricData, one per series and second, values and their counts.

    A sample's time is the second its invoke started in. Series are: the account, the function,
    and the function with its unqualified resource.
    """
    samples: defaultdict[_Series, Counter[float]] = defaultdict(Counter)
    for facts in executed:
        second = int(facts.started_ms // 1000)
        for metric, unit, value, account_value in _samples(facts):
            _add(samples, facts.function_name, metric, unit, second, value, account_value)
    for name, at_ms in throttled:
        _add(samples, name, "Throttles", "Count", int(at_ms // 1000), 1.0, 1.0)
    return [datum for series, counts in samples.items() for datum in _data(series, counts)]


def requests(data: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    """The data cut into the size of one request each."""
    return [data[i : i + REQUEST_DATA_MAX] for i in range(0, len(data), REQUEST_DATA_MAX)]


def _samples(facts: InvocationFacts) -> list[tuple[str, str, float, float]]:
    """(metric, unit, value for the function, value for the account) of one executed invoke."""
    of_function, of_account = facts.concurrency
    error = 1.0 if facts.is_error else 0.0
    duration = round(facts.duration_ms, 2)
    samples = [
        ("Invocations", "Count", 1.0, 1.0),
        ("Errors", "Count", error, error),
        ("Throttles", "Count", 0.0, 0.0),
        ("Duration", "Milliseconds", duration, duration),
        ("ConcurrentExecutions", "Count", float(of_function), float(of_account)),
    ]
    if facts.extensions_ms is not None:
        after = round(facts.extensions_ms, 2)
        samples.append(("PostRuntimeExtensionsDuration", "Milliseconds", after, after))
    return samples


def _add(
    samples: defaultdict[_Series, Counter[float]],
    name: str,
    metric: str,
    unit: str,
    second: int,
    value: float,
    account_value: float,
) -> None:
    samples[_Series("", False, metric, unit, second)][account_value] += 1
    samples[_Series(name, False, metric, unit, second)][value] += 1
    samples[_Series(name, True, metric, unit, second)][value] += 1


def _data(series: _Series, counts: Counter[float]) -> list[dict[str, Any]]:
    dimensions = []
    if series.function_name:
        dimensions.append({"Name": "FunctionName", "Value": series.function_name})
    if series.has_resource:
        dimensions.append({"Name": "Resource", "Value": series.function_name})
    items = list(counts.items())
    return [
        {
            "MetricName": series.metric,
            "Dimensions": dimensions,
            "Timestamp": datetime.fromtimestamp(series.second, timezone.utc),
            "Unit": series.unit,
            "Values": [value for value, _ in part],
            "Counts": [float(count) for _, count in part],
        }
        for part in (
            items[i : i + DATUM_VALUES_MAX] for i in range(0, len(items), DATUM_VALUES_MAX)
        )
    ]

from __future__ import annotations

import math
from typing import Any

import botocore.session
import pytest

from lambdatrace.errors import MetricError
from lambdatrace.metrics import PENDING_COUNT_MAX, UNITS, MetricRecorder


def refuse(name: str, error: Exception) -> None:
    raise error


GOOD: dict[str, Any] = {
    "name": "Orders",
    "value": 1,
    "unit": "Count",
    "dimensions": {"tier": "gold"},
    "resolution_s": 60,
}


def test_a_metric_is_kept_with_the_default_dimensions_in_order_of_name() -> None:
    recorder = MetricRecorder({"service": "orders"})
    recorder.record(**{**GOOD, "dimensions": {"tier": "gold", "area": 7}})
    (metric,) = recorder.take(refuse)
    assert (metric.name, metric.value, metric.unit, metric.resolution_s) == (
        "Orders",
        1.0,
        "Count",
        60,
    )
    assert metric.dimensions == (("area", "7"), ("service", "orders"), ("tier", "gold"))
    assert len(recorder) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "n" * 256},
        {"name": 7},
        {"name": "service"},
        {"name": "_aws"},
        {"name": "tier"},
        {"value": math.nan},
        {"value": math.inf},
        {"value": 2.0**361},
        {"value": True},
        {"value": "1"},
        {"value": None},
        {"unit": "Stones"},
        {"resolution_s": 30},
        {"unit": ["Count"]},
        {"dimensions": {"": "x"}},
        {"dimensions": {":a": "x"}},
        {"dimensions": {"a": ""}},
        {"dimensions": {"a": "x" * 1025}},
        {"dimensions": {"a": "grün"}},
        {"dimensions": {f"d{n}": "x" for n in range(30)}},
    ],
)
def test_what_cloudwatch_would_refuse_is_refused_and_named(wrong: dict[str, Any]) -> None:
    recorder = MetricRecorder({"service": "orders"})
    recorder.record(**GOOD)
    recorder.record(**{**GOOD, **wrong})
    errors: list[Exception] = []
    taken = recorder.take(lambda _name, error: errors.append(error))
    assert [metric.name for metric in taken] == ["Orders"]
    assert [type(error) for error in errors] == [MetricError]
    assert recorder.dropped == 1


def test_the_number_of_waiting_metrics_is_bounded() -> None:
    recorder = MetricRecorder({})
    for _ in range(PENDING_COUNT_MAX):
        recorder.record(**GOOD)
    with pytest.raises(MetricError, match="10000 wait"):
        recorder.record(**GOOD)
    assert recorder.dropped == 1
    assert len(recorder.take(refuse)) == PENDING_COUNT_MAX


def test_the_units_are_cloudwatchs() -> None:
    model = botocore.session.get_session().get_service_model("cloudwatch")
    assert set(model.shape_for("StandardUnit").enum) == UNITS

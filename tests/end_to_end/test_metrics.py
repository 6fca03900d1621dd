"""Metrics on the real runtime client: each exactly once, whichever way an invocation ends."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, Harness
from tests.sdk.embedded_metric_rules import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.end_to_end.conftest import OtlpReceiver

COUNTED = """
    import os
    import sys
    import time
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        lambdatrace.metric("Begun", [1, 2], unit="Count", dimensions=[{"tier": "gold"}, {}])
        if event == "raise":
            raise ValueError("no such order")
        if event == "exit":
            sys.exit(1)
        if event == "time out":
            time.sleep(60)
        return {"ok": True}
"""


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


def deploy(harness: Harness, receiver: OtlpReceiver, folder: Path, **environment: str) -> None:
    (folder / "app.py").write_text(textwrap.dedent(COUNTED))
    harness.add_function(
        Function(
            "orders",
            code_dir=folder,
            handler="app.handler",
            timeout_s=1,
            environment={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "LAMBDATRACE_INVOCATION_METRICS": "all",
                **environment,
            },
        )
    )


def written(harness: Harness) -> list[dict[Any, Any]]:
    """By invocation, in order: metric names, values, and each with how many dimension sets."""
    found: dict[str, dict[Any, Any]] = {}
    for event in harness.logs("orders"):
        if '"_aws"' not in event.message:
            continue
        request_id = json.loads(event.message)["requestId"]
        metrics = found.setdefault(request_id, {})
        for _, dimensions, name, _, _, _, values in samples(
            event.message.strip(), event.timestamp_ms
        ):
            key = (name, dict(dimensions).get("tier", ""))
            assert key not in metrics, "a metric is written once"
            metrics[key] = values
    return list(found.values())


BEGUN: dict[Any, Any] = {("Begun", "gold"): (1.0, 2.0), ("Begun", ""): (1.0, 2.0)}


def shown(metrics: dict[Any, Any]) -> dict[Any, Any]:
    """Without the values that depend on the machine, which are checked to be there."""
    durations = ("Duration", "InitDuration", "EstimatedCost")
    for key in [(name, "") for name in durations]:
        if key in metrics:
            (value,) = metrics.pop(key)
            assert value > 0
            metrics[key[0]] = True
    return metrics


def test_a_return_an_error_and_an_exit_are_each_counted_once(
    harness: Harness, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    deploy(harness, receiver, tmp_path)
    for event in ("raise", "", "exit"):
        harness.invoke("orders", event)
        harness.wait_frozen("orders")
    ended: dict[Any, Any] = {"Duration": True, "EstimatedCost": True, **BEGUN}
    first, second, third = (shown(metrics) for metrics in written(harness))
    assert first == {
        **ended,
        "InitDuration": True,
        ("ColdStart", ""): (1.0,),
        ("Errors", ""): (1.0,),
    }
    assert second == {**ended, ("Errors", ""): (0.0,)}
    assert third == {**ended, ("Errors", ""): (1.0,)}


def test_a_timeout_is_counted_before_the_environment_is_killed(
    harness: Harness, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    deploy(harness, receiver, tmp_path, LAMBDATRACE_INVOCATION_METRICS="Timeouts,Errors,ColdStart")
    result = harness.invoke("orders", "time out")
    assert result.json()["errorType"] == "Sandbox.Timedout"
    assert written(harness) == [
        {
            **BEGUN,
            ("Timeouts", ""): (1.0,),
            ("Errors", ""): (1.0,),
            ("ColdStart", ""): (1.0,),
        }
    ]

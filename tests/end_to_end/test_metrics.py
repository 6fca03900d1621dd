"""Metrics on the real runtime client: each exactly once, whichever way an invocation ends."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.end_to_end.conftest import WAIT_S, OtlpReceiver
from tests.sdk.embedded_metric_rules import samples

if TYPE_CHECKING:
    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy


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


def add(deploy: Deploy, source: str = COUNTED, **environment: str) -> None:
    every = {"LAMBDATRACE_INVOCATION_METRICS": "all", **environment}
    # Time enough for what is sent before it runs out, on a machine that has other work.
    deploy(source, timeout_s=3, environment=every)


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
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    add(deploy)
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
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    add(deploy, LAMBDATRACE_INVOCATION_METRICS="Timeouts,Errors,ColdStart")
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


MEASURED = """
    import lambdatrace
    from opentelemetry import metrics

    meter = metrics.get_meter("shop", "1.0")
    orders = meter.create_counter("orders", "{order}")
    latency = meter.create_histogram("latency", "ms")
    meter.create_observable_gauge("queue", [lambda options: [metrics.Observation(7)]])

    @lambdatrace.instrument
    def handler(event, context):
        with lambdatrace.span("work"):
            orders.add(2, {"tier": "gold"})
            latency.record(30)
            lambdatrace.metric("Size", [1, 2], unit="Bytes", dimensions={"tier": "gold"})
        if event == "time out":
            import time
            time.sleep(60)
        if event == "raise":
            raise ValueError
"""


def sent(receiver: OtlpReceiver, name: str) -> list[Any]:
    """The points of a metric in the order in which they came."""
    found = [metric for metric in receiver.metrics if metric.name == name]
    return [
        point
        for metric in found
        for point in getattr(metric, metric.WhichOneof("data") or "").data_points
    ]


def test_metrics_of_all_apis_are_sent_as_otlp_deltas_once_an_invocation(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    add(deploy, MEASURED, OTEL_METRICS_EXPORTER="otlp")
    for event in ("raise", "", "time out"):
        harness.invoke("orders", event)
        harness.wait_frozen("orders")
    assert written(harness) == []
    orders, latency, size = (sent(receiver, name) for name in ("orders", "latency", "Size"))
    assert [point.as_int for point in orders] == [2, 2, 2]
    assert [(point.count, point.sum) for point in latency] == [(1, 30.0)] * 3
    assert [(point.count, point.sum, point.max) for point in size] == [(2, 3.0, 2.0)] * 3
    assert [point.as_int for point in sent(receiver, "queue")] == [7, 7, 7]
    assert [point.as_int for point in sent(receiver, "faas.errors")] == [1, 0, 1]
    assert [point.as_int for point in sent(receiver, "faas.coldstarts")] == [1]
    assert [point.as_int for point in sent(receiver, "faas.timeouts")] == [1]
    assert [point.count for point in sent(receiver, "faas.invoke_duration")] == [1, 1, 1]
    assert [point.count for point in sent(receiver, "faas.init_duration")] == [1]
    for point, next_point in pairwise(orders):
        assert point.start_time_unix_nano < point.time_unix_nano <= next_point.start_time_unix_nano
    spans = {span.span_id for span in receiver.named("work")}
    assert {
        exemplar.span_id for point in (*latency, *size) for exemplar in point.exemplars
    } == spans


def test_metrics_that_could_not_be_sent_are_sent_with_the_next_invocation(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    add(deploy, MEASURED, OTEL_METRICS_EXPORTER="otlp")
    receiver.status = 503
    harness.invoke("orders", "")
    harness.wait_frozen("orders")
    receiver.status = 200
    count, deadline = 1, time.monotonic() + WAIT_S
    while len(sent(receiver, "orders")) < count and time.monotonic() < deadline:
        time.sleep(0.3)  # it is left alone for a while after a failure
        harness.invoke("orders", "")
        harness.wait_frozen("orders")
        count += 1
    assert sum(point.as_int for point in sent(receiver, "orders")) == 2 * count

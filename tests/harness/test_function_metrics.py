"""The metrics real invokes leave, by qualifier and by what served them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import InvokeError

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    from lambdatrace.harness import Harness

    Run = Callable[..., contextlib.AbstractContextManager[Harness]]

# Answers "release" when another invoke has written the file that the first one waits for.
WAITING = """
import os, time

def handler(event, context):
    if event:
        while not os.path.exists(event):
            time.sleep(0.01)
"""


def sums(harness: Harness, resource: str) -> dict[str, float]:
    """The sum of each metric of the function `app` and a resource."""
    found: Counter[str] = Counter()
    for datum in harness.metrics("app"):
        dimensions = {d["Name"]: d["Value"] for d in datum["Dimensions"]}
        if dimensions == {"FunctionName": "app", "Resource": resource}:
            for value, count in zip(datum["Values"], datum["Counts"], strict=True):
                found[datum["MetricName"]] += value * count
    return dict(found)


def test_a_named_qualifier_is_a_resource_of_its_own(run: Run) -> None:
    with run("def handler(event, context): pass") as harness:
        harness.invoke("app")
        harness.invoke("app:$LATEST")
        harness.wait_frozen("app")
        assert sums(harness, "app")["Invocations"] == 1.0
        assert sums(harness, "app:$LATEST")["Invocations"] == 1.0
        versions = {
            d["Value"]
            for datum in harness.metrics("app")
            for d in datum["Dimensions"]
            if d["Name"] == "ExecutedVersion"
        }
    assert versions == {"$LATEST"}


def test_a_refused_invoke_is_a_throttle_and_no_invocation(run: Run, tmp_path: Path) -> None:
    gate = tmp_path / "code" / "gate"
    with run(WAITING, concurrency_max=1, timeout_s=20) as harness:
        first = threading.Thread(target=harness.invoke, args=("app", str(gate)))
        first.start()
        while not any(e.phase == "invoke" for e in harness.environments("app")):
            first.join(0.01)
        with pytest.raises(InvokeError, match="Rate Exceeded"):
            harness.invoke("app")
        gate.touch()
        first.join(20)
        harness.wait_frozen("app")
        found = sums(harness, "app")
    assert (found["Invocations"], found["Throttles"]) == (1.0, 1.0)


def test_what_exceeds_provisioned_concurrency_spills_over(run: Run, tmp_path: Path) -> None:
    gate = tmp_path / "code" / "gate"
    with run(WAITING, initialization_type="provisioned-concurrency", timeout_s=20) as harness:
        first = threading.Thread(target=harness.invoke, args=("app", str(gate)))
        first.start()
        while not any(e.phase == "invoke" for e in harness.environments("app")):
            first.join(0.01)
        harness.invoke("app")
        gate.touch()
        first.join(20)
        harness.wait_frozen("app")
        found = sums(harness, "app")
    assert {name: value for name, value in found.items() if name.startswith("Provisioned")} == {
        "ProvisionedConcurrencyInvocations": 1.0,
        "ProvisionedConcurrencySpilloverInvocations": 1.0,
        "ProvisionedConcurrentExecutions": 2.0,
        "ProvisionedConcurrencyUtilization": 2.0,
    }

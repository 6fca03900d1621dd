"""Environments that are initialized before their first event: provisioned, and from a snapshot."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function, FunctionConfigurationError, LaunchError
from tests.harness.test_environment import REPORT, messages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.test_environment import Run

SOURCE = """
    import os, time

    kind = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
    print("loading")
    loaded_s = time.time()

    def handler(event, context):
        if event:
            time.sleep(event)
        return [kind, os.getpid(), context.log_stream_name]
"""

HOOKS = """
    import os
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    def say(what):
        print(what)
        if what == os.environ.get("FAILS"):
            raise ValueError(what)

    register_before_snapshot(say, "before the snapshot")
    register_after_restore(say, "after the restore")

    def handler(event, context):
        return os.getpid()
"""


def test_a_provisioned_environment_is_initialized_before_any_event(run: Run) -> None:
    with run(SOURCE, initialization_type="provisioned-concurrency") as harness:
        [environment] = harness.environments("app")
        assert (environment.phase, environment.invocations) == ("freeze", 0)
        before = messages(harness)
        assert harness.invoke("app").json()[:2] == ["provisioned-concurrency", environment.pid]
        harness.wait_frozen("app")
        after = messages(harness)[len(before) :]
    assert before[1:] == ["loading\n", "INIT_REPORT Init Duration: N ms\tPhase: init\n"]
    assert after == [
        "START RequestId: ID Version: $LATEST\n",
        "END RequestId: ID\n",
        f"{REPORT}Max Memory Used: N MB\t\n",
    ]


def test_an_init_ahead_of_any_event_has_the_time_that_lambda_gives_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what the harness takes for itself."""
    monkeypatch.setattr("lambdatrace.harness.harness.START_S", 2.0)
    source = "import time; time.sleep(2.5)\ndef handler(event, context): return 1"
    ahead = {"initialization_type": "provisioned-concurrency"}
    with run(source, **ahead) as harness:
        assert harness.invoke("app").json() == 1
        monkeypatch.setattr("lambdatrace.harness.phases.INIT_AHEAD_LIMIT_S", 0.0)
        code_dir = tmp_path / "code"
        slow = Function("slow", "app.handler", code_dir=code_dir, timeout_s=1, **ahead)  # type: ignore[arg-type]
        monkeypatch.setattr("lambdatrace.harness.harness.START_S", -0.5)
        with pytest.raises(LaunchError, match=r"slow was not deployed within 0\.5 s"):
            harness.add_function(slow)
        assert harness.names == ["app"]


def test_what_exceeds_the_provisioned_concurrency_is_served_on_demand(run: Run) -> None:
    options = {
        "initialization_type": "provisioned-concurrency",
        "provisioned_concurrent_executions": 2,
    }
    with (
        run(SOURCE, **options, idle_timeout_s=0.2) as harness,
        ThreadPoolExecutor(3) as callers,
    ):
        provisioned = {environment.pid for environment in harness.environments("app")}
        results = list(callers.map(lambda _: harness.invoke("app", 0.3).json(), range(3)))
        assert sorted(kind for kind, *_ in results) == [
            "on-demand",
            "provisioned-concurrency",
            "provisioned-concurrency",
        ]
        # Provisioned environments come first, so the other one is idle and goes.
        deadline = time.monotonic() + 10
        while len(harness.environments("app")) > 2 and time.monotonic() < deadline:
            assert harness.invoke("app", 0.01).json()[0] == "provisioned-concurrency"
        assert {environment.pid for environment in harness.environments("app")} == provisioned


def test_a_snapshot_is_restored_for_its_first_event(run: Run) -> None:
    with run(HOOKS, initialization_type="snap-start") as harness:
        [snapshot] = harness.environments("app")
        before = messages(harness)
        assert harness.invoke("app").json() == snapshot.pid
        harness.invoke("app")
        harness.wait_frozen("app")
        [restored] = harness.environments("app")
        after = messages(harness)[len(before) :]
    assert before[1:] == [
        "before the snapshot\n",
        "INIT_REPORT Init Duration: N ms\tPhase: init\n",
    ]
    assert after.pop(0).startswith("RESTORE_START Runtime Version: python:")
    assert after == [
        "after the restore\n",
        "RESTORE_REPORT Restore Duration: N ms\n",
        "START RequestId: ID Version: $LATEST\n",
        "END RequestId: ID\n",
        (
            f"{REPORT}Max Memory Used: N MB\tRestore Duration: N ms\t"
            "Billed Restore Duration: N ms\t\n"
        ),
        "START RequestId: ID Version: $LATEST\n",
        "END RequestId: ID\n",
        f"{REPORT}Max Memory Used: N MB\t\n",
    ]
    assert restored.log_stream != snapshot.log_stream


def test_a_snapshot_knows_no_log_stream(run: Run) -> None:
    with run(SOURCE, initialization_type="snap-start") as harness:
        assert harness.invoke("app").json()[2] is None


def test_a_hook_that_fails_after_the_restore_fails_the_invoke(run: Run) -> None:
    environment = {"FAILS": "after the restore"}
    with run(HOOKS, initialization_type="snap-start", environment=environment) as harness:
        failed = harness.invoke("app", log_type="Tail")
        harness.wait_frozen("app")
        log = messages(harness)
    lines = [line.partition(":")[0] for line in failed.log_tail.splitlines()]
    assert lines == ["START RequestId", "END RequestId", "REPORT RequestId"]
    assert [m.partition(" ")[0] for m in log[-4:]] == ["RESTORE_REPORT", "START", "END", "REPORT"]
    assert (failed.function_error, failed.json()["errorType"]) == ("Unhandled", "ValueError")
    assert [m for m in log if m.startswith("RESTORE_REPORT")] == [
        (
            "RESTORE_REPORT Restore Duration: N ms\tStatus: error\t"
            "Error Type: Runtime.AfterRestoreError\n"
        )
    ]


def test_a_hook_that_fails_before_the_snapshot_fails_the_init(run: Run) -> None:
    environment = {"FAILS": "before the snapshot"}
    with run(HOOKS, initialization_type="snap-start", environment=environment) as harness:
        log = messages(harness)
        assert harness.invoke("app").json()["errorType"] == "ValueError"
    assert re.search(
        r"INIT_REPORT .*Status: error\tError Type: Runtime.BeforeSnapshotError", log[-1]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initialization_type": "warm"}, "expected one of on-demand, provisioned-concurrency"),
        ({"provisioned_concurrent_executions": 0}, "expected at least 1"),
    ],
)
def test_what_lambda_would_refuse_is_refused(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FunctionConfigurationError, match=message):
        Function("app", "app.handler", code_dir=tmp_path, **options)  # type: ignore[arg-type]

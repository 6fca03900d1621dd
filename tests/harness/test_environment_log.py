"""What is made of what happens, and that nothing more is made of it than somebody wants."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function
from lambdatrace.harness.deployment import Deployment
from lambdatrace.harness.environment_log import INIT, EnvironmentLog
from lambdatrace.harness.function import inspect_interpreter
from lambdatrace.harness.invocation import Invocation, Outcome
from lambdatrace.harness.logging_config import LoggingConfig
from lambdatrace.harness.platform_logs import Report
from lambdatrace.harness.variables import Surroundings

if TYPE_CHECKING:
    from pathlib import Path

SUBSCRIPTION = (
    b'{"schemaVersion": "2022-12-13", "types": ["platform"],'
    b' "destination": {"protocol": "TCP", "port": 4000}}'
)


def log_of(folder: Path, lines: list[str], config: LoggingConfig | None = None) -> EnvironmentLog:
    function = Function(
        "f", "app.handler", code_dir=folder, logging_config=config or LoggingConfig()
    )
    deployment = Deployment(
        function,
        inspect_interpreter(sys.executable),
        Surroundings("us-east-1", ""),
        layers_dir=None,
        is_tmp_private=False,
        task_root=str(folder),
        empty_dir=folder,
    )
    return EnvironmentLog(deployment, "on-demand", lambda _, line: lines.append(line))


def invocation() -> Invocation:
    return Invocation(
        b"", "arn", lambda _: None, lambda _: None, "id", outcome=Outcome(b""), runtime_done_ns=1
    )


def test_after_an_init_that_nobody_subscribed_in_only_lines_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    log = log_of(tmp_path, lines)
    log.open_subscriptions(4000, is_private=False)
    log.init_start(INIT, "stream")
    log.init_report(INIT, 10.0)
    log.close_subscriptions()
    # From here on, an event is more than there may be.
    monkeypatch.delattr("lambdatrace.harness.environment_log.TelemetryEvent")
    monkeypatch.delattr("lambdatrace.harness.environment_log.telemetry_events")
    running = invocation()
    log.start(running)
    log.wrote(1, "line\n")
    log.report(running, Report("id", 1.0, 128, 30), 2, has_extensions=False)
    assert log.is_plain
    assert [line.split(" ")[0] for line in lines] == [
        *("INIT_START", "START", "line\n", "END", "REPORT"),
    ]


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_somebody_who_subscribed_and_json_need_events(tmp_path: Path, log_format: str) -> None:
    async def life() -> tuple[bool, bool]:
        log = log_of(tmp_path, [], LoggingConfig(log_format))
        log.open_subscriptions(4000, is_private=False)
        log.close_subscriptions()
        without = log.is_plain
        log.open_subscriptions(4000, is_private=False)
        log.subscribe("probe", "Telemetry", SUBSCRIPTION)
        log.close_subscriptions()
        subscribed = log.is_plain
        await log.close()
        return without, subscribed

    assert asyncio.run(life()) == (log_format == "Text", False)


def test_early_events_are_bounded(tmp_path: Path) -> None:
    async def life() -> int:
        log = log_of(tmp_path, [])
        log.open_subscriptions(4000, is_private=False)
        for _ in range(100):
            log.wrote(1, "x" * 100_000)
        telemetry = log._telemetry
        assert telemetry
        held = sum(len(event.record) for event in telemetry._early)
        await log.close()
        return held

    assert asyncio.run(life()) == 1_000_000

"""Lambda Insights events: what they say of figures, and of a real function's processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lambdatrace import __version__
from lambdatrace.harness.cost import cost_usd
from lambdatrace.harness.lambda_insights import (
    Usage,
    log_stream,
    parse_network,
    performance_event,
    usage,
)
from lambdatrace.harness.platform_logs import Report

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from lambdatrace.harness import Harness

    Run = Callable[..., contextlib.AbstractContextManager[Harness]]

BEFORE = Usage(100, 10, 4, 20, 1024, (600, 1000), (50, 70))
AFTER = Usage(6740, 60, 11, 16, 1024, (400, 1000), (6961, 4504))


def test_the_event_of_a_cold_invoke_has_what_aws_shows() -> None:
    report = Report("r-1", 45_191.4, 256, 63, init_duration_ms=130.7)
    event = performance_event("orders", "$LATEST", report, BEFORE, AFTER, 1_605_034_324_256, "1-2")
    metrics = [
        {"Name": "memory_utilization", "Unit": "Percent"},
        {"Name": "total_memory", "Unit": "Megabytes"},
        {"Name": "used_memory_max", "Unit": "Megabytes"},
        {"Name": "cpu_total_time", "Unit": "Milliseconds"},
        {"Name": "tx_bytes", "Unit": "Bytes"},
        {"Name": "rx_bytes", "Unit": "Bytes"},
        {"Name": "total_network", "Unit": "Bytes"},
        {"Name": "init_duration", "Unit": "Milliseconds"},
    ]
    assert event == {
        "_aws": {
            "Timestamp": 1_605_034_324_256,
            "CloudWatchMetrics": [
                {
                    "Namespace": "LambdaInsights",
                    "Dimensions": [["function_name"], ["function_name", "version"]],
                    "Metrics": metrics,
                }
            ],
            "LambdaInsights": {"ShareTelemetry": True},
        },
        "event_type": "performance",
        "function_name": "orders",
        "version": "$LATEST",
        "request_id": "r-1",
        "trace_id": "1-2",
        "duration": 45_191,
        "billed_duration": 45_323,
        "billed_mb_ms": 45_323 * 256,
        "cold_start": True,
        "init_duration": 130,
        "tmp_free": 400,
        "tmp_max": 1000,
        "tmp_used": 600,
        "threads_max": 11,
        "used_memory_max": 63,
        "total_memory": 256,
        "memory_utilization": 24,
        "cpu_user_time": 6640,
        "cpu_system_time": 50,
        "cpu_total_time": 6690,
        "fd_use": 20,
        "fd_max": 1024,
        "tx_bytes": 4434,
        "rx_bytes": 6911,
        "total_network": 11_345,
        "agent_version": f"lambdatrace-{__version__}",
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("timeout", {"shutdown": True, "shutdown_reason": "Timeout", "timeout": True}),
        ("error", {"shutdown": True, "shutdown_reason": "Failure", "timeout": None}),
        ("", {"shutdown": None, "shutdown_reason": None, "timeout": None}),
    ],
)
def test_what_is_not_so_is_not_there(status: str, expected: dict[str, object]) -> None:
    report = Report("r-1", 1.0, 128, 40, status=status)
    shared = Usage(1)
    event = performance_event("orders", "$LATEST", report, shared, shared, 1)
    assert {name: event.get(name) for name in expected} == expected
    assert "init_duration" not in event
    assert "rx_bytes" not in event
    (directive,) = event["_aws"]["CloudWatchMetrics"]
    assert [m["Name"] for m in directive["Metrics"]] == [
        "memory_utilization",
        "total_memory",
        "used_memory_max",
        "cpu_total_time",
    ]


def test_the_network_is_that_of_all_interfaces_but_the_loopback_one() -> None:
    lines = [
        b"    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0",
        b"  eth0: 5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0",
        b"  eth1:50 1 0 0 0 0 0 0 70 1 0 0 0 0 0 0",
    ]
    assert parse_network(lines) == (55, 77)


def test_a_process_that_has_ended_has_used_nothing() -> None:
    assert usage([2**22 + 1]) == Usage()


def test_each_environment_has_a_stream_with_the_functions_name() -> None:
    assert log_stream("2026/01/31/[$LATEST]0f", "orders") == "2026/01/31/orders[$LATEST]0f"


def test_a_real_invoke_has_the_processor_time_and_files_it_used(run: Run) -> None:
    source = """
    import threading, time

    files = []

    def handler(event, context):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        files.extend(open("/dev/null") for _ in range(50))
        with open("/tmp/big", "wb") as big:
            big.write(b"x" * 3_000_000)
        until = time.process_time() + event
        while time.process_time() < until:
            pass
    """
    with run(source, lambda_insights=True, timeout_s=20) as harness:
        harness.invoke("app", 0.3)
        harness.invoke("app", 0)
        harness.wait_frozen("app")
        first, second = harness.insights("app")
    assert (first["cold_start"], second["cold_start"]) == (True, False)
    assert 300 <= first["cpu_total_time"] < 2000
    assert second["cpu_total_time"] < 300
    assert first["threads_max"] >= 2
    assert first["fd_max"] >= first["fd_use"] >= 50
    assert first["tmp_max"] > first["tmp_free"] > 0
    assert first["used_memory_max"] > 10


def test_the_cost_is_that_of_the_request_and_of_billed_time_by_memory_and_architecture() -> None:
    # AWS Lambda pricing, US East: $0.0000166667 a GB-second on x86, 20 % less on Arm.
    assert cost_usd(1000, 1024, "x86_64") == pytest.approx(0.0000002 + 0.0000166667)
    assert cost_usd(500, 512, "arm64") == pytest.approx(0.0000002 + 0.0000133334 / 4)
    provisioned = cost_usd(1000, 1024, "x86_64", is_provisioned=True)
    assert provisioned == pytest.approx(0.0000002 + 0.0000097222)


def test_each_execution_has_its_cost(run: Run) -> None:
    with run("def handler(event, context): pass", memory_size_mb=1024, architecture="arm64") as h:
        h.invoke("app")
        h.wait_frozen("app")
        (facts,) = h.executions("app")
    assert facts.report
    expected = cost_usd(facts.report.billed_duration_ms, 1024, "arm64")
    assert facts.cost_usd == expected

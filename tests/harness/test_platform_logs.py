from __future__ import annotations

import pytest

from lambdatrace.harness import platform_logs
from lambdatrace.harness.platform_logs import Report


@pytest.mark.parametrize(
    ("report", "fields"),
    [
        (
            Report("id", 2.034, 128, 37, init_duration_ms=79.22),
            ["2.03 ms", "82 ms", "128 MB", "37 MB", "Init Duration: 79.22 ms", ""],
        ),
        (Report("id", 1.5, 128, 37), ["1.50 ms", "2 ms", "128 MB", "37 MB", ""]),
        (
            Report("id", 5000, 128, 104, status="timeout"),
            ["5000.00 ms", "5000 ms", "128 MB", "104 MB", "Status: timeout"],
        ),
        (
            Report("id", 10.2, 256, 30, 80.0, "error", "Runtime.ExitError"),
            [
                *("10.20 ms", "91 ms", "256 MB", "30 MB", "Init Duration: 80.00 ms"),
                *("Status: error", "Error Type: Runtime.ExitError"),
            ],
        ),
    ],
    ids=["cold", "warm", "timeout", "crash"],
)
def test_report_lines_are_those_of_2025_with_tabs_between_fields(
    report: Report, fields: list[str]
) -> None:
    duration, billed, size, used, *rest = fields
    assert report.line() == (
        f"REPORT RequestId: id\tDuration: {duration}\tBilled Duration: {billed}\t"
        f"Memory Size: {size}\tMax Memory Used: {used}\t" + "\t".join(rest) + "\n"
    )


@pytest.mark.parametrize(
    ("duration_ms", "init_ms", "billed_ms"),
    [(0.001, None, 1), (1.0, None, 1), (1.01, None, 2), (0.5, 0.5, 1), (0.6, 0.5, 2), (3, 97, 100)],
)
def test_init_is_billed_and_the_sum_rounded_up(
    duration_ms: float, init_ms: float | None, billed_ms: int
) -> None:
    assert Report("id", duration_ms, 128, 1, init_ms).billed_duration_ms == billed_ms


def test_a_restore_is_billed_with_the_duration_of_its_first_invoke() -> None:
    report = Report("id", 306.34, 3009, 155, restore_duration_ms=302.6)
    assert report.line() == (
        "REPORT RequestId: id\tDuration: 306.34 ms\tBilled Duration: 610 ms\t"
        "Memory Size: 3009 MB\tMax Memory Used: 155 MB\tRestore Duration: 302.60 ms\t"
        "Billed Restore Duration: 303 ms\t\n"
    )


def test_the_other_platform_lines() -> None:
    assert platform_logs.start("id", "$LATEST") == "START RequestId: id Version: $LATEST\n"
    assert platform_logs.end("id") == "END RequestId: id\n"
    assert platform_logs.init_report(9999.79, "init", "timeout") == (
        "INIT_REPORT Init Duration: 9999.79 ms\tPhase: init\tStatus: timeout\n"
    )
    assert platform_logs.init_report(150.789, "invoke", "error", "Runtime.ImportModuleError") == (
        "INIT_REPORT Init Duration: 150.79 ms\tPhase: invoke\tStatus: error\t"
        "Error Type: Runtime.ImportModuleError\n"
    )
    assert platform_logs.init_report(612.33, "init") == (
        "INIT_REPORT Init Duration: 612.33 ms\tPhase: init\n"
    )
    assert platform_logs.restore_report(618.457) == ("RESTORE_REPORT Restore Duration: 618.46 ms\n")
    assert platform_logs.restore_report(10000, "timeout") == (
        "RESTORE_REPORT Restore Duration: 10000.00 ms\tStatus: timeout\n"
    )
    assert platform_logs.restore_start("python:3.11.v7", "arn:aws:…") == (
        "RESTORE_START Runtime Version: python:3.11.v7\tRuntime Version ARN: arn:aws:…\n"
    )
    assert platform_logs.subscription("Logs", "probe.sh", "Subscribed", ("platform",)) == (
        "LOGS\tName: probe.sh\tState: Subscribed\tTypes: [Platform]\n"
    )
    assert platform_logs.xray("1-5e7e8131-abc", "0152def") == (
        "XRAY TraceId: 1-5e7e8131-abc\tSegmentId: 0152def\tSampled: true\t\n"
    )
    assert platform_logs.extension("probe.sh", "Ready", ("INVOKE", "SHUTDOWN")) == (
        "EXTENSION\tName: probe.sh\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n"
    )
    assert platform_logs.init_start(
        platform_logs.runtime_version("python3.11", "3.11.7"),
        platform_logs.runtime_version_arn("3.11.7", "us-east-1"),
    ) == (
        "INIT_START Runtime Version: python:3.11.v7\tRuntime Version ARN: "
        "arn:aws:lambda:us-east-1::runtime:"
        "820546ad7b6e74ec7055a089cd35d427e38e6032fa6439b596cae9262b7a8743\n"
    )

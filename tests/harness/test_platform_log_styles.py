"""The style of 2023: failures are told in a line of their own, as in some Regions still."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lambdatrace.harness.platform_logs import STYLE_2023, Report, fault, task_timed_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

SOURCE = """
    import os, time

    def handler(event, context):
        if event == "sleep":
            time.sleep(30)
        if event == "exit":
            os._exit(3)
        if event == "exit quietly":
            os._exit(0)
        if event == "allocate":
            kept = [b"x" * 2**20 for _ in range(400)]
        if event == "raise":
            raise ValueError("no")
"""


def platform_lines(harness: Harness, request_id: str) -> list[str]:
    """What the log says of one request, figures apart."""
    found = [e.message for e in harness.logs("app") if request_id in e.message]
    return [re.sub(r"\d+(\.\d+)? (ms|MB)", "N", m.replace(request_id, "ID")) for m in found]


def test_a_timeout_has_a_line_of_its_own_and_report_no_status(run: Run) -> None:
    with run(SOURCE, timeout_s=0.5, platform_log_style="2023") as harness:
        failed = harness.invoke("app", "sleep")
        harness.wait_frozen("app")
        start, told, end, report = platform_lines(harness, failed.request_id)
    assert failed.function_error == "Unhandled"
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(time + r" ID Task timed out after 0\.50 seconds\n\n", told)
    assert failed.json() == {"errorMessage": told.replace("ID", failed.request_id).rstrip("\n")}
    assert (start, end) == ("START RequestId: ID Version: $LATEST\n", "END RequestId: ID\n")
    assert report == (
        "REPORT RequestId: ID\tDuration: N\tBilled Duration: N\tMemory Size: N\t"
        "Max Memory Used: N\tInit Duration: N\t\n"
    )


def test_an_exit_and_a_lack_of_memory_are_told_as_exits_of_the_runtime(run: Run) -> None:
    reasons = {
        "exit": "Runtime exited with error: exit status 3",
        "exit quietly": "Runtime exited without providing a reason",
        "allocate": "Runtime exited with error: signal: killed",
    }
    with run(SOURCE, timeout_s=20, platform_log_style="2023") as harness:
        for event, reason in reasons.items():
            failed = harness.invoke("app", event)
            harness.wait_frozen("app")
            assert failed.json() == {
                "errorType": "Runtime.ExitError",
                "errorMessage": f"RequestId: {failed.request_id} Error: {reason}",
            }
            _, told, _, report = platform_lines(harness, failed.request_id)
            assert told == f"RequestId: ID Error: {reason}\nRuntime.ExitError\n"
            assert "Status" not in report
            assert "Error Type" not in report


def test_an_exception_is_the_functions_own_and_has_no_line_of_lambdas(run: Run) -> None:
    with run(SOURCE, platform_log_style="2023") as harness:
        failed = harness.invoke("app", "raise")
        harness.wait_frozen("app")
        lines = platform_lines(harness, failed.request_id)
    assert failed.json()["errorType"] == "ValueError"
    assert [line.split(" ")[0] for line in lines] == ["START", "END", "REPORT"]


def test_json_records_have_their_status_in_either_style(run: Run) -> None:
    from lambdatrace.harness import LoggingConfig

    config = LoggingConfig("JSON")
    with run(SOURCE, platform_log_style="2023", logging_config=config) as harness:
        failed = harness.invoke("app", "exit")
        harness.wait_frozen("app")
        [report] = [e.message for e in harness.logs("app") if "platform.report" in e.message]
        assert not [e for e in harness.logs("app") if e.message.startswith("RequestId")]
    assert failed.json()["errorType"] == "Runtime.ExitError"
    assert '"status":"error"' in report.replace(": ", ":")


def test_a_function_that_cannot_be_loaded_is_told_of_as_the_end_of_its_runtime() -> None:
    assert fault("id", "Unable to import module 'app'", "Runtime.ImportModuleError") == (
        "RequestId: id Error: Runtime exited with error: exit status 1\nRuntime.ExitError\n"
    )


def test_the_words_for_a_timeout_have_its_time_to_the_millisecond() -> None:
    assert task_timed_out("id", 3, 1709572957.0335) == (
        "2024-03-04T17:22:37.033Z id Task timed out after 3.00 seconds"
    )


def test_a_report_of_2023_has_no_status() -> None:
    report = Report("id", 5000, 128, 104, status="timeout")
    assert report.line(STYLE_2023) == (
        "REPORT RequestId: id\tDuration: 5000.00 ms\tBilled Duration: 5000 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 104 MB\t\n"
    )

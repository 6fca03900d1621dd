"""The pytest fixtures, found by pytest through the entry point `pytest11`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.harness.lambda_harness import LambdaHarness
    from lambdatrace.testing import Recorded

_running: list[LambdaHarness] = []  # those of the fixtures that are alive, in the order made


@pytest.fixture
def lambdatrace_recording() -> Iterator[Recorded]:
    """`lambdatrace.testing.recording()` around the test."""
    from lambdatrace.testing import recording

    with recording() as recorded:
        yield recorded


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Capture the test's standard output again: pytest puts its own there between the phases."""
    recorded = getattr(item, "funcargs", {}).get("lambdatrace_recording")
    if recorded is None:
        yield
        return
    with recorded.capture_stdout():
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Give a test that failed the logs of its functions, below the captured output."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    for harness in _running:
        if report.failed and (text := harness.log_text()):
            report.sections.append((f"Captured Lambda log {report.when}", text))
        if report.failed or report.when == "teardown":
            harness.forget_log()


@pytest.fixture
def lambda_harness() -> Iterator[LambdaHarness]:
    """`lambda_harness("app.handler")` is a function on a local Lambda that lives as the test."""
    yield from _local_lambda()


@pytest.fixture(scope="session")
def lambda_harness_session() -> Iterator[LambdaHarness]:
    """The same for all tests of the session: functions stay, and their environments warm."""
    yield from _local_lambda()


def _local_lambda() -> Iterator[LambdaHarness]:
    try:
        from lambdatrace.harness.lambda_harness import LambdaHarness
    except ImportError as error:
        if (error.name or "").startswith("lambdatrace"):
            raise
        pytest.fail(
            f"lambda_harness needs {error.name}: pip install 'lambdatrace[harness]'", pytrace=False
        )
    harness = LambdaHarness()
    _running.append(harness)
    try:
        yield harness
    finally:
        _running.remove(harness)
        harness.stop()

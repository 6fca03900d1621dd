"""The pytest fixtures that run a handler for real."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, FunctionConfigurationError, Harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness import InvocationFacts, LogEvent
    from lambdatrace.harness.lambda_harness import HarnessFunction, LambdaHarness

    Make = Callable[..., HarnessFunction]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(lambda_harness: LambdaHarness, tmp_path: Path) -> Make:
    """`make(source, timeout_s=1)`: the function `app` whose module is `source`."""

    def make_function(source: str, **options: Any) -> HarnessFunction:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        return lambda_harness("app.handler", code_dir=tmp_path, **options)

    return make_function


def pytest_in(folder: Path, *arguments: str) -> str:
    """What pytest prints for the tests in `folder`."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    completed = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return completed.stdout + completed.stderr


def test_the_readmes_example_passes(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("orders.py", "test_orders.py"):
        [source] = re.findall(rf"```python\n# {name}\n(.*?)```", readme, re.DOTALL)
        (tmp_path / name).write_text(source)
    assert "1 passed" in pytest_in(tmp_path, "-W", "error")


def test_nothing_of_the_harness_is_imported_when_no_test_uses_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    loaded = {'lambdatrace.harness', 'lambdatrace.testing', 'google.protobuf', 'boto3'}\n"
        "    assert loaded.isdisjoint(sys.modules)\n"
    )
    assert "1 passed" in pytest_in(tmp_path)
    assert "lambda_harness_session" in pytest_in(tmp_path, "--fixtures")


def test_a_failing_test_shows_its_functions_log_and_none_of_the_harness(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n    print('event', event)\n    return {}\n"
    )
    (tmp_path / "test_app.py").write_text(
        textwrap.dedent("""
            import pytest

            @pytest.fixture
            def app(lambda_harness_session):
                return lambda_harness_session("app.handler", timeout_s=20)

            def test_passes(app):
                app.invoke("before")

            def test_answer(app):
                assert app.invoke("answer").response == 1

            def test_span(app):
                app.invoke("span").span("work")

            def test_metric(app):
                app.invoke("metric").metric("Size")

            def test_settings(lambda_harness):
                lambda_harness("app.handler", memory_size_mb=1)

            def test_handler(lambda_harness):
                lambda_harness("app.nope")

            def test_interpreter(lambda_harness):
                lambda_harness("app.handler", python="/nowhere/python")

            def test_tenant(app):
                app.invoke(tenant_id="one")
        """)
    )
    said = pytest_in(tmp_path)
    assert "7 failed, 1 passed" in said
    parts = re.split(r"^_+ (test_\w+) _+$", said, flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name in ("answer", "span", "metric"):
        section = shown[f"test_{name}"].partition("Captured Lambda log call")[2]
        assert f"event {name}\n" in section
        assert "REPORT RequestId" in section
        assert [other for other in ("before", "answer", "span", "metric") if other in section] == [
            name
        ]
    sources = re.findall(r"^(\S+\.py):\d+: ", said, re.MULTILINE)
    assert set(sources) == {"test_app.py"}


def test_a_function_with_a_concurrency_runs_on_managed_instances(make: Make) -> None:
    function = make("def handler(event, context): return 1", max_concurrency=2)
    assert function.function.is_managed
    assert function.invoke().response == 1


def test_a_missing_extra_is_said(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one(lambda_harness): pass\n")
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['httptools'] = None\n")
    said = pytest_in(tmp_path)
    assert "lambda_harness needs httptools: pip install 'lambdatrace[harness]'" in said


def test_a_failed_invoke_gives_its_error_and_report(make: Make) -> None:
    failing = make(
        """
        import time
        def handler(event, context):
            if event == "sleep":
                time.sleep(9)
            raise ValueError("no")
        """,
        timeout_s=0.3,
    )
    raised = failing.invoke("raise")
    assert (raised.function_error, raised.error_type) == ("Unhandled", "ValueError")
    assert raised.response["errorMessage"] == "no"
    assert (raised.report.status, raised.report.error_type) == ("", "")
    timed_out = failing.invoke("sleep")
    assert timed_out.error_type == "Sandbox.Timedout"
    assert (timed_out.report.status, timed_out.report.duration_ms) == ("timeout", 300.0)
    assert timed_out.messages[-1].startswith(f"REPORT RequestId: {timed_out.result.request_id}")


def test_each_invoke_has_its_own_logs_metrics_and_spans(make: Make) -> None:
    function = make(
        """
        import lambdatrace

        print("loaded")

        @lambdatrace.instrument
        def handler(event, context):
            print("event", event)
            with lambdatrace.span(f"work {event}") as span:
                span.add_event("done", {"n": [1, 2]})
            lambdatrace.metric("Size", event, unit="Bytes")
        """
    )
    first, second = function.invoke(1), function.invoke(2)
    assert [line for line in first.messages if line in ("loaded", "event 1")] == [
        "loaded",
        "event 1",
    ]
    assert "event 2" in second.messages
    assert not {"loaded", "event 1"}.intersection(second.messages)
    assert [first.metric("Size").values, second.metric("Size").values] == [(1,), (2,)]
    assert second.metric("Size").unit == "Bytes"
    work = second.span("work 2")
    assert (work.kind, work.status_code, work.events) == (
        "INTERNAL",
        "UNSET",
        [("done", {"n": [1, 2]})],
    )
    assert second.span("app").kind == "SERVER"
    assert work.resource["faas.name"] == "app"
    with pytest.raises(LookupError, match="0 spans are called 'work 1'"):
        second.span("work 1")


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_spans_and_otlp_metrics_arrive_by_either_encoding(make: Make, protocol: str) -> None:
    function = make(
        """
        import lambdatrace

        @lambdatrace.instrument
        def handler(event, context):
            with lambdatrace.span("work"):
                lambdatrace.metric("Size", 5)
        """,
        environment={
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        },
    )
    invoked = function.invoke()
    assert invoked.span("work").parent_span_id == invoked.span("app").span_id
    assert re.fullmatch("[0-9a-f]{32}", invoked.span("work").trace_id)
    [resource] = invoked.otlp_metrics
    names = [metric["name"] for scope in resource["scopeMetrics"] for metric in scope["metrics"]]
    assert "Size" in names


def test_a_function_made_twice_stays_warm_and_another_of_its_name_is_refused(make: Make) -> None:
    source = "def handler(event, context): return 1"
    assert make(source).invoke().is_cold_start
    assert not make(source).invoke().is_cold_start
    with pytest.raises(TypeError, match="waits for the answer"):
        make(source).invoke(invocation_type="Event")
    with pytest.raises(FunctionConfigurationError, match="there is a function app already"):
        make(source, memory_size_mb=256)


def test_what_is_initialized_ahead_logs_before_the_first_event(make: Make) -> None:
    function = make(
        "print('loaded')\ndef handler(event, context): return 1",
        initialization_type="provisioned-concurrency",
    )
    invoked = function.invoke()
    assert invoked.messages[1] == "loaded"
    assert not invoked.is_cold_start


def test_functions_that_the_fixture_has_not_made_run_beside_those_it_has(
    make: Make, lambda_harness: LambdaHarness, tmp_path: Path
) -> None:
    made = make("def handler(event, context): return event")
    lambda_harness.harness.add_function(Function("other", "app.handler", code_dir=tmp_path))
    result = lambda_harness.harness.invoke("other", 7)
    assert (result.function_error, result.json()) == ("", 7)
    assert made.invoke(8).response == 8


def test_an_observer_that_raises_changes_no_invoke_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_log(name: str, event: LogEvent) -> None:
        raise KeyError(name, event.message)

    def on_executed(facts: InvocationFacts) -> None:
        raise ValueError(facts.function_name)

    (tmp_path / "app.py").write_text("def handler(event, context): return event")
    function = Function("app", "app.handler", code_dir=tmp_path)
    with Harness([function], on_log=on_log, on_executed=on_executed) as harness:
        assert [harness.invoke("app", n).json() for n in range(3)] == [0, 1, 2]
        harness.wait_frozen("app")
        assert [each.invocations for each in harness.environments("app")] == [3]
    assert [record.message for record in caplog.records] == [
        "on_log raised an error; others are not told",
        "on_executed raised an error; others are not told",
    ]

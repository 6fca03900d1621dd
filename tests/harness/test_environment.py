"""Real functions on the real runtime client, one harness per test."""

from __future__ import annotations

import concurrent.futures
import json
import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

COUNTER = """
    count = 0

    def handler(event, context):
        global count
        count += 1
        return count
"""


REPORT = "REPORT RequestId: ID\tDuration: N ms\tBilled Duration: N ms\tMemory Size: N MB\t"


def messages(harness: Harness) -> list[str]:
    """The function's log with ids, times and sizes left out."""
    text = [re.sub(r"[0-9a-f-]{36}", "ID", event.message) for event in harness.logs("app")]
    return [re.sub(r"\d+(\.\d+)? (ms|MB)", r"N \2", re.sub(r"N:.*", "", t)) for t in text]


def test_globals_survive_from_one_invoke_to_the_next(run: Run) -> None:
    with run(COUNTER) as harness:
        assert [harness.invoke("app").json() for _ in range(3)] == [1, 2, 3]
        [environment] = harness.environments("app")
    assert environment.invocations == 3


def test_a_cold_start_is_logged_with_init_and_a_warm_invoke_without(run: Run) -> None:
    source = """
        print("loading")

        def handler(event, context):
            print("handling", event)
    """
    with run(source) as harness:
        harness.invoke("app", 1)
        harness.invoke("app", 2)
        harness.wait_frozen("app")
        found = messages(harness)
        streams = {event.log_stream for event in harness.logs("app")}
    runtime = found.pop(0)
    assert found == [
        "loading\n",
        "START RequestId: ID Version: $LATEST\n",
        "handling 1\n",
        "END RequestId: ID\n",
        f"{REPORT}Max Memory Used: N MB\tInit Duration: N ms\t\n",
        "START RequestId: ID Version: $LATEST\n",
        "handling 2\n",
        "END RequestId: ID\n",
        f"{REPORT}Max Memory Used: N MB\t\n",
    ]
    assert runtime.startswith("INIT_START Runtime Version: python:3.")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", streams.pop())
    assert not streams


def test_log_timestamps_never_go_back_and_a_record_with_newlines_is_one_event(run: Run) -> None:
    source = """
        import fcntl, logging, sys, termios, time

        def wait_until_read():
            # Lines carry no time: those that wait in one pipe have no order to records in another.
            for pipe in (1, 3):
                while any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))):
                    time.sleep(0.002)

        def handler(event, context):
            for n in range(3):
                print("out", n)
                wait_until_read()
                logging.warning("first\\nsecond %d", n)
                wait_until_read()
                print("err", n, file=sys.stderr)
                wait_until_read()
    """
    with run(source) as harness:
        request_id = harness.invoke("app").request_id
        harness.wait_frozen("app")
        events = harness.logs("app")
    times = [event.timestamp_ms for event in events]
    assert times == sorted(times)
    output = [e.message for e in events if not re.match("INIT_START|START|END|REPORT", e.message)]
    record = r"\[WARNING\]\t[\d:T.Z-]+\t{}\tfirst\nsecond {}\n"
    for n in range(3):
        out, warning, err = output[3 * n : 3 * n + 3]
        assert (out, err) == (f"out {n}\n", f"err {n}\n")
        assert re.fullmatch(record.format(request_id, n), warning)


def test_an_exception_is_the_answer_and_the_environment_lives_on(run: Run) -> None:
    source = """
        def handler(event, context):
            if event == "fail":
                raise KeyError("missing")
            return event
    """
    with run(source) as harness:
        failed = harness.invoke("app", "fail")
        assert harness.invoke("app", "fine").json() == "fine"
        [environment] = harness.environments("app")
        log = messages(harness)
    assert (failed.status_code, failed.function_error) == (200, "Unhandled")
    document = failed.json()
    assert (document["errorType"], document["errorMessage"]) == ("KeyError", "'missing'")
    assert document["requestId"] == failed.request_id
    assert environment.invocations == 2
    assert [m for m in log if m.startswith("[ERROR] KeyError: 'missing'\nTraceback")]
    assert not [m for m in log if "Status:" in m]


def test_a_runtime_that_takes_more_memory_than_it_may_is_killed_as_out_of_memory(run: Run) -> None:
    source = """
        import time

        taken = []

        def handler(event, context):
            while event == "fill":
                taken.append(b"x" * 4_000_000)
                time.sleep(0.01)
            return len(taken)
    """
    with run(source, timeout_s=20) as harness:
        killed = harness.invoke("app", "fill")
        harness.wait_frozen("app")
        [report] = [e.message for e in harness.logs("app") if e.message.startswith("REPORT")]
        assert harness.invoke("app", "fine").json() == 0
    assert killed.function_error == "Unhandled"
    assert killed.json() == {
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": f"RequestId: {killed.request_id} Error: "
        "Runtime exited with error: signal: killed",
    }
    assert "Max Memory Used: 128 MB" in report
    assert "Status: error\tError Type: Runtime.OutOfMemory" in report


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_runtime_that_exits_is_an_exit_error_and_the_next_invoke_starts_it_again(
    run: Run, statement: str, reason: str
) -> None:
    source = f"""
        import os, sys
        count = 0

        def handler(event, context):
            global count
            count += 1
            if event == "exit":
                {statement}
            return count
    """
    with run(source) as harness:
        assert harness.invoke("app").json() == 1
        failed = harness.invoke("app", "exit")
        assert harness.invoke("app").json() == 1
        harness.wait_frozen("app")
        [environment] = harness.environments("app")
        reports = [m for m in messages(harness) if m.startswith("REPORT")]
    assert failed.function_error == "Unhandled"
    assert failed.json() == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {failed.request_id} Error: {reason}",
    }
    assert environment.invocations == 3
    assert [report.split("Max Memory Used: N MB")[1] for report in reports] == [
        "\tInit Duration: N ms\t\n",
        "\tStatus: error\tError Type: Runtime.ExitError\n",
        "\t\n",  # a suppressed init: its time is part of the duration
    ]


def test_a_timeout_resets_the_environment_but_keeps_its_tmp(run: Run) -> None:
    source = """
        import pathlib, tempfile, time
        marker = pathlib.Path(tempfile.gettempdir(), "marker")
        count = 0

        def handler(event, context):
            global count
            count += 1
            found = marker.exists()
            marker.write_text("kept")
            if event == "sleep":
                time.sleep(30)
            return [count, found]
    """
    with run(source, timeout_s=0.5) as harness:
        failed = harness.invoke("app", "sleep")
        harness.wait_frozen("app")
        assert harness.invoke("app").json() == [1, True]
        harness.wait_frozen("app")
        reports = [e.message for e in harness.logs("app") if e.message.startswith("REPORT")]
        [environment] = harness.environments("app")
    assert failed.function_error == "Unhandled"
    assert failed.json() == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {failed.request_id} Error: Task timed out after 0.50 seconds",
    }
    assert "Duration: 500.00 ms\t" in reports[0]
    assert reports[0].endswith("Status: timeout\n")
    assert "Init Duration" not in reports[1]
    assert environment.invocations == 2


def test_tmp_is_not_shared_between_environments(run: Run) -> None:
    source = """
        import pathlib, tempfile, time

        def handler(event, context):
            folder = pathlib.Path(tempfile.gettempdir())
            (folder / event).write_text("")
            time.sleep(0.3)
            return sorted(f.name for f in folder.iterdir() if f.name in ("a", "b"))
    """
    with run(source) as harness, concurrent.futures.ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda e: harness.invoke("app", e).json(), ["a", "b"]))
        assert answers == [["a"], ["b"]]
        assert len(harness.environments("app")) == 2


def test_a_frozen_environment_does_not_run_an_instruction(run: Run) -> None:
    source = """
        import threading, time
        ticks = 0

        def tick():
            global ticks
            while True:
                time.sleep(0.005)
                ticks += 1

        threading.Thread(target=tick, daemon=True).start()

        def handler(event, context):
            before = ticks
            if event == "wait":
                time.sleep(0.2)
            return [before, ticks]
    """
    with run(source) as harness:
        _, frozen_at = harness.invoke("app", "wait").json()
        harness.wait_frozen("app")
        time.sleep(0.3)
        thawed_at, _ = harness.invoke("app").json()
    assert frozen_at >= 10
    assert thawed_at - frozen_at <= 5


def test_a_module_that_cannot_be_loaded_is_tried_again_inside_the_invoke(run: Run) -> None:
    with run("import nowhere") as harness:
        failed = harness.invoke("app")
        harness.wait_frozen("app")
        log = messages(harness)
    message = "Unable to import module 'app': No module named 'nowhere'"
    assert failed.function_error == "Unhandled"
    assert failed.json() == {
        "errorMessage": message,
        "errorType": "Runtime.ImportModuleError",
        "requestId": "",
        "stackTrace": [],
    }
    platform = [m for m in log if re.match("INIT_|START|END|REPORT", m)]
    error = "Status: error\tError Type: Runtime.ImportModuleError\n"
    assert [re.sub(r"(INIT_START).*\n", r"\1", m) for m in platform] == [
        "INIT_START",
        f"INIT_REPORT Init Duration: N ms\tPhase: init\t{error}",
        "INIT_START",
        f"INIT_REPORT Init Duration: N ms\tPhase: invoke\t{error}",
        "START RequestId: ID Version: $LATEST\n",
        "END RequestId: ID\n",
        f"{REPORT}Max Memory Used: N MB\t{error}",
    ]


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("def handler(", "Runtime.UserCodeSyntaxError"),
        ("def other(event, context): ...", "Runtime.HandlerNotFound"),
        ("import sys; sys.exit(4)", "Runtime.ExitError"),
    ],
)
def test_other_init_failures_reach_the_caller(run: Run, source: str, error_type: str) -> None:
    with run(source) as harness:
        failed = harness.invoke("app")
    assert (failed.function_error, failed.json()["errorType"]) == ("Unhandled", error_type)


def test_an_init_over_ten_seconds_starts_again_on_the_functions_time(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdatrace.harness.environment.INIT_LIMIT_S", 0.5)
    source = "import time; time.sleep(1)\n" + "def handler(event, context): return 1"
    with run(source, timeout_s=5) as harness:
        assert harness.invoke("app").json() == 1
        harness.wait_frozen("app")
        log = messages(harness)
    assert "INIT_REPORT Init Duration: N ms\tPhase: init\tStatus: timeout\n" in log
    with run(source, timeout_s=0.7) as harness:
        failed = harness.invoke("app").json()
        harness.wait_frozen("app")
        log = messages(harness)
    assert failed["errorType"] == "Sandbox.Timedout"
    assert "INIT_REPORT Init Duration: N ms\tPhase: invoke\tStatus: timeout\n" in log


def test_a_response_over_six_mebibytes_is_an_error_of_the_function(run: Run) -> None:
    with run("def handler(event, context): return 'x' * event", timeout_s=30) as harness:
        assert len(harness.invoke("app", 6291554).payload) == 6291556
        failed = harness.invoke("app", 6291555)
        assert harness.invoke("app", 1).json() == "x"
        harness.wait_frozen("app")
        reports = [m for m in messages(harness) if m.startswith("REPORT")]
    assert failed.json() == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size (6291557 bytes) exceeded maximum allowed payload "
        "size (6291556 bytes).",
    }
    assert reports[1].endswith("Status: error\tError Type: Function.ResponseSizeTooLarge\n")


def test_memory_used_follows_what_the_function_holds(run: Run) -> None:
    source = """
        import subprocess, sys

        def handler(event, context):
            if event == "self":
                return len(b"x" * 80_000_000)
            if event == "child":
                held = "import time; a = b'x' * 90_000_000; time.sleep(0.4)"
                subprocess.run([sys.executable, "-c", held])
    """
    with run(source, memory_size_mb=512) as harness:
        for event in ("nothing", "self", "nothing"):
            harness.invoke("app", event)
        harness.wait_frozen("app")
        used = [_used_mb(e.message) for e in harness.logs("app") if "REPORT" in e.message]
    assert 8 <= used[0] <= 40
    assert 76 <= used[1] - used[0] <= 84
    assert used[2] == used[1]
    with run(source, memory_size_mb=512) as harness:
        harness.invoke("app", "child")
        harness.wait_frozen("app")
        [report] = [e.message for e in harness.logs("app") if "REPORT" in e.message]
    assert 95 <= _used_mb(report) <= 140


def _used_mb(report: str) -> int:
    found = re.search(r"Max Memory Used: (\d+) MB", report)
    assert found
    return int(found[1])


def test_the_environment_used_last_is_used_first(run: Run) -> None:
    with (
        run("import time\ndef handler(event, context): time.sleep(event)") as harness,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        list(threads.map(lambda s: harness.invoke("app", s), [0.2, 0.4]))
        harness.wait_frozen("app")
        for _ in range(3):
            harness.invoke("app", 0)
            harness.wait_frozen("app")
        assert sorted(e.invocations for e in harness.environments("app")) == [1, 4]


def test_an_unused_environment_is_shut_down(run: Run) -> None:
    with run(COUNTER, idle_timeout_s=0.2) as harness:
        harness.invoke("app")
        deadline = time.monotonic() + 10
        while harness.environments("app") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert harness.environments("app") == []
        assert harness.invoke("app").json() == 1


def test_variables_are_those_of_lambda_and_the_functions_own(run: Run) -> None:
    source = "import os\ndef handler(event, context): return dict(os.environ)"
    own = {"STAGE": "test", "TZ": "Europe/Berlin", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}
    with run(
        source, environment=own, memory_size_mb=256, runtime="python3.13", python=sys.executable
    ) as harness:
        found = harness.invoke("app", trace_header="Root=1-a-b;Parent=c;Sampled=1").json()
        [environment] = harness.environments("app")
    expected = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "app",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/app",
        "AWS_LAMBDA_LOG_STREAM_NAME": environment.log_stream,
        "AWS_REGION": "us-east-1",
        "_HANDLER": "app.handler",
        **own,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["_X_AMZN_TRACE_ID"].startswith("Root=1-a-b;Parent=c;Sampled=1;Lineage=")
    assert "_LAMBDA_TELEMETRY_LOG_FD" not in found
    assert "HOME" not in found


def test_the_context_has_the_identity_and_limits_of_the_invoke(run: Run) -> None:
    source = """
        def handler(event, context):
            return {
                "id": context.aws_request_id,
                "arn": context.invoked_function_arn,
                "left": context.get_remaining_time_in_millis(),
                "custom": context.client_context.custom,
            }
    """
    with run(source, timeout_s=7) as harness:
        result = harness.invoke("app", client_context={"custom": {"a": "ü"}})
    found = result.json()
    assert 5000 < found.pop("left") <= 7000
    assert found == {
        "id": result.request_id,
        "arn": "arn:aws:lambda:us-east-1:123456789012:function:app",
        "custom": {"a": "ü"},
    }


def test_a_wrapper_script_starts_the_runtime_with_the_handler_it_chooses(
    run: Run, tmp_path: Path
) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport _HANDLER=app.other WRAPPED=yes\nexec "$1" -B "$2"\n')
    wrapper.chmod(0o755)
    source = """
        import os, sys
        def other(event, context):
            is_first = sys.path[0] == os.getcwd()
            return [os.environ["WRAPPED"], sys.flags.dont_write_bytecode, is_first]
    """
    with run(source, environment={"AWS_LAMBDA_EXEC_WRAPPER": str(wrapper)}) as harness:
        assert harness.invoke("app").json() == ["yes", 1, True]


def test_a_wrapper_that_is_not_there_is_an_exit_error_with_its_name_in_the_log(run: Run) -> None:
    with run(COUNTER, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/nowhere"}) as harness:
        failed = harness.invoke("app")
        log = messages(harness)
    assert failed.json()["errorMessage"].endswith("Runtime exited with error: exit status 127")
    assert "/opt/nowhere: no such file or directory\n" in log


def test_thousands_of_invokes_leave_no_descriptor_behind(run: Run) -> None:
    import os

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = descriptors()
    with run("def handler(event, context): return event") as harness:
        started = descriptors()
        harness.invoke("app", 0)
        of_one = descriptors() - started
        for n in range(2000):
            assert harness.invoke("app", n).payload == json.dumps(n).encode()
        harness.wait_frozen("app")
        # A second one on a machine so busy that the first was not back within its round trip.
        environments = len(harness.environments("app"))
        assert environments < 10
        # Fewer when sockets of an earlier test are collected.
        assert descriptors() <= started + of_one * environments
    assert descriptors() <= before


def test_without_a_private_tmp_each_environment_has_a_folder_named_by_tmpdir(
    run: Run, tmp_path: Path
) -> None:
    layer = tmp_path / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "shared.py").write_text("value = 5")
    (layer / "wrapper").write_text('#!/bin/sh\nexec "$@"\n')
    (layer / "wrapper").chmod(0o755)
    source = """
        import pathlib, shared, tempfile, time

        def handler(event, context):
            folder = pathlib.Path(tempfile.gettempdir())
            found = [f.name for f in folder.iterdir()]
            (folder / "marker").write_text("")
            if event == "sleep":
                time.sleep(30)
            return [str(folder), found, shared.value]
    """
    options = {
        "layers": [layer],
        "environment": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"},
        "timeout_s": 0.5,
    }
    with run(source, private_tmp=False, **options) as harness:
        assert not harness.is_tmp_private
        folder, found, value = harness.invoke("app").json()
        harness.invoke("app", "sleep")
        harness.wait_frozen("app")
        again = harness.invoke("app").json()
    assert re.fullmatch(r"/tmp/lambdatrace-harness-\d+/\w+/tmp-1", folder)
    assert (found, value) == ([], 5)
    assert again == [folder, ["marker"], 5]

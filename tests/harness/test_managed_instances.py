"""Managed Instances: several events at a time in the workers of one environment, never frozen."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, FunctionConfigurationError, InvokeError, LoggingConfig
from lambdatrace.harness.errors import LaunchError
from lambdatrace.harness.extensions_api import ExtensionMeaning, ExtensionsApi
from lambdatrace.harness.worker_logs import WorkerLogs

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

MANAGED: dict[str, Any] = {"initialization_type": "lambda-managed-instances"}
SOURCE = """
    import logging, os, signal, time

    def handler(event, context):
        print("working for", context.aws_request_id)
        if "seconds" in event:
            time.sleep(event["seconds"])
        if "raise" in event:
            raise ValueError(event["raise"])
        if "end" in event:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        if "end worker" in event:
            os.kill(os.getpid(), signal.SIGKILL)
        if "long" in event:
            return "x" * (6 * 1024 * 1024 + 100)
        return os.getpid()
"""


def lines(harness: Harness, request_id: str) -> list[str]:
    """The log's lines about one request, figures apart."""
    found = [e.message for e in harness.logs("app") if request_id in e.message]
    return [re.sub(r"\d+\.\d\d ms", "N ms", m.replace(request_id, "ID")) for m in found]


def test_events_run_at_the_same_time_in_workers_and_what_finds_none_free_is_refused(
    run: Run,
) -> None:
    def invoke(_: int) -> Any:
        try:
            return harness.invoke("app", {"seconds": 1}).json()
        except InvokeError as error:
            return error.status, error.code, error.reason

    with run(SOURCE, **MANAGED, max_concurrency=3, timeout_s=20) as harness:
        [before] = harness.environments("app")
        assert (before.phase, before.invocations) == ("invoke", 0), "ahead of any event"
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(invoke, range(4)))
        [after] = harness.environments("app")
        metrics = harness.metrics("app")
        executed = harness.executions("app")
    refused = [answer for answer in answers if isinstance(answer, tuple)]
    assert refused == [(429, "TooManyRequestsException", "ConcurrentInvocationLimitExceeded")]
    workers = {answer for answer in answers if isinstance(answer, int)}
    assert len(workers) == 3
    assert after.pid not in workers
    assert (after.pid, after.invocations) == (before.pid, 3)
    assert sorted(facts.concurrency[0] for facts in executed) == [1, 2, 3]
    assert {facts.cost_usd for facts in executed} == {0.2 / 1e6}, "instances are paid for"
    sums = {
        datum["MetricName"]: sum(map(operator.mul, datum["Values"], datum["Counts"]))
        for datum in metrics
        if len(datum["Dimensions"]) == 1
    }
    kinds = ("Throttles", "CPUThrottles", "MemoryThrottles", "DiskThrottles")
    assert [sums[kind] for kind in kinds] == [1.0, 0.0, 0.0, 0.0]
    assert sums["ConcurrencyThrottles"] == 1.0


def test_events_go_to_the_environment_with_most_room(run: Run) -> None:
    options = {"execution_environments": 2, "max_concurrency": 2, "timeout_s": 20}
    with run(SOURCE, **MANAGED, **options) as harness, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: harness.invoke("app", {"seconds": 0.5}), range(2)))
        assert [each.invocations for each in harness.environments("app")] == [1, 1]


def test_an_invoke_has_start_end_and_a_report_of_its_duration(run: Run) -> None:
    with run(SOURCE, **MANAGED, max_concurrency=2) as harness:
        invoked = harness.invoke("app", {}, log_type="Tail")
        log = [event.message for event in harness.logs("app")]
        assert lines(harness, invoked.request_id) == [
            "START RequestId: ID\tVersion: $LATEST\n",
            "working for ID\n",
            "END RequestId: ID\n",
            "REPORT RequestId: ID\tDuration: N ms\n",
        ]
    assert invoked.log_tail == "".join(log[-4:])
    assert re.fullmatch(r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\n", log[-5])


def test_json_records_have_the_duration_alone_and_none_says_that_the_runtime_is_done(
    run: Run,
) -> None:
    config = LoggingConfig("JSON", "INFO", "DEBUG")
    with run(SOURCE, **MANAGED, max_concurrency=2, logging_config=config) as harness:
        invoked = harness.invoke("app", {})
        records = [json.loads(e.message) for e in harness.logs("app") if e.message[0] == "{"]
    platform = {record["type"]: record["record"] for record in records if "type" in record}
    assert list(platform) == [
        *("platform.initStart", "platform.initRuntimeDone", "platform.initReport"),
        *("platform.start", "platform.report"),
    ]
    assert platform["platform.initStart"]["initializationType"] == "lambda-managed-instances"
    report = platform["platform.report"]
    assert report["requestId"] == invoked.request_id
    assert (list(report["metrics"]), report["status"]) == (["durationMs"], "success")


def test_an_event_that_times_out_goes_on_in_its_worker_and_nothing_is_reset(run: Run) -> None:
    with run(SOURCE, **MANAGED, max_concurrency=1, timeout_s=0.5) as harness:
        worker = harness.invoke("app", {}).json()
        late = harness.invoke("app", {"seconds": 1})
        with pytest.raises(InvokeError, match="Rate Exceeded"):
            harness.invoke("app", {})
        deadline = time.monotonic() + 30
        while True:
            try:
                assert harness.invoke("app", {}).json() == worker
                break
            except InvokeError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        log = [event.message for event in harness.logs("app")]
        *_, end, report = lines(harness, late.request_id)[:4]
    assert late.json() == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {late.request_id} Error: Task timed out after 0.50 seconds",
    }
    assert (end, report) == ("END RequestId: ID\n", "REPORT RequestId: ID\tDuration: N ms\n")
    told = [line for line in log if "This won't kill the Runtime loop" in line]
    assert len(told) == 1, "the runtime client heard that it was too late"


def test_a_runtime_that_ends_fails_all_that_runs_and_the_next_event_starts_it_again(
    run: Run,
) -> None:
    with run(SOURCE, **MANAGED, max_concurrency=3, timeout_s=20) as harness:
        with ThreadPoolExecutor(2) as threads:
            slow = threads.submit(harness.invoke, "app", {"seconds": 15})
            while not any("working" in event.message for event in harness.logs("app")):
                time.sleep(0.01)
            ended = harness.invoke("app", {"end": True})
            results = [slow.result(), ended]
        [before] = harness.environments("app")
        harness.wait_frozen("app")
        again = harness.invoke("app", {})
        [after] = harness.environments("app")
        assert len(harness.executions("app")) == 3
    for result in results:
        reason = "Runtime exited with error: signal: killed"
        assert result.json() == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {result.request_id} Error: {reason}",
        }
    assert isinstance(again.json(), int)
    assert before.log_stream == after.log_stream


def test_events_that_wait_for_an_init_time_out_as_those_that_run(run: Run) -> None:
    source = """
        import os, signal, time

        if os.path.exists("/tmp/slow"):
            time.sleep(2.5)

        def handler(event, context):
            if event == "end":
                open("/tmp/slow", "w").close()
                os.killpg(os.getpgid(0), signal.SIGKILL)
            return event
    """
    with run(source, **MANAGED, max_concurrency=2, timeout_s=1) as harness:
        harness.invoke("app", "end")
        harness.wait_frozen("app")
        with ThreadPoolExecutor(2) as threads:
            late = list(threads.map(lambda _: harness.invoke("app", "late"), range(2)))
        third = harness.invoke("app", "late")
        harness.wait_frozen("app")
        assert harness.invoke("app", "in time").json() == "in time"
        told = [lines(harness, each.request_id) for each in (*late, third)]
        durations = [facts.duration_ms for facts in harness.executions("app")[1:4]]
    for result, log in zip((*late, third), told, strict=True):
        assert result.json() == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {result.request_id} Error: Task timed out after 1.00 "
            "seconds",
        }
        assert log == [
            "START RequestId: ID\tVersion: $LATEST\n",
            "END RequestId: ID\n",
            "REPORT RequestId: ID\tDuration: N ms\n",
        ]
    assert durations == [1000.0, 1000.0, 1000.0]


def test_a_temporary_folder_with_a_long_name_has_room_for_the_socket(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with run(SOURCE, **MANAGED, max_concurrency=1, timeout_s=20) as harness:
        invoked = harness.invoke("app", {})
        log = lines(harness, invoked.request_id)
    assert log[1] == "working for ID\n"
    [base] = folder.iterdir()
    assert [each.name for each in base.iterdir()] == ["lock"]


def test_a_socket_the_workers_could_not_reach_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    with pytest.raises(LaunchError) as caught:
        asyncio.run(_listen(folder))
    assert str(caught.value) == (
        f"{folder}/log is too long for a socket's address: set TMPDIR to a folder with a shorter "
        "name"
    )


async def _listen(folder: Path) -> None:
    WorkerLogs(folder, lambda _, __: None, is_apart=True)


def test_a_worker_that_is_killed_leaves_the_others(run: Run) -> None:
    with run(SOURCE, **MANAGED, max_concurrency=2, timeout_s=1) as harness:
        killed = harness.invoke("app", {"end worker": True})
        workers = {harness.invoke("app", {}).json() for _ in range(4)}
    assert killed.json()["errorType"] == "Sandbox.Timedout", "nobody tells that it has gone"
    assert len(workers) == 1


def test_errors_and_responses_that_are_too_large_are_the_callers_to_see(run: Run) -> None:
    with run(SOURCE, **MANAGED, max_concurrency=2, timeout_s=20) as harness:
        raised = harness.invoke("app", {"raise": "no"})
        long = harness.invoke("app", {"long": True})
        assert [facts.is_error for facts in harness.executions("app")] == [True, True]
    assert (raised.json()["errorType"], raised.function_error) == ("ValueError", "Unhandled")
    assert long.json()["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_module_that_cannot_be_loaded_is_told_once_and_tried_again_with_each_event(
    run: Run,
) -> None:
    with run("import nowhere", **MANAGED, max_concurrency=3) as harness:
        for _ in range(2):
            assert harness.invoke("app", {}).json()["errorType"] == "Runtime.ImportModuleError"
            harness.wait_frozen("app")
        reports = [e.message for e in harness.logs("app") if e.message.startswith("INIT_REPORT")]
    assert [re.sub(r"[\d.]+ ms", "N ms", report) for report in reports] == [
        f"INIT_REPORT Init Duration: N ms\tPhase: {phase}\tStatus: error\t"
        "Error Type: Runtime.ImportModuleError\n"
        for phase in ("init", "invoke", "invoke")
    ]


def test_stopping_answers_those_who_wait_and_leaves_no_process_and_no_socket(run: Run) -> None:
    with ThreadPoolExecutor(1) as threads:
        with run(SOURCE, **MANAGED, max_concurrency=2, timeout_s=20) as harness:
            worker = harness.invoke("app", {}).json()
            [folder] = [root for root in _roots() if list(root.glob("tmp-*-log/log"))]
            waiting = threads.submit(harness.invoke, "app", {"seconds": 15})
            while harness.environments("app")[0].invocations != 2:
                time.sleep(0.01)
        assert waiting.result().json()["errorType"] == "Sandbox.Failure"
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, signal.SIG_DFL)


def _roots() -> list[Path]:
    import tempfile
    from pathlib import Path

    base = Path(tempfile.gettempdir(), f"lambdatrace-harness-{os.getuid()}")
    return [folder for folder in base.iterdir() if folder.is_dir()]


def test_the_runtime_api_knows_events_by_their_id(run: Run) -> None:
    source = """
        import os, time, urllib.error, urllib.request

        def handler(event, context):
            if event == "late":
                time.sleep(1)
                event = f"invocation/{context.aws_request_id}/response"
            answer = post(event)
            print("answered", answer[0], answer[1])
            return answer

        def post(event):
            url = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/{event}"
            try:
                with urllib.request.urlopen(urllib.request.Request(url, b"{}"), timeout=5) as got:
                    return [got.status, got.read().decode()]
            except urllib.error.HTTPError as error:
                return [error.code, error.read().decode()]
    """
    with run(source, **MANAGED, max_concurrency=2, timeout_s=0.7) as harness:
        for kind in ("response", "error"):
            status, body = harness.invoke("app", f"invocation/elsewhere/{kind}").json()
            assert (status, json.loads(body)["errorType"]) == (400, "InvalidRequestID")
        status, body = harness.invoke("app", "init/error").json()
        assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")
        assert harness.invoke("app", "late").json()["errorType"] == "Sandbox.Timedout"
        too_late = 'answered 410 {"errorMessage": "Invoke timeout", "errorType": "InvokeTimeout"}\n'
        deadline = time.monotonic() + 30
        while too_late not in [event.message for event in harness.logs("app")]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "events", "message"),
    [
        ("outer", ["INVOKE"], "INVOKE: InvalidEventType"),
        ("inner", ["INVOKE"], "No events allowed for internal extensions"),
    ],
)
def test_no_extension_is_told_of_invokes(name: str, events: list[str], message: str) -> None:
    extensions = ExtensionsApi({"functionName": "f"}, is_managed=True)
    extensions.launch(["outer"])
    refused = extensions.register(name, json.dumps({"events": events}).encode())
    assert refused.answer
    document = {"errorMessage": message, "errorType": "Extension.InvalidEventType"}
    assert (refused.answer.status, json.loads(refused.answer.body)) == (403, document)
    allowed = ["SHUTDOWN"] if name == "outer" else []
    accepted = extensions.register(name, json.dumps({"events": allowed}).encode())
    assert accepted.meaning is ExtensionMeaning.REGISTERED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrency": 0}, "a concurrency of 0 in an environment: expected 1 to 1600"),
        ({"max_concurrency": 1601}, "a concurrency of 1601"),
        ({"execution_environments": 0}, "0 execution environments: expected at least 1"),
    ],
)
def test_numbers_that_lambda_refuses_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(FunctionConfigurationError, match=message):
        Function("app", "app.handler", **MANAGED, **options)  # type: ignore[arg-type]

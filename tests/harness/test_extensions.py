"""Internal and external extensions in real environments."""

from __future__ import annotations

import concurrent.futures
import json
import re
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import LoggingConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

API = """
import http.client, json, os, sys, tempfile, threading, time

def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    headers = {"Lambda-Extension-" + k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    identifier = answer.getheader("Lambda-Extension-Identifier")
    connection.close()
    return answer.status, identifier, content

def register(name, events):
    return call("POST", "/2020-01-01/extension/register", json.dumps({"events": events}), Name=name)

def next_event(identifier):
    answer = call("GET", "/2020-01-01/extension/event/next", Identifier=identifier)
    return json.loads(answer[2])
"""

INTERNAL = (
    API
    + """
seen = []

def listen(identifier):
    while True:
        event = next_event(identifier)
        seen.append(event)
        WORK
        print("sent", event["requestId"])

_, identifier, _ = register("inner", ["INVOKE"])
threading.Thread(target=listen, args=(identifier,), daemon=True).start()

def handler(event, context):
    return [e["requestId"] for e in seen] + [context.aws_request_id]
"""
)


INIT_ERROR = """
_, i, _ = register("probe.py", ["INVOKE"])
path = "/2020-01-01/extension/init/error"
call("POST", path, "{}", Identifier=i, Function_Error_Type="Extension.NoKey")
time.sleep(9)
"""


def internal(delay_s: float) -> str:
    """A function with an internal extension that works for so long after each event."""
    return INTERNAL.replace("WORK", f"time.sleep({delay_s})")


def internal_until_go() -> str:
    """A function with an internal extension that works until there is a file `go` in /var/task."""
    held = "while not os.path.exists(os.path.dirname(__file__) + '/go'): time.sleep(0.01)"
    return INTERNAL.replace("WORK", held)


def layer(folder: Path, name: str, source: str) -> Path:
    """A layer with one external extension, in Python."""
    path = folder / "layer" / "extensions" / name
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{sys.executable}\n{API}\n{textwrap.dedent(source)}")
    path.chmod(0o755)
    return folder / "layer"


def lines(harness: Harness, pattern: str) -> list[str]:
    """Log events that match, ids left out."""
    found = [e.message for e in harness.logs("app") if re.match(pattern, e.message)]
    return [re.sub(r"[0-9a-f-]{36}", "ID", message) for message in found]


def wait_until(condition: Callable[[], bool]) -> None:
    """Fails when the condition does not become true."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_internal_extension_works_on_after_the_response_and_before_the_freeze(
    run: Run, tmp_path: Path
) -> None:
    with run(internal_until_go(), timeout_s=60) as harness:
        first = harness.invoke("app")
        [environment] = harness.environments("app")
        assert (environment.phase, lines(harness, "sent|END")) == ("invoke", [])
        time.sleep(0.3)  # is a part of the duration
        (tmp_path / "code" / "go").touch()
        harness.wait_frozen("app")
        second = harness.invoke("app").json()
        harness.wait_frozen("app")
        [environment] = harness.environments("app")
        order = lines(harness, "EXTENSION|START|sent|END")
        report = next(e.message for e in harness.logs("app") if e.message.startswith("REPORT"))
    assert second[0] == first.request_id
    assert environment.invocations == 2
    assert order == [
        "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]\n",
        *("START RequestId: ID Version: $LATEST\n", "sent ID\n", "END RequestId: ID\n") * 2,
    ]
    duration = re.search(r"Duration: ([\d.]+) ms", report)
    assert duration
    assert float(duration[1]) >= 300


def test_stopping_while_an_extension_works_gives_the_caller_the_response_and_the_tail(
    run: Run,
) -> None:
    # The runtime client says when the response is out; the caller waits for the end of the log.
    source = internal(30) + textwrap.dedent(
        """
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
        post = LambdaRuntimeClient.post_invocation_result

        def post_and_tell(*arguments):
            post(*arguments)
            print("posted", flush=True)

        LambdaRuntimeClient.post_invocation_result = post_and_tell
        """
    )
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        with run(source, timeout_s=60) as harness:
            answer = threads.submit(harness.invoke, "app", log_type="Tail")
            wait_until(lambda: bool(lines(harness, "posted")))
        result = answer.result(10)
    tail = re.sub(r"[0-9a-f-]{36}", "ID", result.log_tail)
    # The extension may have the event before the handler tells what it has seen.
    assert (result.function_error, result.json()[-1]) == ("", result.request_id)
    assert tail == "START RequestId: ID Version: $LATEST\nposted\n"


def test_a_busy_extension_makes_the_environment_busy(run: Run) -> None:
    with run(internal_until_go(), timeout_s=60) as harness:
        harness.invoke("app")
        harness.invoke("app")
        assert len(harness.environments("app")) == 2


def test_an_extension_that_works_past_the_timeout_is_an_error_the_caller_does_not_see(
    run: Run,
) -> None:
    with run(internal(30), timeout_s=1.5) as harness:
        result = harness.invoke("app")
        harness.wait_frozen("app")
        report = lines(harness, "REPORT")
        [environment] = harness.environments("app")
    assert result.function_error == ""
    assert "Duration: 1500.00 ms" in report[0]
    assert report[0].endswith("Status: timeout\n")
    assert environment.phase == "reset"


def test_an_internal_extension_gets_half_a_second_after_sigterm(run: Run) -> None:
    source = internal(0) + textwrap.dedent(
        """
        # The runtime client blocks the main thread, where Python's handlers run: a thread learns
        # of the signal by the descriptor that the C handler writes to.
        import signal, socket
        theirs, ours = socket.socketpair()
        ours.setblocking(False)
        signal.set_wakeup_fd(ours.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)

        def leave():
            theirs.recv(1)
            print("leaving", flush=True)
            time.sleep(0.1)
            print("left", flush=True)
            time.sleep(9)
            print("never said", flush=True)

        threading.Thread(target=leave, daemon=True).start()
        """
    )
    with run(source, idle_timeout_s=0.2) as harness:
        harness.invoke("app")
        deadline = time.monotonic() + 10
        while harness.environments("app") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lines(harness, "leaving|left|never") == ["leaving\n", "left\n"]


def test_registration_is_closed_once_the_runtime_has_asked_for_an_event(run: Run) -> None:
    source = API + "def handler(event, context): return register('late', ['INVOKE'])[2].decode()\n"
    with run(source) as harness:
        assert json.loads(harness.invoke("app").json()) == {
            "errorMessage": "Extension registration closed already",
            "errorType": "Extension.RegistrationClosed",
        }


def test_an_external_extension_starts_first_hears_of_invokes_and_of_the_shutdown(
    run: Run, tmp_path: Path
) -> None:
    source = """
        names = sorted(k for k in os.environ if k in ("_HANDLER", "AWS_REGION"))
        print("variables", names, flush=True)
        time.sleep(0.2)
        _, identifier, _ = register("probe.py", ["INVOKE", "SHUTDOWN"])
        while True:
            event = next_event(identifier)
            print("event", event["eventType"], event.get("shutdownReason"), flush=True)
            if event["eventType"] == "SHUTDOWN":
                left_ms = event["deadlineMs"] - time.time() * 1000
                print("within budget", 1000 < left_ms <= 2000, flush=True)
                break
    """
    code = "print('module')\ndef handler(event, context): print('handled')\n"
    with run(code, layers=[layer(tmp_path, "probe.py", source)], idle_timeout_s=0.3) as harness:
        harness.invoke("app")
        deadline = time.monotonic() + 10
        while harness.environments("app") and time.monotonic() < deadline:
            time.sleep(0.02)
        order = lines(harness, "variables|module|EXTENSION|handled|event|within|END")
    assert order[:3] == [
        "variables ['AWS_REGION']\n",
        "module\n",
        "EXTENSION\tName: probe.py\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n",
    ]
    ended = ["END RequestId: ID\n", "event INVOKE None\n", "handled\n"]
    assert sorted(order[3:6]) == ended, order
    assert order[6:] == ["event SHUTDOWN spindown\n", "within budget True\n"]


def test_lines_of_the_function_and_of_an_extension_never_run_into_one_another(
    run: Run, tmp_path: Path
) -> None:
    # The function writes the end of its line when the extension has written one of its own.
    source = """
        _, identifier, _ = register("probe.py", ["INVOKE"])
        while True:
            event = next_event(identifier)
            while not os.path.exists(tempfile.gettempdir() + "/begun"):
                time.sleep(0.01)
            print("of the extension", flush=True)
            open(tempfile.gettempdir() + "/written", "w").close()
    """
    code = """
        import os, tempfile, time

        def handler(event, context):
            print("of the ", end="", flush=True)
            open(tempfile.gettempdir() + "/begun", "w").close()
            while not os.path.exists(tempfile.gettempdir() + "/written"):
                time.sleep(0.01)
            print("function", flush=True)
    """
    with run(code, layers=[layer(tmp_path, "probe.py", source)], timeout_s=20) as harness:
        failed = harness.invoke("app").function_error
        harness.wait_frozen("app")
        order = lines(harness, "of|END")
    assert failed == ""
    assert order == ["of the extension\n", "of the function\n", "END RequestId: ID\n"]


def test_an_external_extension_is_told_of_a_timeout(run: Run, tmp_path: Path) -> None:
    source = """
        _, identifier, _ = register("probe.py", ["SHUTDOWN"])
        print("event", next_event(identifier)["shutdownReason"], flush=True)
    """
    code = "import time\ndef handler(event, context): time.sleep(30)\n"
    with run(code, layers=[layer(tmp_path, "probe.py", source)], timeout_s=0.3) as harness:
        failed = harness.invoke("app")
        harness.wait_frozen("app")
        order = lines(harness, "REPORT|event")
    assert failed.json()["errorType"] == "Sandbox.Timedout"
    assert [line.split()[0] for line in order] == ["REPORT", "event"]
    assert order[1] == "event timeout\n"


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("sys.exit(5)", "Extension.LaunchError"),
        ("register('probe.py', ['INVOKE']); sys.exit(5)", "Extension.Crash"),
        (
            "_, i, _ = register('probe.py', ['INVOKE']); next_event(i); sys.exit(5)",
            "Extension.Crash",
        ),
        (INIT_ERROR, "Extension.InitError"),
    ],
    ids=["before-registration", "after-registration", "during-an-invoke", "init-error"],
)
def test_an_extension_that_fails_fails_the_invoke(
    run: Run, tmp_path: Path, source: str, error_type: str
) -> None:
    code = "import time\ndef handler(event, context): time.sleep(30)\n"
    layers = [layer(tmp_path, "probe.py", source)]
    with run(code, layers=layers, timeout_s=60) as harness:
        failed = harness.invoke("app")
        harness.wait_frozen("app")
        [report] = lines(harness, "REPORT")
    assert (failed.function_error, failed.json()["errorType"]) == ("Unhandled", error_type)
    assert report.endswith(f"Status: error\tError Type: {error_type}\n")


def test_a_layers_python_folder_can_be_imported_and_opt_is_where_it_lies(
    run: Run, tmp_path: Path
) -> None:
    for n in (1, 2):
        folder = tmp_path / f"layer{n}" / "python"
        folder.mkdir(parents=True)
        (folder / "shared.py").write_text(f"value = {n}")
    layers = [tmp_path / "layer1", tmp_path / "layer2"]
    code = "import shared\ndef handler(event, context): return [shared.value, shared.__file__]\n"
    with run(code, layers=layers) as harness:
        value, path = harness.invoke("app").json()
        is_private = harness.is_tmp_private
    assert value == 2
    if is_private:
        assert path == "/opt/python/shared.py"


def test_a_runtime_that_asks_twice_while_an_extension_is_busy_is_done_once(run: Run) -> None:
    source = """
        import http.client, json, os, threading, time

        def call(method, path, body=None, headers={}):
            connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer

        def extension():
            while True:
                call("GET", "/2020-01-01/extension/event/next", None, known)
                time.sleep(0.5)

        def ask_again():
            time.sleep(0.1)
            call("GET", "/2018-06-01/runtime/invocation/next")

        name = {"Lambda-Extension-Name": "slow"}
        registered = call("POST", "/2020-01-01/extension/register", '{"events":["INVOKE"]}', name)
        known = {"Lambda-Extension-Identifier": registered.headers["Lambda-Extension-Identifier"]}
        threading.Thread(target=extension, daemon=True).start()

        def handler(event, context):
            threading.Thread(target=ask_again, daemon=True).start()
    """
    config = LoggingConfig("JSON", system_log_level="DEBUG")
    with run(source, logging_config=config) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        types = [json.loads(event.message)["type"] for event in harness.logs("app")]
    assert types.count("platform.runtimeDone") == 1

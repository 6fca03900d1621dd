"""What happens to callers when processes die or the harness stops under them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from pathlib import Path


def function(folder: Path, source: str) -> Function:
    (folder / "app.py").write_text(textwrap.dedent(source))
    return Function("app", "app.handler", code_dir=folder, timeout_s=20)


def test_a_frozen_environment_that_is_killed_takes_one_event_at_a_time_afterwards(
    tmp_path: Path,
) -> None:
    source = """
        import time

        def handler(event, context):
            time.sleep(0.1)
            return event
    """
    with Harness([function(tmp_path, source)]) as harness:
        harness.invoke("app", 0)
        harness.wait_frozen("app")
        (environment,) = harness.environments("app")
        os.kill(environment.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while harness.environments("app")[0].pid and time.monotonic() < deadline:
            time.sleep(0.01)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda n: harness.invoke("app", n), range(4)))
        harness.wait_frozen("app")
        assert [(r.function_error, r.json()) for r in results] == [("", n) for n in range(4)]
        states = harness.environments("app")
        assert len({state.log_stream for state in states}) == len(states)


def test_a_caller_over_http_is_told_when_the_harness_stops(tmp_path: Path) -> None:
    source = """
        import pathlib, time

        def handler(event, context):
            pathlib.Path(event).touch()
            time.sleep(60)
    """
    begun = tmp_path / "begun"
    answers: list[tuple[int, object]] = []
    with Harness([function(tmp_path, source)], private_tmp=False) as harness:
        host = harness.endpoint_url.removeprefix("http://")

        def call() -> None:
            connection = http.client.HTTPConnection(host, timeout=30)
            path = "/2015-03-31/functions/app/invocations"
            connection.request("POST", path, json.dumps(str(begun)))
            answer = connection.getresponse()
            answers.append((answer.status, json.loads(answer.read())["errorType"]))
            connection.close()

        caller = threading.Thread(target=call)
        caller.start()
        deadline = time.monotonic() + 10
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    caller.join(10)
    assert answers == [(200, "Sandbox.Failure")]

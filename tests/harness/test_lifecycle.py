"""What is left when the harness goes, one way or another: nothing."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from lambdatrace.harness import (
    Function,
    FunctionConfigurationError,
    Harness,
    HarnessSettingsError,
    HarnessStateError,
    PortInUseError,
)
from lambdatrace.harness.temp_dirs import TempDirs, remove_stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Run = Callable[..., AbstractContextManager[Harness]]

# A function with a child in its group, and one that left the group for a session of its own.
FAMILY = """
    import os, subprocess, sys
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]

    def handler(event, context):
        return [os.getpid(), *(child.pid for child in children)]
"""


def is_alive(pid: int) -> bool:
    """A process that exists and is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_gone(pids: list[int]) -> list[int]:
    """Those still alive after a while."""
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if is_alive(pid)]


@contextlib.contextmanager
def started(
    folder: Path, *arguments: str, stderr: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lambdatrace start app.handler`, and the URL it prints."""
    command = [sys.executable, "-m", "lambdatrace.cli", "start", "app.handler", "--port", "0"]
    with subprocess.Popen(
        [*command, "--code-dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.match(r"Lambda API on (http://127\.0\.0\.1:\d+): app\n", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


def invoke(url: str, event: bytes = b"{}") -> list[int]:
    """The pids that the family function answers with."""
    request = urllib.request.Request(
        f"{url}/2015-03-31/functions/app/invocations", data=event, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        pids: list[int] = json.load(answer)
    return pids


def harness_folders() -> set[str]:
    base = Path(f"/tmp/lambdatrace-harness-{os.getuid()}")
    return {f.name for f in base.iterdir() if f.is_dir()} if base.is_dir() else set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_harness_that_ends_takes_every_process_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(FAMILY))
    before = harness_folders()
    with started(tmp_path) as (process, url):
        pids = invoke(url)
        time.sleep(0.1)  # frozen by now: stopped processes must go as well
        assert [pid for pid in pids if is_alive(pid)] == pids
        process.send_signal(number)
        status = process.wait(20)
    assert wait_gone(pids) == []
    assert status == (-number if number is signal.SIGKILL else 0)
    deadline = time.monotonic() + 10
    while harness_folders() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert harness_folders() - before == set()


def test_a_harness_killed_under_load_leaves_no_process_and_the_port_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    busy = (
        textwrap.dedent(FAMILY)
        + "    \n"
        + textwrap.dedent(
            """
        import time
        family = handler

        def handler(event, context):
            pids = family(event, context)
            print(pids, flush=True)
            time.sleep(0 if event == "return" else 60)
            return pids
        """
        )
    )
    (tmp_path / "app.py").write_text(busy)
    command = ("--timeout", "90", "--logs")
    with started(tmp_path, *command, stderr=subprocess.PIPE) as (process, url):
        address = urlsplit(url)
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                connection = http.client.HTTPConnection(address.netloc, timeout=60)
                stack.callback(connection.close)
                connection.request("POST", "/2015-03-31/functions/app/invocations", "{}")
            assert process.stderr
            pids: list[int] = []
            while len(pids) < 16:
                line = process.stderr.readline()
                pids += json.loads(line) if line.startswith("[") else []
            process.send_signal(signal.SIGKILL)
            process.wait(20)
            process.stderr.close()
    assert wait_gone(pids) == []
    with started(tmp_path, "--port", str(address.port)) as (_, again):
        assert again == url
        next_pids = invoke(again, b'"return"')
        assert [pid for pid in next_pids if is_alive(pid)] == next_pids
        [base] = temp.iterdir()
        deadline = time.monotonic() + 10
        while sum(f.is_dir() for f in base.iterdir()) > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sum(f.is_dir() for f in base.iterdir()) == 1  # its own; the dead one's has gone
    assert wait_gone(next_pids) == []


def test_a_killed_supervisor_takes_the_runtimes_with_it_and_invokes_fail_clearly(run: Run) -> None:
    with run("import os\ndef handler(event, context): return os.getpid()") as harness:
        pid = harness.invoke("app").json()
        supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(supervisor, signal.SIGKILL)
        assert wait_gone([pid]) == []
        failed = harness.invoke("app")
    assert failed.json()["errorType"] == "Sandbox.Failure"


def test_stopping_ends_children_and_what_left_the_group(run: Run) -> None:
    with run(FAMILY) as harness:
        pids = harness.invoke("app").json()
    assert wait_gone(pids) == []


def test_a_reset_ends_children_and_what_left_the_group(run: Run) -> None:
    source = textwrap.dedent(FAMILY) + (
        "    \nbusy = handler\ndef handler(event, context):\n"
        "    pids = busy(event, context)\n"
        "    if event == 'exit': print(pids, flush=True); os._exit(1)\n"
        "    return pids\n"
    )
    with run(source) as harness:
        pids = harness.invoke("app").json()
        harness.invoke("app", "exit")
        harness.wait_frozen("app")
        assert wait_gone(pids) == []


def test_a_harness_is_usable_within_start_and_stop_only(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def handler(event, context): return 1")
    harness = Harness([Function("app", "app.handler", code_dir=tmp_path)])
    with pytest.raises(HarnessStateError, match="is not running"):
        harness.invoke("app")
    with harness, pytest.raises(HarnessStateError, match="running already"):
        harness.start()
    with pytest.raises(HarnessStateError, match="is not running"):
        harness.logs("app")
    with harness:
        assert harness.invoke("app").json() == 1


def test_a_port_in_use_is_named(run: Run) -> None:
    with run("def handler(event, context): ...") as harness:
        port = int(harness.endpoint_url.rpartition(":")[2])
        with pytest.raises(PortInUseError, match=f"port {port} of 127.0.0.1 is in use"):
            Harness(port=port).start()


def test_functions_can_be_added_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text("def handler(event, context): return 'more'")
    function = Function("more", "more.handler", code_dir=tmp_path)
    with run("def handler(event, context): ...") as harness:
        harness.add_function(function)
        assert harness.names == ["app", "more"]
        assert harness.invoke("more").json() == "more"
        with pytest.raises(FunctionConfigurationError, match="there is a function more already"):
            harness.add_function(function)


def test_stopping_during_an_invoke_answers_its_caller(run: Run) -> None:
    import threading

    answers: list[str] = []
    with run("import time\ndef handler(event, context): time.sleep(30)", timeout_s=60) as harness:
        caller = threading.Thread(
            target=lambda: answers.append(harness.invoke("app").json()["errorMessage"])
        )
        caller.start()
        deadline = time.monotonic() + 10
        while not any("START" in e.message for e in harness.logs("app")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    caller.join(10)
    assert [re.sub("[0-9a-f-]{36}", "ID", answer) for answer in answers] == [
        "RequestId: ID Error: The harness was stopped"
    ]


def test_events_that_were_accepted_and_not_executed_are_counted_at_the_stop(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    source = "import time\ndef handler(event, context): time.sleep(30)"
    with run(source, timeout_s=60, concurrency_max=1) as harness:
        for _ in range(3):
            assert harness.invoke("app", invocation_type="Event").status_code == 202
        deadline = time.monotonic() + 10
        while not any("START" in e.message for e in harness.logs("app")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert caplog.messages == [
        "the harness was stopped: 3 events were accepted and not executed to the end"
    ]


def test_folders_of_dead_harnesses_are_removed_and_those_of_living_ones_kept(
    tmp_path: Path,
) -> None:
    for name in ("dead", "alive", "half-made"):
        (tmp_path / name).mkdir()
    (tmp_path / "dead" / "lock").touch()
    with (tmp_path / "alive" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        removed = remove_stale(tmp_path)
        assert sorted(f.name for f in removed) == ["dead", "half-made"]
    assert [f.name for f in tmp_path.iterdir()] == ["alive"]


def test_a_folder_left_behind_is_removed_however_deep_and_closed_it_is(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "dead" / "tmp-1").mkdir(parents=True)
    (base / "dead" / "to-the-root").symlink_to("/")
    here = os.open(base / "dead" / "tmp-1", os.O_RDONLY)
    for _ in range(3000):  # a path longer than the kernel takes, deeper than Python calls itself
        os.mkdir("folder", dir_fd=here)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        inner = os.open("folder", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, 0o500)
        os.close(here)
        here = inner
    os.close(here)
    assert [f.name for f in remove_stale(base)] == ["dead"]
    assert list(base.iterdir()) == []


def test_a_temp_folder_is_private_to_its_harness_and_goes_with_it() -> None:
    first, second = TempDirs(), TempDirs()
    folder = first.make("tmp-1")
    assert first.root != second.root
    assert folder.is_dir()
    first.close()
    second.close()
    assert not first.root.exists()
    assert not second.root.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": 65536}, "port 65536: expected 0 to 65535"),
        ({"collector_url": "localhost:4318"}, "collector 'localhost:4318': expected a URL"),
        ({"collector_url": "http://[::1"}, "collector 'http://[::1': expected a URL"),
        ({"collector_url": "http://a:99999"}, "collector 'http://a:99999': expected a URL"),
        ({"aws_endpoint_url": "http://a:b"}, "AWS endpoint 'http://a:b': expected a URL"),
        ({"idle_timeout_s": 0.0}, "idle timeout 0 s"),
        ({"concurrency_max": 0}, "concurrency 0"),
        ({"platform_log_style": "2024"}, "platform log style '2024': expected 2025 or 2023"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_value(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(HarnessSettingsError, match=re.escape(message)):
        Harness(**settings)


def test_a_collector_that_no_aws_client_would_call_is_refused_at_start() -> None:
    harness = Harness(collector_url="http://my_host:4318")
    with pytest.raises(HarnessSettingsError, match="'http://my_host:4318': Invalid endpoint"):
        harness.start()


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(HarnessSettingsError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Harness(host="192.0.2.1").start()


def test_an_environment_that_cannot_be_made_is_an_answer_and_not_a_hang(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncio

    async def no_descriptors(*_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise OSError(24, "Too many open files")

    with run("def handler(event, context): return 1", concurrency_max=1) as harness:
        with monkeypatch.context() as broken:
            broken.setattr("lambdatrace.harness.microvm.Server.listen", no_descriptors)
            failed = harness.invoke("app")
        assert harness.invoke("app").json() == 1
    assert failed.json() == {
        "errorType": "Sandbox.Failure",
        "errorMessage": f"RequestId: {failed.request_id} Error: [Errno 24] Too many open files",
    }
    assert caplog.messages == ["an environment of app broke: [Errno 24] Too many open files"]


def test_the_merged_layers_of_what_was_deployed_again_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    layer = tmp_path / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "shared.py").write_text("VALUE = 7")
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text("from shared import VALUE\ndef handler(e, c): return VALUE")

    def merged() -> list[Path]:
        return list(tmp_path.glob("lambdatrace-harness-*/*/app-layers-*"))

    with Harness([Function("app", "app.handler", code_dir=code, layers=[layer])]) as harness:
        for _ in range(3):
            assert harness.invoke("app").json() == 7
            harness.deploy_again("app")
        deadline = time.monotonic() + 10
        while len(merged()) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(merged()) == 1
        assert harness.invoke("app").json() == 7

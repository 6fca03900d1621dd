"""`lambdatrace start` and `lambdatrace invoke` as a shell sees them."""

from __future__ import annotations

import ctypes
import io
import json
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from lambdatrace.cli.invoke import read_event
from lambdatrace.harness.errors import HarnessSettingsError

SOURCE = """
import os

def handler(event, context):
    print("working")
    if event == "fail":
        raise ValueError("no")
    return {"event": event, "stage": os.environ.get("STAGE"), "mb": context.memory_limit_in_mb}
"""


# So that root, too, is refused what the file's mode or the port's number refuses others.
_CAPABILITIES = (1, 2, 3, 10)  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, NET_BIND_SERVICE
_PR_CAPBSET_DROP = 24


def give_up_privileges() -> None:
    for capability in _CAPABILITIES:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def lambdatrace(
    folder: Path, *arguments: str, stdin: str = "", source: str | None = SOURCE
) -> tuple[int, str, list[str]]:
    """Exit status, standard output, and the lines of standard error."""
    if source is not None:
        (folder / "app.py").write_text(source)
    completed = subprocess.run(
        [sys.executable, "-m", "lambdatrace.cli", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=give_up_privileges,
    )
    return completed.returncode, completed.stdout, completed.stderr.splitlines()


def test_invoke_prints_the_response_on_stdout_and_the_log_on_stderr(tmp_path: Path) -> None:
    options = ("--env", "STAGE=test", "--memory-size", "256")
    status, out, log = lambdatrace(tmp_path, "invoke", "app.handler", "-e", '{"a": 1}', *options)
    assert (status, out) == (0, '{"event": {"a": 1}, "stage": "test", "mb": "256"}\n')
    assert [re.split("[ \t]", line)[0] for line in log] == [
        "INIT_START",
        "START",
        "working",
        "END",
        "REPORT",
    ]


@pytest.mark.parametrize("event", ["event.json", "-"])
def test_an_event_comes_from_a_file_or_standard_input(tmp_path: Path, event: str) -> None:
    (tmp_path / "event.json").write_text("[1]")
    _, out, _ = lambdatrace(tmp_path, "invoke", "app.handler", "-e", event, stdin="[1]")
    assert out.startswith('{"event": [1],')


@pytest.mark.parametrize("length", [2, 255, 256, 300, 4095, 4096, 10_000])
def test_an_event_is_read_from_json_of_any_length(length: int) -> None:
    text = json.dumps("x" * (length - 2))
    assert read_event(text) == text.encode()
    deep = '{"a": ' * (length // 20) + "1" + "}" * (length // 20)
    assert read_event(deep) == deep.encode()
    folders = json.dumps("/".join("x" * (length // 4)))  # as a path of short names
    assert read_event(folders) == folders.encode()


@pytest.mark.parametrize("text", ["", "missing.json", ".", "x" * 300, "a\0b", "{" * 5000])
def test_what_is_neither_a_file_nor_json_is_said(text: str) -> None:
    with pytest.raises(HarnessSettingsError, match="no such file, and not JSON"):
        read_event(text)


def test_a_file_is_preferred_to_the_json_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1").write_text("[2]")
    assert read_event("1") == b"[2]"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[3]")))
    assert read_event("-") == b"[3]"


@pytest.mark.parametrize(("mode", "decision"), [("active", "1"), ("passthrough", "0")])
def test_a_function_is_traced_as_the_option_says(tmp_path: Path, mode: str, decision: str) -> None:
    (tmp_path / "traced.py").write_text(
        "import os\ndef handler(event, context): return os.environ['_X_AMZN_TRACE_ID']"
    )
    _, out, _ = lambdatrace(tmp_path, "invoke", "traced.handler", "--tracing", mode)
    assert f";Sampled={decision};" in out


def test_a_function_that_fails_is_printed_and_told_by_the_exit_status(tmp_path: Path) -> None:
    status, out, _ = lambdatrace(tmp_path, "invoke", "app.handler", "-e", '"fail"')
    assert status == 1
    assert '"errorType": "ValueError"' in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("invoke", "app.nope"), "handler 'app.nope': {folder}/app.py has no function 'nope'"),
        (("invoke", "x.y"), "handler 'x.y': there is no module x.py in {folder}"),
        (("invoke", "app"), "target 'app': expected module.handler or NAME=module.handler"),
        (("invoke", "app.handler", "-e", "{"), "event '{{': no such file, and not JSON"),
        (("invoke", "app.handler", "--env", "A"), "--env 'A': expected KEY=VALUE"),
        (("invoke", "app.handler", "--collector", "x"), "collector 'x': expected a URL"),
        (("start", "app.handler", "--memory-size", "1"), "memory size of app is 1 MB"),
        (("start", "app.handler", "--port", "70000"), "port 70000: expected 0 to 65535"),
        (("start", "app.handler", "app.handler"), "there is a function app already"),
        (("start", "app.handler", "--idle-timeout", "nan"), "idle timeout nan s: expected more"),
        (("start", "app.handler", "--host", "192.0.2.1"), "cannot listen on 192.0.2.1:3001: "),
        (("invoke", "app.handler", "--timeout", "nan"), "timeout of app is nan s: expected up to"),
        (("invoke", "app.handler", "--layer", "x"), "layer {folder}/x of app does not exist"),
        (("invoke", "app.handler", "--code-dir", "x"), "code folder {folder}/x of app does not"),
        (("invoke", "app.handler", "--region", "mars"), "region 'mars': expected one as us-east-1"),
        (("load", "app.nope"), "handler 'app.nope': {folder}/app.py has no function 'nope'"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_failed_exit(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, out, log = lambdatrace(tmp_path, *arguments)
    assert (status, out, len(log)) == (1, "", 1)
    prefix = f"lambdatrace {arguments[0]}: "
    assert log[0].startswith(prefix + message.format(folder=tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("start", "app.handler", "--port", "80x"), "argument --port: invalid int value: '80x'"),
        (
            ("start", "app.handler", "--platform-log-style", "2024"),
            "argument --platform-log-style: invalid choice: '2024' (choose from ",
        ),
        (("invoke",), "the following arguments are required: TARGET"),
    ],
)
def test_a_bad_argument_is_one_clear_line_without_the_usage(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, out, log = lambdatrace(tmp_path, *arguments)
    assert (status, out, len(log)) == (2, "", 1)
    assert log[0].startswith(f"lambdatrace {arguments[0]}: {message}")


def test_start_says_how_to_invoke_and_that_an_invoke_has_failed(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SOURCE)
    process = subprocess.Popen(
        [sys.executable, "-m", "lambdatrace.cli", "start", "app.handler", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        assert process.stdout
        assert process.stderr
        url = process.stdout.readline().split()[3].rstrip(":")
        path = "/2015-03-31/functions/app/invocations"
        for event in (b"1", b'"fail"'):
            with urllib.request.urlopen(f"{url}{path}", event, timeout=30) as answer:
                request_id = answer.headers["x-amzn-RequestId"]
        said: list[str] = []
        while not said or not said[-1].startswith("app: "):
            said += [process.stderr.readline()]
        said = [line for line in said if not line.startswith("not enforced")]
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
    command = f"aws --endpoint-url {url} --region us-east-1 --no-sign-request lambda invoke"
    assert said == [
        f"invoke: {command} --function-name app out.json\n",
        "logs: nowhere; --logs prints them here, --collector URL keeps them\n",
        f"app: invoke {request_id} failed\n",
    ]


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, out, log = lambdatrace(tmp_path, "start", "app.handler", "--port", str(port))
    assert (status, out) == (1, "")
    message = f"port {port} of 127.0.0.1 is in use: give another one, or 0 for any free port"
    assert log == [f"lambdatrace start: {message}"]


def test_a_port_that_needs_privileges_is_said(tmp_path: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first <= 80:
        pytest.skip("any user may listen on any port here")
    status, out, log = lambdatrace(tmp_path, "start", "app.handler", "--port", "80")
    assert (status, out) == (1, "")
    assert log == ["lambdatrace start: cannot listen on 127.0.0.1:80: Permission denied"]


@pytest.mark.parametrize("command", ["start", "invoke", "load"])
def test_a_handler_that_may_not_be_read_is_said(tmp_path: Path, command: str) -> None:
    (tmp_path / "app.py").touch(mode=0)
    status, out, log = lambdatrace(tmp_path, command, "app.handler", source=None)
    assert (status, out) == (1, "")
    message = f"handler 'app.handler': cannot read {tmp_path}/app.py: Permission denied"
    assert log == [f"lambdatrace {command}: {message}"]


def test_a_layer_and_an_event_that_may_not_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    status, _, log = lambdatrace(tmp_path, "invoke", "app.handler", "--layer", "secret")
    assert (status, log) == (
        1,
        [f"lambdatrace invoke: layer {tmp_path}/secret: it cannot be read"],
    )
    status, _, log = lambdatrace(tmp_path, "invoke", "app.handler", "-e", "secret")
    assert (status, log) == (1, ["lambdatrace invoke: [Errno 13] Permission denied: 'secret'"])

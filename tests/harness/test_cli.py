"""`lambdatrace start` and `lambdatrace invoke` as a shell sees them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lambdatrace.cli.invoke import read_event
from lambdatrace.harness.errors import HarnessSettingsError

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import os

def handler(event, context):
    print("working")
    if event == "fail":
        raise ValueError("no")
    return {"event": event, "stage": os.environ.get("STAGE"), "mb": context.memory_limit_in_mb}
"""


def lambdatrace(folder: Path, *arguments: str, stdin: str = "") -> tuple[int, str, list[str]]:
    """Exit status, standard output, and the lines of standard error."""
    (folder / "app.py").write_text(SOURCE)
    completed = subprocess.run(
        [sys.executable, "-m", "lambdatrace.cli", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
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
    ],
)
def test_bad_input_is_one_clear_line_and_a_failed_exit(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, out, log = lambdatrace(tmp_path, *arguments)
    assert (status, out, len(log)) == (1, "", 1)
    prefix = f"lambdatrace {arguments[0]}: "
    assert log[0].startswith(prefix + message.format(folder=tmp_path))

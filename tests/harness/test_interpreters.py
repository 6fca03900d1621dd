"""Functions on other Python versions than the harness's own, where there are any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from lambdatrace.harness import Function, FunctionConfigurationError, Harness
from lambdatrace.harness.function import inspect_interpreter

# pyenv's, and those named in a colon-separated variable.
CANDIDATES = [
    *map(str, sorted(Path.home().glob(".pyenv/versions/3.1[0-9]*/bin/python"))),
    *filter(None, os.environ.get("LAMBDATRACE_TEST_PYTHONS", "").split(":")),
]


def has_client(python: str) -> bool:
    try:
        inspect_interpreter(python)
    except FunctionConfigurationError:
        return False
    return True


@pytest.mark.parametrize("python", [sys.executable, *filter(has_client, CANDIDATES)])
def test_a_function_runs_on_the_interpreter_it_names(python: str, tmp_path: Path) -> None:
    source = """
import os, sys, time

def handler(event, context):
    if event == "sleep":
        time.sleep(30)
    return [list(sys.version_info[:2]), os.environ["AWS_EXECUTION_ENV"]]
"""
    (tmp_path / "app.py").write_text(source)
    version = inspect_interpreter(python).version
    function = Function("app", "app.handler", code_dir=tmp_path, python=python, timeout_s=0.5)
    with Harness([function]) as harness:
        expected = [[int(n) for n in version.split(".")], f"AWS_Lambda_python{version}"]
        assert [harness.invoke("app").json() for _ in range(2)] == [expected] * 2
        assert harness.invoke("app", "sleep").json()["errorType"] == "Sandbox.Timedout"
        assert harness.invoke("app").json() == expected
        harness.wait_frozen("app")
        [start] = {e.message for e in harness.logs("app") if e.message.startswith("INIT_START")}
    assert start.startswith(f"INIT_START Runtime Version: python:{version}.v")


def fake_python(folder: Path, version: tuple[int, int, int]) -> Path:
    """`python3.N` that says it is of `version`, and runs what it is given on this Python."""
    python = folder / f"python3.{version[1]}"
    facts = json.dumps([version, [str(folder), sys.prefix], True])  # folders that it needs
    python.write_text(
        f"#!/bin/sh\n[ \"$1\" = -c ] && echo '{facts}' && exit\n"
        f'FOUND=path exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    return python


OTHER = "python3.13" if sys.version_info[:2] != (3, 13) else "python3.12"


def lambdatrace(folder: Path, *arguments: str, path: str) -> tuple[int, str, list[str]]:
    """Exit status, output and lines of errors of `lambdatrace invoke`, with no Python of pyenv."""
    (folder / "app.py").write_text(
        "import os\n"
        "def handler(event, context):\n"
        "    return [os.environ.get('FOUND'), os.environ['AWS_EXECUTION_ENV']]\n"
    )
    completed = subprocess.run(
        [sys.executable, "-m", "lambdatrace.cli", "invoke", "app.handler", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path, "HOME": str(folder)},
    )
    return completed.returncode, completed.stdout, completed.stderr.splitlines()


def test_invoke_runs_a_function_on_the_python_of_its_runtime_and_on_no_other(
    tmp_path: Path,
) -> None:
    status, out, log = lambdatrace(tmp_path, "--runtime", OTHER, path="/nowhere")
    said = f"runtime '{OTHER}' cannot be run: there is no {OTHER} on PATH, nor of pyenv"
    assert (status, out, log) == (1, "", [f"lambdatrace invoke: {said}"])
    status, out, log = lambdatrace(tmp_path, "--runtime", "python3.9", path="/nowhere")
    assert (status, out, len(log)) == (1, "", 1)
    assert "runtime 'python3.9' of app: expected one of python3.10, python3.11," in log[0]
    folder = tmp_path / "bin"
    folder.mkdir()
    python = fake_python(folder, (3, int(OTHER[8:]), 1))
    status, out, log = lambdatrace(tmp_path, "--runtime", OTHER, path=str(folder))
    assert (status, out) == (0, f'["path", "AWS_Lambda_{OTHER}"]\n')
    assert log[0].startswith(f"INIT_START Runtime Version: python:{OTHER[6:]}.v")
    python.rename(tmp_path / "named")
    status, out, log = lambdatrace(tmp_path, "--python", "./named", path="/nowhere")
    assert (status, out) == (0, f'["path", "AWS_Lambda_{OTHER}"]\n')
    own = "python{}.{}".format(*sys.version_info)
    status, _, log = lambdatrace(tmp_path, "--python", "./named", "--runtime", own, path="/nowhere")
    said = f"--python './named' is Python {OTHER[6:]}, not {own}"
    assert (status, log) == (1, [f"lambdatrace invoke: {said}"])


def test_a_runtime_whose_python_has_no_runtime_client_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / OTHER
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FunctionConfigurationError, match=r"cannot .* has no awslambdaric"):
        Function("app", "app.handler", code_dir=tmp_path, runtime=OTHER)


def test_a_created_function_whose_runtime_is_not_here_is_failed_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Harness() as harness:
        api = boto3.client(
            "lambda",
            endpoint_url=harness.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        api.create_function(
            FunctionName="app",
            Runtime=OTHER,
            Role="arn:aws:iam::123456789012:role/any",
            Handler="app.handler",
            Code={"S3Bucket": "hot-reload", "S3Key": str(tmp_path)},
        )
        until = time.monotonic() + 20
        while (found := api.get_function_configuration(FunctionName="app"))["State"] == "Pending":
            assert time.monotonic() < until
            time.sleep(0.02)
    assert (found["State"], found["StateReasonCode"], found["StateReason"], found["Runtime"]) == (
        "Failed",
        "InvalidConfiguration",
        f"runtime '{OTHER}' cannot be run: there is no {OTHER} on PATH, nor of pyenv",
        OTHER,
    )


def test_an_interpreter_without_the_runtime_client_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    python.chmod(0o755)
    function = Function("app", "app.handler", code_dir=tmp_path, python=str(python))
    with pytest.raises(FunctionConfigurationError, match="has no awslambdaric: install it with"):
        Harness([function]).start()
    missing = Function("app", "app.handler", code_dir=tmp_path, python="/nowhere/python")
    with pytest.raises(FunctionConfigurationError, match="'/nowhere/python' cannot be run"):
        Harness([missing]).start()

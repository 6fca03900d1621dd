"""Functions on other Python versions than the harness's own, where there are any."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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

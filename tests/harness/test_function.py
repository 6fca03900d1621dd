from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lambdatrace.cli.start import add_function_arguments
from lambdatrace.harness import Function, FunctionConfigurationError
from lambdatrace.harness.function import RESERVED_VARIABLES, Interpreter
from lambdatrace.harness.layers import external_extensions, merge_layers
from lambdatrace.harness.target import Target, check_handler, parse_target
from lambdatrace.harness.variables import (
    Surroundings,
    extension_variables,
    runtime_variables,
)


def function(**options: Any) -> Function:
    return Function(**{"name": "f", "handler": "app.handler", "code_dir": Path("/"), **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "function name 'a b': expected 1 to 64 letters, digits, '-' or '_'"),
        ({"name": ""}, "function name '': expected 1 to 64 letters"),
        ({"handler": "handler"}, "handler 'handler' of f: expected module.function"),
        ({"timeout_s": 0}, "timeout of f is 0 s: expected up to 900 s"),
        ({"timeout_s": 901}, "timeout of f is 901 s"),
        ({"memory_size_mb": 127}, "memory size of f is 127 MB: expected 128 to 10240 MB"),
        ({"runtime": "nodejs22.x"}, "runtime 'nodejs22.x' of f: expected one of python3.10,"),
        ({"code_dir": Path("/nowhere")}, "code folder /nowhere of f does not exist"),
        ({"layers": ["/nowhere"]}, "layer /nowhere of f does not exist"),
        (
            {"tracing": "Passive"},
            "tracing mode 'Passive' of f: expected one of PassThrough, Active",
        ),
        ({"layers": ["/"] * 6}, "f has 6 layers: Lambda takes 5"),
        ({"environment": {"1A": "x"}}, "variable '1A' of f: a name starts with a letter"),
        ({"environment": {"A": "x\0"}}, "variable A of f: expected text without NUL"),
        ({"environment": {"A": 1}}, "variable A of f: expected text without NUL"),
        ({"environment": {"A": "x\udcff"}}, "variable A of f: expected text without NUL"),
        ({"environment": {"A": "x" * 4096}}, "the variables of f take 4105 bytes"),
        ({"environment": {"AWS_REGION": "x"}}, "f sets AWS_REGION: Lambda reserves"),
    ],
)
def test_what_lambda_would_refuse_is_refused_with_value_and_remedy(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(FunctionConfigurationError) as caught:
        function(**options)
    assert str(caught.value).startswith(message)


def test_every_variable_we_set_is_reserved_or_may_be_overridden() -> None:
    ours = variables(function())
    free = {"LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PWD", "SHLVL", "TZ"}
    free |= {"AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS"}
    free |= {name for name in ours if name.startswith(("AWS_ENDPOINT_URL", "OTEL_"))}
    assert set(ours) - RESERVED_VARIABLES == free


def variables(of: Function, *, opt: str = "/opt", temp_dir: str = "") -> dict[str, str]:
    return runtime_variables(
        of,
        Interpreter("3.12", "3.12.1", ()),
        Surroundings("eu-west-1", "http://127.0.0.1:3001", "http://127.0.0.1:4318"),
        runtime_api="127.0.0.1:9",
        log_stream="stream",
        log_fd=3,
        root="/var/task",
        opt=opt,
        temp_dir=temp_dir,
    )


def test_a_function_finds_the_local_services_unless_it_names_its_own() -> None:
    found = variables(function(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://own"}))
    assert {k: v for k, v in found.items() if k.startswith(("AWS_ENDPOINT", "OTEL"))} == {
        "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:3001",
        "AWS_ENDPOINT_URL_CLOUDWATCH": "http://127.0.0.1:4318",
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://own",
    }


def test_layers_come_before_the_functions_own_python_path(tmp_path: Path) -> None:
    found = variables(
        function(layers=[tmp_path], environment={"PYTHONPATH": "/mine"}), opt="/merged"
    )
    assert found["PYTHONPATH"] == (
        "/merged/python:/merged/python/lib/python3.12/site-packages:/mine"
    )
    assert "PYTHONPATH" not in variables(function())


def test_without_a_private_tmp_tmpdir_names_one_and_opt_paths_are_translated() -> None:
    own = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
    found = variables(function(environment=own), opt="/merged", temp_dir="/tmp/x")
    assert (found["TMPDIR"], found["AWS_LAMBDA_EXEC_WRAPPER"]) == ("/tmp/x", "/merged/wrapper")
    assert "TMPDIR" not in variables(function())


def test_an_external_extension_sees_neither_the_handler_nor_private_variables() -> None:
    runtime = variables(function(environment={"STAGE": "x"}))
    assert set(runtime) - set(extension_variables(runtime)) == {
        "_HANDLER",
        "_LAMBDA_TELEMETRY_LOG_FD",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }


def test_layers_lie_over_each_other_and_a_zip_keeps_its_permissions(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "python").mkdir(parents=True)
    (first / "python" / "a.py").write_text("1")
    (first / "python" / "b.py").write_text("1")
    second = tmp_path / "second.zip"
    with zipfile.ZipFile(second, "w") as archive:
        archive.writestr("python/b.py", "2")
        extension = zipfile.ZipInfo("extensions/probe")
        extension.external_attr = 0o100755 << 16
        archive.writestr(extension, "#!/bin/sh\n")
        archive.writestr("extensions/readme", "no executable")
    opt = merge_layers([first, second], tmp_path / "opt")
    assert [(opt / "python" / n).read_text() for n in ("a.py", "b.py")] == ["1", "2"]
    assert external_extensions(opt) == [opt / "extensions" / "probe"]
    assert external_extensions(first) == []
    with pytest.raises(FunctionConfigurationError, match="expected a folder or a zip file"):
        merge_layers([first / "python" / "a.py"], tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("app.handler", Target("app", "app.handler")),
        ("orders=app.handler", Target("orders", "app.handler")),
        ("src/app.handler", Target("src-app", "src/app.handler")),
        ("pkg.app.handler", Target("pkg-app", "pkg.app.handler")),
    ],
)
def test_a_target_names_function_and_handler(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["app", "", ".handler", "app.", "=app.handler", "app.1x"])
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FunctionConfigurationError, match=r"expected module\.handler or NAME="):
        parse_target(text)


def test_a_handler_is_looked_for_without_running_its_module(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("from x import handler")
    (tmp_path / "app.py").write_text("import sys\nsys.exit(1)\nasync def handler(e, c): ...\n")
    (tmp_path / "star.py").write_text("from nowhere import *")
    (tmp_path / "broken.py").write_text("def handler(")
    for handler in ("app.handler", "pkg.handler", "star.anything", "broken.handler", "json.loads"):
        check_handler(handler, tmp_path)
    with pytest.raises(FunctionConfigurationError, match=r"app\.py has no function 'nope'"):
        check_handler("app.nope", tmp_path)
    with pytest.raises(FunctionConfigurationError, match=r"no module nowhere/x\.py in"):
        check_handler("nowhere.x.handler", tmp_path)


def test_the_default_interpreter_is_ours() -> None:
    assert function().python == sys.executable


def test_every_option_of_a_function_is_in_the_readme_with_its_flag() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme.partition("### Functions' options")[2].partition("### ")[0]
    options = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    fields = {field.name for field in dataclasses.fields(Function)} - {"name", "handler"}
    assert sorted(options) == sorted(fields)
    parser = argparse.ArgumentParser()
    add_function_arguments(parser)
    flags = set(re.findall(r"`(--[a-z-]+)", table))
    assert flags - {"--logs"} <= set(re.findall(r"--[a-z-]+", parser.format_help()))

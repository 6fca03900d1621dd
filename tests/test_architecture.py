"""The shape of the repository: which way imports point, what a cold start loads, what ships."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lambdatrace

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SDK = ROOT / "lambdatrace"
COLLECTOR = ROOT / "collector" / "lambdatrace_collector"

# Parts of `lambdatrace/` that never run inside a function, and may use other packages.
DEVELOPER_PARTS = {"cli", "harness", "layer", "pytest_plugin", "testing"}
# Parts that stand for a package of others, loaded once the user's code has loaded that package.
DOORS = {"otel", "xray", "patches"}
# A statement's beginning as SQL is written here; the first words of sentences are not capitals.
SQL = re.compile(r"^\s*(SELECT|INSERT INTO|CREATE|ALTER|DROP|TRUNCATE|DELETE FROM|KILL|WITH) ")


def modules(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def imports(path: Path, module: str) -> Iterator[tuple[str, bool]]:
    """Imported names and whether the import runs when the module is loaded."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_for_types(node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) not in lazy


def _is_for_types(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def part(module: str) -> str:
    """The part of `lambdatrace` that a module is in: the second name."""
    return [*module.split("."), ""][1]


def test_what_runs_inside_a_function_imports_the_standard_library_only() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in modules(SDK, "lambdatrace")
        if part(module) not in DEVELOPER_PARTS | DOORS
        for name, _ in imports(path, module)
        if name.split(".")[0] not in sys.stdlib_module_names | {"lambdatrace"}
    ]
    assert wrong == []


def test_what_runs_inside_a_function_does_not_know_the_developers_parts() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in modules(SDK, "lambdatrace")
        if part(module) not in DEVELOPER_PARTS
        for name, _ in imports(path, module)
        if name.split(".")[0] == "lambdatrace" and part(name) in DEVELOPER_PARTS
    ]
    assert wrong == []


def test_the_collector_knows_the_records_and_nothing_else_of_the_sdk() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in modules(COLLECTOR, "lambdatrace_collector")
        for name, _ in imports(path, module)
        if name.split(".")[0] == "lambdatrace" and part(name) != "records"
    ]
    assert wrong == []


def test_nothing_imports_the_collector_the_tests_or_the_benchmarks() -> None:
    wrong = [
        f"{module} imports {name}"
        for folder, package in ((SDK, "lambdatrace"), (COLLECTOR, "lambdatrace_collector"))
        for module, path in modules(folder, package)
        for name, _ in imports(path, module)
        if name.split(".")[0] in {"tests", "benchmarks", "lambdatrace_collector"} - {package}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "package"), [(SDK, "lambdatrace"), (COLLECTOR, "lambdatrace_collector")]
)
def test_imports_form_no_cycle(folder: Path, package: str) -> None:
    known = dict(modules(folder, package))
    arrows: dict[str, set[str]] = {}
    for module, path in known.items():
        names = {name for name, is_at_load in imports(path, module) if is_at_load}
        found = {name if name in known else name.rpartition(".")[0] for name in names}
        arrows[module] = {name for name in found & set(known) if name not in {package, module}}
    while leaves := {module for module, targets in arrows.items() if not targets}:
        arrows = {m: targets - leaves for m, targets in arrows.items() if m not in leaves}
    assert arrows == {}


def test_only_the_store_holds_sql_and_of_a_query_only_where_trees_are_rendered() -> None:
    holders = {
        path.relative_to(COLLECTOR).as_posix()
        for path in COLLECTOR.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
    }
    # The client makes a database and tries settings, the migration reads which schema files it has.
    assert holders == {"store/client.py", "store/compiled_query.py", "store/migration.py"}


def test_every_module_is_named_for_what_it_holds() -> None:
    names = {path.stem for folder in (SDK, COLLECTOR) for path in folder.rglob("*.py")}
    assert names & {"utils", "util", "helpers", "common", "base", "misc"} == set()


def test_the_public_names_are_these() -> None:
    assert lambdatrace.__all__ == [
        "current_span",
        "flush",
        "instrument",
        "logger",
        "messages",
        "metric",
        "span",
        "statistics",
    ]
    shown = [name for name in dir(lambdatrace) if not name.startswith("_")]
    assert shown == lambdatrace.__all__
    for name in lambdatrace.__all__:
        assert callable(getattr(lambdatrace, name))
        assert getattr(lambdatrace, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lambdatrace.nothing


# What decorating a handler loads in a function, once the runtime client is there. Each of these is
# paid for at every cold start: a new one needs a measurement (benchmarks/cold_start.py).
COLD_START_MODULES = {
    "_contextvars",
    "lambdatrace",
    "lambdatrace.buffer",
    "lambdatrace.clock",
    "lambdatrace.errors",
    "lambdatrace.guard",
    "lambdatrace.handler",
    "lambdatrace.initialization",
    "lambdatrace.invocation",
    "lambdatrace.invocation_spans",
    "lambdatrace.post_import",
    "lambdatrace.journal",
    "lambdatrace.log_watch",
    "lambdatrace.records",
    "lambdatrace.runtime_client",
    "lambdatrace.settings",
    "lambdatrace.telemetry",
    "lambdatrace.tracing",
    "lambdatrace.triggers",
}

PROBE = """
import json, sys
import awslambdaric.bootstrap, awslambdaric.lambda_runtime_client
before = set(sys.modules)
import lambdatrace

@lambdatrace.instrument
def handler(event, context):
    with lambdatrace.span("work"):
        return event

after = set(sys.modules)
print(json.dumps(sorted(after - before)))
"""


def test_a_cold_start_loads_these_modules_and_no_other() -> None:
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens: registering fails, as is fine
        "PATH": "/usr/bin:/bin",
    }
    probe = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(json.loads(probe.stdout.splitlines()[-1]))
    allowed = COLD_START_MODULES | {"lambdatrace.recording", "lambdatrace.span_scope"}
    assert loaded - allowed == set()
    assert loaded >= COLD_START_MODULES

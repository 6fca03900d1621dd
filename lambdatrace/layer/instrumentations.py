"""The index of the contrib instrumentors that a layer has, made when the layer is built.

Inside a function nothing scans entry points: this is read instead (`otel/instrumentors.py`).
Source: OpenTelemetry Python contrib: the entry points `opentelemetry_instrumentor`, and what each
instrumentor's `instrumentation_dependencies` returns, read without running any of it.
"""

from __future__ import annotations

import ast
import re
from configparser import ConfigParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INDEX = "lambdatrace/instrumentations"
_GROUP = "opentelemetry_instrumentor"

# The Lambda instrumentor records what we record, the invocation; distributions of their own name.
LEFT_OUT = frozenset(("aws-lambda",))
_MODULES = {
    "confluent-kafka": "confluent_kafka",
    "grpcio": "grpc",
    "kafka-python": "kafka",
    "mysql-connector-python": "mysql.connector",
    "mysqlclient": "MySQLdb",
    "psycopg2-binary": "psycopg2",
    "pymysql": "pymysql",
    "tortoise-orm": "tortoise",
}


def index_of(files: Mapping[str, bytes]) -> bytes:
    """The index for packages with these `files`, path below `python/` → content; empty for none.

    An instrumentor for no library in particular, as that of `threading`, is not in it.
    """
    rows = set()
    for path, content in files.items():
        if path.endswith(".dist-info/entry_points.txt"):
            for name, place in _entry_points(content.decode()):
                if name not in LEFT_OUT:
                    rows |= {f"{name} {module} {place}" for module in _libraries(files, place)}
    return "".join(f"{row}\n" for row in sorted(rows)).encode()


def _entry_points(text: str) -> Iterator[tuple[str, str]]:
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_string(text)
    if parser.has_section(_GROUP):
        yield from parser.items(_GROUP)


def _libraries(files: Mapping[str, bytes], place: str) -> set[str]:
    """The modules of the libraries that the instrumentor at `place` is for."""
    module, _, class_name = place.partition(":")
    folder = module.replace(".", "/")
    source = files.get(f"{folder}/__init__.py") or files.get(f"{folder}.py", b"")
    body = [*ast.parse(files.get(f"{folder}/package.py", b"")).body, *ast.parse(source).body]
    requirements = _strings(_dependencies(body, class_name), _assigned(body))
    names = [re.match(r"[\w.-]*\w", requirement) for requirement in requirements]
    libraries = {name[0].lower() for name in names if name is not None}
    return {_MODULES.get(name, name.replace("-", "_")) for name in libraries}


def _dependencies(body: Sequence[ast.stmt], class_name: str) -> ast.AST:
    """What the class's `instrumentation_dependencies` returns."""
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for method in node.body:
                if (
                    isinstance(method, ast.FunctionDef)
                    and method.name == "instrumentation_dependencies"
                ):
                    return method
    return ast.Name("_instruments")


def _assigned(body: Sequence[ast.stmt]) -> dict[str, ast.AST]:
    """Name → value, of the assignments at the top of a module."""
    found: dict[str, ast.AST] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def _strings(node: ast.AST, assigned: Mapping[str, ast.AST]) -> set[str]:
    """The strings in a function's returned expressions, those behind names included."""
    returned = [part for part in ast.walk(node) if isinstance(part, ast.Return)]
    found: set[str] = set()
    for expression in returned or (node,):
        for part in ast.walk(expression):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found.add(part.value)
            elif isinstance(part, ast.Name) and part.id in assigned:
                rest = {name: value for name, value in assigned.items() if name != part.id}
                found |= _strings(assigned[part.id], rest)
    return found

"""What a command line names: `module.handler` or `NAME=module.handler`, below a code folder."""

from __future__ import annotations

import ast
import re
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace.harness.errors import FunctionConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


class Target(NamedTuple):
    """A function's name and its handler."""

    name: str
    handler: str


def parse_target(text: str) -> Target:
    """The target of a command line; without a name, the function is called like its module.

    Characters a function name may not have become '-'. Raises FunctionConfigurationError.
    """
    name, equals, handler = text.rpartition("=")
    module, dot, function = handler.rpartition(".")
    if not dot or not module.strip("./") or not function.isidentifier() or (equals and not name):
        raise FunctionConfigurationError(
            f"target '{text}': expected module.handler or NAME=module.handler, as app.handler"
        )
    return Target(name or re.sub(r"[^a-zA-Z0-9-_]+", "-", module), handler)


def check_handler(handler: str, code_dir: Path) -> None:
    """Raises FunctionConfigurationError when a handler's module or function is not there.

    The module is searched in `code_dir`, then among the installed packages, and read without being
    run; a name that may come from `import *` is given the benefit of the doubt.
    """
    module, _, function = handler.rpartition(".")
    parts = module.replace("/", ".").split(".")
    path = _module_file(code_dir, parts)
    if path is None:
        if PathFinder.find_spec(parts[0]) is not None:
            return
        raise FunctionConfigurationError(
            f"handler '{handler}': there is no module {'/'.join(parts)}.py in {code_dir}"
        )
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise FunctionConfigurationError(
            f"handler '{handler}': cannot read {path}: {error.strerror}"
        ) from error
    except SyntaxError:
        return  # the runtime reports it as Lambda would: Runtime.UserCodeSyntaxError
    names = set(_top_level_names(tree))
    if function not in names and "*" not in names:
        raise FunctionConfigurationError(
            f"handler '{handler}': {path} has no function '{function}'"
        )


def _module_file(code_dir: Path, parts: list[str]) -> Path | None:
    base = code_dir.joinpath(*parts)
    for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _top_level_names(tree: ast.Module) -> list[str]:
    """Names a module binds when it is imported, those inside if, try and with included."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    return names

"""Which imports of a module could wait until a function is called: read from its source alone.

An import at the top of a module can be moved into the functions that use it when nothing that runs
while the module is imported uses its names. What functions called at import time use cannot be
seen here; measuring the module without the import shows that.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Deferrable(NamedTuple):
    """An import statement that could wait: its line, modules and names, and who uses them."""

    line: int
    statement: str
    modules: tuple[str, ...]
    functions: tuple[str, ...]


def deferrable_imports(
    source: str, module_name: str = "", *, is_package: bool = False
) -> list[Deferrable]:
    """The imports of `source` that only functions use, in order of line.

    `functions` is empty when nothing in the module uses the import. Raises SyntaxError. Left out:
    `from … import *`, `from __future__`, what `__all__` exports, and what stands inside `if`, `try`
    or `with`, which has a reason to be there.
    """
    tree = ast.parse(source)
    at_import = set(_names_at_import(tree.body, _has_lazy_annotations(tree)))
    found = []
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = _bound_names(node)
        if not names or names & at_import:
            continue
        found.append(
            Deferrable(
                node.lineno,
                ast.unparse(node),
                tuple(_modules(node, module_name, is_package=is_package)),
                tuple(_users(tree, names)),
            )
        )
    return found


def names_reached(sources: Iterable[str], function: str) -> set[str]:
    """Names of functions, methods and classes that `function` may come to, by name alone.

    A class's name stands for all its methods; a name that is assigned for what it is made of.
    """
    mentioned: dict[str, set[str]] = {function: set()}
    for source in sources:
        tree = ast.parse(source)
        for title, node in _functions(tree, ""):
            for part in title.split("."):
                mentioned.setdefault(part, set()).update(_mentions(node))
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if isinstance(target, ast.Name):
                    mentioned.setdefault(target.id, set()).update(_mentions(node))
    reached: set[str] = set()
    waiting = [function]
    while waiting:
        name = waiting.pop()
        if name in mentioned and name not in reached:
            reached.add(name)
            waiting += mentioned[name]
    return reached


def _mentions(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _bound_names(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.ImportFrom) and (
        node.module == "__future__" or any(alias.name == "*" for alias in node.names)
    ):
        return set()
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def _modules(
    node: ast.Import | ast.ImportFrom, module_name: str, *, is_package: bool
) -> Iterator[str]:
    """Full names of what the statement may import: `from a import b` may mean a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = module_name.split(".")
        above = parts[: len(parts) - node.level + is_package]
        base = ".".join([*above, base] if base else above)
    yield base
    yield from (f"{base}.{alias.name}" for alias in node.names)


def _names_at_import(body: list[ast.stmt], is_annotation_lazy: bool) -> Iterator[str]:
    """Names that are looked up, or exported, while the module is imported."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += node.decorator_list
            waiting += _defaults(node.args)
            if not is_annotation_lazy:
                waiting += _annotations(node)
            continue
        elif isinstance(node, ast.Lambda):
            waiting += _defaults(node.args)
            continue
        elif isinstance(node, ast.AnnAssign) and is_annotation_lazy:
            waiting += [node.target, *([node.value] if node.value else [])]
            continue
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            yield from _texts(node.value)
        waiting += ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> list[ast.AST]:
    return [*arguments.defaults, *(node for node in arguments.kw_defaults if node is not None)]


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.AST]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    found: list[ast.AST] = [argument.annotation for argument in every if argument.annotation]
    return [*found, node.returns] if node.returns else found


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _has_lazy_annotations(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


def _users(tree: ast.Module, names: set[str]) -> Iterator[str]:
    """The functions, by qualified name, in which one of `names` is looked up."""
    for title, function in _functions(tree, ""):
        if any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(function)):
            yield title


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, _FUNCTION):
            yield prefix + getattr(child, "name", "<lambda>"), child
        else:
            yield from _functions(child, prefix)

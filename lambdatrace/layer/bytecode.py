"""Bytecode for the interpreters of Lambda's runtimes, each compiled by an interpreter of its kind.

Docstrings, annotations, columns and lines of positions, qualified names and names of locals are
left out: a frame says the line its function begins in. That halves what a layer takes of it.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import marshal
import shutil
import subprocess
import sys
import tokenize
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_OPTIMIZED,
    CO_VARARGS,
    CO_VARKEYWORDS,
)
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import CodeType
    from typing import Any, TypeGuard

COMPILE_S_MAX = 120

_QUERY = """
import importlib.util, json, sys
version = ".".join(map(str, sys.version_info[:2]))
magic = importlib.util.MAGIC_NUMBER.hex()
print(json.dumps([version, sys.implementation.cache_tag, magic]))
"""


class LayerError(Exception):
    """A layer cannot be built or published; the message names value and remedy."""


class Interpreter(NamedTuple):
    """A Python that can compile: `tag` is what its `.pyc` files are named with."""

    path: str
    version: str
    tag: str
    magic: bytes


def inspect_interpreter(path: str) -> Interpreter:
    """What the interpreter at `path` is. Raises LayerError if it cannot be run."""
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _QUERY],
            capture_output=True,
            timeout=COMPILE_S_MAX,
            check=True,
        )
        version, tag, magic = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise LayerError(f"python '{path}' cannot be run: {error}") from error
    return Interpreter(path, version, tag, bytes.fromhex(magic))


def candidates(version: str) -> Iterator[str]:
    """Where a Python of `version` (`3.12`) may be: this one, on the path, or of pyenv."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))


def find_interpreters(versions: Sequence[str]) -> list[Interpreter]:
    """One for each of `versions` that is on this machine; see `candidates`."""
    found = []
    for version in versions:
        for candidate in candidates(version):
            try:
                interpreter = inspect_interpreter(candidate)
            except LayerError:
                continue  # a shim that leads nowhere
            if interpreter.version == version:
                found.append(interpreter)
                break
    return found


def compiled(
    interpreter: Interpreter, modules: Mapping[str, tuple[str, bytes]]
) -> dict[str, bytes]:
    """Module name → its marshalled code; `modules`: name → (path where it runs, source).

    Raises LayerError if a module cannot be compiled.
    """
    sources = {name: [path, source.decode()] for name, (path, source) in modules.items()}
    process = subprocess.run(
        [interpreter.path, "-S", "-X", "no_debug_ranges", __file__],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        timeout=COMPILE_S_MAX,
        check=False,
        env={"PYTHONHASHSEED": "0"},  # the same bytes each time: the order of a set depends on it
    )
    if process.returncode:
        raise LayerError(f"python {interpreter.version} cannot compile the SDK: {process.stderr}")
    return {name: base64.b64decode(code) for name, code in json.loads(process.stdout).items()}


_INDENTATION = 4  # of our sources; as little as one says the same


class _Stripping(ast.NodeTransformer):
    """Leaves out what only type checkers read."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in [*every, arguments.vararg, arguments.kwarg]:
            if argument is not None:
                argument.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse or ast.copy_location(ast.Pass(), node)
        return node


def stripped_code(source: str, path: str) -> CodeType:
    """The code of a module without docstrings and annotations; lines are those of `source`."""
    tree = ast.fix_missing_locations(_Stripping().visit(ast.parse(source)))
    return compile(tree, path, "exec", dont_inherit=True, optimize=2)


def lean(code: CodeType) -> CodeType:
    """`code` whose every instruction, and those of what it defines, is on its first line.

    And whose functions have no qualified name but their own, and locals without a name: but for
    parameters, which callers name, inner functions' and, of which frames are looked into,
    generators'.
    Source: CPython's `Objects/locations.md` (`lnotab_notes.txt` before 3.11).
    """
    size = len(code.co_code)
    names: dict[str, Any] = {}
    if code.co_flags & CO_OPTIMIZED and not code.co_flags & _SUSPENDED:
        parameters = code.co_argcount + code.co_kwonlyargcount
        parameters += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
        own = enumerate(code.co_varnames[parameters:])
        names["co_varnames"] = (
            *code.co_varnames[:parameters],
            *(name if name in code.co_cellvars else f"_{at:x}" for at, name in own),
        )
    if sys.version_info >= (3, 11):
        names["co_qualname"] = code.co_name
        units = size // 2
        table = _SAME_LINE * (units // 8)
        table += bytes((_SAME_LINE[0] - 8 + units % 8, 0)) if units % 8 else b""
    else:
        table = b"\xfe\0" * (size // 254) + (bytes((size % 254, 0)) if size % 254 else b"")
    constants = tuple(
        lean(value) if isinstance(value, type(code)) else value for value in code.co_consts
    )
    return code.replace(co_consts=constants, co_linetable=table, **names)


_SUSPENDED = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_SAME_LINE = b"\xef\0"  # eight code units without columns, no line further


def without_docstrings(source: bytes) -> bytes:
    """`source` without docstrings, comments, annotations, types, and most of its indentation.

    And without the sentences in tables of settings, which only the README shows.

    That is half of it, zipped. Line numbers stay, so that a traceback from a bundle shows the right
    line.
    """
    lines, tree = source.decode().splitlines(), ast.parse(source)
    _blank_docstrings(tree, lines)
    in_strings: set[int] = set()  # lines that begin within a string
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        elif token.end[0] > row:
            in_strings.update(range(row + 1, token.end[0] + 1))
    cuts = [*_annotations(tree, source.splitlines()), *_sentences(tree)]
    for row, start, end in sorted(cuts, reverse=True):
        line = lines[row - 1].encode()
        lines[row - 1] = (line[:start] + line[end:]).decode()
    for node in ast.walk(tree):
        if _is_for_type_checkers(node):
            last = node.body[-1]
            for number in range(node.lineno, last.end_lineno or last.lineno):
                lines[number] = ""
            if node in tree.body and not node.orelse:
                lines[node.lineno - 1] = ""
            else:
                lines[node.lineno] = " " * node.body[0].col_offset + "pass"
    narrow = (
        line if row in in_strings else line.replace(" " * _INDENTATION, " ", _depth(line))
        for row, line in enumerate(lines, 1)
    )
    stripped = "".join(line.rstrip() + "\n" for line in narrow)
    return _without_gaps(_without_needless(stripped))


def _without_needless(source: str) -> str:
    """`source` without what stands there for annotations alone, where none is left."""
    lines, tree = source.splitlines(), ast.parse(source)
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef)):
            _blank_declarations(node, lines)
    is_annotated = any(
        getattr(node, "annotation", None) or getattr(node, "returns", None)
        for node in nodes
        if not isinstance(node, ast.AnnAssign) or node.value
    )
    is_asked = any(
        isinstance(node, ast.Name) and node.id == "TYPE_CHECKING" and isinstance(node.ctx, ast.Load)
        for node in nodes
    )
    for node in tree.body:
        text = ast.unparse(node)
        if (text == "from __future__ import annotations" and not is_annotated) or (
            text == "TYPE_CHECKING = False" and not is_asked
        ):
            lines[node.lineno - 1] = ""
    return "".join(line + "\n" for line in lines)


def _blank_declarations(owner: ast.Module | ast.ClassDef, lines: list[str]) -> None:
    """Take out names that are declared and given no value."""
    declared = [node for node in owner.body if isinstance(node, ast.AnnAssign) and not node.value]
    for node in declared:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    if declared and len(declared) == len(owner.body):
        lines[declared[0].lineno - 1] = " " * declared[0].col_offset + "pass"


# From Python 3.12 on an f-string has tokens of its own, from 3.14 on a t-string; before, it is one
# token, and stays as it is.
_STARTS = {getattr(tokenize, f"{kind}STRING_START", -1) for kind in "FT"}
_ENDS = {getattr(tokenize, f"{kind}STRING_END", -2) for kind in "FT"}
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_WORDS = frozenset((tokenize.NAME, tokenize.NUMBER, tokenize.STRING, *_STARTS, *_ENDS))


def _without_gaps(source: str) -> bytes:
    """`source` without the spaces on a line that divide no words, nor indent a statement."""
    lines, cuts, within, brackets = source.splitlines(), [], 0, 0
    last = tokenize.TokenInfo(tokenize.NL, "", (0, 0), (0, 0), "")
    for token in tokenize.tokenize(io.BytesIO(source.encode()).readline):
        divides = {last.type, token.type} <= _WORDS
        if not divides and not within and last.end[0] == token.start[0] and last.end[1]:
            cuts.append((token.start[0], last.end[1], token.start[1]))
        elif brackets and not within and last.type == tokenize.NL:
            cuts.append((token.start[0], 0, token.start[1]))
        if token.type == tokenize.OP:
            brackets += (token.string in _OPENING) - (token.string in _CLOSING)
        within += (token.type in _STARTS) - (token.type in _ENDS)
        last = token
    for row, start, end in reversed(cuts):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + line[end:]
    return "".join(line + "\n" for line in lines).encode()


def _depth(line: str) -> int:
    return (len(line) - len(line.lstrip(" "))) // _INDENTATION


def _blank_docstrings(tree: ast.Module, lines: list[str]) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        first = body[0]
        if isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            # Where the docstring was all there was, something must stand.
            lines[first.lineno - 1] = " " * first.col_offset + "pass" * (len(body) == 1)
            for number in range(first.lineno, first.end_lineno or first.lineno):
                lines[number] = ""


def _annotations(tree: ast.Module, lines: list[bytes]) -> Iterator[tuple[int, int, int]]:
    """Row, first and last column in bytes of each annotation that is on one line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            annotation, start = node.annotation, node.col_offset + len(node.arg.encode())
            is_one_line = node.lineno == annotation.end_lineno
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns:
            annotation = node.returns
            is_one_line = annotation.lineno == annotation.end_lineno
            start = lines[annotation.lineno - 1].rfind(b" ->", 0, annotation.col_offset)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            annotation, start = node.annotation, node.target.end_col_offset or -1
            is_one_line = node.lineno == annotation.end_lineno
        else:
            continue
        if is_one_line and start >= 0 and annotation.end_col_offset is not None:
            yield annotation.lineno, start, annotation.end_col_offset


def _sentences(tree: ast.Module) -> Iterator[tuple[int, int, int]]:
    """Row, first and last column in bytes of what stands in the last string of a table's rows."""
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        rows = node.value.elts if isinstance(node.value, ast.Tuple) else ()
        for row in rows if node.target.id.endswith("TABLE") else ():
            last = row.elts[-1] if isinstance(row, ast.Tuple) else None
            if isinstance(last, ast.Constant) and last.lineno == last.end_lineno:
                yield last.lineno, last.col_offset + 1, (last.end_col_offset or 0) - 1


def _is_for_type_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Name):
        return False
    return node.test.id == "TYPE_CHECKING"


def _main() -> None:
    """Run by each interpreter: modules as JSON on standard input, their code on output."""
    codes = {
        name: marshal.dumps(lean(stripped_code(source, path)))
        for name, (path, source) in json.load(sys.stdin).items()
    }
    json.dump({name: base64.b64encode(code).decode() for name, code in codes.items()}, sys.stdout)


if __name__ == "__main__":
    _main()

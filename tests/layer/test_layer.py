from __future__ import annotations

import ast
import functools
import io
import json
import marshal
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.layer import (
    ARCHIVE_BYTES_MAX,
    BARE,
    COLD_START,
    PACKAGE,
    VERSIONS,
    build_layer,
    layer_files,
    precompiled,
    zipped,
)
from lambdatrace.layer.bundles import Variant, bundle_file, tags_of
from lambdatrace.layer.bytecode import (
    LayerError,
    compiled,
    find_interpreters,
    inspect_interpreter,
    stripped_code,
    without_docstrings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.layer.bytecode import Interpreter

DEVELOPER_PARTS = {"cli", "harness", "layer", "pytest_plugin.py", "testing.py"}
HERE = inspect_interpreter(sys.executable)
FOUND = find_interpreters(VERSIONS)


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four interpreters need seconds for what is the same in each test, and so does stripping."""
    monkeypatch.setattr("lambdatrace.layer.compiled", _compiled)
    monkeypatch.setattr("lambdatrace.layer.without_docstrings", _stripped)


def _compiled(interpreter: Interpreter, modules: dict[str, tuple[str, bytes]]) -> dict[str, bytes]:
    return _compiled_tuple(interpreter, tuple(modules.items()))


_stripped = functools.cache(without_docstrings)


@functools.cache
def _compiled_tuple(
    interpreter: Interpreter, modules: tuple[tuple[str, tuple[str, bytes]], ...]
) -> dict[str, bytes]:
    return compiled(interpreter, dict(modules))


def unpacked(
    folder: Path, interpreters: list[Interpreter], *, is_all_bundled: bool = False
) -> Path:
    archive = folder / "layer.zip"
    build_layer(archive, interpreters, is_all_bundled=is_all_bundled)
    with zipfile.ZipFile(archive) as layer:
        layer.extractall(folder / "opt")
    return folder / "opt"


PROBE = """
import builtins, io, json, sys
compiled = []
def compile_noting(source, path, *rest, **options):
    compiled.append(path)
    return compile_as_ever(source, path, *rest, **options)
compile_as_ever, builtins.compile = compile, compile_noting
import lambdatrace
handler = lambdatrace.instrument(lambda event, context: None)
sys.stdout = io.StringIO()
lambdatrace.metric
cold, compiled_cold = set(sys.modules), [*compiled]
lambdatrace.metric("Begun", 1)
handler({}, None)
lambdatrace.flush()
loaded = {name: module for name, module in sys.modules.items() if name.startswith("lambdatrace.")}
sys.stdout = sys.__stdout__
print(json.dumps({
    "cold start": sorted(cold & set(loaded)),
    "after it": sorted(set(loaded) - cold),
    "compiled for a cold start": compiled_cold,
    "compiled": compiled,
    "files": sorted({m.__file__ for m in loaded.values()}),
    "loaders": sorted({type(m.__loader__).__name__ for m in loaded.values()}),
    "meta path": sum(type(each).__name__ == "_Finder" for each in sys.meta_path),
    "doc": lambdatrace.current_span.__doc__,
    "source": lambdatrace.instrument.__globals__["__loader__"].get_source("lambdatrace.metrics"),
}))
"""


def probe(interpreter: Interpreter, opt: Path) -> dict[str, Any]:
    process = subprocess.run(
        [interpreter.path, "-S", "-B", "-c", PROBE],
        cwd=opt,
        env={
            "PYTHONPATH": str(opt / "python"),
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # where nobody listens
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    facts: dict[str, Any] = json.loads(process.stdout)
    return facts


def test_a_layer_has_the_exec_wrapper_the_package_and_its_bundles() -> None:
    assert list(layer_files(FOUND)) == [
        "lambdatrace",
        "python/lambdatrace/__init__.py",
        "python/lambdatrace/bundles/cold_start",
        "python/lambdatrace/bundles/rest",
    ]


def test_the_layer_for_all_runtimes_is_precompiled_for_each_that_is_found() -> None:
    assert precompiled(layer_files(FOUND), FOUND) == [found.version for found in FOUND]


def test_where_the_bytecode_of_all_is_too_much_the_newest_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = [found.version for found in FOUND]
    whole_bytes = len(zipped(layer_files(FOUND)))
    monkeypatch.setattr("lambdatrace.layer.ARCHIVE_BYTES_MAX", whole_bytes - 1)
    assert precompiled(layer_files(FOUND), FOUND) == versions[1:]
    monkeypatch.setattr("lambdatrace.layer.ARCHIVE_BYTES_MAX", 1)
    assert precompiled(layer_files(FOUND), FOUND) == []


def sources_in(files: dict[str, bytes]) -> set[str]:
    rest = files["python/lambdatrace/bundles/rest"]
    length = int.from_bytes(rest[:4], "little")
    return set(marshal.loads(rest[4:][:length])[b""][1])


def test_a_layer_has_the_sources_that_a_python_may_need() -> None:
    every = {
        ".".join(part for part in path.with_suffix("").parts if part != "__init__")
        for source in PACKAGE.rglob("*.py")
        for path in [source.relative_to(PACKAGE.parent)]
        if path.parts[1] not in DEVELOPER_PARTS
    }
    assert sources_in(layer_files(FOUND[:1])) == every | {"lambdatrace.layer.finder"}
    assert sources_in(layer_files([])) == every | {"lambdatrace.layer.finder"}
    assert sources_in(layer_files(FOUND, is_all_bundled=True)) == set(BARE)


def test_where_each_runtimes_python_is_found_no_source_is_there_of_what_they_have_as_bytecode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lambdatrace.layer.VERSIONS", tuple(found.version for found in FOUND))
    sources = sources_in(layer_files(FOUND))
    assert sources & set(COLD_START) == set(BARE) & set(COLD_START)
    assert sources >= set(BARE)
    assert "lambdatrace.metrics" in sources


def test_a_layer_is_small_executable_where_it_must_be_and_the_same_each_time(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    size_bytes = build_layer(first)
    build_layer(second)
    assert first.read_bytes() == second.read_bytes()
    assert size_bytes == first.stat().st_size <= ARCHIVE_BYTES_MAX
    with zipfile.ZipFile(first) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes.pop("lambdatrace") == 0o755
    assert set(modes.values()) == {0o644}


@pytest.mark.parametrize("interpreter", FOUND, ids=[found.version for found in FOUND])
def test_a_cold_start_on_any_runtime_compiles_one_small_file_and_after_it_sources(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    opt = unpacked(tmp_path, FOUND)
    facts = probe(interpreter, opt)
    assert facts["compiled for a cold start"] == [f"{opt}/python/lambdatrace/__init__.py"]
    assert set(facts["cold start"]) <= set(COLD_START)
    assert facts["doc"] is None
    assert facts["loaders"] == ["_Finder"]
    assert facts["meta path"] == 0
    folder = f"{opt}/python/lambdatrace/"
    assert all(file.startswith(folder) for file in facts["files"])
    assert {f"{folder}metrics.py", f"{folder}sinks/__init__.py"} <= set(facts["compiled"])
    assert "class " in facts["source"]


@pytest.mark.parametrize("interpreter", FOUND, ids=[found.version for found in FOUND])
def test_a_layer_for_one_runtime_is_small_and_one_small_file_of_it_is_compiled(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    opt = unpacked(tmp_path, [interpreter], is_all_bundled=True)
    assert (tmp_path / "layer.zip").stat().st_size <= ARCHIVE_BYTES_MAX
    facts = probe(interpreter, opt)
    assert facts["compiled"] == [f"{opt}/python/lambdatrace/__init__.py"]
    assert "lambdatrace.metrics" in facts["after it"]
    assert facts["source"] is None


def test_a_function_that_puts_back_how_modules_are_found_keeps_the_sdk(tmp_path: Path) -> None:
    opt = unpacked(tmp_path, [HERE], is_all_bundled=True)
    program = """
import importlib, runpy, sys
found_by = [*sys.meta_path]
import lambdatrace
sys.meta_path[:] = found_by
sys.path.append(b"/nowhere")
sys.path_importer_cache.clear()
try:
    import not_there
except ModuleNotFoundError:
    pass
importlib.invalidate_caches()
lambdatrace.instrument(lambda event, context: None)
assert lambdatrace.metric.__module__ == "lambdatrace.recording"
assert runpy.run_module("lambdatrace.flushing")["__name__"] == "lambdatrace.flushing"
assert importlib.util.find_spec("lambdatrace.sinks").submodule_search_locations
assert importlib.util.find_spec("lambdatrace.nothing") is None
"""
    subprocess.run(
        [HERE.path, "-S", "-B", "-c", program],
        cwd=opt,
        env={"PYTHONPATH": str(opt / "python")},
        check=True,
        timeout=60,
    )


def test_on_a_python_without_bytecode_the_sources_are_loaded(tmp_path: Path) -> None:
    opt = unpacked(tmp_path, [found for found in FOUND if found != HERE])
    facts = probe(HERE, opt)
    folder = f"{opt}/python/lambdatrace/"
    assert {f"{folder}handler.py", f"{folder}metrics.py"} <= set(facts["compiled"])
    assert facts["loaders"] == ["_Finder"]


def test_bytecode_is_the_same_whatever_the_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = b"def f(x):\n    return x in {'a', 'b', 'c', 'd', 'e'}\n"
    made = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        made.add(compiled(HERE, {"lambdatrace.x": ("/x.py", source)})["lambdatrace.x"])
    assert len(made) == 1


def test_a_bundle_says_where_each_variant_of_a_module_is_whatever_their_order() -> None:
    variants = [
        Variant("p.b", "", b"", b"source"),
        Variant("p.b", "cpython-399", b"\1\2\r\n", b"code"),
        Variant("p", "cpython-399", b"\1\2\r\n", b"package"),
    ]
    file = bundle_file(variants, {"p"})
    assert file == bundle_file(reversed(variants), {"p"})
    length = int.from_bytes(file[:4], "little")
    start = 4 + length
    assert marshal.loads(file[4:start]) == {
        b"\1\2\r\n": (
            "cpython-399",
            {"p": (True, start, 7), "p.b": (False, start + 7, 4)},
        ),
        b"": ("", {"p.b": (False, start + 11, 6)}),
    }
    assert file[start:] == b"packagecodesource"
    assert tags_of(file) == {"cpython-399"}


def test_in_a_bundle_what_is_alike_stands_together() -> None:
    sources = [Variant(name, "", b"", name.encode()) for name in ("p", "p.a.b", "p.a", "p.b")]
    variants = [
        Variant(name, tag, tag.encode(), content)
        for name, content in (("p", b"[long]"), ("p.b", b"[s]"))
        for tag in ("cpython-310", "cpython-314")
    ]
    assert bundle_file([*variants, *sources], {"p", "p.a"}).endswith(
        b"[s][s][long][long]" + b"pp.b" + b"p.ap.a.b"
    )


def test_stripped_code_does_what_the_source_does_on_the_same_lines() -> None:
    source = '''"""Doc."""
from __future__ import annotations
TYPE_CHECKING = False
if TYPE_CHECKING:
    import nothing_like_it
else: z = 4
class A:
    """Doc."""
    x: int
    y: int = 3
    def f(self, a: int, *b: int, c: str = "c", **d: float) -> int:
        """Doc."""
        raise ValueError(a, self.y, c)
'''
    names: dict[str, Any] = {}
    exec(stripped_code(source, "/opt/a.py"), names)
    kind = names["A"]
    assert (kind.__doc__, kind.f.__annotations__) == (None, {})
    with pytest.raises(ValueError, match="c") as caught:
        kind().f(1)
    assert caught.value.args == (1, 3, "c")
    assert names["z"] == 4
    assert caught.traceback[-1].lineno == 12


@pytest.mark.parametrize("interpreter", FOUND, ids=[found.version for found in FOUND])
def test_a_frame_of_bytecode_says_the_line_its_function_begins_in(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    source = b"x = 1\n\n\ndef fail():\n" + b"    a = [0 for _ in '']\n" * 50 + b"    a[0]\n"
    (tmp_path / "code").write_bytes(compiled(interpreter, {"a": ("/a.py", source)})["a"])
    program = """
import marshal, sys, traceback
with open(sys.argv[1], "rb") as file:
    code = marshal.loads(file.read())
names = {}
exec(code, names)
try:
    names["fail"]()
except IndexError as error:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    print(frame.filename, frame.name, frame.lineno)
"""
    answer = subprocess.run(
        [interpreter.path, "-c", program, str(tmp_path / "code")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout == "/a.py fail 4\n"


def test_sources_lose_docstrings_comments_and_type_imports_and_nothing_else() -> None:
    source = b'''"""Doc
over lines."""
# A comment.
class A(Exception):
    """All there is."""

def f(a: "A", *b: int, c: list[str] = ()) -> dict[str, int]:
    """Doc."""
    # Why.
    text = """
# no comment
"""
    return text  # noqa: X

if TYPE_CHECKING:
    from a import (
        b,  # c
    )

    C = int
else:
    C = 1

A_TABLE: tuple[tuple[str, int, str], ...] = (
    ("A", 1, "What A is for."),
    ("B", 2, "And B."),
)
'''
    assert without_docstrings(source).decode().splitlines() == [
        *["", "", "", "class A(Exception):", " pass", "", "def f(a,*b,c=()):", "", ""],
        *[' text="""', "# no comment", '"""', " return text", ""],
        *["if TYPE_CHECKING:", " pass", "", "", "", "", "else:", " C=1", ""],
        *["A_TABLE=(", '("A",1,""),', '("B",2,""),', ")"],
    ]


def is_for_type_checkers_alone(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return ast.dump(node.test) == TYPE_CHECKING_NAME


def leave_out_declarations(tree: ast.Module) -> None:
    """What is there for annotations alone: names without a value, and two lines at the top."""
    tree.body = [
        node
        for node in tree.body
        if ast.unparse(node) not in ("from __future__ import annotations", "TYPE_CHECKING = False")
    ]
    for owner in ast.walk(tree):
        if isinstance(owner, (ast.Module, ast.ClassDef)):
            owner.body = [
                node for node in owner.body if not isinstance(node, ast.AnnAssign) or node.value
            ]


def blank_sentences(tree: ast.Module) -> None:
    """Those that tables have for the README."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target).endswith("TABLE"):
            for row in getattr(node.value, "elts", ()):
                if isinstance(row, ast.Tuple):
                    row.elts[-1] = ast.Constant("")


def program(source: bytes) -> str:
    """What `source` says to Python, with `pass` where a docstring was all there was, or types."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not is_for_type_checkers_alone(node)]
    leave_out_declarations(tree)
    blank_sentences(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.dump(node.test) == TYPE_CHECKING_NAME:
            node.body = [ast.Pass()]
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [  # type: ignore[attr-defined]  # what has it has it
                ast.Assign([each.target], each.value)
                if isinstance(each, ast.AnnAssign) and each.value is not None
                else each
                for each in body
            ]
        if isinstance(orelse := getattr(node, "orelse", None), list):
            node.orelse = [  # type: ignore[attr-defined]  # see above
                ast.Assign([each.target], each.value)
                if isinstance(each, ast.AnnAssign) and each.value is not None
                else each
                for each in orelse
            ]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if ast.get_docstring(node) if isinstance(node, WITH_DOCSTRING) else False:
            del node.body[0]  # type: ignore[attr-defined]  # what has a docstring has a body
        if isinstance(node, WITH_DOCSTRING) and not node.body:
            node.body = [ast.Pass()]
    return ast.dump(tree)


TYPE_CHECKING_NAME = ast.dump(ast.Name("TYPE_CHECKING", ast.Load()))
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


STRIPPING = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("bytecode", sys.argv[1])
bytecode = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bytecode)
for source in sorted(pathlib.Path(sys.argv[2]).rglob("*.py")):
    if "harness" not in source.parts and "cli" not in source.parts:
        compile(bytecode.without_docstrings(source.read_bytes()), str(source), "exec")
source = b'def f(x):\\n    return f"{x + 1}" if x else "b" in f"c"\\n'
print(bytecode.without_docstrings(source).decode())
"""


@pytest.mark.parametrize("interpreter", FOUND, ids=[found.version for found in FOUND])
def test_sources_are_stripped_whichever_python_builds_the_layer(interpreter: Interpreter) -> None:
    answer = subprocess.run(
        [interpreter.path, "-c", STRIPPING, str(PACKAGE / "layer" / "bytecode.py"), str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert answer.stderr == ""
    names: dict[str, Any] = {}
    exec(answer.stdout, names)
    assert [names["f"](x) for x in (0, 1)] == [False, "2"]


def test_every_source_is_the_same_program_without_docstrings_and_annotations() -> None:
    for path in PACKAGE.rglob("*.py"):
        source = path.read_bytes()
        assert program(source) == program(_stripped(source)), path
        assert source.count(b"\n") == _stripped(source).count(b"\n"), path


def test_no_annotation_is_evaluated_that_was_not() -> None:
    for path in PACKAGE.rglob("*.py"):
        stripped = _stripped(path.read_bytes())
        if b"from __future__ import annotations" not in stripped:
            for node in ast.walk(ast.parse(stripped)):
                # Those of a function's own names are not evaluated.
                if not isinstance(node, ast.AnnAssign) or node.value:
                    assert not getattr(node, "annotation", None), path
                assert not getattr(node, "returns", None), path


def test_names_that_are_declared_alone_and_what_is_there_for_types_are_left_out() -> None:
    source = b"""from __future__ import annotations
TYPE_CHECKING = False
class A:
    a: int
    b: int = 1
class B:
    c: list[
        int]
"""
    assert without_docstrings(source).decode().splitlines() == [
        *["", "", "class A:", "", " b=1", "class B:", " pass", ""],
    ]
    kept = b"from __future__ import annotations\ndef f(a: list[\n    int]):\n    return a\n"
    assert without_docstrings(kept).startswith(b"from __future__ import annotations\n")


def test_an_interpreter_that_cannot_be_run_is_named() -> None:
    with pytest.raises(LayerError, match="python '/nowhere/python' cannot be run"):
        inspect_interpreter("/nowhere/python")


def test_interpreters_are_found_by_version_once_each() -> None:
    assert [found.version for found in FOUND] == [
        version for version in VERSIONS if version in {found.version for found in FOUND}
    ]
    assert HERE.version in {found.version for found in FOUND}
    assert find_interpreters(["2.2"]) == []
    assert os.access(FOUND[0].path, os.X_OK)


def test_a_zip_file_opens_with_any_tool() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped({"b": b"2", "a": b"1"}))) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archive.testzip() is None


@pytest.mark.parametrize("interpreter", FOUND, ids=[found.version for found in FOUND])
def test_bytecode_without_names_of_locals_does_what_the_source_does(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    source = b"""
def call(first, *rest, key=1, **more):
    total = first + sum(rest)
    def inner(extra):
        nonlocal total
        total += extra
        return total, more
    each, found = 0, [inner(each) for each in rest] or [(0, more)]
    for each, other in found:
        del other
    return key, each, found[-1][1]

def steps(given):
    step = given
    while True:
        step = yield step
"""
    (tmp_path / "code").write_bytes(compiled(interpreter, {"a": ("/a.py", source)})["a"])
    program = """
import marshal, sys
with open(sys.argv[1], "rb") as file:
    code = marshal.loads(file.read())
names = {}
exec(code, names)
print(names["call"](first=1), names["call"](1, 2, 3, key=4, other=5))
steps = names["steps"](7)
print(next(steps), steps.gi_frame.f_locals)
print([name for name in names["call"].__code__.co_varnames if name[0] != "_"])
"""
    answer = subprocess.run(
        [interpreter.path, "-c", program, str(tmp_path / "code")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.stdout.splitlines() == [
        "(1, 0, {}) (4, 11, {'other': 5})",
        "7 {'given': 7, 'step': 7}",
        "['first', 'key', 'rest', 'more']",
    ], answer.stderr

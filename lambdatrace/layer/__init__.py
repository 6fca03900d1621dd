"""The Lambda layer: the SDK without what is for developers, its bytecode, and the exec wrapper.

Pure Python, so one file serves every runtime and both architectures; packages of others are added
on request (`packages.py`). Source: Lambda Developer Guide, "Packaging your layer content"
(`python/` is on the path) and "Modifying the runtime environment" (`AWS_LAMBDA_EXEC_WRAPPER`).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.layer.bundles import Variant, bundle_file, tags_of
from lambdatrace.layer.bytecode import compiled, find_interpreters, without_docstrings
from lambdatrace.layer.instrumentations import INDEX, index_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace.layer.bytecode import Interpreter

PACKAGE = Path(__file__).resolve().parent.parent

# The Pythons of Lambda's runtimes that the SDK runs on.
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# What runs on a developer's machine only.
EXCLUDED = frozenset(("cli", "harness", "layer", "pytest_plugin.py", "testing.py"))

# The layer's budget: it is unpacked at each cold start, and counts against the function's 250 MB.
ARCHIVE_BYTES_MAX = 300_000

# What every cold start loads.
COLD_START = (
    "lambdatrace",
    "lambdatrace.auto",
    "lambdatrace.buffer",
    "lambdatrace.clock",
    "lambdatrace.errors",
    "lambdatrace.guard",
    "lambdatrace.handler",
    "lambdatrace.initialization",
    "lambdatrace.invocation",
    "lambdatrace.invocation_spans",
    "lambdatrace.journal",
    "lambdatrace.layer.finder",
    "lambdatrace.log_watch",
    "lambdatrace.post_import",
    "lambdatrace.recording",
    "lambdatrace.records",
    "lambdatrace.runtime_client",
    "lambdatrace.settings",
    "lambdatrace.span_scope",
    "lambdatrace.telemetry",
    "lambdatrace.tracing",
    "lambdatrace.triggers",
    "lambdatrace.watchdog",
)

FINDER = "lambdatrace.layer.finder"

# What a function needs to run, bare, on a Python that the layer is not for.
BARE = ("lambdatrace", "lambdatrace.auto", "lambdatrace.switched_off", FINDER)

BUNDLES = COLD_START_BUNDLE, REST_BUNDLE = (
    "python/lambdatrace/bundles/cold_start",
    "python/lambdatrace/bundles/rest",
)

# /opt/lambdatrace: what AWS_LAMBDA_EXEC_WRAPPER names. Lambda runs it with the runtime's own
# command as arguments; the runtime reads `_HANDLER`, which is now our redirect to what it was: the
# function's handler, or another vendor's redirect, which then calls the function's. Only if theirs
# calls ours it stays, so that the two do not call each other for ever.
EXEC_WRAPPER = """\
#!/bin/sh
ours=lambdatrace.auto.handler
others=" $ORIG_HANDLER $DD_LAMBDA_HANDLER $LUMIGO_ORIGINAL_HANDLER $NEW_RELIC_LAMBDA_HANDLER \
$SENTRY_INITIAL_HANDLER "
case "$OTEL_SDK_DISABLED/$LAMBDATRACE_ENABLED" in
  [Tt][Rr][Uu][Ee]/* | */[Ff][Aa][Ll][Ss][Ee] | */0 | */[Nn][Oo] | */[Oo][Ff][Ff] | */[NnFf])
    exec "$@" ;;
esac
case "$others" in
  *" $ours "*) exec "$@" ;;
esac
if [ "$_HANDLER" != "$ours" ]; then
  export LAMBDATRACE_HANDLER="$_HANDLER"
  export _HANDLER="$ours"
fi
exec "$@"
"""

_EXECUTABLE, _READABLE = 0o755, 0o644
_DATE = (2020, 1, 1, 0, 0, 0)  # the same bytes for the same content, whenever it is built


def layer_files(
    interpreters: Sequence[Interpreter],
    *,
    is_all_bundled: bool = False,
    packages: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Path in the layer → content, in order of path: the SDK, and `packages` of others.

    `packages` has paths below `python/`; the index of the instrumentors among them comes with them.
    Raises LayerError.
    """
    files = _own_files(interpreters, is_all_bundled=is_all_bundled)
    for path, content in (packages or {}).items():
        files[f"python/{path}"] = content
    index = index_of(packages or {})
    if index:
        files[f"python/{INDEX}"] = index
    return dict(sorted(files.items()))


def _own_files(interpreters: Sequence[Interpreter], *, is_all_bundled: bool) -> dict[str, bytes]:
    """The SDK: the package, what stands in for it on other Pythons, and its bundles.

    With `is_all_bundled` each interpreter has bytecode of every module, and no other Python is
    served. Else those of them that are newest have bytecode of what a cold start loads, as many as
    ARCHIVE_BYTES_MAX allows, and sources serve what comes after it, and any other Python.
    """
    modules = _modules()
    newest = sorted(interpreters, key=_newness, reverse=True)
    names = modules if is_all_bundled else COLD_START
    codes = {each: compiled(each, {name: modules[name] for name in names}) for each in newest}
    if is_all_bundled and newest:
        return _package_files(modules, codes, BARE)
    for count in range(len(newest), 0, -1):
        served = newest[:count]
        is_every = {each.version for each in served} >= set(VERSIONS)
        needless = {*COLD_START}.difference(BARE) if is_every else ()
        sources = [name for name in modules if name not in needless]
        files = _package_files(modules, {each: codes[each] for each in served}, sources)
        if len(zipped(files)) <= ARCHIVE_BYTES_MAX:
            return files
    return _package_files(modules, {}, modules)


def _modules() -> dict[str, tuple[str, bytes]]:
    """Name of each module that a layer has → (path in the function's file system, source)."""
    modules = {}
    for source in sorted(PACKAGE.rglob("*.py")):
        relative = source.relative_to(PACKAGE.parent)
        name = ".".join(part for part in relative.with_suffix("").parts if part != "__init__")
        if relative.parts[1] not in EXCLUDED or name == FINDER:
            path = f"/opt/python/{relative.as_posix()}"
            modules[name] = (path, without_docstrings(source.read_bytes()))
    return modules


def _package_files(
    modules: Mapping[str, tuple[str, bytes]],
    codes: Mapping[Interpreter, Mapping[str, bytes]],
    sources: Iterable[str],
) -> dict[str, bytes]:
    """The files of a layer with these marshalled codes, and the sources of these modules."""
    packages = {name for name, (path, _) in modules.items() if path.endswith("/__init__.py")}
    cold_start: list[Variant] = []
    rest = [Variant(name, "", b"", modules[name][1]) for name in sources]
    for interpreter, contents in codes.items():
        for name, content in contents.items():
            variant = Variant(name, interpreter.tag, interpreter.magic, content)
            (cold_start if name in COLD_START else rest).append(variant)
    opener = (PACKAGE / "layer" / "opener.py").read_bytes()
    return {
        "lambdatrace": EXEC_WRAPPER.encode(),
        "python/lambdatrace/__init__.py": without_docstrings(opener),
        COLD_START_BUNDLE: bundle_file(cold_start, packages),
        REST_BUNDLE: bundle_file(rest, packages),
    }


def _newness(interpreter: Interpreter) -> list[int]:
    return [int(number) for number in interpreter.version.split(".")]


def precompiled(files: Mapping[str, bytes], interpreters: Sequence[Interpreter]) -> list[str]:
    """The versions of the interpreters whose bytecode is among `files`."""
    tags = tags_of(files[COLD_START_BUNDLE])
    return [interpreter.version for interpreter in interpreters if interpreter.tag in tags]


def build_layer(
    destination: Path,
    interpreters: Sequence[Interpreter] | None = None,
    *,
    is_all_bundled: bool = False,
    packages: Mapping[str, bytes] | None = None,
) -> int:
    """Write the layer as a zip file; its size in bytes.

    `interpreters` compile the bundles, by default one for each of VERSIONS that is found here.
    The other arguments are those of `layer_files`. The same content gives the same bytes. Raises
    LayerError; OSError if the file cannot be written.
    """
    if interpreters is None:
        interpreters = find_interpreters(VERSIONS)
    archive = zipped(layer_files(interpreters, is_all_bundled=is_all_bundled, packages=packages))
    destination.write_bytes(archive)
    return len(archive)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of `files` in order of path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_EXECUTABLE if path == "lambdatrace" else _READABLE) << 16
            archive.writestr(entry, files[path], compresslevel=9)
    return buffer.getvalue()

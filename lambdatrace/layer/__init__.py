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

from lambdatrace.layer.bytecode import bundle, find_interpreters, without_docstrings
from lambdatrace.layer.instrumentations import INDEX, index_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.layer.bytecode import Interpreter

PACKAGE = Path(__file__).resolve().parent.parent

# The Pythons of Lambda's runtimes that the SDK runs on.
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# What runs on a developer's machine only.
EXCLUDED = frozenset(("cli", "harness", "layer", "pytest_plugin.py", "testing.py"))

# What a function loads until its first records are sent: these are in the bundles. All of it, for
# five Pythons, would be three times the 300 kB that the layer may have.
BUNDLED = (
    "buffer",
    "clock",
    "completion",
    "errors",
    "extension",
    "flushing",
    "guard",
    "handler",
    "http1",
    "initialization",
    "invocation",
    "metrics",
    "propagation",
    "outcome",
    "post_import",
    "recording",
    "records",
    "runtime_responses",
    "sender",
    "settings",
    "sinks",
    "sinks.otlp_http",
    "telemetry",
    "tracing",
    "triggers",
    "wire",
    "wire.emf",
    "wire.otlp_protobuf",
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
  [Tt][Rr][Uu][Ee]/* | */[Ff][Aa][Ll][Ss][Ee]) exec "$@" ;;
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
    interpreters: Sequence[Interpreter], *, is_all_bundled: bool = False
) -> dict[str, bytes]:
    """Path in the layer → content, in order of path: sources, a bundle for each interpreter.

    A bundle holds what each cold start needs, or with `is_all_bundled` every module.
    """
    files = {"lambdatrace": EXEC_WRAPPER.encode(), "python/lambdatrace/py.typed": b""}
    modules: dict[str, tuple[str, bytes]] = {}
    for source in sorted(PACKAGE.rglob("*.py")):
        relative = source.relative_to(PACKAGE)
        if relative.parts[0] in EXCLUDED:
            continue
        path = f"python/lambdatrace/{relative.as_posix()}"
        files[path] = without_docstrings(source.read_bytes())
        name = ".".join(part for part in relative.with_suffix("").parts if part != "__init__")
        if name in BUNDLED or (is_all_bundled and name):
            modules[f"lambdatrace.{name}"] = (f"/opt/{path}", files[path])
    for interpreter in interpreters:
        files[f"python/lambdatrace/bundles/{interpreter.tag}"] = bundle(interpreter, modules)
    return dict(sorted(files.items()))


def build_layer(
    destination: Path,
    interpreters: Sequence[Interpreter] | None = None,
    *,
    is_all_bundled: bool = False,
    packages: Mapping[str, bytes] | None = None,
) -> int:
    """Write the layer as a zip file; its size in bytes.

    `interpreters` compile the bundles, by default one for each of VERSIONS that is found here.
    `packages` are the files of others to add, path below `python/` → content. The same content
    gives the same bytes. Raises LayerError; OSError if the file cannot be written.
    """
    if interpreters is None:
        interpreters = find_interpreters(VERSIONS)
    files = layer_files(interpreters, is_all_bundled=is_all_bundled)
    for path, content in (packages or {}).items():
        files[f"python/{path}"] = content
    index = index_of(packages or {})
    if index:
        files[f"python/{INDEX}"] = index
    archive = zipped(files)
    destination.write_bytes(archive)
    return len(archive)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of `files` in order of path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_EXECUTABLE if path == "lambdatrace" else _READABLE) << 16
            archive.writestr(entry, files[path])
    return buffer.getvalue()

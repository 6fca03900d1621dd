"""The Lambda layer: the SDK without what is for developers, its bytecode, and the exec wrapper.

Pure Python, so one file serves every runtime and both architectures; packages of others are added
on request (`packages.py`). Source: Lambda Developer Guide, "Packaging your layer content"
(`python/` is on the path) and "Modifying the runtime environment" (`AWS_LAMBDA_EXEC_WRAPPER`).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.layer.bytecode import bundle, find_interpreters, pyc, without_docstrings
from lambdatrace.layer.instrumentations import INDEX, index_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace.layer.bytecode import Interpreter

PACKAGE = Path(__file__).resolve().parent.parent

# The Pythons of Lambda's runtimes that the SDK runs on.
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# What runs on a developer's machine only.
EXCLUDED = frozenset(("cli", "harness", "layer", "pytest_plugin.py", "testing.py"))

# The layer's budget: it is unpacked at each cold start, and counts against the function's 250 MB.
ARCHIVE_BYTES_MAX = 300_000

# Kept free of bundles: for the package's own `.pyc` files, and the archive's directory.
ROOM_BYTES = 4_000

# What every cold start loads.
COLD_START = (
    "buffer",
    "clock",
    "errors",
    "guard",
    "handler",
    "initialization",
    "invocation",
    "invocation_spans",
    "journal",
    "log_watch",
    "post_import",
    "recording",
    "records",
    "runtime_client",
    "settings",
    "span_scope",
    "telemetry",
    "tracing",
    "triggers",
    "watchdog",
)

# What is loaded after the first response, to send its records.
FIRST_SEND = (
    "completion",
    "delivery",
    "exporter_settings",
    "flushing",
    "http1",
    "init_spans",
    "metering",
    "metric_export",
    "metrics",
    "outcome",
    "pipelines",
    "plain",
    "propagation",
    "propagators",
    "redaction",
    "secret_names",
    "sender",
    "sinks",
    "sinks.otlp_endpoint",
    "sinks.otlp_http",
    "sinks.redacting",
    "sinks.retry_after",
    "sinks.send_failure",
    "span_limits",
    "wire",
    "wire.emf",
    "wire.otlp_protobuf",
    "wire.plain_json",
)

# The sources that a layer of bundles has too: with them a function on another Python runs, bare.
BARE = ("auto", "switched_off")

INIT = "python/lambdatrace/__init__.py"  # what opens the bundles
REST = ".rest"  # what the name of a bundle ends in that is opened after the cold start

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
    """The sources of the SDK, and its bundles of bytecode.

    With `is_all_bundled` each interpreter's bundle holds every module, and no other Python is
    served: of the sources only those of BARE are there. Else the bundles of the newest come first,
    with what a function loads until its first records are sent, then with what its cold start
    loads, as far as ARCHIVE_BYTES_MAX allows.
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
        if name:
            modules[name] = (f"/opt/{path}", files[path])
    if is_all_bundled and interpreters:
        bundled = {name: modules[name] for name in modules if name not in BARE}
        files = {path: files[path] for path in files if path not in _paths(bundled)}
    left_bytes = ARCHIVE_BYTES_MAX - ROOM_BYTES
    left_bytes -= sum(_zipped_bytes(*item) for item in files.items())
    rest = [name for name in modules if name not in COLD_START] if is_all_bundled else FIRST_SEND
    for interpreter in sorted(interpreters, key=_newness, reverse=True):
        for suffix, names in (("", COLD_START), (REST, rest)):
            wanted = {f"lambdatrace.{name}": modules[name] for name in names}
            path = _bundle_path(interpreter) + suffix
            content = bundle(interpreter, wanted, is_apart=suffix == REST)
            left_bytes -= _zipped_bytes(path, content)
            if left_bytes < 0 and not is_all_bundled:
                return files
            files[path] = content
        files[_pyc_path(interpreter)] = pyc(interpreter, "lambdatrace", f"/opt/{INIT}", files[INIT])
    return files


def _paths(modules: Mapping[str, tuple[str, bytes]]) -> set[str]:
    return {path.removeprefix("/opt/") for path, _ in modules.values()}


def _bundle_path(interpreter: Interpreter) -> str:
    return f"python/lambdatrace/bundles/{interpreter.tag}"


def _pyc_path(interpreter: Interpreter) -> str:
    return f"python/lambdatrace/__pycache__/__init__.{interpreter.tag}.pyc"


def _zipped_bytes(path: str, content: bytes) -> int:
    """What a file takes of an archive: its data, and its name in two headers (PKWARE APPNOTE)."""
    return len(zlib.compress(content, 9)) + 2 * len(path) + 76


def _newness(interpreter: Interpreter) -> list[int]:
    return [int(number) for number in interpreter.version.split(".")]


def precompiled(files: Mapping[str, bytes], interpreters: Sequence[Interpreter]) -> list[str]:
    """The versions of the interpreters whose bundle is among `files`."""
    return [
        interpreter.version for interpreter in interpreters if _bundle_path(interpreter) in files
    ]


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
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_EXECUTABLE if path == "lambdatrace" else _READABLE) << 16
            archive.writestr(entry, files[path])
    return buffer.getvalue()

"""The Lambda layer: the SDK without harness, CLI and testing, and the exec wrapper.

Source: Lambda Developer Guide, "Packaging your layer content" (`python/` is on the path) and
"Modifying the runtime environment" (`AWS_LAMBDA_EXEC_WRAPPER`).
"""

from __future__ import annotations

import io
import py_compile
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent

# What runs on a developer's machine only.
EXCLUDED = frozenset(("cli", "harness", "layer", "pytest_plugin.py", "testing.py"))

# /opt/lambdatrace: what AWS_LAMBDA_EXEC_WRAPPER names. Lambda runs it with the runtime's own
# command as arguments; the runtime reads `_HANDLER`, which is now our redirect.
EXEC_WRAPPER = """\
#!/bin/sh
if [ "$_HANDLER" != lambdatrace.auto.handler ]; then
  export LAMBDATRACE_HANDLER="${LAMBDATRACE_HANDLER:-${ORIG_HANDLER:-$_HANDLER}}"
  export _HANDLER=lambdatrace.auto.handler
fi
exec "$@"
"""

_EXECUTABLE, _READABLE = 0o755, 0o644
_DATE = (2020, 1, 1, 0, 0, 0)  # the same bytes for the same content, whenever it is built


def layer_files() -> dict[str, bytes]:
    """Path in the layer → content, in order of path.

    Beside the sources stands the bytecode of the Python that runs this: a layer is mounted
    read-only, so a function would compile it anew at each cold start. It is checked against
    nothing when loaded ("unchecked hash"), since a zip does not keep times that could be compared.
    """
    files = {"lambdatrace": EXEC_WRAPPER.encode()}
    for source in sorted(PACKAGE.rglob("*.py")):
        relative = source.relative_to(PACKAGE)
        if relative.parts[0] not in EXCLUDED:
            path = Path("python", "lambdatrace", relative)
            files[path.as_posix()] = source.read_bytes()
            files[_bytecode_path(path).as_posix()] = _bytecode(source, path)
    files["python/lambdatrace/py.typed"] = b""
    return dict(sorted(files.items()))


def build_layer(destination: Path) -> int:
    """Write the layer as a zip file; its size in bytes. Raises OSError if it cannot be written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, content in layer_files().items():
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_EXECUTABLE if path == "lambdatrace" else _READABLE) << 16
            archive.writestr(entry, content)
    destination.write_bytes(buffer.getvalue())
    return len(buffer.getvalue())


def _bytecode_path(path: Path) -> Path:
    from importlib.util import cache_from_source

    return Path(cache_from_source(str(path)))


def _bytecode(source: Path, path: Path) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        compiled = py_compile.compile(
            str(source),
            cfile=str(Path(folder, "module.pyc")),
            dfile=f"/opt/{path.as_posix()}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return Path(compiled).read_bytes() if compiled else b""

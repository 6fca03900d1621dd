"""Where the SDK's modules come from in a layer: its bundles (`bundles.py`)."""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    from lambdatrace.layer.bundles import Index, Place


def run_package(
    names: dict[str, Any], folder: str, magic: bytes, contents: dict[str, tuple[bool, bytes]]
) -> None:
    """Run the package's own code with `names`; from now on its modules are found in the bundles.

    `contents` are what was read already: bytecode with that magic number, or sources if it is
    empty. If they lack most of the SDK, which a layer for other Pythons does, one line says so.
    """
    finder: Any = _Finder(folder, magic, contents)
    sys.meta_path.insert(0, finder)
    names["_is_bare"] = finder.find_spec("lambdatrace.telemetry") is None
    if names["_is_bare"]:
        tags = ", ".join(sorted(tag for tag, _ in _read_index(f"{folder}cold_start").values()))
        sys.stderr.write(
            f"[lambdatrace] the layer is for {tags}, this is {sys.implementation.cache_tag}: the "
            "function runs without tracing; build the layer for its --runtime\n"
        )
    exec(finder.code("lambdatrace", names["__file__"]), names)  # noqa: S102 - as a loader does


class _Finder:
    """A finder and loader: what was read at the start, the rest module by module."""

    def __init__(self, folder: str, magic: bytes, contents: dict[str, tuple[bool, bytes]]) -> None:
        self._folder = folder
        self._magic = magic
        self._contents = contents
        self._rest: Index = {}

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The spec of a module that the layer has."""
        if name[:12] != "lambdatrace.":
            return None
        found = self._contents.get(name) or self._place(self._magic, name) or self._place(b"", name)
        if found is None:
            return None
        is_package, path = found[0], self._path(name)
        loader: Any = self
        origin = f"{path}/__init__.py" if is_package else f"{path}.py"
        spec = ModuleSpec(name, loader, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [path]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(self.code(module.__name__, module.__file__ or ""), module.__dict__)  # noqa: S102 - as a loader does

    def code(self, name: str, path: str) -> CodeType:
        """The code of a module that the layer has; `path` is what tracebacks name."""
        if name in self._contents:
            content, is_source = self._contents[name][1], not self._magic
        else:
            place = self._place(self._magic, name)
            content = self._read(place or self._place(b"", name))
            is_source = place is None
        if is_source:
            return compile(content, path, "exec", dont_inherit=True)
        code: CodeType = loads(content)  # noqa: S302 - bytecode, as in a .pyc file
        return code

    def get_source(self, name: str) -> str | None:
        """The source, of which tracebacks show lines; None where the layer has bytecode alone."""
        place = self._place(b"", name)
        return self._read(place).decode() if place else None

    def _path(self, name: str) -> str:
        return f"{self._folder[:-9]}{name[11:].replace('.', '/')}"

    def _place(self, magic: bytes, name: str) -> Place | None:
        if not self._rest:
            self._rest = _read_index(f"{self._folder}rest")
        return self._rest.get(magic, ("", {}))[1].get(name)

    def _read(self, place: Place | None) -> bytes:
        if place is None:
            raise ImportError("the layer has no such module")
        _, start, size = place
        with open(f"{self._folder}rest", "rb", 0) as file:  # noqa: PTH123 - pathlib costs 2.8 ms
            file.seek(start)
            return file.read(size)


def _read_index(path: str) -> Index:
    with open(path, "rb", 0) as file:  # noqa: PTH123 - see above
        index: Index = loads(file.read(int.from_bytes(file.read(4), "little")))  # noqa: S302 - ours
    return index

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
    # By the package's path, not the meta path: a function that puts that back keeps us, and no
    # other import asks us.
    sys.path_hooks.insert(0, finder.of_path)
    names["_is_bare"] = finder.find_spec("lambdatrace.telemetry") is None
    if names["_is_bare"]:
        tags = ", ".join(sorted(tag for tag, _ in _read_index(f"{folder}cold_start").values()))
        sys.stderr.write(
            f"[lambdatrace] the layer is for {tags}, this is {sys.implementation.cache_tag}: the "
            "function runs without tracing; build the layer for its --runtime\n"
        )
    exec(finder.get_code("lambdatrace"), names)  # noqa: S102 - as a loader does


class _Finder:
    """Finds and loads our modules: what was read at the start, the rest module by module.

    Source: PEP 451; importlib's `PathEntryFinder` and `InspectLoader`.
    """

    def __init__(self, folder: str, magic: bytes, contents: dict[str, tuple[bool, bytes]]) -> None:
        self._folder = folder
        self._package = folder[:-9]  # without "/bundles/"
        self._magic = magic
        self._contents = contents
        self._rest: Index = {}

    def of_path(self, path: str) -> _Finder:
        """This finder, for the folders of our packages. Raises ImportError for others."""
        if type(path) is not str:
            raise ImportError  # of bytes, which the path may have
        if path != self._package and not path.startswith(f"{self._package}/"):
            raise ImportError
        return self

    def find_spec(self, name: str, _target: object = None) -> ModuleSpec | None:
        """The spec of a module that the layer has."""
        found = self._found(name)
        if found is None:
            return None
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=self._path(name), is_package=found[0])
        spec.has_location = True
        if found[0]:
            spec.submodule_search_locations = [self._path(name)[:-12]]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: the import system makes it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - as a loader does

    def get_code(self, name: str) -> CodeType:
        """The code of a module that the layer has. Raises ImportError for others."""
        if name in self._contents:
            content, is_source = self._contents[name][1], not self._magic
        else:
            place = self._place(self._magic, name)
            content = self._read(place or self._place(b"", name))
            is_source = place is None
        if is_source:
            return compile(content, self._path(name), "exec", dont_inherit=True)
        code: CodeType = loads(content)  # noqa: S302 - bytecode, as in a .pyc file
        return code

    def get_source(self, name: str) -> str | None:
        """The source, of which tracebacks show lines; None where the layer has bytecode alone."""
        place = self._place(b"", name)
        return self._read(place).decode() if place else None

    def is_package(self, name: str) -> bool:
        """Whether a module that the layer has is a package."""
        found = self._found(name)
        return found is not None and found[0]

    def _found(self, name: str) -> tuple[bool, bytes] | Place | None:
        return self._contents.get(name) or self._place(self._magic, name) or self._place(b"", name)

    def _path(self, name: str) -> str:
        path = f"{self._package}{name[11:].replace('.', '/')}"
        return f"{path}/__init__.py" if self.is_package(name) else f"{path}.py"

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

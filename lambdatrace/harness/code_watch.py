"""Which functions' files have changed since they were looked at: for `lambdatrace start --watch`.

A function is deployed again when Python in its folder or a layer (`.py`, `.pyc`, `.so`) is made,
changed or removed, or when another file of a folder below its own, or of a layer, is changed or
removed. Files beside the handler that are no Python (`out.json` of `aws lambda invoke`), new files
of other kinds, dotfiles, and what this process itself writes to are none of its code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lambdatrace.harness.function import Function

FILES_MAX = 50_000  # of one function: looking at so many takes some 0.2 s
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv"})
_PYTHON = (".py", ".pyc", ".so")
_OUTPUTS = (1, 2)  # a shell's `> start.out` may be in the code's folder

# path → (time of change in nanoseconds, size in bytes)
Files = dict[str, tuple[int, int]]


class CodeWatch:
    """Remembers the files of functions as they were at the last look."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._folders = {
            each.name: (each.code_dir, [Path(layer) for layer in each.layers]) for each in functions
        }
        self._known = {name: files_of(*paths) for name, paths in self._folders.items()}

    def changed(self) -> list[str]:
        """The functions to deploy again for what happened since the last look.

        Functions that share a folder have it looked at once each.
        """
        found = []
        for name, paths in self._folders.items():
            now, known = files_of(*paths), self._known[name]
            if now != known and is_other_code(known, now):
                self._known[name] = now
                found.append(name)
        return found


def is_other_code(known: Files, now: Files) -> bool:
    """Whether a function that was deployed with `known` has to be again; new data is no reason."""
    return any(now.get(path) != facts for path, facts in known.items()) or any(
        path.endswith(_PYTHON) for path in now.keys() - known.keys()
    )


def files_of(code_dir: Path, layers: Sequence[Path] = ()) -> Files:
    """The files a function may be made of, of its folder and its layers (folders or zip files).

    Of more than FILES_MAX only the first; what goes while it is looked at is not there.
    """
    found: Files = {}
    outputs = _outputs()
    top = str(code_dir)
    waiting = [top, *map(str, layers)]
    while waiting and len(found) < FILES_MAX:
        path = waiting.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except NotADirectoryError:
            _add(found, path, outputs)
            continue
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _LEFT_OUT:
                    waiting.append(entry.path)
            elif len(found) < FILES_MAX and (path != top or entry.name.endswith(_PYTHON)):
                _add(found, entry.path, outputs)
    return found


def _add(found: Files, path: str, outputs: set[tuple[int, int]]) -> None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - many times over: a Path for each costs more
    except OSError:
        return
    if (facts.st_dev, facts.st_ino) not in outputs:
        found[path] = facts.st_mtime_ns, facts.st_size


def _outputs() -> set[tuple[int, int]]:
    """Device and inode of what our standard output and error go to."""
    found = set()
    for number in _OUTPUTS:
        try:
            facts = os.fstat(number)
        except OSError:
            continue  # closed
        found.add((facts.st_dev, facts.st_ino))
    return found

"""Which functions' files have changed since they were looked at: for `lambdatrace start --watch`.

By size and time of change of every file of a function's code and layers. What holds no code of the
function's (version control, caches, virtual environments) is left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambdatrace.harness.function import Function

FILES_MAX = 50_000  # of one function: looking at so many takes some 0.2 s
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "venv"})

# path → (time of change in nanoseconds, size in bytes)
Files = dict[str, tuple[int, int]]


class CodeWatch:
    """Remembers the files of functions as they were at the last look."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._folders = {each.name: (each.code_dir, *map(Path, each.layers)) for each in functions}
        self._known = {name: files_of(paths) for name, paths in self._folders.items()}

    def changed(self) -> list[str]:
        """The functions with a file that was made, changed or removed since the last look.

        Functions that share a folder have it looked at once each.
        """
        found = []
        for name, paths in self._folders.items():
            now = files_of(paths)
            if now != self._known[name]:
                self._known[name] = now
                found.append(name)
        return found


def files_of(paths: Iterable[Path]) -> Files:
    """Every file below the folders, and those of `paths` that are files themselves.

    Of more than FILES_MAX only the first; what goes while it is looked at is not there.
    """
    found: Files = {}
    waiting = [str(path) for path in paths]
    while waiting and len(found) < FILES_MAX:
        path = waiting.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except NotADirectoryError:
            _add(found, path)
            continue
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _LEFT_OUT:
                    waiting.append(entry.path)
            elif len(found) < FILES_MAX:
                _add(found, entry.path)
    return found


def _add(found: Files, path: str) -> None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - many times over: a Path for each costs more
    except OSError:
        return
    found[path] = facts.st_mtime_ns, facts.st_size

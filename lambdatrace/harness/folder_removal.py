"""Removal of a folder that a function has filled: however deep, and with whatever permissions.

The standard library's `rmtree` calls itself for each level and holds a descriptor for each, so a
thousand nested folders are too many for it. Here every folder found is moved up to the first level
before it is looked into: paths stay short, and two descriptors are enough.
"""

# os, not pathlib: the supervisor loads this too, and works relative to descriptors.
# ruff: noqa: PTH106

from __future__ import annotations

import contextlib
import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_folder(folder: str | os.PathLike[str]) -> None:
    """Removes a folder with all that is in it. What cannot be removed stays, without an error."""
    with contextlib.suppress(OSError):
        top = os.open(folder, _FOLDER)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(folder)


def _empty(top: int) -> None:
    """Removes what is in the folder of this descriptor."""
    waiting = _remove_files(top)
    prefix, count = os.urandom(8).hex(), 0  # no name that anyone has given
    while waiting:
        name = waiting.pop()
        try:
            inner = _open_own(name, top)
        except OSError:
            continue
        try:
            for inside in _remove_files(inner):
                count += 1
                lifted = f"{prefix}-{count}"
                try:
                    # Who moves a folder must be able to write into it: its ".." changes.
                    os.close(_open_own(inside, inner))
                    os.rename(inside, lifted, src_dir_fd=inner, dst_dir_fd=top)
                except OSError:
                    continue
                waiting.append(lifted)
        finally:
            os.close(inner)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=top)


def _open_own(name: str, parent: int) -> int:
    """A descriptor of a folder in `parent`, which its owner may read and write from now on."""
    with contextlib.suppress(OSError):
        os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _remove_files(folder: int) -> list[str]:
    """Removes all that is no folder; gives the names of the folders."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=folder)
            except OSError:
                continue
    return folders

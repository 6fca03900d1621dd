"""The embedded engine's folder: taken by one process, and freed of what a killed one left."""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from lambdatrace_collector.errors import StoreFolderError, StoreLockedError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class TakenFolder:
    """A folder that is ours as long as `lock` is open, and what was cleared away in it."""

    lock: IO[str]
    leftover_files: int
    leftover_bytes: int


def take_folder(folder: Path) -> TakenFolder:
    """Make the folder, lock it, clear it and work in it from now on.

    Raises StoreFolderError when it cannot be written, StoreLockedError when another process has it.
    """
    incoming = folder / "incoming"
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        lock = (folder / "collector.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _lock(lock, folder)
        # A body reaches chDB through a temporary file; those of a killed collector are still here.
        leftover_files, leftover_bytes = _clear(incoming)
    except OSError as error:
        lock.close()
        raise _unwritable(folder, error) from error
    except BaseException:
        lock.close()
        raise
    tempfile.tempdir = str(incoming)
    # chDB keeps the format schemas it was given in `__cache__` of the current folder, whatever
    # `format_schema_path` says (26.9).
    os.chdir(folder)
    return TakenFolder(lock, leftover_files, leftover_bytes)


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        raise StoreLockedError(
            f"--store chdb://{folder} is used by another collector (process {owner}):"
            " stop it, or choose another folder"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def _clear(incoming: Path) -> tuple[int, int]:
    """Remove the files in `incoming`; gives their number and bytes."""
    files, size_bytes = 0, 0
    for leftover in incoming.iterdir():
        size_bytes += leftover.stat().st_size
        leftover.unlink()
        files += 1
    return files, size_bytes


def _unwritable(folder: Path, error: OSError) -> StoreFolderError:
    return StoreFolderError(
        f"--store chdb://{folder} cannot be written ({error.strerror}): choose another folder"
    )

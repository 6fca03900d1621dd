"""The harness's temporary folders, and the removal of those a killed harness left behind."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from lambdatrace.harness.errors import LaunchError
from lambdatrace.harness.folder_removal import remove_folder

_LOCK = "lock"


class TempDirs:
    """One folder per running harness, locked while it runs; those of dead ones are removed."""

    def __init__(self) -> None:
        base = Path(tempfile.gettempdir()) / f"lambdatrace-harness-{os.getuid()}"
        base.mkdir(mode=0o700, exist_ok=True)
        if base.stat().st_uid != os.getuid():
            raise LaunchError(f"{base} belongs to another user: set TMPDIR to a folder of your own")
        with (base / _LOCK).open("w") as guard:  # one harness at a time removes or makes folders
            fcntl.flock(guard, fcntl.LOCK_EX)
            remove_stale(base)
            self.root = Path(tempfile.mkdtemp(dir=base))
            self._lock = (self.root / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def make(self, name: str) -> Path:
        """A new folder of this name inside ours."""
        folder = self.root / name
        folder.mkdir(parents=True)
        return folder

    @property
    def empty(self) -> Path:
        """A folder of ours with nothing in it."""
        folder = self.root / "empty"
        folder.mkdir(exist_ok=True)
        return folder

    def make_unique(self, prefix: str) -> Path:
        """A new folder inside ours whose name begins with `prefix`."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.root))

    def close(self) -> None:
        """Removes everything."""
        self._lock.close()
        remove_folder(self.root)


def remove_stale(base: Path) -> list[Path]:
    """Removes the folders whose owner no longer holds their lock; gives the removed ones."""
    removed = []
    for folder in base.iterdir():
        if folder.is_dir() and not _is_held(folder / _LOCK):
            remove_folder(folder)
            removed.append(folder)
    return removed


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

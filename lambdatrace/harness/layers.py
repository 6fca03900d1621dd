"""Lambda layers laid over each other, as a function sees them under /opt."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import FunctionConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def merge_layers(layers: Sequence[Path | str], target: Path) -> Path:
    """Copies layers (folders or zip files) into `target` in order, later ones over earlier ones.

    Raises FunctionConfigurationError for a layer that is neither, or
    cannot be read.
    """
    target.mkdir(parents=True, exist_ok=True)
    for layer in map(Path, layers):
        if not os.access(layer, os.R_OK):
            raise FunctionConfigurationError(f"layer {layer}: it cannot be read")
        if layer.is_dir():
            shutil.copytree(layer, target, symlinks=True, dirs_exist_ok=True)
        elif zipfile.is_zipfile(layer):
            _unzip(layer, target)
        else:
            raise FunctionConfigurationError(f"layer {layer}: expected a folder or a zip file")
    return target


def external_extensions(opt: Path) -> list[Path]:
    """The executables directly in `extensions/`, by name: they start before the runtime."""
    folder = opt / "extensions"
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_file() and os.access(f, os.X_OK))


def _unzip(archive: Path, target: Path) -> None:
    """Unpacks with the archive's permissions: an extension's executable bit matters."""
    with zipfile.ZipFile(archive) as opened:
        for item in opened.infolist():
            extracted = Path(opened.extract(item, target))
            mode = stat.S_IMODE(item.external_attr >> 16)
            if mode and not item.is_dir():
                extracted.chmod(mode)

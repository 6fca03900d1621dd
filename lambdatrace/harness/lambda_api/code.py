"""A function's code: a zip file's content unpacked, or a folder of this machine as it is.

`Code={"ZipFile": …}` is unpacked into a folder of the harness. A folder of this machine is named as
an object in the bucket `hot-reload`, whose key is the folder's absolute path (LocalStack's way to
say it): it is run where it is, and deployed again when a file in it changes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL_BUCKET = "hot-reload"
ZIPPED_BYTES_MAX = 52_428_800
UNZIPPED_BYTES_MAX = 262_144_000
FILES_MAX = 50_000  # of a folder that is measured or copied
_NOT_CODE = frozenset({".git", ".venv", "__pycache__", "node_modules", ".mypy_cache"})


@dataclass(frozen=True)
class Code:
    """Where a version's code is. `zip_file` is empty for a folder of this machine.

    `is_hot` when the folder's files count as they are now, and not as they were when deployed.
    """

    folder: Path
    zip_file: bytes = b""
    is_hot: bool = False

    @property
    def size_bytes(self) -> int:
        """CodeSize: the zip file's, or the sum of the folder's files."""
        if self.zip_file:
            return len(self.zip_file)
        return sum(status.st_size for _, status in _files(self.folder))

    @property
    def sha256(self) -> str:
        """CodeSha256: the zip file's; for a folder, of its files' names, sizes and times."""
        digest = hashlib.sha256(self.zip_file)
        if not self.zip_file:
            for name, status in _files(self.folder):
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return base64.b64encode(digest.digest()).decode()


def local_folder(parameters: dict[str, Any]) -> Path | None:
    """The folder that `S3Bucket` and `S3Key` name; None for a zip file. Raises InvokeError."""
    bucket = parameters.get("S3Bucket")
    if parameters.get("ImageUri"):
        raise _invalid("Functions of container images are not run by this local Lambda")
    if bucket is None:
        return None
    if bucket != LOCAL_BUCKET:
        raise _invalid(
            "Error occurred while GetObject. S3 Error Code: NoSuchBucket. "
            "S3 Error Message: The specified bucket does not exist"
        )
    folder = Path(parameters.get("S3Key", ""))
    if not folder.is_absolute() or not folder.is_dir():
        raise _invalid(
            "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
            f"S3 Error Message: {folder} is no folder of this machine"
        )
    return folder


def check_zip(content: bytes) -> None:
    """Raises InvokeError for what Lambda would not unpack."""
    if not content:
        raise _invalid("Uploaded file must be a non-empty zip")
    if len(content) > ZIPPED_BYTES_MAX:
        raise InvokeError(
            413,
            "RequestEntityTooLargeException",
            f"Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            items = opened.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _invalid(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        ) from None
    if not items:
        raise _invalid("Uploaded file must be a non-empty zip")
    if sum(item.file_size for item in items) > UNZIPPED_BYTES_MAX or len(items) > FILES_MAX:
        raise _too_large()


def unpack(content: bytes, target: Path) -> None:
    """Unpacks a checked zip file, with the permissions in it; OSError or BadZipFile if it lied."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        for item in opened.infolist():
            extracted = Path(opened.extract(item, target))
            mode = stat.S_IMODE(item.external_attr >> 16)
            if mode and not item.is_dir():
                extracted.chmod(mode)


def check_folder(folder: Path) -> None:
    """Raises InvokeError for a folder too large to be published."""
    size = count = 0
    for _, status in _files(folder):
        size, count = size + status.st_size, count + 1
        if size > UNZIPPED_BYTES_MAX or count >= FILES_MAX:
            raise _too_large()


def copy_folder(folder: Path, target: Path) -> None:
    """Copies a folder's code: what a published version keeps while the folder changes."""
    shutil.copytree(
        folder, target, symlinks=True, dirs_exist_ok=True, ignore=lambda _, names: _skipped(names)
    )


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The first FILES_MAX files below a folder, in order, without what no package would hold."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _skipped(folders))
        for name in sorted(names):
            path = Path(parent, name)
            try:
                status = path.stat()
            except OSError:
                continue  # gone since, or a link to nowhere
            yield str(path.relative_to(folder)), status
            count += 1
            if count >= FILES_MAX:
                return


def _skipped(names: list[str]) -> set[str]:
    return set(names) & _NOT_CODE


def _too_large() -> InvokeError:
    return _invalid(f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")


def _invalid(message: str) -> InvokeError:
    return InvokeError(400, "InvalidParameterValueException", message)

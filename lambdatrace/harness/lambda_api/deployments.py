"""Deploying in the background: a function is Pending, then Active or Failed; an update likewise."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.code_watch import files_of, is_other_code
from lambdatrace.harness.deployed_function import (
    BEING_UPDATED,
    FAILED,
    DeployedFunction,
    Status,
    Version,
)
from lambdatrace.harness.errors import FunctionConfigurationError, HarnessError, SnapshotError
from lambdatrace.harness.folder_removal import remove_folder
from lambdatrace.harness.lambda_api import code as code_files
from lambdatrace.harness.lambda_api import provisioned_concurrency
from lambdatrace.harness.lambda_api.code import Code

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from lambdatrace.harness.code_watch import Files
    from lambdatrace.harness.service import LambdaService
    from lambdatrace.harness.temp_dirs import TempDirs


LOOK_S = 0.5  # between two looks at the files of hot code, which are in a thread

_log = logging.getLogger("lambdatrace.harness")


class Deployments:
    """Runs deployments, each a task of its own, and removes code that nothing runs any more.

    A function whose code is hot is deployed again when a file of it changes.
    """

    def __init__(self, service: LambdaService, temp_dirs: TempDirs) -> None:
        self._service = service
        self._temp_dirs = temp_dirs
        self._tasks: set[asyncio.Task[None]] = set()
        self._folders: set[Path] = set()
        self._seen: dict[Version, Files] = {}  # of hot code, as it was when it was deployed
        self._watch_task: asyncio.Task[None] | None = None
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        service.when_retired = self.remove_unused

    def new_code(self, name: str, zip_file: bytes, local: Path | None) -> Code:
        """Where code goes to that is to be deployed: a new folder, or the local one as it is."""
        if local is not None:
            if self._watch_task is None or self._watch_task.done():
                self._watch_task = self._start_task(self._watch())
            return Code(local, is_hot=True)
        folder = self._temp_dirs.make_unique(f"{name}-code")
        self._folders.add(folder)
        return Code(folder, zip_file)

    def copied_code(self, name: str, code: Code) -> Code:
        """The code a published version keeps: a zip file's own folder, or a new one for a copy."""
        return code if code.zip_file else Code(self.new_code(name, b"x", None).folder)

    def start(
        self,
        target: DeployedFunction,
        version: Version,
        *,
        copy_from: Path | None = None,
        unpacks: bool = False,
    ) -> None:
        """Deploys a version; what it is until then, its state says.

        The code is unpacked into its folder first, or copied there from `copy_from`.
        """
        if version.pool is not None:
            version.last_update = BEING_UPDATED
        work = self._deploy(target, version, copy_from, unpacks=unpacks)
        self._start_task(work)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Gives up what is being deployed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def remove(self, target: DeployedFunction, version: Version) -> None:
        """Ends a version; code unpacked for it alone goes with the last environment it is in."""
        self._service.remove(target, version)
        self.remove_unused()

    def remove_unused(self) -> None:
        """Removes the folders that no version has its code in, and no environment runs."""
        used = {
            version.code.folder
            for target in self._service.functions.values()
            for version in target.versions.values()
        }
        used |= self._service.running_code()
        for folder in self._folders - used:
            self._folders.discard(folder)
            asyncio.get_running_loop().run_in_executor(None, remove_folder, folder)

    async def _watch(self) -> None:
        """Deploys hot code again when it has changed, for as long as there is any."""
        while hot := [t for t in self._service.functions.values() if t.latest.code.is_hot]:
            await asyncio.sleep(LOOK_S)
            self._seen = {t.latest: self._seen[t.latest] for t in hot if t.latest in self._seen}
            for target in hot:
                version = target.latest
                before = self._seen.get(version)
                if before is None:  # it is about to be deployed
                    continue
                now = await asyncio.to_thread(files_of, *_watched(version))
                if self._seen.get(version) is before and is_other_code(before, now):
                    self._seen[version] = now
                    _log.info("%s: its code has changed, it is deployed again", target.name)
                    self._start_task(self._deploy(target, version, None, unpacks=False))

    async def _deploy(
        self, target: DeployedFunction, version: Version, copy_from: Path | None, *, unpacks: bool
    ) -> None:
        async with self._locks[target.name]:  # a version is published of what is deployed
            await self._deploy_now(target, version, copy_from, unpacks=unpacks)

    async def _deploy_now(
        self, target: DeployedFunction, version: Version, copy_from: Path | None, *, unpacks: bool
    ) -> None:
        was_active = version.pool is not None
        try:
            if unpacks:
                await asyncio.to_thread(
                    code_files.unpack, version.code.zip_file, version.code.folder
                )
            elif version.code.is_hot:
                self._seen[version] = await asyncio.to_thread(files_of, *_watched(version))
            elif copy_from is not None:
                await asyncio.to_thread(code_files.copy_folder, copy_from, version.code.folder)
            await self._service.deploy(target, version)
        except (HarnessError, OSError, zipfile.BadZipFile) as error:
            failed = Status(FAILED, str(error), _reason_code(error))
            if was_active:
                version.last_update = failed
            else:
                version.state = failed
        else:
            provisioned_concurrency.allocate(self._service.concurrency, target)
            self.remove_unused()


def _watched(version: Version) -> tuple[Path, list[Path]]:
    """The folder and the layers that a version's code is in."""
    return version.code.folder, [Path(layer) for layer in version.function.layers]


def _reason_code(error: Exception) -> str:
    if isinstance(error, SnapshotError):
        return "FunctionError"
    is_function = isinstance(error, FunctionConfigurationError)
    return "InvalidConfiguration" if is_function else "InternalError"

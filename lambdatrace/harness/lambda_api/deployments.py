"""Deploying in the background: a function is Pending, then Active or Failed; an update likewise."""

from __future__ import annotations

import asyncio
import zipfile
from collections import defaultdict
from typing import TYPE_CHECKING

from lambdatrace.harness.deployed_function import (
    BEING_UPDATED,
    FAILED,
    DeployedFunction,
    Status,
    Version,
)
from lambdatrace.harness.errors import FunctionConfigurationError, HarnessError
from lambdatrace.harness.folder_removal import remove_folder
from lambdatrace.harness.lambda_api import code as code_files
from lambdatrace.harness.lambda_api import provisioned_concurrency
from lambdatrace.harness.lambda_api.code import Code

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness.service import LambdaService
    from lambdatrace.harness.temp_dirs import TempDirs


class Deployments:
    """Runs deployments, each a task of its own, and removes code that nothing runs any more."""

    def __init__(self, service: LambdaService, temp_dirs: TempDirs) -> None:
        self._service = service
        self._temp_dirs = temp_dirs
        self._tasks: set[asyncio.Task[None]] = set()
        self._folders: set[Path] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def new_code(self, name: str, zip_file: bytes, local: Path | None) -> Code:
        """Where code goes to that is to be deployed: a new folder, or the local one as it is."""
        if local is not None:
            return Code(local)
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
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives up what is being deployed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def remove(self, target: DeployedFunction, version: Version) -> None:
        """Ends a version, and removes its code if it was unpacked for it alone."""
        self._service.remove(target, version)
        self.remove_unused()

    def remove_unused(self) -> None:
        """Removes the folders that no version of any function has its code in."""
        used = {
            version.code.folder
            for target in self._service.functions.values()
            for version in target.versions.values()
        }
        for folder in self._folders - used:
            self._folders.discard(folder)
            asyncio.get_running_loop().run_in_executor(None, remove_folder, folder)

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
            elif copy_from is not None:
                await asyncio.to_thread(code_files.copy_folder, copy_from, version.code.folder)
            await self._service.deploy(target, version)
        except (HarnessError, OSError, zipfile.BadZipFile) as error:
            is_function = isinstance(error, FunctionConfigurationError)
            code = "InvalidConfiguration" if is_function else "InternalError"
            failed = Status(FAILED, str(error), code)
            if was_active:
                version.last_update = failed
            else:
                version.state = failed
        else:
            provisioned_concurrency.allocate(self._service.concurrency, target)
            self.remove_unused()

"""One init of an execution environment: from no process to everyone waiting for an event."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import LaunchError

if TYPE_CHECKING:
    from lambdatrace.harness.deployment import EnvironmentLaunch
    from lambdatrace.harness.extensions_api import ExtensionsApi
    from lambdatrace.harness.sandbox import Sandbox


@dataclass(frozen=True)
class InitFailure:
    """Why an init failed. `payload` is the runtime's own error, where it posted one."""

    error_type: str
    payload: bytes = b""
    reason: str = ""
    status: str = "error"

    def __str__(self) -> str:
        """Type and message, as far as they are known."""
        if self.status == "timeout":
            return "the initialization timed out"
        error_type, message = self.error_type, self.reason
        if self.payload:
            try:
                posted = json.loads(self.payload)
                error_type, message = posted["errorType"], posted["errorMessage"]
            except (ValueError, KeyError, TypeError):
                pass  # what a runtime posts may be anything
        return f"{error_type}: {message}" if message else error_type


class Initialization:
    """A running init or restore, told what the processes say; `failure` is None while all is well.

    `phase` is `init`, `invoke` for a suppressed init, or `restore`.
    """

    def __init__(self, extensions: ExtensionsApi, phase: str) -> None:
        self.phase = phase
        self.failure: InitFailure | None = None
        self._extensions = extensions
        self._registered = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self, sandbox: Sandbox, launch: EnvironmentLaunch, limit_s: float) -> None:
        """Starts the processes; returns when everyone waits, something failed, or time is up."""
        try:
            await asyncio.wait_for(self._start(sandbox, launch), limit_s)
        except asyncio.TimeoutError:
            self.fail(InitFailure("", status="timeout"))
        except LaunchError as error:
            self.fail(InitFailure("Sandbox.Failure", reason=str(error)))

    async def wait(self, limit_s: float) -> None:
        """Returns when everyone waits, something failed, or time is up; starts nothing."""
        try:
            await asyncio.wait_for(self._ended.wait(), limit_s)
        except asyncio.TimeoutError:
            self.fail(InitFailure("", status="timeout"))

    async def _start(self, sandbox: Sandbox, launch: EnvironmentLaunch) -> None:
        if launch.extensions:
            self._extensions.launch(launch.extensions)
            for name, extension in launch.extensions.items():
                await sandbox.start_extension(name, extension)
            await self._registered.wait()
        if self.failure is None:
            await sandbox.start_runtime(launch.runtime)
        await self._ended.wait()

    def extension_registered(self) -> None:
        """Once all external extensions have registered, the runtime may start."""
        if self._extensions.are_external_registered:
            self._registered.set()

    def everyone_waits(self) -> None:
        """The runtime and every registered extension have asked for an event."""
        self._ended.set()

    def fail(self, failure: InitFailure) -> None:
        """The init cannot succeed any more; the first reason counts."""
        self.failure = self.failure or failure
        self._registered.set()
        self._ended.set()

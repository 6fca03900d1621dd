"""Whether the store takes what is sent: it is asked to write, for reading works on a full disk.

A disk that is nearly full still takes a row, where it refuses every group of requests: the embedded
engine's folder must have room for some as well. A server looks after its own disks.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import ServiceError, StoreDownError, StoreUnavailableError
from lambdatrace_collector.ingest.group_commit import GROUP_BYTES_MAX
from lambdatrace_collector.store.engine import WRITERS

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace_collector.store.engine import Store

# How long an answer stands: a write makes a part, and whoever asks more often than a supervisor
# does (Kubernetes: every 10 s) must not make the engine merge for it.
ANSWER_STANDS_S = 5
TRY_DEADLINE_S = 3  # a row takes 2 ms; behind full groups, a second
# A full group for each writer: the file it is handed over in, and the part it becomes.
FREE_BYTES_MIN = 2 * WRITERS * GROUP_BYTES_MAX


class Readiness:
    """The last try to write and how it ended."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trying = asyncio.Lock()
        self._stands_until = 0.0
        self._failure: ServiceError | None = None

    async def require(self) -> None:
        """Return when the store can be read and written. Raises what prevents it, a ServiceError.

        Tries at most once in ANSWER_STANDS_S; in between, the last answer is given again.
        """
        async with self._trying:
            if time.monotonic() >= self._stands_until:
                self._failure = await self._try_in_time()
                self._stands_until = time.monotonic() + ANSWER_STANDS_S
        if self._failure is not None:
            raise self._failure

    async def _try_in_time(self) -> ServiceError | None:
        try:
            return await asyncio.wait_for(self._try(), TRY_DEADLINE_S)
        except (asyncio.TimeoutError, TimeoutError):
            return StoreUnavailableError(
                f"the store did not write one row within {TRY_DEADLINE_S} s: its disk hangs, or is"
                " behind with what was sent"
            )

    async def _try(self) -> ServiceError | None:
        if self._store.url.folder is not None:
            failure = room_failure(self._store.url.folder, FREE_BYTES_MIN)
            if failure is not None:
                return failure
        try:
            # A row that is there already, as it is: rows of one version replace each other.
            rows = await self._store.query("newest_schema_version")
            row = json.dumps(rows[0]).encode()
            await self._store.insert("schema_versions", row, "JSONEachRow")
        except ServiceError as error:
            return error
        return None


def room_failure(folder: Path, free_bytes_min: int) -> StoreDownError | None:
    """Why nothing can be written into `folder`; None when it has `free_bytes_min` free."""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        return StoreDownError(f"{folder} cannot be read ({error.strerror}): it must be there")
    if free_bytes < free_bytes_min:
        return StoreDownError(
            f"the disk of {folder} has {free_bytes} bytes free: {free_bytes_min} are needed"
        )
    return None

"""The one door to the database: named queries out, encoded bodies in.

chDB and a ClickHouse server are driven by the same clickhouse-connect calls. A client of either
runs one statement at a time, so there are a few, each owned by one thread: measured, two chDB
clients in one process run two queries in parallel, and a statement does not hold Python's lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from lambdatrace_collector.errors import (
    OverloadedError,
    StoreConnectionError,
    StoreFolderError,
    StoreLockedError,
    StoreVersionError,
)
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.failures import short, translated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lambdatrace_collector.store.url import StoreUrl

WRITERS = 2  # one INSERT decodes while the other writes its part; a third waits for the two cores
READERS = 2  # a long query must not stop the short ones
READS_WAITING_MAX = (
    64  # a page of panels asks about 20 at once; past that the caller must slow down
)
QUERY_DEADLINE_S = 30
INSERT_DEADLINE_S = 60

# The embedded engine sizes itself for a machine of its own; here it shares one with the code it
# observes. The whole process stays below 1.2 GB: 280 MB of code and Python, the rest is this.
EMBEDDED_OPTIONS = {
    "max_server_memory_usage": 700_000_000,
    "mark_cache_size": 32_000_000,
    "primary_index_cache_size": 32_000_000,
    "index_mark_cache_size": 8_000_000,
    "query_condition_cache_size": 8_000_000,
    "compiled_expression_cache_size": 16_000_000,
    "background_pool_size": 2,
}
QUERY_SETTINGS = {
    "max_execution_time": QUERY_DEADLINE_S,
    "max_memory_usage": 300_000_000,
    "max_bytes_before_external_group_by": 100_000_000,  # to disk before the limit, not an error
    "max_bytes_before_external_sort": 100_000_000,
}
INSERT_SETTINGS = {
    "max_execution_time": INSERT_DEADLINE_S,
    "async_insert": 0,  # we group ourselves; acknowledged means written
    # Replacing rows in each new part costs a third of the INSERT, and readers use FINAL anyway.
    "optimize_on_insert": 0,
    # A view is planned anew for each INSERT; unnesting leaves nothing to optimize: 10 ms less.
    "query_plan_enable_optimizations": 0,
    # Two INSERTs side by side use two cores better than one on two: 5.4 against 7.2 µs per span.
    "max_threads": 1,
    "max_insert_threads": 1,
}


class Store:
    """An opened database with its schema in place. Made by `open_store`; `close` ends it."""

    def __init__(self, url: StoreUrl, lock: IO[str] | None) -> None:
        self.url = url
        self._lock = lock
        self._local = threading.local()
        self._clients: list[Any] = []
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._reads = 0

    async def insert(
        self, table: str, body: bytes, fmt: str, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Write `body`, encoded as ClickHouse's format `fmt`, into `table`; it is stored on return.

        Raises StoreRejectedError when the data is at fault, StoreDownError when nothing can be
        written, else StoreUnavailableError.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writers, self._insert, table, body, fmt, settings or {})

    async def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of the query file `name`, as dicts; text columns of a query whose name ends in
        `_bytes` come as bytes, since they hold ids and encoded messages.

        Raises OverloadedError when too many queries wait, StoreDownError when the engine is out of
        reach, else StoreUnavailableError.
        """
        if self._reads >= READS_WAITING_MAX:
            raise OverloadedError(f"{self._reads} queries are waiting: send fewer at once")
        self._reads += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, self._query, name, parameters)
        finally:
            self._reads -= 1

    def close(self) -> None:
        """End the threads once their statements are done, then the engine. Blocks."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._lock is not None:
            self._lock.close()

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = connect(self.url)
            self._local.client = client
            self._clients.append(client)
        return client

    def _insert(self, table: str, body: bytes, fmt: str, settings: Mapping[str, Any]) -> None:
        try:
            self._client().raw_insert(
                table, insert_block=body, fmt=fmt, settings={**INSERT_SETTINGS, **settings}
            )
        except (ClickHouseError, OSError) as error:
            raise translated(error) from error

    def _query(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            result = self._client().query(
                sql_files.query_text(name),
                parameters=parameters,
                settings=QUERY_SETTINGS,
                query_formats={"String": "bytes", "FixedString": "bytes"}
                if name.endswith("_bytes")
                else None,
            )
        except ClickHouseError as error:
            raise translated(error) from error
        return list(result.named_results())


def open_store(url: StoreUrl) -> Store:
    """Open the database at `url`, making it and its tables where they are missing. Blocks.

    With the embedded engine the process works in the store's folder from then on.
    Raises StoreFolderError, StoreLockedError, StoreConnectionError or StoreVersionError.
    """
    lock = _take_folder(url.folder) if url.folder is not None else None
    store = Store(url, lock)
    try:
        _prepare(url)
    except BaseException:
        store.close()
        raise
    return store


def connect(url: StoreUrl) -> Any:
    """A clickhouse-connect client of the store's database."""
    return _client_of(url, url.database)


def _client_of(url: StoreUrl, database: str) -> Any:
    options: dict[str, Any] = {"chdb_options": EMBEDDED_OPTIONS} if url.is_embedded else {}
    return clickhouse_connect.get_client(dsn=url.dsn, database=database, **options)


def _prepare(url: StoreUrl) -> None:
    try:
        client = _client_of(url, "default")
    except ClickHouseError as error:
        raise StoreConnectionError(f"--store {url.shown} does not open: {short(error)}") from error
    try:
        client.command(f"CREATE DATABASE IF NOT EXISTS {url.database}")
    finally:
        client.close()
    client = connect(url)
    try:
        migrate(client, url)
    except ClickHouseError as error:
        raise StoreConnectionError(
            f"--store {url.shown}: its tables cannot be made: {short(error)}"
        ) from error
    finally:
        client.close()


def migrate(client: Any, url: StoreUrl) -> None:
    """Apply the schema files that the store has not seen. Safe to repeat after a crash."""
    client.command(sql_files.versions_statement())
    applied = {row[0] for row in client.query("SELECT version FROM schema_versions").result_rows}
    known = sql_files.schema_files()
    newer = applied - {file.version for file in known}
    if newer:
        raise StoreVersionError(
            f"--store {url.shown} has schema version {max(newer)}, this collector knows"
            f" {known[-1].version}: use the newer collector, or another folder"
        )
    for file in known:
        if file.version not in applied:
            for statement in file.statements:
                client.command(statement)
            client.insert("schema_versions", [[file.version, file.name]], ["version", "name"])


def _take_folder(folder: Path) -> IO[str]:
    """The lock of the folder, held as long as the file is open; makes the folder."""
    incoming = folder / "incoming"
    try:
        incoming.mkdir(parents=True, exist_ok=True)
        lock = (folder / "collector.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StoreFolderError(
            f"--store chdb://{folder} cannot be written ({error.strerror}): choose another folder"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise StoreLockedError(
            f"--store chdb://{folder} is used by another collector (process {owner}):"
            " stop it, or choose another folder"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    # A body reaches chDB through a temporary file; those of a killed collector are still here.
    for leftover in incoming.iterdir():
        leftover.unlink()
    tempfile.tempdir = str(incoming)
    # chDB keeps the format schemas it was given in `__cache__` of the current folder, whatever
    # `format_schema_path` says (26.9).
    os.chdir(folder)
    return lock

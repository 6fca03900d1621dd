"""The one door to the database: queries out, by name or compiled; encoded bodies in.

chDB and a ClickHouse server are driven by the same clickhouse-connect calls. A client of either
runs one statement at a time, so there are a few, each owned by one thread: measured, two chDB
clients in one process run two queries in parallel, and a statement does not hold Python's lock.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from lambdatrace_collector.errors import (
    CollectorError,
    OverloadedError,
    StoreConnectionError,
    StoreUnavailableError,
)
from lambdatrace_collector.metering import SECONDS_BOUNDARIES, Histogram
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.broken_parts import part_read, set_aside
from lambdatrace_collector.store.checks import findings
from lambdatrace_collector.store.client import (
    COMMAND_SETTINGS,
    INSERT_SETTINGS,
    QUERY_DEADLINE_S,
    QUERY_SETTINGS,
    connect,
    connect_first,
    permitted,
)
from lambdatrace_collector.store.compiled_query import render, render_insert
from lambdatrace_collector.store.failures import short, translated
from lambdatrace_collector.store.folder import take_folder
from lambdatrace_collector.store.migration import migrate
from lambdatrace_collector.store.scans import Scans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lambdatrace_collector.store.broken_parts import BrokenPart
    from lambdatrace_collector.store.compiled_query import Select, Statement
    from lambdatrace_collector.store.folder import TakenFolder
    from lambdatrace_collector.store.url import StoreUrl

logger = logging.getLogger(__name__)

WRITERS = 2  # one INSERT decodes while the other writes its part; a third waits for the two cores
READERS = 2  # a long query must not stop the short ones
READS_WAITING_MAX = (
    64  # a page of panels asks about 20 at once; past that the caller must slow down
)
# The engine ends a query by itself before; this one ends the wait for a free thread.
READ_DEADLINE_S = QUERY_DEADLINE_S + 10

# Queries of rows by key, and the parameter that lists the keys. A server reads parameters as form
# fields of at most 128 KiB (http_max_field_value_size); 5,000 ids of 20 digits are 110 kB.
KEY_PARAMETERS = {"otlp_sources_bytes": "ids"}
KEYS_MAX = 5_000
# That one query may meet.
BROKEN_PARTS_MAX = 20


class Store:
    """An opened database with its schema in place. Made by `open_store`; `close` ends it."""

    def __init__(self, url: StoreUrl, lock: IO[str] | None) -> None:
        self.url = url
        self._lock = lock
        self._local = threading.local()
        self._clients: list[Any] = []
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._commands = ThreadPoolExecutor(1, thread_name_prefix="store-command")
        self._reads = 0
        self._when_emptied: list[Callable[[], None]] = []
        self.scans = Scans(url)
        # Source: semantic conventions, "Database metrics". The wait for a thread is part of it.
        self.durations = Histogram(
            "db.client.operation.duration", "s", "Statements of the store.", SECONDS_BOUNDARIES
        )

    async def insert(
        self, table: str, body: bytes, fmt: str, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Write `body`, encoded as ClickHouse's format `fmt`, into `table`; it is stored on return.

        Raises StoreRejectedError when the data is at fault, StoreDownError when nothing can be
        written, else StoreUnavailableError.
        """
        loop = asyncio.get_running_loop()
        with self._timed("INSERT", table):
            await loop.run_in_executor(
                self._writers, self._insert, table, body, fmt, settings or {}
            )

    async def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of the query file `name`, as dicts; text columns of a query whose name ends in
        `_bytes` come as bytes, since they hold ids and encoded messages.

        Raises OverloadedError when too many queries wait, StoreDownError when the engine is out of
        reach, else StoreUnavailableError.
        """
        return await self._read(name, self._query, name, parameters)

    async def query_compiled(self, query: Select) -> list[dict[str, Any]]:
        """The rows of a compiled query, as dicts by the names of its columns.

        Raises CompiledQueryError for a tree that may not be run, else as `query` does.
        """
        return await self._read("compiled", self._query_compiled, render(query))

    async def empty(self) -> None:
        """Delete every row of every table. Raises StoreDownError or StoreUnavailableError."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writers, self._empty)
        for forget in self._when_emptied:
            forget()

    def when_emptied(self, forget: Callable[[], None]) -> None:
        """Have `forget` called after `empty`: for whatever remembers what the store holds."""
        self._when_emptied.append(forget)

    async def execute(self, name: str, **parameters: Any) -> None:
        """Run the command file `name`, which changes what is stored; it has, on return.

        It runs beside the writers, one at a time, for up to COMMAND_DEADLINE_S. Raises as `query`.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._commands, self._execute, name, parameters)

    async def insert_compiled(self, table: str, query: Select) -> None:
        """Write the rows of a compiled query into the columns of `table` that it names.

        Raises CompiledQueryError for a tree that may not be run, else as `insert` does.
        """
        statement = render_insert(table, query)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writers, self._insert_compiled, statement)

    def close(self) -> None:
        """End scans, the threads once their statements are done, then the engine. Blocks."""
        self.scans.close()
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._commands.shutdown(wait=True)
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _timed(self, operation: str, target: str) -> Iterator[None]:
        """Record how long the statement takes, and how it fails."""
        began = time.perf_counter()
        attributes = [("db.operation.name", operation), ("db.collection.name", target)]
        try:
            yield
        except CollectorError as error:
            attributes.append(("error.type", type(error).__name__))
            raise
        finally:
            self.durations.record(time.perf_counter() - began, *attributes)

    async def _read(
        self, name: str, read: Callable[..., list[dict[str, Any]]], *arguments: Any
    ) -> list[dict[str, Any]]:
        if self._reads >= READS_WAITING_MAX:
            raise OverloadedError(f"{self._reads} queries are waiting: send fewer at once")
        self._reads += 1
        try:
            loop = asyncio.get_running_loop()
            with self._timed("SELECT", name):
                reading = loop.run_in_executor(self._readers, read, *arguments)
                return await asyncio.wait_for(reading, READ_DEADLINE_S)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise StoreUnavailableError(
                f"the store did not answer within {READ_DEADLINE_S} s: ask for less, or later"
            ) from error
        finally:
            self._reads -= 1

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = connect(self.url)
            self._local.client = client
            self._clients.append(client)
        return client

    def _insert(self, table: str, body: bytes, fmt: str, settings: Mapping[str, Any]) -> None:
        try:
            client = self._client()
            ours = permitted(INSERT_SETTINGS, client.server_settings)
            client.raw_insert(table, insert_block=body, fmt=fmt, settings={**ours, **settings})
        except (ClickHouseError, OSError) as error:
            raise translated(error) from error

    def _insert_compiled(self, statement: Statement) -> None:
        try:
            client = self._client()
            settings = permitted(INSERT_SETTINGS, client.server_settings)
            client.command(statement.text, parameters=statement.parameters, settings=settings)
        except ClickHouseError as error:
            raise translated(error) from error

    def _empty(self) -> None:
        for row in self._query_once("data_tables", {}):
            try:
                self._client().command(sql_files.command_text("empty_table"), parameters=row)
            except ClickHouseError as error:
                raise translated(error) from error

    def _execute(self, name: str, parameters: dict[str, Any]) -> None:
        try:
            client = self._client()
            settings = permitted(COMMAND_SETTINGS, client.server_settings)
            client.command(sql_files.command_text(name), parameters=parameters, settings=settings)
        except ClickHouseError as error:
            raise translated(error) from error

    def _query(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        if name not in KEY_PARAMETERS:
            return self._query_once(name, parameters)
        key = KEY_PARAMETERS[name]
        keys = parameters[key]
        return [
            row
            for start in range(0, len(keys), KEYS_MAX)
            for row in self._query_once(name, {**parameters, key: keys[start : start + KEYS_MAX]})
        ]

    def _query_once(self, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return self._rows(sql_files.query_text(name), parameters, as_bytes=name.endswith("_bytes"))

    def _query_compiled(self, statement: Statement) -> list[dict[str, Any]]:
        return self._rows(statement.text, statement.parameters, as_bytes=False)

    def _rows(
        self, text: str, parameters: dict[str, Any], *, as_bytes: bool
    ) -> list[dict[str, Any]]:
        failed: BrokenPart | None = None
        for _ in range(2 * BROKEN_PARTS_MAX):
            try:
                client = self._client()
                result = client.query(
                    text,
                    parameters=parameters,
                    settings=permitted(QUERY_SETTINGS, client.server_settings),
                    query_formats={"String": "bytes", "FixedString": "bytes"} if as_bytes else None,
                )
                return list(result.named_results())
            except ClickHouseError as error:
                broken = part_read(error, self.url)
                # Read twice: the first failure may have been the memory's, not the disk's.
                if broken is None or (broken == failed and not set_aside(client, broken)):
                    raise translated(error) from error
                failed = broken
        raise StoreUnavailableError("the store has too many broken parts to read this")


def open_store(url: StoreUrl) -> Store:
    """Open the database at `url`, making it and its tables where they are missing. Blocks.

    Logs what it found there and did about it. With the embedded engine the process works in the
    store's folder from then on.
    Raises StoreFolderError, StoreLockedError, StoreConnectionError or StoreVersionError.
    """
    taken = take_folder(url.folder) if url.folder is not None else None
    store = Store(url, None if taken is None else taken.lock)
    try:
        _prepare(url, taken)
    except BaseException:
        store.close()
        raise
    return store


def _prepare(url: StoreUrl, taken: TakenFolder | None) -> None:
    try:
        client = connect_first(url)
    except ClickHouseError as error:
        raise StoreConnectionError(f"--store {url.shown} does not open: {short(error)}") from error
    try:
        migration = migrate(client, url)
    except ClickHouseError as error:
        client.close()
        raise StoreConnectionError(
            f"--store {url.shown}: its tables cannot be made: {short(error)}"
        ) from error
    except BaseException:
        client.close()
        raise
    for finding in findings(client, url.folder, taken, migration):
        level = logging.WARNING if finding.is_warning else logging.INFO
        logger.log(level, "store check: %s", finding.text)
    client.close()

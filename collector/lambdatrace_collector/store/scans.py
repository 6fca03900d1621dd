"""Scans: queries that may take minutes, beside the short ones and never before them.

They have threads and clients of their own, so that a page of panels does not wait for them, are
bounded in time, memory and what they give, and can be ended while they run.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from lambdatrace_collector.errors import (
    ScanCancelledError,
    ScanTimeoutError,
    ScanTooLargeError,
)
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.client import QUERY_SETTINGS, connect, permitted
from lambdatrace_collector.store.compiled_query import render
from lambdatrace_collector.store.failures import short, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambdatrace_collector.store.compiled_query import Select, Statement
    from lambdatrace_collector.store.url import StoreUrl

    Rows = list[dict[str, Any]]

SCANNERS = 2  # one scan uses both cores; a second one keeps a long scan from stopping a short one
SCAN_DEADLINE_S = 900
RESULT_BYTES_MAX = 32_000_000
SCAN_SETTINGS = {
    **QUERY_SETTINGS,
    "max_result_bytes": RESULT_BYTES_MAX,
    "result_overflow_mode": "throw",
    # A record's partition is of its key, so that copies of one are never in two partitions:
    # 7 million events of a day are counted in 0.8 s instead of 2.8 s.
    "do_not_merge_across_partitions_select_final": 1,
}
KILL_AGAIN_S = 0.1  # a scan that was about to begin when it was killed is killed once it runs

_TIMEOUT_EXCEEDED, _QUERY_WAS_CANCELLED, _TOO_MANY_BYTES = 159, 394, (307, 396)


class Scans:
    """Runs scans of the store at `url`. `close` ends those that run."""

    def __init__(self, url: StoreUrl, deadline_s: int = SCAN_DEADLINE_S) -> None:
        self._url = url
        self._settings = {**SCAN_SETTINGS, "max_execution_time": deadline_s}
        self._local = threading.local()
        self._clients: list[Any] = []
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="store-scan")
        self._killers = ThreadPoolExecutor(1, thread_name_prefix="store-kill")
        self._scans: dict[str, Future[list[Rows]]] = {}
        self._cancelled: set[str] = set()

    async def run(
        self, queries: Sequence[Select], mark: str, on_start: Callable[[], None]
    ) -> list[Rows]:
        """The rows of each query, one after the other; `mark` names the scan for `cancel`.

        `on_start` is called, in a thread, when the first one begins. Raises ScanCancelledError,
        ScanTimeoutError, ScanTooLargeError, or as `Store.query_compiled` does.
        """
        statements = [render(query) for query in queries]
        scan = self._scanners.submit(self._run, statements, mark, on_start)
        self._scans[mark] = scan
        try:
            return await asyncio.wrap_future(scan)
        except asyncio.CancelledError:
            raise ScanCancelledError("the scan was ended") from None
        finally:
            self._scans.pop(mark, None)
            self._cancelled.discard(mark)

    async def cancel(self, mark: str) -> None:
        """End the scan, whether it waits or runs; returns when it has ended."""
        scan = self._scans.get(mark)
        if scan is None:
            return
        self._cancelled.add(mark)
        loop = asyncio.get_running_loop()
        ended = asyncio.wrap_future(scan)
        ended.add_done_callback(_how)  # who runs the scan is told; asyncio must not log it
        while not scan.cancel() and not scan.done():
            await loop.run_in_executor(self._killers, self._kill, mark)
            await asyncio.wait([ended], timeout=KILL_AGAIN_S)

    def close(self) -> None:
        """End every scan, then the threads and their clients. Blocks."""
        running = [mark for mark, scan in list(self._scans.items()) if not scan.cancel()]
        self._cancelled.update(running)
        while running:
            self._killers.submit(lambda marks: [*map(self._kill, marks)], tuple(running)).result()
            running = [mark for mark in running if self._is_running(mark)]
        self._scanners.shutdown(wait=True)
        self._killers.shutdown(wait=True)
        for client in self._clients:
            client.close()
        self._clients.clear()

    def _is_running(self, mark: str) -> bool:
        scan = self._scans.get(mark)
        if scan is None:
            return False
        return not wait([scan], timeout=KILL_AGAIN_S).done

    def _run(
        self, statements: Sequence[Statement], mark: str, on_start: Callable[[], None]
    ) -> list[Rows]:
        on_start()
        return list(self._results(statements, mark))

    def _results(self, statements: Sequence[Statement], mark: str) -> Iterator[Rows]:
        for statement in statements:
            if mark in self._cancelled:
                raise ScanCancelledError("the scan was ended")
            try:
                client = self._client()
                settings = permitted(self._settings, client.server_settings)
                result = client.query(
                    statement.text,
                    parameters=statement.parameters,
                    settings={**settings, "log_comment": mark},
                )
            except ClickHouseError as error:
                raise _translated(error) from error
            yield list(result.named_results())

    def _kill(self, mark: str) -> None:
        try:
            self._client().query(sql_files.kill_query_statement(), parameters={"mark": mark})
        except ClickHouseError as error:
            raise translated(error) from error

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = connect(self._url)
            self._local.client = client
            self._clients.append(client)
        return client


def _how(ended: asyncio.Future[list[Rows]]) -> BaseException | None:
    """The error a scan ended with; None if it was cancelled, or has its rows."""
    return None if ended.cancelled() else ended.exception()


def _translated(error: ClickHouseError) -> Exception:
    code = getattr(error, "code", None)
    if code == _QUERY_WAS_CANCELLED:
        return ScanCancelledError("the scan was ended")
    if code == _TIMEOUT_EXCEEDED:
        return ScanTimeoutError(f"the scan took too long: {short(error)}")
    if code in _TOO_MANY_BYTES:
        return ScanTooLargeError(f"the scan gives over {RESULT_BYTES_MAX} bytes: {short(error)}")
    return translated(error)

"""The output of the workers of one managed environment: a socket that each connects to.

The runtime client connects once for a worker's standard output and once for its standard error, and
puts the connection in their place. Source: awslambdaric, `lambda_multi_concurrent_utils`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

from lambdatrace.harness.folder_removal import remove_folder
from lambdatrace.harness.log_stream import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ_BYTES = 65536
DRAIN_READS_MAX = 64  # a worker that writes without end must not hold up the others
CONNECTIONS_MAX = 4096  # a function can connect as well


class WorkerLogs:
    """Listens at `path` in a folder of its own. `wrote` gets time (Unix ms) and text of a line."""

    def __init__(self, folder: Path, wrote: Callable[[int, bytes], None]) -> None:
        self._folder = folder
        self.path = str(folder / "log")
        self._wrote = wrote
        self._loop = asyncio.get_running_loop()
        self._lines: dict[socket.socket, LineReader] = {}
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.setblocking(False)
        self._server.bind(self.path)
        self._server.listen(128)
        self._loop.add_reader(self._server, self._accept)

    def drain(self) -> None:
        """Reads what the workers have written so far."""
        for connection in list(self._lines):
            for _ in range(DRAIN_READS_MAX):
                if self._read(connection) < READ_BYTES:
                    break

    def close(self) -> None:
        """Nobody writes any more."""
        self._loop.remove_reader(self._server)
        self._server.close()
        for connection in list(self._lines):
            self._close(connection)
        remove_folder(self._folder)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._server.accept()
            connection.setblocking(False)
            if len(self._lines) >= CONNECTIONS_MAX:
                connection.close()
                return
            self._lines[connection] = LineReader()
            self._loop.add_reader(connection, self._read, connection)

    def _read(self, connection: socket.socket) -> int:
        """Tells what a connection holds, one read; gives the bytes."""
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            return 0
        except ConnectionError:
            data = b""
        if not data:
            self._close(connection)
            return 0
        now_ms = time.time_ns() // 1_000_000
        for line in self._lines[connection].feed(data):
            self._wrote(now_ms, line)
        return len(data)

    def _close(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        connection.close()
        for line in self._lines.pop(connection).finish():
            self._wrote(time.time_ns() // 1_000_000, line)

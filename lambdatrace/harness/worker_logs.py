"""The output of the workers of one managed environment: a socket that each connects to.

The runtime client connects once for a worker's standard output and once for its standard error, and
puts the connection in their place. Source: awslambdaric, `lambda_multi_concurrent_utils`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import LaunchError
from lambdatrace.harness.folder_removal import remove_folder
from lambdatrace.harness.log_stream import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READ_BYTES = 65536
DRAIN_READS_MAX = 64  # a worker that writes without end must not hold up the others
CONNECTIONS_MAX = 4096  # a function can connect as well
PATH_BYTES_MAX = 107  # of a socket's address, in Linux


class WorkerLogs:
    """Listens at `path` in a folder of its own. `wrote` gets time (Unix ms) and text of a line.

    A folder whose name is too long for a socket's address is known to the workers by our descriptor
    of it, in /proc: not where they are in a user namespace of their own (`is_apart`), from which
    the kernel shows them nobody's descriptors. Raises LaunchError there.
    """

    def __init__(
        self, folder: Path, wrote: Callable[[int, bytes], None], *, is_apart: bool = False
    ) -> None:
        self._folder = folder
        self.path = str(folder / "log")
        self._folder_fd = -1
        if len(os.fsencode(self.path)) > PATH_BYTES_MAX:
            if is_apart:
                raise LaunchError(
                    f"{self.path} is too long for a socket's address: set TMPDIR to a folder with "
                    "a shorter name"
                )
            self._folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            self.path = f"/proc/{os.getpid()}/fd/{self._folder_fd}/log"
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
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
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

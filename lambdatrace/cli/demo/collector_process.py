"""The collector as a child process, from its ready line to its orderly stop."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

READY = "lambdatrace collector ready at "
READY_S_MAX = 60.0
STOP_S_MAX = 20.0


class CollectorStartError(Exception):
    """The collector did not become ready; the message is what it said."""


class CollectorProcess:
    """`lambdatrace collector` on a store of its own; `url` is where it listens.

    Its log goes to `log_path`. Entering raises CollectorStartError.
    """

    def __init__(self, store: Path, http: str, log_path: Path) -> None:
        self.url = ""
        self._command = [sys.executable, "-m", "lambdatrace_collector", "--no-grpc", "--no-xray"]
        self._command += ["--store", f"chdb://{store}", "--http", http]
        self._log_path = log_path
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            line = self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if not line.startswith(READY):
            self.__exit__(None, None, None)
            lines = self._log_path.read_text().strip().splitlines()
            raise CollectorStartError(lines[-1] if lines else "the collector said nothing")
        self.url = line.removeprefix(READY).split()[0]
        return self

    def _start(self) -> str:
        """Starts it and gives the first line it writes."""
        self._log = self._log_path.open("w")
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # Ctrl-C in a terminal is for us: the collector must outlive what still sends to it.
            start_new_session=True,
        )
        # A deadline on the ready line: reading it would wait as long as the process lives.
        timer = threading.Timer(READY_S_MAX, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline() if self._process.stdout else ""
        finally:
            timer.cancel()

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S_MAX)
            self._process.kill()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
        if self._log is not None:
            self._log.close()

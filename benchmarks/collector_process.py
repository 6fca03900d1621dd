"""A collector process under measurement: its start and stop, memory and processor time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

STOP_DEADLINE_S = 60
SAMPLE_INTERVAL_S = 0.1


def start_collector(
    store: Path, *arguments: str, http: str = "127.0.0.1:0", log: Path | None = None
) -> tuple[subprocess.Popen[str], str]:
    """A collector process on `store`, once it is ready, and its URL.

    Standard error goes to the end of `log`; without one it is the benchmark's own.
    """
    stderr = None if log is None else log.open("a", encoding="utf-8")
    try:
        process = subprocess.Popen(
            (
                *(sys.executable, "-m", "lambdatrace_collector"),
                *("--store", f"chdb://{store}", "--http", http),
                *(f"--no-{name}" for name in ("grpc", "xray") if f"--{name}" not in arguments),
                *arguments,
            ),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    finally:
        if stderr is not None:
            stderr.close()
    assert process.stdout is not None
    ready = process.stdout.readline()
    match = re.search(r"http://\S+", ready)
    if match is None:
        raise SystemExit(f"the collector did not start: {ready!r}")
    return process, match[0]


def stop(process: subprocess.Popen[str]) -> None:
    """End the collector as its users do."""
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_DEADLINE_S)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """The memory that a process has resident now (VmRSS), in MB (10^6 bytes)."""
    return _status_mb(pid, "VmRSS")


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process has had resident (VmHWM), in MB."""
    return _status_mb(pid, "VmHWM")


class MemorySamples:
    """VmRSS of a process in MB, sampled every 0.1 s while the context lasts."""

    def __init__(self, pid: int) -> None:
        self.samples_mb: list[float] = []
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def peak_mb(self) -> float:
        """The largest sample; 0 when there is none."""
        return max(self.samples_mb, default=0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_INTERVAL_S):
            try:
                self.samples_mb.append(rss_mb(self._pid))
            except (OSError, ProcessLookupError):
                return  # the process is gone


def scalar(store: Path, sql: str) -> int:
    """The one number that `sql` gives, asked of a closed store's engine in a process of its own."""
    script = (
        "import sys, clickhouse_connect as c;"
        "client = c.get_client(dsn='chdb://' + sys.argv[1], database='lambdatrace');"
        "print(client.query(sys.argv[2]).result_rows[0][0])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, str(store / "engine"), sql],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=store,
    )
    return int(finished.stdout)


def _status_mb(pid: int, field: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    if match is None:
        raise ProcessLookupError(pid)  # a process that has ended has no memory
    return int(match[1]) * 1024 / 1e6

"""Warm invokes through the harness's Lambda API: `python -m benchmarks.harness_invoke`.

The harness runs in a process of its own (`lambdatrace start`), the function in another, the client
here: one keep-alive connection, raw HTTP, one invoke after the other, freeze and thaw included.
Printed per set-up: median, 99th percentile and invokes per second; then the differences.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDLER = "def handler(event, context):\n    return event\n"
READY = re.compile(r"http://[\d.]+:(\d+)")
WARM_UP = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--runtimes", nargs="*", default=["", "python3.12"])
    parser.add_argument("--no-collector", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(HANDLER)
        for runtime in arguments.runtimes:
            name = runtime or "this interpreter's runtime"
            report(f"{name}", folder, arguments.calls, runtime)
        if not arguments.no_collector:
            with collector(folder) as url:
                report("with collector", folder, arguments.calls, collector_url=url)


def report(name: str, folder: str, calls: int, runtime: str = "", collector_url: str = "") -> None:
    with harness(folder, runtime, collector_url) as port:
        times = invoke(port, calls)
    times.sort()
    print(
        f"{name:30} median {statistics.median(times) * 1e3:.3f} ms   "
        f"p99 {times[int(len(times) * 0.99)] * 1e3:.3f} ms   "
        f"{len(times) / sum(times):,.0f} invokes/s"
    )


def invoke(port: int, calls: int) -> list[float]:
    """Seconds of each warm invoke."""
    body = b'{"n": 1}'
    request = (
        b"POST /2015-03-31/functions/app/invocations HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(calls + WARM_UP):
            started = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65536)
            if n >= WARM_UP:
                times.append(time.perf_counter() - started)
            if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(body):
                raise SystemExit(f"unexpected answer: {answer!r}")
    return times


@contextlib.contextmanager
def harness(folder: str, runtime: str, collector_url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "lambdatrace.cli", "start", "app.handler", "--port", "0"]
    command += ["--code-dir", folder]
    if runtime:
        command += ["--runtime", runtime]
    if collector_url:
        command += ["--collector", collector_url]
    with served(command) as port:
        yield port


@contextlib.contextmanager
def collector(folder: str) -> Iterator[str]:
    command = [sys.executable, "-m", "lambdatrace_collector", "--store", f"chdb://{folder}/store"]
    command += ["--http", "127.0.0.1:0", "--no-grpc", "--no-xray"]
    with served(command) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def served(command: list[str]) -> Iterator[int]:
    """Starts a server that prints a line with its URL when it is ready; gives its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            ready = READY.search(line)
            if not ready:
                raise SystemExit(f"{' '.join(command)} did not start: {line!r}")
            yield int(ready[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


if __name__ == "__main__":
    main()

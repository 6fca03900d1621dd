"""What a slow backend costs and loses: nothing, though the environment freezes after each invoke.

    python -m benchmarks.freeze_loss [--invocations 1000] [--delay-ms 300]

Invokes functions one after the other, each only when the environment is frozen again, while every
OTLP answer takes 300 ms. The spans go through that delay to a real collector, which is then asked
how many root spans it has. The caller's latency is set against the same functions sending to a
backend that answers at once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = Path(__file__).parent / "functions"
PACE_S = 0.35
PARALLEL = 8  # functions invoked at the same time, so that 1,000 x 300 ms end in a minute


@contextmanager
def collector() -> Iterator[str]:
    """The URL of a fresh collector."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lambdatrace_collector", "--http", "127.0.0.1:0"]
        command += ["--store", f"chdb://{folder}/store", "--no-grpc", "--no-xray"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout
        try:
            yield process.stdout.readline().split(" ready at ")[1].split()[0]
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


@contextmanager
def delayed(url: str, delay_s: float) -> Iterator[str]:
    """A proxy to `url` whose answers take at least `delay_s`."""
    target = urlsplit(url).netloc

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            started = time.monotonic()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            connection = http.client.HTTPConnection(target, timeout=30)
            connection.request("POST", self.path, body, {"Content-Type": "application/x-protobuf"})
            answer = connection.getresponse()
            payload = answer.read()
            connection.close()
            time.sleep(max(0.0, delay_s - (time.monotonic() - started)))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def invoke_all(endpoint: str, invocations: int) -> list[float]:
    """What the caller waited for each warm invocation, in ms."""
    functions = [
        Function(
            f"orders-{number}",
            "with_lambdatrace.handler",
            code_dir=FUNCTIONS,
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        )
        for number in range(PARALLEL)
    ]

    def sequence(harness: Harness, name: str, count: int) -> list[float]:
        latencies = []
        for _ in range(count):
            started = time.perf_counter()
            harness.invoke(name, {})
            latencies.append((time.perf_counter() - started) * 1000)
            harness.wait_frozen(name, timeout_s=60)
            # The same pace for both backends, so that the callers meet the same load.
            time.sleep(max(0.0, PACE_S - (time.perf_counter() - started)))
        return latencies[1:]

    counts = [invocations // PARALLEL + (n < invocations % PARALLEL) for n in range(PARALLEL)]
    with Harness(functions) as harness, ThreadPoolExecutor(PARALLEL) as pool:
        names = [function.name for function in functions]
        runs = pool.map(sequence, [harness] * PARALLEL, names, counts)
        return [latency for run in runs for latency in run]


def stored_roots(url: str) -> int:
    """How many root spans of the functions the collector has."""
    found = 0
    for number in range(PARALLEL):
        address = f"{url}/api/v3/traces?query.service_name=orders-{number}&query.num_traces=1000"
        with urllib.request.urlopen(address, timeout=60) as answer:
            result = json.load(answer)["result"]
        found += sum(
            1
            for resource in result["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
            if not span.get("parentSpanId")
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--invocations", type=int, default=1000)
    parser.add_argument("--delay-ms", type=float, default=300)
    arguments = parser.parse_args()
    with collector() as url:
        with delayed(url, 0) as endpoint:
            fast = invoke_all(endpoint, min(arguments.invocations, 200))
            before = stored_roots(url)
        with delayed(url, arguments.delay_ms / 1000) as endpoint:
            slow = invoke_all(endpoint, arguments.invocations)
        stored = stored_roots(url) - before
    print(f"root spans stored: {stored} of {arguments.invocations}")
    print(f"response with a backend at once:        median {statistics.median(fast):.2f} ms")
    print(
        f"response with a backend after {arguments.delay_ms:.0f} ms:  "
        f"median {statistics.median(slow):.2f} ms"
    )


if __name__ == "__main__":
    main()

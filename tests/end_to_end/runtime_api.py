"""A Runtime API for several pollers at a time, as Managed Instances have it.

This plays the API alone, so that a test can say what the headers of each invocation are and see
what is called; the runtime client that polls it is the real one.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 60.0
ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"


class RuntimeApi(ThreadingHTTPServer):
    """Gives each event of `events` to one poller; keeps results by request id, and all `paths`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: queue.Queue[tuple[dict[str, str], Any]] = queue.Queue()
        self.results: dict[str, Any] = {}
        self.arrived = threading.Semaphore(0)
        self.paths: set[str] = set()

    def put(self, request_id: str, payload: Any, timeout_s: float = 60, **headers: str) -> None:
        """Have an invocation wait for a poller."""
        deadline_ms = int((time.time() + timeout_s) * 1000)
        facts = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.events.put((facts, payload))

    def wait_for(self, count: int) -> None:
        """Return when `count` more results have come."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=WAIT_S), f"{len(self.results)} results"


class _Handler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.paths.add(self.path)
        headers, payload = self.server.events.get()
        body = json.dumps(payload).encode()
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        *_, request_id, kind = self.path.split("/")
        self.server.paths.add(kind)
        self.server.results[request_id] = json.loads(body)
        self.server.arrived.release()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def managed_instance(
    folder: Path, workers: int, environment: dict[str, str]
) -> Iterator[tuple[RuntimeApi, Path]]:
    """The real runtime client with `workers` workers of `app.handler` in `folder`; its output."""
    api = RuntimeApi()
    server = threading.Thread(target=api.serve_forever, args=(0.01,))
    server.start()
    output = folder / "output.txt"
    variables = {
        "PATH": os.environ["PATH"],
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]0123456789abcdef0123456789abcdef",
        "AWS_LAMBDA_MAX_CONCURRENCY": str(workers),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "AWS_REGION": "us-east-1",
        "TMPDIR": str(folder),  # Lambda's /tmp is this environment's alone; here others write there
        "_HANDLER": "app.handler",
        **environment,
    }
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "app.handler"],
            cwd=folder,
            env=variables,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield api, output
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)
        api.shutdown()
        server.join()
        api.server_close()

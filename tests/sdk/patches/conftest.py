from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace.testing
from lambdatrace.post_import import arm_doors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.testing import Recorded

# Ends when its standard input does, so that it never outlives the tests.
MOTO = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "moto did not start"
        yield f"http://127.0.0.1:{port}"
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=20)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    with lambdatrace.testing.recording() as recorded:
        arm_doors(recorded.telemetry.guard)
        yield recorded


@pytest.fixture
def handle() -> Callable[[Callable[[], Any]], Any]:
    """Run a function as the handler of an invocation; what it returns."""

    def run(function: Callable[[], Any]) -> Any:
        @lambdatrace.instrument
        def handler(event: Any, context: Any) -> Any:
            return function()

        return handler({}, lambdatrace.testing.LambdaContext())

    return run


class WebServer(ThreadingHTTPServer):
    """Answers with the status that the path names, and keeps the heads of the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[dict[str, str]] = []
        self.statuses: list[int] = []  # in turn, before the path's

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
        statuses = self.server.statuses
        status = statuses.pop(0) if statuses else int(self.path.split("?")[0].strip("/") or 200)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"{}"
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""The extension's thread against an Extensions API that the test plays itself."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.clock import Clock
from lambdatrace.extension import InternalExtension

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 10.0
FAR_MS = 4_000_000_000_000  # a deadline that no test lives to see


class Api(ThreadingHTTPServer):
    """Gives `events` to `next`, in order; None answers 500. Keeps the paths it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.register_status = 200
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.asked: queue.Queue[str] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert json.loads(body) == {"events": ["INVOKE"]}
        assert self.headers["Lambda-Extension-Name"] == "lambdatrace"
        self.server.asked.put(self.path)
        self._answer(self.server.register_status, b"{}")

    def do_GET(self) -> None:
        assert self.headers["Lambda-Extension-Identifier"] == "an-identifier"
        self.server.asked.put(self.path)
        event = self.server.events.get(timeout=WAIT_S)
        self._answer(200 if event else 500, json.dumps(event).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Lambda-Extension-Identifier", "an-identifier")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Listener:
    """Says in `calls` what it was told."""

    def __init__(self) -> None:
        self.calls: queue.Queue[str] = queue.Queue()
        self.error: Exception | None = None

    def registered(self) -> None:
        if self.error:
            raise self.error

    def invocation_ended(self) -> None:
        self.calls.put("ended")
        if self.error:
            raise self.error

    def invocation_times_out(self, deadline_ns: int) -> None:
        self.calls.put(f"times out at {deadline_ns}")

    def extension_lost(self) -> None:
        self.calls.put("lost")

    def next_call(self) -> str:
        return self.calls.get(timeout=WAIT_S)


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.events.put(None)  # ends the extension's thread
        server.shutdown()
        thread.join()
        server.server_close()


class Bench:
    """A started extension with what it says and reports."""

    def __init__(self, api: Api) -> None:
        self.listener = Listener()
        self.reports: queue.Queue[str] = queue.Queue()
        self.extension = InternalExtension(
            f"127.0.0.1:{api.server_port}",
            self.listener,
            Clock(),
            lambda place, error: self.reports.put(f"{place}: {error}"),
        )
        self.extension.start()


def invoke(request_id: str, deadline_ms: int = FAR_MS) -> dict[str, Any]:
    return {"eventType": "INVOKE", "requestId": request_id, "deadlineMs": deadline_ms}


def test_it_registers_and_asks_for_the_next_event_only_when_the_last_is_seen_to(api: Api) -> None:
    bench = Bench(api)
    assert bench.extension.is_registered()
    assert api.asked.get(timeout=WAIT_S) == "/2020-01-01/extension/register"
    for request_id in ("first", "second"):
        assert api.asked.get(timeout=WAIT_S) == "/2020-01-01/extension/event/next"
        bench.extension.started_request_id = request_id
        api.events.put(invoke(request_id))
        assert api.asked.empty()
        bench.extension.end_invocation(request_id)
        assert bench.listener.next_call() == "ended"


def test_the_end_of_another_invocation_is_not_the_end_of_this_one(api: Api) -> None:
    bench = Bench(api)
    bench.extension.started_request_id = "second"
    bench.extension.end_invocation("first")
    api.events.put(invoke("second"))
    with pytest.raises(queue.Empty):
        bench.listener.calls.get(timeout=0.2)
    bench.extension.end_invocation("second")
    assert bench.listener.next_call() == "ended"


def test_an_invocation_whose_handler_never_began_is_not_held_until_its_deadline(api: Api) -> None:
    bench = Bench(api)
    api.events.put(invoke("unseen"))
    assert bench.listener.next_call() == "ended"


def test_a_handler_that_nears_its_deadline_is_announced_before_its_end(api: Api) -> None:
    bench = Bench(api)
    bench.extension.started_request_id = "slow"
    deadline_ms = Clock().time_ns() // 1_000_000 + 60
    api.events.put(invoke("slow", deadline_ms))
    assert bench.listener.next_call() == f"times out at {deadline_ms * 1_000_000}"
    assert bench.listener.next_call() == "ended"


def test_an_error_while_sending_is_reported_and_the_next_event_asked_for(api: Api) -> None:
    bench = Bench(api)
    bench.listener.error = ValueError("odd")
    for request_id in ("first", "second"):
        bench.extension.started_request_id = request_id
        api.events.put(invoke(request_id))
        bench.extension.end_invocation(request_id)
        assert bench.listener.next_call() == "ended"
        assert bench.reports.get(timeout=WAIT_S) == "the internal extension: odd"


def test_a_refused_registration_is_reported(api: Api) -> None:
    api.register_status = 403
    bench = Bench(api)
    assert not bench.extension.is_registered()
    assert bench.reports.get(timeout=WAIT_S).startswith(
        "spans are sent before the response, as the internal extension cannot register: HTTP 403"
    )


def test_a_lost_api_is_told_so_that_the_handler_sends_itself(api: Api) -> None:
    bench = Bench(api)
    assert bench.extension.is_registered()
    api.events.put(None)
    assert bench.listener.next_call() == "lost"
    assert "lost the Extensions API: HTTP 500" in bench.reports.get(timeout=WAIT_S)


def test_after_a_restore_that_cost_the_connection_it_asks_again_once(api: Api) -> None:
    bench = Bench(api)
    assert bench.extension.is_registered()
    bench.extension.may_reconnect = True
    api.events.put(None)
    bench.extension.started_request_id = "first"
    api.events.put(invoke("first"))
    bench.extension.end_invocation("first")
    assert bench.listener.next_call() == "ended"
    api.events.put(None)
    assert bench.listener.next_call() == "lost"

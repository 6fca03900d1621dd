"""The Telemetry and Logs APIs with real extensions, external and internal."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

# An extension as they are written: it listens, registers, subscribes and asks for events. What it
# is sent it passes on to the test, which is at $SINK.
EXTENSION = """
import http.client, http.server, json, os, socket, socketserver, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SUBSCRIPTION = {
    "schemaVersion": "2022-12-13",
    "types": ["platform", "function", "extension"],
    "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4325/"},
}

def address():
    try:
        return socket.gethostbyname("sandbox.localdomain")
    except OSError:  # the machine gives no mount namespace, and so no name of our own
        return "127.0.0.1"

def pass_on(body, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["SINK"]))
    connection.request("POST", "/", body, {k: v for k, v in (headers or {}).items() if k in PASSED})
    connection.getresponse().read()
    connection.close()

PASSED = {"sequence-id", "user-agent", "content-type"}

class Listener(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        pass_on(body, self.headers)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass

def listen(port=4325):
    server = ThreadingHTTPServer((address(), port), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()

def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    headers = {"Lambda-Extension-" + k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    identifier = answer.getheader("Lambda-Extension-Identifier")
    connection.close()
    return answer.status, identifier, content

def register(name, events):
    body = json.dumps({"events": events})
    return call("POST", "/2020-01-01/extension/register", body, Name=name)[1]

def subscribe(identifier, path="/2022-07-01/telemetry", **changes):
    body = json.dumps({**SUBSCRIPTION, **changes})
    status, _, content = call("PUT", path, body, Identifier=identifier)
    return status, content

def next_event(identifier):
    return json.loads(call("GET", "/2020-01-01/extension/event/next", Identifier=identifier)[2])

def serve(identifier):
    while next_event(identifier)["eventType"] != "SHUTDOWN":
        pass
    time.sleep(0.5)  # the last batch comes now
"""

PROBE = """
listen()
identifier = register("probe.py", ["INVOKE", "SHUTDOWN"])
subscribe(identifier)
serve(identifier)
"""


class Sink:
    """What the extensions of a test have passed on."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.port = 0

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        """Each request's events."""
        return [json.loads(body) for _, body in list(self.requests)]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, in the order received."""
        return [event for batch in self.batches for event in batch]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self.events]

    def of(self, type_: str) -> list[Any]:
        """The records of the events of one type."""
        return [event["record"] for event in self.events if event["type"] == type_]


@pytest.fixture
def sink() -> Iterator[Sink]:
    found = Sink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.requests.append((dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.contextmanager
def running(
    run: Run, tmp_path: Path, sink: Sink, extension: str, function: str, **options: Any
) -> Iterator[Harness]:
    """A function with an external extension `probe.py`."""
    path = tmp_path / "layer" / "extensions" / "probe.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{sys.executable}\n{EXTENSION}\n{textwrap.dedent(extension)}")
    path.chmod(0o755)
    variables = {"SINK": str(sink.port)}
    options.setdefault("timeout_s", 20)
    with run(function, layers=[tmp_path / "layer"], environment=variables, **options) as harness:
        yield harness


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def close_all(harness: Harness) -> None:
    """Waits until the idle environments were shut down."""
    wait_until(lambda: not harness.environments("app"))


def lines(harness: Harness, pattern: str) -> list[str]:
    found = [e.message for e in harness.logs("app") if re.match(pattern, e.message)]
    return [re.sub(r"[0-9a-f-]{36}", "ID", message) for message in found]


def test_an_extension_is_sent_everything_from_the_first_event_on(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    code = """
        print("loaded")
        def handler(event, context):
            print("handled")
            return {"ok": 1}
    """
    with running(run, tmp_path, sink, PROBE, code, idle_timeout_s=0.5) as harness:
        request_id = harness.invoke("app").request_id
        harness.wait_frozen("app")
        close_all(harness)
        subscribed = lines(harness, "TELEMETRY")
    assert subscribed == [
        "TELEMETRY\tName: probe.py\tState: Subscribed\tTypes: [Platform, Function, Extension]\n"
    ]
    assert sink.types == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "function",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ]
    assert sink.of("function") == ["loaded\n", "handled\n"]
    [start], [done], [report] = (
        sink.of(f"platform.{name}") for name in ("start", "runtimeDone", "report")
    )
    assert [start["requestId"], done["requestId"], report["requestId"]] == [request_id] * 3
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", 9)
    assert [span["name"] for span in done["spans"]] == [
        "responseLatency",
        "responseDuration",
        "runtimeOverhead",
    ]
    headers, _ = sink.requests[0]
    assert headers["user-agent"] == "awslambda-worker/1.0"
    assert headers["content-type"] == "application/json"

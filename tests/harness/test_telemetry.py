"""The Telemetry and Logs APIs with real extensions, external and internal."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.server
import json
import re
import sys
import textwrap
import threading
import time
from datetime import datetime
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
    time.sleep(0.3)  # the last batch comes now
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


def test_the_last_events_come_before_the_end_and_nothing_while_frozen(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    code = "def handler(event, context): pass\n"
    with running(run, tmp_path, sink, PROBE, code, idle_timeout_s=1.5) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        before = sink.types
        time.sleep(0.3)  # far more than the subscription's 25 ms
        assert sink.types == before
        harness.invoke("app")
        close_all(harness)
    assert "platform.report" not in before
    assert sink.types.count("platform.report") == 2


def test_a_timeout_is_told_by_the_events_of_a_failed_invoke(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    code = "import time\ndef handler(event, context): time.sleep(30)\n"
    with running(run, tmp_path, sink, PROBE, code, timeout_s=1) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        wait_until(lambda: "platform.report" in sink.types)
    [done], [report] = sink.of("platform.runtimeDone"), sink.of("platform.report")
    assert (done["status"], "spans" in done, "errorType" in done) == ("timeout", False, False)
    assert (report["status"], report["metrics"]["durationMs"]) == ("timeout", 1000)


def test_a_subscription_outlives_the_reset_and_the_next_listener_gets_what_waited(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    # The extension is not registered for SHUTDOWN: it is killed with the last events unsent.
    extension = PROBE.replace('["INVOKE", "SHUTDOWN"]', '["INVOKE"]')
    code = """
        import os, time
        def handler(event, context): os._exit(3) if event == "exit" else time.sleep(0.5)
    """
    with running(run, tmp_path, sink, extension, code) as harness:
        harness.invoke("app", "exit")
        harness.wait_frozen("app")
        before = sink.types
        harness.invoke("app")
        wait_until(lambda: "platform.report" in sink.types)
        subscribed = lines(harness, "TELEMETRY")
    assert "platform.report" not in before
    assert [line.split("\t")[2] for line in subscribed] == [
        "State: Subscribed",
        "State: Already subscribed",
    ]
    [crashed], [report] = sink.of("platform.runtimeDone"), sink.of("platform.report")
    assert (crashed["status"], crashed["errorType"]) == ("error", "Runtime.ExitError")
    assert (report["status"], report["errorType"]) == ("error", "Runtime.ExitError")
    assert [record["phase"] for record in sink.of("platform.initStart")] == ["init", "invoke"]


def test_an_init_that_fails_is_told(run: Run, tmp_path: Path, sink: Sink) -> None:
    with running(run, tmp_path, sink, PROBE, "import nowhere\n") as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        wait_until(lambda: "platform.report" in sink.types)
    done = sink.of("platform.initRuntimeDone")
    assert [(d["phase"], d["status"], d["errorType"]) for d in done] == [
        ("init", "error", "Runtime.ImportModuleError"),
        ("invoke", "error", "Runtime.ImportModuleError"),
    ]


# What Datadog's extension requires of an event, by type: the fields of its `TelemetryRecord` that
# are not optional. One that lacks any is dropped with an error.
PHASES, STATUSES = {"init", "invoke"}, {"success", "error", "failure", "timeout"}
KINDS = {"on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances"}
REQUIRED: dict[str, dict[str, Any]] = {
    "function": {},
    "extension": {},
    "platform.initStart": {"initializationType": KINDS, "phase": PHASES},
    "platform.initRuntimeDone": {"initializationType": KINDS, "status": STATUSES},
    "platform.initReport": {"initializationType": KINDS, "phase": PHASES, "metrics": dict},
    "platform.start": {"requestId": str},
    "platform.runtimeDone": {"requestId": str, "status": STATUSES},
    "platform.report": {"requestId": str, "status": STATUSES, "metrics": dict},
    "platform.extension": {"name": str, "state": str, "events": list},
    "platform.telemetrySubscription": {"name": str, "state": str, "types": list},
    "platform.logsDropped": {"reason": str, "droppedRecords": int, "droppedBytes": int},
    "platform.restoreStart": {},
    "platform.restoreRuntimeDone": {"status": STATUSES},
    "platform.restoreReport": {"status": STATUSES},
}
ON_DEMAND_METRICS: dict[str, Any] = {
    "durationMs": (float, int),
    "billedDurationMs": int,
    "memorySizeMB": int,
    "maxMemoryUsedMB": int,
}


def read_as_datadog(event: dict[str, Any]) -> None:
    """Fails where Datadog's extension would."""
    datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%S.%fZ").astimezone()
    for name, wanted in REQUIRED[event["type"]].items():
        value = event["record"][name]
        is_right = value in wanted if isinstance(wanted, set) else isinstance(value, wanted)
        assert is_right, event
    if event["type"] == "platform.report":
        metrics = event["record"]["metrics"]
        assert all(isinstance(metrics[n], kind) for n, kind in ON_DEMAND_METRICS.items()), event
    for span in event["record"].get("spans", []) if isinstance(event["record"], dict) else []:
        assert sorted(span) == ["durationMs", "name", "start"]


@pytest.mark.parametrize("kind", ["on-demand", "snap-start", "provisioned-concurrency"])
def test_all_events_of_a_life_are_what_datadogs_extension_reads(
    run: Run, tmp_path: Path, sink: Sink, kind: str
) -> None:
    extension = PROBE.replace("serve(identifier)", "print('up', flush=True)\nserve(identifier)")
    code = """
        import os
        def handler(event, context):
            if event == "exit": os._exit(3)
            raise ValueError("of the function's own")
    """
    options = {"initialization_type": kind, "idle_timeout_s": 0.5}
    with running(run, tmp_path, sink, extension, code, **options) as harness:
        harness.invoke("app")
        harness.wait_frozen("app")
        harness.invoke("app", "exit")
    for event in sink.events:
        read_as_datadog(event)
    of_a_restore = {
        "platform.restoreStart",
        "platform.restoreRuntimeDone",
        "platform.restoreReport",
    }
    expected = REQUIRED.keys() - {"platform.logsDropped"}
    assert set(sink.types) == (expected if kind == "snap-start" else expected - of_a_restore)
    # An error of the function's own is a success of the platform's.
    assert [record["status"] for record in sink.of("platform.report")] == ["success", "error"]
    assert {record["initializationType"] for record in sink.of("platform.initReport")} == {kind}


def test_by_tcp_each_event_is_a_line(run: Run, tmp_path: Path, sink: Sink) -> None:
    extension = """
        class Lines(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    pass_on(b"[" + line + b"]")

        server = socketserver.ThreadingTCPServer((address(), 4326), Lines)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        identifier = register("probe.py", ["INVOKE", "SHUTDOWN"])
        subscribe(identifier, destination={"protocol": "TCP", "port": 4326}, types=["function"])
        serve(identifier)
    """
    code = "def handler(event, context): print('one'); print('two')\n"
    with running(run, tmp_path, sink, extension, code, idle_timeout_s=0.3) as harness:
        harness.invoke("app")
        wait_until(lambda: len(sink.events) == 2)
    assert sink.of("function") == ["one\n", "two\n"]


def test_the_logs_api_has_its_own_events_and_shapes(run: Run, tmp_path: Path, sink: Sink) -> None:
    extension = """
        listen()
        identifier = register("probe.py", ["INVOKE", "SHUTDOWN"])
        changes = {"schemaVersion": "2020-08-15", "types": ["platform", "function", "extension"]}
        answer = subscribe(identifier, "/2020-08-15/logs", **changes)
        print("answered", *answer, flush=True)
        serve(identifier)
    """
    code = "def handler(event, context): print('handled')\n"
    with running(run, tmp_path, sink, extension, code, idle_timeout_s=0.3) as harness:
        request_id = harness.invoke("app").request_id
        close_all(harness)
        said = lines(harness, "LOGS|answered")
    assert said == [
        "LOGS\tName: probe.py\tState: Subscribed\tTypes: [Platform, Function, Extension]\n",
        'answered 200 "OK"\n',
    ]
    assert sink.types == [
        "platform.logsSubscription",
        "extension",
        "platform.extension",
        "platform.start",
        "function",
        "platform.end",
        "platform.report",
    ]
    assert sink.of("platform.start") == [{"requestId": request_id, "version": "$LATEST"}]
    assert sink.of("platform.end") == [{"requestId": request_id}]
    [report] = sink.of("platform.report")
    assert sorted(report) == ["metrics", "requestId"]


def test_an_internal_extension_may_subscribe_while_the_init_runs_and_not_later(
    run: Run, sink: Sink
) -> None:
    code = (
        EXTENSION
        + """
listen()
identifier = register("inner", ["INVOKE"])
subscribe(identifier, types=["platform"])
threading.Thread(target=serve, args=(identifier,), daemon=True).start()

def handler(event, context):
    answers = [subscribe(identifier), subscribe("x"), call("PUT", "/2022-07-01/telemetry", "{}")]
    time.sleep(0.3)  # the first events arrive before the freeze
    return answers
"""
    )
    with run(code, environment={"SINK": str(sink.port)}, timeout_s=20) as harness:
        late, invalid, missing = harness.invoke("app").json()
        wait_until(lambda: "platform.start" in sink.types)
    assert (late[0], json.loads(late[1])) == (
        403,
        {
            "errorMessage": "Telemetry API subscription is closed",
            "errorType": "Telemetry.SubscriptionClosed",
        },
    )
    assert json.loads(invalid[1])["errorType"] == "Extension.InvalidExtensionIdentifier"
    assert json.loads(missing[2])["errorType"] == "Extension.MissingExtensionIdentifier"
    assert set(sink.types) >= {"platform.initStart", "platform.extension", "platform.start"}


def test_a_function_that_nobody_subscribed_in_is_told_that_it_is_too_late(run: Run) -> None:
    code = (
        EXTENSION
        + "\nidentifier = register('inner', [])\n"
        + textwrap.dedent(
            """
        threading.Thread(target=next_event, args=(identifier,), daemon=True).start()
        def handler(event, context): return subscribe(identifier)
        """
        )
    )
    with run(code, environment={"SINK": "0"}, timeout_s=20) as harness:
        status, content = harness.invoke("app").json()
    assert (status, json.loads(content)["errorType"]) == (403, "Telemetry.SubscriptionClosed")


def test_a_listener_that_does_not_keep_up_is_told_how_much_was_dropped(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    # The first function record is held back until the function has printed 2 MB more.
    extension = """
        class Slow(Listener):
            def do_POST(self):
                gate.wait(15)
                super().do_POST()

        gate = threading.Event()
        server = ThreadingHTTPServer((address(), 4325), Slow)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        identifier = register("probe.py", ["INVOKE", "SHUTDOWN"])
        subscribe(identifier, types=["platform", "function"])
        next_event(identifier)
        while not os.path.exists("/tmp/printed"):
            time.sleep(0.02)
        gate.set()
        time.sleep(1)
        serve(identifier)
    """
    code = """
        import time
        def handler(event, context):
            for _ in range(20):
                print("x" * 100_000, flush=True)
            open("/tmp/printed", "w").close()
    """
    with running(run, tmp_path, sink, extension, code) as harness:
        if not harness.is_tmp_private:
            pytest.skip("the two find each other by /tmp")
        harness.invoke("app")
        wait_until(lambda: "platform.logsDropped" in sink.types)
    [dropped] = sink.of("platform.logsDropped")
    assert dropped["reason"].startswith("Consumer seems to have fallen behind")
    arrived = sum(len(record) > 100_000 for record in sink.of("function"))
    assert dropped["droppedRecords"] >= 20 - arrived > 0
    assert dropped["droppedBytes"] > 100_000


def test_two_environments_listen_on_the_same_port_each_for_itself(
    run: Run, tmp_path: Path, sink: Sink
) -> None:
    code = """
        import time
        def handler(event, context): time.sleep(0.5)
    """
    with running(run, tmp_path, sink, PROBE, code, idle_timeout_s=0.5) as harness:
        if not harness.is_tmp_private:
            pytest.skip("without a mount namespace all share 127.0.0.1")
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            results = [threads.submit(harness.invoke, "app") for _ in range(2)]
        ids = {result.result().request_id for result in results}
        harness.wait_frozen("app")
        streams = {environment.log_stream for environment in harness.environments("app")}
        wait_until(lambda: len(sink.of("platform.runtimeDone")) == 2)
    assert len(streams) == 2
    assert {record["instanceId"] for record in sink.of("platform.initStart")} == streams
    assert {record["requestId"] for record in sink.of("platform.runtimeDone")} == ids


def test_the_runtime_and_extensions_know_the_sandbox_by_name(run: Run) -> None:
    code = """
        import socket
        def handler(event, context):
            names = ["sandbox.localdomain", "sandbox", "localhost"]
            return [socket.gethostbyname(name) for name in names]
    """
    with run(code) as harness:
        if not harness.is_tmp_private:
            pytest.skip("there are no names without a mount namespace")
        first, second, localhost = harness.invoke("app").json()
    assert first == second
    assert first.startswith("127.77.")
    assert localhost == "127.0.0.1"

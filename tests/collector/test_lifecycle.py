from __future__ import annotations

import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.error import URLError

from botocore.exceptions import BotoCoreError, ClientError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.exchange import BODY_BYTES_MAX
from lambdatrace_collector.ingest.admission import ADMITTED_BYTES_MAX
from lambdatrace_collector.store import sql_files
from lambdatrace_collector.store.readiness import room_failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SPANS = 20
WRITERS = 4


def one_trace() -> tuple[str, bytes]:
    """A trace id, and a request with its spans."""
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    scope_spans = request.resource_spans.add().scope_spans.add()
    for _ in range(SPANS):
        scope_spans.spans.add(trace_id=trace_id, span_id=secrets.token_bytes(8), name="s")
    return trace_id.hex(), request.SerializeToString()


class Writers:
    """Threads that write traces, log events and metrics and remember what was acknowledged."""

    def __init__(self, collector: Collector) -> None:
        self.traces: list[str] = []
        self.messages: list[str] = []
        self.metrics: list[str] = []
        self._collector = collector
        self._stop = threading.Event()
        logs = collector.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        works = [self._write_traces, self._write_logs, self._write_metrics]
        self._threads = [
            threading.Thread(target=self._until_stopped, args=(work,))
            for work in works
            for _ in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until at least `count` of each kind were acknowledged."""
        deadline = time.monotonic() + 30
        while min(len(self.traces), len(self.messages), len(self.metrics)) < count:
            assert time.monotonic() < deadline, "the collector acknowledges too little"
            time.sleep(0.01)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _until_stopped(self, work: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                work()
            except (OSError, URLError, BotoCoreError, ClientError):
                return  # the collector is gone

    def _write_traces(self) -> None:
        trace_id, body = one_trace()
        if self._collector.post("/v1/traces", body, PROTOBUF).status == 200:
            self.traces.append(trace_id)

    def _write_logs(self) -> None:
        message = secrets.token_hex(8)
        now_ms = time.time_ns() // 1_000_000
        self._collector.client("logs").put_log_events(
            logGroupName="g",
            logStreamName="s",
            logEvents=[{"timestamp": now_ms, "message": message}],
        )
        self.messages.append(message)

    def _write_metrics(self) -> None:
        name = secrets.token_hex(8)
        self._collector.client("cloudwatch").put_metric_data(
            Namespace="n", MetricData=[{"MetricName": name, "Value": 1.0}]
        )
        self.metrics.append(name)


def missing(collector: Collector, writers: Writers) -> dict[str, set[str]]:
    """What was acknowledged and is not in the store."""
    logs, cloudwatch = collector.client("logs"), collector.client("cloudwatch")
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="g")
    messages = {event["message"] for page in pages for event in page["events"]}
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="n")
    metrics = {metric["MetricName"] for page in pages for metric in page["Metrics"]}
    return {
        "traces": {
            trace_id for trace_id in writers.traces if span_count(collector, trace_id) != SPANS
        },
        "messages": set(writers.messages) - messages,
        "metrics": set(writers.metrics) - metrics,
    }


def span_count(collector: Collector, trace_id: str) -> int:
    answer = collector.get(f"/api/v3/traces/{trace_id}")
    if answer.status != 200:
        return 0
    (resource_spans,) = json.loads(answer.body)["result"]["resourceSpans"]
    return len(resource_spans["scopeSpans"][0]["spans"])


NOTHING: dict[str, set[str]] = {"traces": set(), "messages": set(), "metrics": set()}


def test_kill_9_loses_nothing_that_was_acknowledged(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    writers = Writers(collector)
    writers.wait_for(15)
    collector.process.send_signal(signal.SIGKILL)
    writers.end()
    collector.process.wait(30)

    assert missing(start_collector(tmp_path / "store"), writers) == NOTHING


def test_sigterm_finishes_what_was_begun_and_stops_in_order(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    writers = Writers(collector)
    writers.wait_for(5)
    trace_id, body = one_trace()
    with half_sent(collector, body) as connection:
        time.sleep(0.3)  # the collector has the first half
        collector.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(body[len(body) // 2 :])
        answer = connection.recv(65536)
    _, logged = collector.process.communicate(timeout=60)
    writers.end()
    writers.traces.append(trace_id)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert collector.process.returncode == 0
    assert re.findall(r"stop (\d)/4: (.*)", logged) == [
        ("1", "accept no more connections"),
        ("2", "finish the requests that are being answered"),
        ("3", "write the groups that wait"),
        ("4", "close the store"),
    ]
    assert missing(start_collector(tmp_path / "store"), writers) == NOTHING


def half_sent(collector: Collector, body: bytes) -> socket.socket:
    """A connection that has sent a request's head and half of its body."""
    host, port = collector.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = (
        f"POST /v1/traces HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def test_when_too_many_bytes_wait_clients_are_told_when_to_come_again(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    _, small = one_trace()
    held = ADMITTED_BYTES_MAX // (BODY_BYTES_MAX // 2)
    json_call = {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}
    with ExitStack() as connections:
        for _ in range(held):
            connections.enter_context(half_sent(collector, bytes(BODY_BYTES_MAX)))
        deadline = time.monotonic() + 30
        filler = bytes(BODY_BYTES_MAX // 2)  # not protobuf: refused either way, until it is 503
        refused = collector.post("/v1/traces", filler, PROTOBUF)
        while refused.status != 503:
            assert time.monotonic() < deadline
            refused = collector.post("/v1/traces", filler, PROTOBUF)
        aws = collector.post("/", filler, json_call)
        is_alive = collector.get("/healthz").status
    status = Status.FromString(refused.body)
    assert (refused.headers["Retry-After"], status.code) == ("1", 14)
    assert status.message.endswith(f"{ADMITTED_BYTES_MAX} are allowed: send this again later")
    assert (aws.status, aws.headers["Retry-After"]) == (503, "1")
    assert json.loads(aws.body)["__type"] == "ServiceUnavailableException"
    assert is_alive == 200
    while collector.post("/v1/traces", small, PROTOBUF).status != 200:
        assert time.monotonic() < deadline


def test_under_overload_as_many_large_bodies_as_fit_are_stored(collector: Collector) -> None:
    size = BODY_BYTES_MAX // 2
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes(15) + b"1", bytes(7) + b"1", "n" * size
    body = request.SerializeToString()
    fit = ADMITTED_BYTES_MAX // len(body)
    with ThreadPoolExecutor(3 * fit) as threads:
        answers = list(
            threads.map(lambda _: collector.post("/v1/traces", body, PROTOBUF), range(3 * fit))
        )

    stored = [answer.status for answer in answers].count(200)
    refused = [answer.headers["Retry-After"] for answer in answers if answer.status == 503]
    assert stored >= fit
    assert refused == ["1"] * (3 * fit - stored)


def test_a_collector_that_cannot_write_is_alive_and_not_ready(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    incoming = tmp_path / "store" / "incoming"
    incoming.rename(tmp_path / "gone")
    refused, again = collector.get("/readyz"), collector.get("/readyz")
    _, body = one_trace()
    written = collector.post("/v1/traces", body, PROTOBUF)
    alive = collector.get("/healthz").status
    (tmp_path / "gone").rename(incoming)
    deadline = time.monotonic() + 30
    while collector.get("/readyz").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    reason = "the store cannot be written (No such file or directory): send this later"
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert json.loads(refused.body) == {"error": {"httpCode": 503, "message": reason}}
    assert again.body == refused.body
    assert (written.status, Status.FromString(written.body).message) == (503, reason)
    assert alive == 200
    assert collector.post("/v1/traces", body, PROTOBUF).status == 200


def test_a_folder_without_room_cannot_be_written(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    full = room_failure(tmp_path, usage.total + 1)
    gone = room_failure(tmp_path / "gone", 1)

    assert room_failure(tmp_path, 0) is None
    needed = f" bytes free: {usage.total + 1} are needed"
    assert re.fullmatch(rf"the disk of {tmp_path} has \d+{needed}", str(full))
    assert str(gone) == (
        f"{tmp_path}/gone cannot be read (No such file or directory): it must be there"
    )


def failed_start(*arguments: str) -> tuple[int, str]:
    """Exit status and the last line of standard error."""
    finished = subprocess.run(
        [sys.executable, "-m", "lambdatrace_collector", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.stdout == ""
    return finished.returncode, finished.stderr.strip().splitlines()[-1]


def test_what_prevents_the_start_is_one_clear_line(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "file").write_text("")
    taken = collector.url.removeprefix("http://")
    free = ("--http", "127.0.0.1:0")

    def store(url: str) -> tuple[int, str]:
        return failed_start(*free, "--store", url)

    prefix = "lambdatrace collector: "
    assert failed_start("--http", taken, "--store", f"chdb://{tmp_path}/new") == (
        1,
        (
            f"{prefix}--http {taken} cannot be listened on (Address already in use): choose another"
            " port, or 0 for a free one"
        ),
    )
    assert store("sqlite://x") == (
        1,
        (
            f"{prefix}--store is 'sqlite://x': expected chdb://FOLDER or"
            " clickhouse://HOST[:PORT]/DATABASE"
        ),
    )
    assert store(f"chdb://{tmp_path}/file/data") == (
        1,
        (
            f"{prefix}--store chdb://{tmp_path}/file/data cannot be written (Not a directory):"
            " choose another folder"
        ),
    )
    status, line = store("clickhouse://user:secret@127.0.0.1:1/traces")
    assert status == 1
    assert line.startswith(f"{prefix}--store clickhouse://user@127.0.0.1:1/traces does not open: ")
    assert "secret" not in line
    assert failed_start("--http", "4318")[0] == 2


def test_a_folder_in_use_and_a_newer_schema_are_refused(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    first = start_collector(folder)
    arguments = ("--http", "127.0.0.1:0", "--store", f"chdb://{folder}")
    locked = failed_start(*arguments)
    first.stop()
    script = (
        "import sys, clickhouse_connect as c;"
        "client = c.get_client(dsn='chdb://' + sys.argv[1], database='lambdatrace');"
        "client.insert('schema_versions', [[99, 'x']], ['version', 'name'])"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / "engine")], check=True, timeout=60)
    newer = failed_start(*arguments)

    known = sql_files.schema_files()[-1].version
    prefix = f"lambdatrace collector: --store chdb://{folder}"
    assert locked == (
        1,
        (
            f"{prefix} is used by another collector (process {first.process.pid}): stop it, or"
            " choose another folder"
        ),
    )
    assert newer == (
        1,
        (
            f"{prefix} has schema version 99, this collector knows {known}: use the newer"
            " collector, or another folder"
        ),
    )


def test_the_ready_line_is_one_line_with_the_url_and_the_store(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    assert collector.ready_line == (
        f"lambdatrace collector ready at {collector.url} (store chdb://{tmp_path}/store)\n"
    )
    collector.process.send_signal(signal.SIGINT)
    more, _ = collector.process.communicate(timeout=60)
    assert (more, collector.process.returncode) == ("", 0)

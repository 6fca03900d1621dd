"""Spans per second that the collector acknowledges from concurrent OTLP/HTTP clients.

A fresh collector process on an empty embedded store; client processes that keep several
connections each busy with requests of 500 spans, encoded before the clock starts. A span counts
once its request was answered with 200; in the end the store must hold exactly that many.

    python -m benchmarks.collector_ingest [--spans 2000000] [--clients 2] [--connections 32]
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

SPANS_PER_REQUEST = 500
SPANS_PER_TRACE = 5
SPANS_PER_S_MIN = 150_000
RSS_MB_MAX = 1200
START_DEADLINE_S = 60
STOP_DEADLINE_S = 60
REQUEST_DEADLINE_S = 60

REQUEST_NS = 3_000_000  # between the first spans of two requests, as at 170,000 spans/s

# Ids and times of the template, replaced in its encoded bytes; no other field holds these bytes.
TRACE_MARK = b"TRACE-ID-16BYTES"
SPAN_MARK = b"SPAN-ID8"
PARENT_MARK = b"PARENTID"
START_MARK = b"START-NS"
END_MARK = b"END-NANO"


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        store = Path(folder) / "store"
        collector, url = start_collector(store)
        try:
            idle_cpu_s = cpu_seconds(collector.pid)
            acknowledged, seconds, latencies = load(url, options)
            cpu_s = cpu_seconds(collector.pid) - idle_cpu_s
            peak_mb = peak_rss_mb(collector.pid)
        finally:
            stop(collector)
        stored = count_stored(store)
    rate = acknowledged / seconds
    latencies.sort()
    result = {
        "acknowledged_spans": acknowledged,
        "stored_spans": stored,
        "seconds": round(seconds, 2),
        "spans_per_s": round(rate),
        "latency_p50_ms": round(statistics.median(latencies) * 1000, 1),
        "latency_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 1),
        "collector_peak_rss_mb": round(peak_mb),
        # Does not move with what else the machine does, as spans/s does.
        "collector_cpu_us_per_span": round(cpu_s * 1e6 / acknowledged, 2),
        "clients": options.clients,
        "connections": options.clients * options.connections,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    met = {
        f"stored = acknowledged ({stored} = {acknowledged})": stored == acknowledged,
        f"spans/s {rate:,.0f} >= {SPANS_PER_S_MIN:,}": rate >= SPANS_PER_S_MIN,
        f"peak RSS {peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB": peak_mb < RSS_MB_MAX,
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def start_collector(store: Path) -> tuple[subprocess.Popen[str], str]:
    """A collector process on `store` and its URL."""
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "lambdatrace_collector"),
            *("--store", f"chdb://{store}", "--http", "127.0.0.1:0"),
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    match = re.search(r"http://\S+", ready)
    if match is None:
        raise SystemExit(f"the collector did not start: {ready!r}")
    return process, match[0]


def load(url: str, options: argparse.Namespace) -> tuple[int, float, list[float]]:
    """Spans acknowledged, seconds it took, and each request's latency in seconds."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(options.clients + 1)
    results: Queue[Any] = context.Queue()
    requests = options.spans // SPANS_PER_REQUEST // options.clients
    clients = [
        context.Process(target=client, args=(url, requests, options.connections, barrier, results))
        for _ in range(options.clients)
    ]
    for process in clients:
        process.start()
    barrier.wait(START_DEADLINE_S * 2)
    started = time.perf_counter()
    answers = [results.get(timeout=600) for _ in clients]
    seconds = time.perf_counter() - started
    for process in clients:
        process.join()
    latencies = [latency for answer in answers for latency in answer]
    return len(latencies) * SPANS_PER_REQUEST, seconds, latencies


def client(
    url: str, requests: int, connections: int, barrier: Barrier, results: Queue[Any]
) -> None:
    """One client process: `connections` threads that send until `requests` were answered."""
    template = encoded_template()
    started_ns = time.time_ns()
    bodies = [
        with_own_ids_and_times(template, started_ns + place * REQUEST_NS)
        for place in reversed(range(requests))  # the last one is sent first
    ]
    latencies: list[float] = []
    threads = [
        threading.Thread(target=_send, args=(url, bodies, latencies)) for _ in range(connections)
    ]
    barrier.wait(START_DEADLINE_S * 2)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(latencies)


def _send(url: str, bodies: list[bytes], latencies: list[float]) -> None:
    host, port = url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST_DEADLINE_S)
    while bodies:
        try:
            body = bodies.pop()
        except IndexError:
            return
        started = time.perf_counter()
        while True:
            connection.request(
                "POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"}
            )
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                break
            assert response.status == 503, response.status
            time.sleep(float(response.headers["Retry-After"]))
        latencies.append(time.perf_counter() - started)


def encoded_template() -> bytes:
    """A request of 500 spans as an instrumented Lambda function sends them, ids marked."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in {
        "service.name": "orders",
        "cloud.provider": "aws",
        "cloud.region": "eu-west-1",
        "cloud.account.id": "123456789012",
        "faas.name": "orders",
        "faas.version": "$LATEST",
        "faas.instance": f"2026/01/31/[$LATEST]{secrets.token_hex(16)}",
        "telemetry.sdk.name": "lambdatrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "0.1.0",
    }.items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "lambdatrace"
    scope_spans.scope.version = "0.1.0"
    for number in range(SPANS_PER_REQUEST):
        _add_span(scope_spans, number)
    return request.SerializeToString()


def _add_span(scope_spans: Any, number: int) -> None:
    names = ("GET /orders/{id}", "handler", "DynamoDB.GetItem", "charge card", "SQS.SendMessage")
    place = number % SPANS_PER_TRACE
    span = scope_spans.spans.add(
        trace_id=TRACE_MARK,
        span_id=SPAN_MARK,
        parent_span_id=PARENT_MARK if place else b"",
        name=names[place],
        kind=place + 1,
        start_time_unix_nano=int.from_bytes(START_MARK, "little"),
        end_time_unix_nano=int.from_bytes(END_MARK, "little"),
        flags=257,
    )
    for key, value in {
        "http.request.method": "GET",
        "url.path": f"/orders/{number * 7919 % 100_003}",
        "faas.invocation_id": secrets.token_hex(16),
        "aws.request_id": secrets.token_hex(8),
    }.items():
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="http.response.status_code").value.int_value = 200
    span.attributes.add(key="faas.coldstart").value.bool_value = False
    if number % 50 == 0:
        event = span.events.add(name="exception", time_unix_nano=time.time_ns())
        event.attributes.add(key="exception.type").value.string_value = "ValueError"
        event.attributes.add(key="exception.message").value.string_value = "no such order"


def with_own_ids_and_times(template: bytes, started_ns: int) -> bytes:
    """The template with ids of its own, five spans to a trace, each the parent of the next."""
    body = bytearray(template)
    trace_id = span_id = b""
    marks = (TRACE_MARK, SPAN_MARK, PARENT_MARK, START_MARK, END_MARK)
    spans = 0
    for match in re.finditer(b"|".join(marks), template):
        if match[0] == TRACE_MARK:
            if spans % SPANS_PER_TRACE == 0:
                trace_id = os.urandom(16)
            spans += 1
            value = trace_id
        elif match[0] == SPAN_MARK:
            parent_id, span_id = span_id, os.urandom(8)
            value = span_id
        elif match[0] == PARENT_MARK:
            value = parent_id
        else:
            moment_ns = started_ns + spans * REQUEST_NS // SPANS_PER_REQUEST
            value = (moment_ns + (match[0] == END_MARK) * spans * 7919).to_bytes(8, "little")
        body[match.start() : match.end()] = value
    return bytes(body)


def peak_rss_mb(pid: int) -> float:
    """The most memory a process has had resident, in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(process: subprocess.Popen[str]) -> None:
    """End the collector as its users do."""
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_DEADLINE_S)


def count_stored(store: Path) -> int:
    """Distinct spans in a closed store, asked of the engine itself in a process of its own."""
    script = (
        "import sys, clickhouse_connect as c;"
        "client = c.get_client(dsn='chdb://' + sys.argv[1], database='lambdatrace');"
        "print(client.query('SELECT count() FROM spans FINAL').result_rows[0][0])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, str(store / "engine")],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return int(finished.stdout)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=2_000_000)
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--connections", type=int, default=32, help="per client process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

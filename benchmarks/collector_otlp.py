"""What the collector does with spans: how fast, beside what, and what is left of it on the disk.

A fresh collector process on an empty embedded store, and client processes with raw sockets that
keep several connections each busy with requests of 500 spans, encoded before the clock starts. A
span counts once its request was answered with 200; in the end the store must hold exactly that
many.

1. as fast as it is answered: spans/s, latencies, memory, processor time
2. half of that rate, and beside it requests of one span each, one at a time: their latencies
3. without load: the traces of those single spans, read by id among all the others
4. bytes on disk per span, once the collector has stopped

    python -m benchmarks.collector_otlp [--spans 4000000] [--clients 8] [--connections 8]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.bodies import SPANS_PER_REQUEST, span_requests
from benchmarks.collector_process import (
    MemorySamples,
    cpu_seconds,
    peak_rss_mb,
    scalar,
    start_collector,
    stop,
)
from benchmarks.load_generator import Load, Report

SPANS_PER_S_MIN = 250_000
SMALL_P99_MS_MAX = 60
TRACE_MS_MAX = 30
RSS_MB_MAX = 1200
HALF_LOAD_S = 15
SMALL_INTERVAL_S = 0.05
REQUEST_DEADLINE_S = 60
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        store = Path(folder) / "store"
        collector, url = start_collector(store)
        try:
            report, load_result = _full_load(url, collector.pid, options)
            half, small_ms, trace_ids = _half_load(url, report, options)
            trace_ms = [_milliseconds(url, "GET", f"/api/v3/traces/{id_}") for id_ in trace_ids]
            peak_mb = peak_rss_mb(collector.pid)
        finally:
            stop(collector)
        sent = report.records + half.records + len(trace_ids)
        stored = scalar(store, "SELECT count() FROM spans FINAL")
        disk_bytes = scalar(
            store, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'spans'"
        )
    result = {
        **load_result,
        "half_load_records_per_s": round(half.records_per_s),
        "small_request_p50_ms": round(_quantile(small_ms, 0.5), 1),
        "small_request_p99_ms": round(_quantile(small_ms, 0.99), 1),
        "trace_by_id_p50_ms": round(_quantile(trace_ms, 0.5), 1),
        "trace_by_id_p99_ms": round(_quantile(trace_ms, 0.99), 1),
        "stored_spans": stored,
        "bytes_on_disk_per_span": round(disk_bytes / stored, 1),
        "collector_peak_rss_mb": round(peak_mb),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],  # what others did on the machine is in every figure
    }
    print(json.dumps(result, indent=2))
    met = {
        f"stored = acknowledged ({stored} = {sent})": stored == sent,
        f"spans/s {report.records_per_s:,.0f} >= {SPANS_PER_S_MIN:,}": (
            report.records_per_s >= SPANS_PER_S_MIN
        ),
        f"single requests under half load: p99 {result['small_request_p99_ms']} ms"
        f" <= {SMALL_P99_MS_MAX} ms": result["small_request_p99_ms"] <= SMALL_P99_MS_MAX,
        f"trace by id: p50 {result['trace_by_id_p50_ms']} ms <= {TRACE_MS_MAX} ms": (
            result["trace_by_id_p50_ms"] <= TRACE_MS_MAX
        ),
        f"peak RSS {peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB": peak_mb < RSS_MB_MAX,
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def _full_load(url: str, pid: int, options: argparse.Namespace) -> tuple[Report, dict[str, Any]]:
    load = Load(
        url,
        span_requests,
        clients=options.clients,
        connections=options.connections,
        requests=options.spans // SPANS_PER_REQUEST,
    )
    idle_cpu_s = cpu_seconds(pid)
    with MemorySamples(pid) as memory:
        load.start()
        report = load.wait()
    cpu_s = cpu_seconds(pid) - idle_cpu_s
    return report, {
        **report.shown(),
        "collector_peak_sampled_rss_mb": round(memory.peak_mb),
        # Does not move with what else the machine does, as spans/s does.
        "collector_cpu_us_per_span": round(cpu_s * 1e6 / report.records, 2),
        "clients": options.clients,
        "connections": options.clients * options.connections,
    }


def _half_load(
    url: str, full: Report, options: argparse.Namespace
) -> tuple[Report, list[float], list[str]]:
    """The load's report, the latencies of single spans sent beside it, and their trace ids."""
    rate = full.records_per_s / 2 / SPANS_PER_REQUEST
    load = Load(
        url,
        span_requests,
        clients=2,
        connections=options.connections * options.clients // 2,
        requests=int(rate * HALF_LOAD_S),
        rate_per_s=rate,
    )
    load.start()
    latencies, trace_ids = [], []
    while load.is_running:
        trace_id = os.urandom(16)
        latencies.append(_milliseconds(url, "POST", "/v1/traces", _one_span(trace_id)))
        trace_ids.append(trace_id.hex())
        time.sleep(SMALL_INTERVAL_S)
    return load.wait(), latencies, trace_ids


def _one_span(trace_id: bytes) -> bytes:
    request = ExportTraceServiceRequest()
    now_ns = time.time_ns()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name="handler",
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns + 1_000_000,
    )
    return request.SerializeToString()


def _milliseconds(url: str, method: str, path: str, body: bytes | None = None) -> float:
    """How long one request on a connection of its own takes."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=REQUEST_DEADLINE_S)
    started = time.perf_counter()
    connection.request(method, path, body, PROTOBUF if body else {})
    response = connection.getresponse()
    response.read()
    took = (time.perf_counter() - started) * 1000
    connection.close()
    assert response.status == 200, (path, response.status)
    return took


def _quantile(values: list[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * quantile), len(ordered) - 1)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=4_000_000)
    parser.add_argument("--clients", type=int, default=8, help="client processes")
    parser.add_argument("--connections", type=int, default=8, help="per client process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

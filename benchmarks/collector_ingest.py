"""Spans per second that the collector acknowledges from concurrent OTLP/HTTP clients.

A fresh collector process on an empty embedded store; client processes that keep several
connections each busy with requests of 500 spans, encoded before the clock starts. A span counts
once its request was answered with 200; in the end the store must hold exactly that many.

    python -m benchmarks.collector_ingest [--spans 2000000] [--clients 2] [--connections 32]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.bodies import SPANS_PER_REQUEST, span_requests
from benchmarks.collector_process import (
    MemorySamples,
    cpu_seconds,
    peak_rss_mb,
    scalar,
    start_collector,
    stop,
)
from benchmarks.load_generator import Load

SPANS_PER_S_MIN = 150_000
RSS_MB_MAX = 1200


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        store = Path(folder) / "store"
        collector, url = start_collector(store)
        try:
            load = Load(
                url,
                span_requests,
                clients=options.clients,
                connections=options.connections,
                requests=options.spans // SPANS_PER_REQUEST,
            )
            idle_cpu_s = cpu_seconds(collector.pid)
            with MemorySamples(collector.pid) as memory:
                load.start()
                report = load.wait()
            cpu_s = cpu_seconds(collector.pid) - idle_cpu_s
            peak_mb = peak_rss_mb(collector.pid)
        finally:
            stop(collector)
        stored = scalar(store, "SELECT count() FROM spans FINAL")
    rate = report.records_per_s
    result = {
        **report.shown(),
        "stored_spans": stored,
        "collector_peak_rss_mb": round(peak_mb),
        "collector_peak_sampled_rss_mb": round(memory.peak_mb),
        # Does not move with what else the machine does, as spans/s does.
        "collector_cpu_us_per_span": round(cpu_s * 1e6 / report.records, 2),
        "clients": options.clients,
        "connections": options.clients * options.connections,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    met = {
        f"stored = acknowledged ({stored} = {report.records})": stored == report.records,
        f"spans/s {rate:,.0f} >= {SPANS_PER_S_MIN:,}": rate >= SPANS_PER_S_MIN,
        f"peak RSS {peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB": peak_mb < RSS_MB_MAX,
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=2_000_000)
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--connections", type=int, default=32, help="per client process")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

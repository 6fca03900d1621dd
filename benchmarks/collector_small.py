"""How long single small requests take while the collector is at half of the load it promises.

Paced clients keep up 125,000 spans/s, 150,000 log events/s and 75,000 metric points/s, each kind in
a run of its own; beside them one client sends one small request after the other: a span, a log
event, a datum. A request's time is from its first byte to its answer.

    python -m benchmarks.collector_small [--seconds 20]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3

from benchmarks.bodies import LOG_GROUP, log_requests, metric_requests, span_requests
from benchmarks.collector_process import MemorySamples, cpu_seconds, start_collector, stop
from benchmarks.load_generator import Load

if TYPE_CHECKING:
    from benchmarks.load_generator import Make, Report

P99_MS_MAX = 60
RSS_MB_MAX = 1200
CONNECTIONS = 16
DISTINCT = 200  # requests that each background client sends in turn


class Kind(NamedTuple):
    """A kind of data: its background load, and the small request that is timed."""

    background: Make
    records_per_request: int
    records_per_s: int  # half of what is promised
    small: Make


KINDS: dict[str, Kind | None] = {
    "none": None,
    "spans": Kind(span_requests, 500, 125_000, partial(span_requests, spans=1)),
    "log events": Kind(log_requests, 500, 150_000, partial(log_requests, events=1)),
    "metric points": Kind(metric_requests, 500, 75_000, partial(metric_requests, datums=1)),
}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-small-") as folder:
        collector, url = start_collector(Path(folder) / "store")
        try:
            make_streams(url)
            with MemorySamples(collector.pid) as memory:
                results = {
                    name: _measure(url, kind, options.seconds, collector.pid)
                    for name, kind in KINDS.items()
                }
        finally:
            stop(collector)
    machine = {"collector_peak_sampled_rss_mb": round(memory.peak_mb), "cores": os.cpu_count()}
    print(json.dumps({**results, **machine}, indent=2))
    met = {
        f"{name}: p99 {result['small'][small]['p99_ms']} ms <= {P99_MS_MAX} ms for one {small}": (
            result["small"][small]["p99_ms"] <= P99_MS_MAX
        )
        for name, result in results.items()
        for small in result["small"]
    }
    met[f"memory {memory.peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB"] = memory.peak_mb < RSS_MB_MAX
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def _measure(url: str, kind: Kind | None, seconds: float, pid: int) -> dict[str, Any]:
    """Times of small requests beside the load of `kind`; of all kinds where there is no load."""
    if kind is None:
        kinds = {name: each for name, each in KINDS.items() if each is not None}
        return {
            "small": {
                name: _times(_small(url, each.small, seconds / 3)) for name, each in kinds.items()
            }
        }
    load = Load(
        url,
        kind.background,
        clients=2,
        connections=CONNECTIONS,
        requests=2 * DISTINCT,
        seconds=seconds + 2,
        rate_per_s=kind.records_per_s / kind.records_per_request,
    )
    small = Load(url, kind.small, clients=1, connections=1, requests=2000, seconds=seconds)
    cpu_s = cpu_seconds(pid)
    load.start()
    small.start()
    report, background = small.wait(), load.wait()
    name = next(name for name, each in KINDS.items() if each is kind)
    return {
        "background_records_per_s": round(background.records / (seconds + 2)),
        "background_wanted_per_s": kind.records_per_s,
        "background_refused": dict(background.refused),
        "client_cores": round(background.client_cpu_s / background.seconds, 2),
        "collector_cores": round((cpu_seconds(pid) - cpu_s) / background.seconds, 2),
        "small": {name: _times(report)},
    }


def _small(url: str, make: Make, seconds: float) -> Report:
    load = Load(url, make, clients=1, connections=1, requests=2000, seconds=seconds)
    load.start()
    return load.wait()


def _times(report: Report) -> dict[str, float]:
    return {
        "requests": report.requests,
        "p50_ms": round(report.latency_ms(0.5), 1),
        "p99_ms": round(report.latency_ms(0.99), 1),
    }


def make_streams(url: str) -> None:
    """The group and streams that the clients of `log_requests` write to."""
    logs = boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    logs.create_log_group(logGroupName=LOG_GROUP)
    for client in range(2):
        logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=f"client-{client}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

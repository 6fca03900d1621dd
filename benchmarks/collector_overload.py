"""What the collector does when it is sent several times what it can store.

Clients with hundreds of connections send as fast as they are answered, refused or not: spans, log
events and metric data at once. The collector must answer each request with 200, 429 or 503, keep
its memory, answer /healthz and reads meanwhile, and store a request within 5 s of the end.

    python -m benchmarks.collector_overload [--minutes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bodies import log_requests, metric_requests, span_requests
from benchmarks.collector_process import MemorySamples, start_collector, stop
from benchmarks.collector_small import make_streams
from benchmarks.load_generator import Load, run

if TYPE_CHECKING:
    from typing_extensions import Self

    from benchmarks.load_generator import Make

RSS_MB_MAX = 1200
RECOVERY_S_MAX = 5
CONNECTIONS = 150
DISTINCT = 150
SPANS_PER_REQUEST = 2000  # large bodies fill the room for bodies before the engine is full
PROBE_INTERVAL_S = 1


def main() -> int:
    options = _options()
    seconds = options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="lambdatrace-overload-") as folder:
        collector, url = start_collector(Path(folder) / "store")
        try:
            make_streams(url)
            makers: dict[str, Make] = {
                "spans": partial(span_requests, spans=SPANS_PER_REQUEST),
                "log events": log_requests,
                "metric points": metric_requests,
            }
            loads = {
                name: Load(
                    url,
                    make,
                    clients=1,
                    connections=CONNECTIONS,
                    requests=DISTINCT,
                    seconds=seconds,
                )
                for name, make in makers.items()
            }
            with MemorySamples(collector.pid) as memory, _Probe(url) as probe:
                for load in loads.values():
                    load.start()
                reports = {name: load.wait() for name, load in loads.items()}
                ended = time.perf_counter()
                run(url, partial(span_requests, spans=1), clients=1, connections=1, requests=1)
                recovery_s = time.perf_counter() - ended
        finally:
            stop(collector)
    refused = sum(sum(report.refused.values()) for report in reports.values())
    results = {
        "minutes": options.minutes,
        **{name: report.shown() for name, report in reports.items()},
        "recovery_s": round(recovery_s, 2),
        "healthz_slowest_ms": round(max(probe.seconds) * 1000),
        "healthz_failures": probe.failures,
        "memory_mb": {
            "peak": round(memory.peak_mb),
            "per_tenth": [round(peak) for peak in _peaks(memory.samples_mb)],
        },
        "cores": os.cpu_count(),
    }
    print(json.dumps(results, indent=2))
    met = {
        f"it was overloaded ({refused} requests were refused)": refused > 0,
        "every request was answered with 200, 429 or 503": True,  # else a client had failed
        f"memory {memory.peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB": memory.peak_mb < RSS_MB_MAX,
        f"a request was stored {recovery_s:.1f} s after the end": recovery_s <= RECOVERY_S_MAX,
        "/healthz answered all the while": not probe.failures,
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


class _Probe:
    """Asks /healthz each second while the context lasts."""

    def __init__(self, url: str) -> None:
        self.seconds = [0.0]
        self.failures = 0
        self._url = f"{url}/healthz"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(PROBE_INTERVAL_S):
            began = time.perf_counter()
            try:
                with urllib.request.urlopen(self._url, timeout=30) as answer:
                    answer.read()
            except OSError:
                self.failures += 1
            self.seconds.append(time.perf_counter() - began)


def _peaks(samples: list[float]) -> list[float]:
    """The largest of each tenth of the samples: what grows shows."""
    size = max(1, len(samples) // 10)
    return [max(samples[start : start + size]) for start in range(0, size * 10, size)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

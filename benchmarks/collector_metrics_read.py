"""How long GetMetricData takes over 100 million stored points, and what a point takes on disk.

The points are made in SQL, as the views write them, by the embedded engine alone; then a collector
serves the store and boto3 asks it. Two stores' worth of time in one:
10,000 metrics with a point a minute for a week, of which 100 p99 series over three hours are asked,
and 100 of them again with a point a second for the last three hours.

    python -m benchmarks.collector_metrics_read [--points 100000000] [--store FOLDER] [--moto]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from benchmarks.collector_process import cpu_seconds, peak_rss_mb, scalar, start_collector, stop

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = 10_000
SERIES = 100
HOURS = 3
P99_MS_MAX = 200
ROUNDS = 10
NAMESPACE = "Orders"

# What the views of `metric_input` write, without its way there: 100 million points in minutes.
_FILL = """
INSERT INTO metric_samples (metric_id, timestamp_ms, sample_id, unit, values, counts)
SELECT
    sipHash64('123456789012', 'eu-west-1', '{namespace}', 'Latency', ['FunctionName'],
              [concat('orders-', toString(number % {metrics}))]),
    {end_ms} - (intDiv(number, {metrics}) + 1) * {step_ms},
    sipHash64(number),
    'Milliseconds',
    [round(exp(randNormal(3, 1)), 2)],
    [1.]
FROM numbers({start}, {count})
"""
_FILL_METRICS = """
INSERT INTO metrics
SELECT
    '123456789012', 'eu-west-1', '{namespace}', 'Latency',
    sipHash64('123456789012', 'eu-west-1', '{namespace}', 'Latency', names, values) AS metric_id,
    ['FunctionName'] AS names, [concat('orders-', toString(number))] AS values, {end_ms}
FROM numbers({metrics})
"""
_FILLER = """
import sys, clickhouse_connect as c
client = c.get_client(dsn="chdb://" + sys.argv[1], database="lambdatrace")
for line in sys.stdin.read().split(";"):
    client.command(line)
"""


def main() -> int:
    options = _options()
    folder = options.store or Path(tempfile.mkdtemp(prefix="lambdatrace-bench-"))
    try:
        result, met = measure(folder / "store", options)
    finally:
        if options.store is None:
            shutil.rmtree(folder)
    print(json.dumps(result, indent=2))
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def measure(store: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    """The figures, and which of them are what they should be."""
    result: dict[str, Any] = {"cores": os.cpu_count()}
    end = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    if not (store / "engine").exists():
        started = time.perf_counter()
        fill(store, end, options.points)
        result["fill_seconds"] = round(time.perf_counter() - started)
    else:
        newest_ms = scalar(store, "SELECT max(timestamp_ms) FROM metric_samples")
        end = datetime.fromtimestamp(newest_ms / 1000, timezone.utc) + timedelta(minutes=1)
        end = end.replace(second=0, microsecond=0)
    result["points"] = scalar(store, "SELECT count() FROM metric_samples")
    stored_bytes = scalar(
        store,
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'metric_samples'",
    )
    result["bytes_per_point"] = round(stored_bytes / result["points"], 2)
    collector, url = start_collector(store)
    try:
        result |= timings(client(url), collector.pid, end)
        result["peak_rss_mb"] = round(peak_rss_mb(collector.pid))
    finally:
        stop(collector)
    if options.moto:
        result["moto"] = beside_moto(end)
    ms = result["p99_100_series_3h_by_minute_ms"]
    return result, {
        f"100 p99 series over 3 h of a point a minute in {ms} ms <= {P99_MS_MAX} ms": ms
        <= P99_MS_MAX
    }


def fill(store: Path, end: datetime, points: int) -> None:
    """`points` points by the minute, and `SERIES` metrics by the second for three hours."""
    collector, _ = start_collector(store)  # makes the tables
    stop(collector)
    end_ms = round(end.timestamp() * 1000)
    at_once = 5_000_000
    sparse = [
        _FILL.format(
            namespace=NAMESPACE,
            metrics=METRICS,
            end_ms=end_ms,
            step_ms=60_000,
            start=start,
            count=min(at_once, points - start),
        )
        for start in range(0, points, at_once)
    ]
    dense = _FILL.format(
        namespace=f"{NAMESPACE}/Dense",
        metrics=SERIES,
        end_ms=end_ms,
        step_ms=1000,
        start=0,
        count=SERIES * HOURS * 3600,
    )
    metrics = [
        _FILL_METRICS.format(namespace=namespace, metrics=count, end_ms=end_ms)
        for namespace, count in ((NAMESPACE, METRICS), (f"{NAMESPACE}/Dense", SERIES))
    ]
    subprocess.run(
        [sys.executable, "-c", _FILLER, str(store / "engine")],
        input=";".join((*sparse, dense, *metrics)),
        text=True,
        check=True,
        cwd=store,
    )


def timings(cloudwatch: Any, pid: int, end: datetime) -> dict[str, Any]:
    """Milliseconds of the calls: the median of ten, and of the collector's CPU time."""

    def asked(namespace: str, stat: str, period: int) -> Callable[[], Any]:
        queries = [
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": "Latency",
                        "Dimensions": [{"Name": "FunctionName", "Value": f"orders-{number}"}],
                    },
                    "Period": period,
                    "Stat": stat,
                },
            }
            for number in range(SERIES)
        ]
        return lambda: cloudwatch.get_metric_data(
            MetricDataQueries=queries, StartTime=end - timedelta(hours=HOURS), EndTime=end
        )

    calls: dict[str, Callable[[], Any]] = {
        "p99_100_series_3h_by_minute": asked(NAMESPACE, "p99", 60),
        "p99_100_series_3h_by_5_minutes": asked(NAMESPACE, "p99", 300),
        "sum_100_series_3h_by_minute": asked(NAMESPACE, "Sum", 60),
        "p99_100_series_3h_of_a_point_a_second": asked(f"{NAMESPACE}/Dense", "p99", 300),
        "search_of_100_series_sorted": lambda: cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": "e",
                    "Expression": (
                        f'SORT(SEARCH(\'{{{NAMESPACE},FunctionName}} "orders-1" OR "orders-2"\','
                        " 'p99', 300), MAX, DESC, 10)"
                    ),
                }
            ],
            StartTime=end - timedelta(hours=HOURS),
            EndTime=end,
        ),
        "list_metrics_page": lambda: cloudwatch.list_metrics(Namespace=NAMESPACE),
    }
    found: dict[str, Any] = {}
    for name, call in calls.items():
        answer = call()
        results = answer.get("MetricDataResults", [])
        found[f"{name}_points"] = sum(len(item["Values"]) for item in results) or len(
            answer.get("Metrics", [])
        )
        before_s = cpu_seconds(pid)
        found[f"{name}_ms"] = median_ms(call)
        # Does not move with what else the machine does.
        found[f"{name}_cpu_ms"] = round((cpu_seconds(pid) - before_s) * 1000 / ROUNDS)
    return found


def median_ms(call: Callable[[], Any]) -> float:
    """The median time of a call."""
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call()
        took.append((time.perf_counter() - started) * 1000)
    return round(statistics.median(took), 1)


def beside_moto(end: datetime) -> dict[str, Any]:
    """The same small work on moto's server and on a collector: 10,000 points, 10 sums over 3 h."""
    found: dict[str, Any] = {}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stderr is not None
        url = next(line.split()[-1] for line in server.stderr if "Running on http" in line)
        found["moto"] = small_work(client(url), end)
    finally:
        server.terminate()
        server.communicate()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        collector, url = start_collector(Path(folder) / "store")
        try:
            found["collector"] = small_work(client(url), end)
        finally:
            stop(collector)
    return found


def small_work(cloudwatch: Any, end: datetime) -> dict[str, float]:
    started = time.perf_counter()
    for part in range(10):
        cloudwatch.put_metric_data(
            Namespace="Small",
            MetricData=[
                {
                    "MetricName": f"m{number % 10}",
                    "Timestamp": end - timedelta(seconds=part * 1000 + number),
                    "Value": float(number),
                }
                for number in range(1000)
            ],
        )
    put_ms = (time.perf_counter() - started) * 1000
    queries = [
        {
            "Id": f"q{number}",
            "MetricStat": {
                "Metric": {"Namespace": "Small", "MetricName": f"m{number}"},
                "Period": 60,
                "Stat": "Sum",
            },
        }
        for number in range(10)
    ]
    return {
        "put_10000_points_ms": round(put_ms),
        "get_10_sums_over_3h_ms": median_ms(
            lambda: cloudwatch.get_metric_data(
                MetricDataQueries=queries, StartTime=end - timedelta(hours=HOURS), EndTime=end
            )
        ),
    }


def client(url: str) -> Any:
    """An unmodified boto3 client."""
    return boto3.client(
        "cloudwatch",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(read_timeout=300, retries={"total_max_attempts": 1}),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000_000)
    parser.add_argument("--store", type=Path, help="a folder to keep, and to use again")
    parser.add_argument("--moto", action="store_true", help="the same small work on moto's server")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

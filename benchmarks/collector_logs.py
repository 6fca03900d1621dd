"""Log events per second that PutLogEvents acknowledges, and how fast FilterLogEvents reads.

Writing: a fresh collector on an empty embedded store, eight clients with requests of 2,000 events
of about 200 bytes, made before the clock starts; in the end the store must hold what was
acknowledged.
Reading: a store with `--stored` events of ten groups over a day, made in the engine; then
FilterLogEvents by a JSON pattern over an hour of one group, the median of twenty.

    python -m benchmarks.collector_logs [--events 3000000] [--stored 50000000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from benchmarks.bodies import LOG_GROUP, log_requests
from benchmarks.collector_process import (
    cpu_seconds,
    peak_rss_mb,
    scalar,
    start_collector,
    stop,
)
from benchmarks.load_generator import Load

EVENTS_PER_S_MIN = 300_000
FILTER_MS_MAX = 150
CLIENTS = 8
CONNECTIONS = 4  # of each
PER_REQUEST = 2_000  # events, 440 kB; AWS takes up to 10,000 and 1 MB
READS = 20
HOUR_MS = 3_600_000
PATTERN = '{ $.level = "ERROR" && $.latency_ms > 490 }'

# Ten groups over the last day, a row in 576 of them an ERROR of over 490 ms.
GENERATE = """
INSERT INTO log_events (account, region, log_group, timestamp_ms, event_id, log_stream,
    ingestion_ms, message)
SELECT '123456789012', 'eu-west-1', concat('/aws/lambda/orders-', toString(number % 10)),
    {start:Int64} + intDiv(number * 86400000, {rows:UInt64}) AS moment,
    bitOr(bitShiftLeft(toUInt128(moment * 1000000), 64), toUInt128(number)),
    concat('stream-', toString(number % 7)), moment,
    concat('{"level": "', if(number % 53 = 0, 'ERROR', 'INFO'),
        '", "message": "charged the card", "requestId": "', lower(hex(MD5(toString(number)))),
        '", "orderId": ', toString(number * 7919 % 100003),
        ', "latency_ms": ', toString(number * 104729 % 5000 / 10),
        ', "function": "orders-', toString(number % 10), '"}')
FROM numbers({first:UInt64}, {count:UInt64})
"""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        written = write(Path(folder) / "written", options.events)
        read = read_back(Path(folder) / "read", options.stored)
    print(json.dumps({**written, **read, "cores": os.cpu_count()}, indent=2))
    rate, filter_ms = written["events_per_s"], read["filter_p50_ms"]
    met = {
        f"events/s {rate:,} >= {EVENTS_PER_S_MIN:,}": rate >= EVENTS_PER_S_MIN,
        "stored = acknowledged": written["stored_events"] == written["acknowledged_events"],
        f"FilterLogEvents {filter_ms} ms <= {FILTER_MS_MAX} ms": filter_ms <= FILTER_MS_MAX,
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


def write(store: Path, events: int) -> dict[str, Any]:
    """What PutLogEvents takes from eight clients."""
    collector, url = start_collector(store)
    try:
        logs = _client(url)
        logs.create_log_group(logGroupName=LOG_GROUP)
        for client in range(CLIENTS):
            logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=f"client-{client}")
        load = Load(
            url,
            partial(log_requests, events=PER_REQUEST),
            clients=CLIENTS,
            connections=CONNECTIONS,
            requests=events // PER_REQUEST,
        )
        idle_cpu_s = cpu_seconds(collector.pid)
        load.start()
        report = load.wait()
        cpu_s = cpu_seconds(collector.pid) - idle_cpu_s
        peak_mb = peak_rss_mb(collector.pid)
    finally:
        stop(collector)
    stored = scalar(store, "SELECT count() FROM log_events FINAL")
    on_disk = scalar(
        store,
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'log_events' AND active",
    )
    return {
        **{f"write_{name}": value for name, value in report.shown().items()},
        "events_per_s": round(report.records_per_s),
        "acknowledged_events": report.records,
        "stored_events": stored,
        "bytes_on_disk_per_event": round(on_disk / stored, 1),
        "collector_peak_rss_mb": round(peak_mb),
        "collector_cpu_us_per_event": round(cpu_s * 1e6 / stored, 2),
    }


def read_back(store: Path, rows: int) -> dict[str, Any]:
    """How fast an hour of a group is filtered, with `rows` events stored."""
    end_ms = time.time_ns() // 1_000_000
    collector, url = start_collector(store)
    _client(url).create_log_group(logGroupName="/aws/lambda/orders-3")
    stop(collector)
    generate(store, rows, end_ms - 24 * HOUR_MS)
    collector, url = start_collector(store)
    try:
        logs = _client(url)
        seconds, found = [], 0
        for place in range(READS):
            start_ms = end_ms - (place + 2) * HOUR_MS
            began = time.perf_counter()
            answer = logs.filter_log_events(
                logGroupName="/aws/lambda/orders-3",
                startTime=start_ms,
                endTime=start_ms + HOUR_MS,
                filterPattern=PATTERN,
            )
            seconds.append(time.perf_counter() - began)
            found += len(answer["events"])
    finally:
        stop(collector)
    return {
        "stored": rows,
        "filtered_events_of_a_page": found // READS,
        "filter_p50_ms": round(statistics.median(seconds) * 1000, 1),
        "filter_max_ms": round(max(seconds) * 1000, 1),
    }


def generate(store: Path, rows: int, start_ms: int) -> None:
    """Write `rows` events into a closed store, in the engine."""
    script = (
        "import sys, clickhouse_connect as c;"
        "store, rows, start, text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4];"
        "client = c.get_client(dsn='chdb://' + store, database='lambdatrace');"
        "step = 2_000_000;"
        "[client.command(text, parameters={'rows': rows, 'start': start, 'first': first,"
        " 'count': min(step, rows - first)}) for first in range(0, rows, step)]"
    )
    subprocess.run(
        [
            *(sys.executable, "-c", script, str(store / "engine")),
            *(str(rows), str(start_ms), GENERATE),
        ],
        check=True,
        timeout=1800,
    )


def _client(url: str) -> Any:
    return boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--stored", type=int, default=50_000_000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Seconds that Logs Insights queries take over a day of a store with 50 million log events.

The events are made in the engine, over seven days and eight groups: six in ten are JSON, three are
text, one is a REPORT line. Then a collector is started on the store, and a client sends each query
and asks for its results until they are complete; the best of three is told.

    python -m benchmarks.collector_insights [--events 50000000] [--store FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3

from benchmarks.collector_process import scalar, start_collector, stop

DAYS, GROUPS = 7, 8
DAY_S = 86_400
STATS_S_MAX = 1.0  # of the queries whose name begins with it
QUERIES = {
    "stats count(*) by bin(5m)": "stats count(*) by bin(5m)",
    "stats of a REPORT field": "filter @type = 'REPORT' | stats avg(@duration) by bin(5m)",
    "stats of a JSON field": "filter level = 'ERROR' | stats avg(latency) by bin(5m)",
    "newest 20": "fields @timestamp, @message | sort @timestamp desc | limit 20",
    "newest 20 with ERROR": "filter @message like /ERROR/ | limit 20",
}
MESSAGES = r"""multiIf(
    number % 10 < 6, concat(
        '{"level":"', ['INFO', 'INFO', 'WARN', 'ERROR'][1 + cityHash64(number) % 4],
        '","requestId":"', toString(reinterpretAsUUID(sipHash128(number))),
        '","latency":', toString(cityHash64(number, 1) % 2000),
        ',"user":{"id":', toString(cityHash64(number, 2) % 100000),
        ',"tier":"gold"},"message":"charged order ', toString(number), '"}'),
    number % 10 < 9, concat(
        '2026-11-21T00:00:00.000Z\t', toString(reinterpretAsUUID(sipHash128(number))),
        '\tINFO\tprocessing item ', toString(cityHash64(number, 3) % 5000), ' of a batch'),
    concat(
        'REPORT RequestId: ', toString(reinterpretAsUUID(sipHash128(number))),
        '\tDuration: ', toString((cityHash64(number, 4) % 300000) / 100),
        ' ms\tBilled Duration: ', toString(1 + intDiv(cityHash64(number, 4) % 300000, 100)),
        ' ms\tMemory Size: 512 MB\tMax Memory Used: ',
        toString(60 + cityHash64(number, 5) % 200), ' MB\t\n'))"""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        store = Path(options.store or folder) / "store"
        if not (store / "engine").exists():
            stop(start_collector(store)[0])  # makes the tables
            _fill(store, options.events)
        stored = scalar(store, "SELECT count() FROM log_events")
        stored_bytes = scalar(
            store,
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'log_events'",
        )
        collector, url = start_collector(store)
        try:
            taken = {
                f"{name}, {groups} of {GROUPS} groups": min(
                    _seconds(url, query, groups) for _ in range(3)
                )
                for groups in (1, GROUPS)
                for name, query in QUERIES.items()
            }
        finally:
            stop(collector)
    result: dict[str, Any] = {
        "stored_events": stored,
        "bytes_per_event": round(stored_bytes / stored, 1),
        "events_of_a_group_s_day": stored // DAYS // GROUPS,
        **{name: round(seconds, 3) for name, seconds in taken.items()},
    }
    print(json.dumps(result, indent=2))
    bar = max(seconds for name, seconds in taken.items() if name.startswith("stats count"))
    return 0 if bar <= STATS_S_MAX else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--store", help="a folder to keep the store in, and to find it again")
    return parser.parse_args()


def _today() -> int:
    return int(time.time()) // DAY_S * DAY_S


def _fill(store: Path, events: int) -> None:
    """Events of whole days up to today's midnight, evenly, and their groups."""
    each = events // DAYS
    for group in range(GROUPS):
        _insert(
            store,
            "INSERT INTO log_groups (account, region, log_group, log_group_class) VALUES"
            f" ('123456789012', 'eu-west-1', '/aws/lambda/fn-{group}', 'STANDARD')",
        )
    for day in range(DAYS):
        start_ms = (_today() - (day + 1) * DAY_S) * 1000
        _insert(
            store,
            "INSERT INTO log_events (account, region, log_group, timestamp_ms, event_id,"
            " log_stream, ingestion_ms, message) SELECT '123456789012', 'eu-west-1',"
            f" concat('/aws/lambda/fn-', toString(intDiv(number, 10) % {GROUPS})),"
            f" {start_ms} + intDiv(number * {DAY_S * 1000}, {each}) AS at,"
            f" toUInt128({day * each}) + number + 1, 'stream', at + 500, {MESSAGES}"
            f" FROM numbers({each})",
        )


def _insert(store: Path, sql: str) -> None:
    """Run `sql` in an engine of its own, on a closed store."""
    script = (
        "import sys, clickhouse_connect as c;"
        "client = c.get_client(dsn='chdb://' + sys.argv[1], database='lambdatrace');"
        "client.command(sys.argv[2], settings={'max_threads': 1, 'max_insert_threads': 1})"
    )
    arguments = [sys.executable, "-c", script, str(store / "engine"), sql]
    subprocess.run(arguments, check=True, timeout=900, cwd=store)


def _seconds(url: str, query: str, groups: int) -> float:
    logs = boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    began = time.perf_counter()
    query_id = logs.start_query(
        logGroupNames=[f"/aws/lambda/fn-{group}" for group in range(groups)],
        queryString=query,
        startTime=_today() - DAY_S,
        endTime=_today() - 1,
    )["queryId"]
    while True:
        answer = logs.get_query_results(queryId=query_id)
        if answer["status"] not in ("Scheduled", "Running"):
            break
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    if answer["status"] != "Complete" or not answer["results"]:
        raise RuntimeError(f"{query} is {answer['status']}, {len(answer['results'])} rows")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())

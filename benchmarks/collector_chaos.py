"""What the collector holds after hundreds of `kill -9` at random moments under mixed load.

Clients send spans, log events and metric data without a pause, and another makes log groups,
streams and filters. The collector is killed again and again, at a random moment from the middle of
its start on, and started anew. What was not acknowledged is sent again, the same bytes. In the end
everything was acknowledged once, and is counted in the store: nothing may be missing, spans and
metric data must be there exactly once, log events at least once.

    python -m benchmarks.collector_chaos [--kills 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.bodies import (
    LOG_GROUP,
    aws_json_request,
    encoded_spans,
    with_own_ids_and_times,
)
from benchmarks.collector_process import MemorySamples, scalar, start_collector, stop
from benchmarks.load_generator import Load, http_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.load_generator import Make, Request

SPANS, EVENTS, DATUMS = 20, 20, 20  # per request: many small requests leave many moments
RUN_MAX_S = 1.2  # how long a collector lives once it is ready
START_KILLS = 0.1  # the share of kills that hit the start
BACKLOG_DEADLINE_S = 120
RSS_MB_MAX = 1200
CONNECTIONS = 4
_TRANSFORMATION = {"metricName": "Errors", "metricNamespace": "Chaos", "metricValue": "1"}


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="lambdatrace-chaos-") as folder:
        store, log = Path(folder) / "store", Path(folder) / "log"
        port = _free_port()
        chaos = _Chaos(store, f"127.0.0.1:{port}", log, random.Random(options.seed))
        url = f"http://127.0.0.1:{port}"
        chaos.start()
        catalog = _Catalog(url)
        catalog.prepare()
        loads = {
            name: Load(url, make, clients=1, connections=CONNECTIONS, survives_restarts=True)
            for name, make in _MAKERS.items()
        }
        for load in loads.values():
            load.start()
        catalog.start()
        began = time.perf_counter()
        for _ in range(options.kills):
            chaos.kill()
        catalog.end()
        for load in loads.values():
            load.stop()
        reports = {name: load.wait() for name, load in loads.items()}
        seconds = time.perf_counter() - began
        missing = catalog.missing()
        chaos.stop()
        stored = {name: scalar(store, sql) for name, sql in _STORED.items()}
        logged = log.read_text(encoding="utf-8")
    print(
        json.dumps(
            {
                "kills": options.kills,
                "kills_while_starting": chaos.kills_while_starting,
                "seconds": round(seconds, 1),
                "acknowledged": {name: report.records for name, report in reports.items()},
                "sent_again": {name: report.lost_connections for name, report in reports.items()},
                "refused": {name: dict(report.refused) for name, report in reports.items()},
                "stored": stored,
                "catalog_operations": len(catalog.made),
                "ready_s": {
                    "median": round(sorted(chaos.ready_s)[len(chaos.ready_s) // 2], 2),
                    "slowest": round(max(chaos.ready_s), 2),
                },
                "collector_peak_sampled_rss_mb": round(chaos.peak_mb),
                "start_checks": _start_checks(logged),
            },
            indent=2,
        )
    )
    acknowledged = {name: report.records for name, report in reports.items()}
    met = {
        "every acknowledged span is there, once": stored["spans"] == acknowledged["spans"],
        "every acknowledged datum is there, once": stored["datums"] == acknowledged["datums"],
        "every acknowledged log event is there": stored["events"] == acknowledged["events"],
        f"every acknowledged operation had its effect (missing: {missing})": not missing,
        f"memory {chaos.peak_mb:,.0f} MB < {RSS_MB_MAX:,} MB": chaos.peak_mb < RSS_MB_MAX,
        "no request met a 500": not any(
            status not in (429, 503) for report in reports.values() for status in report.refused
        ),
    }
    for sentence, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
    return 0 if all(met.values()) else 1


class _Chaos:
    """A collector that is killed and started again on the same store and port."""

    def __init__(self, store: Path, address: str, log: Path, moments: random.Random) -> None:
        self._store, self._address, self._log, self._moments = store, address, log, moments
        self._process: subprocess.Popen[str] | None = None
        self._memory: MemorySamples | None = None
        self.ready_s: list[float] = []
        self.peak_mb = 0.0
        self.kills_while_starting = 0

    def start(self) -> None:
        began = time.perf_counter()
        try:
            self._process, _ = start_collector(self._store, http=self._address, log=self._log)
        except SystemExit:
            print(self._log.read_text(encoding="utf-8")[-5000:])
            raise
        self.ready_s.append(time.perf_counter() - began)
        self._memory = MemorySamples(self._process.pid)
        self._memory.__enter__()

    def kill(self) -> None:
        """Kill the collector that runs and start the next; sometimes kill that one as it starts."""
        assert self._process is not None
        time.sleep(self._moments.uniform(0, RUN_MAX_S))
        self._process.kill()
        self._ended()
        if self._moments.random() < START_KILLS:
            self.kills_while_starting += 1
            self._kill_a_start()
        self.start()

    def stop(self) -> None:
        assert self._process is not None
        stop(self._process)
        self._ended()

    def _kill_a_start(self) -> None:
        arguments = ("--store", f"chdb://{self._store}", "--http", self._address)
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lambdatrace_collector", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        time.sleep(self._moments.uniform(0.2, 1.5))
        process.kill()
        process.wait()

    def _ended(self) -> None:
        assert self._process is not None
        assert self._memory is not None
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._memory.__exit__(None, None, None)
        self.peak_mb = max(self.peak_mb, self._memory.peak_mb)


class _Catalog:
    """One client that makes log groups, streams and filters, each until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self._logs = boto3.client(
            "logs",
            endpoint_url=url,
            region_name="eu-west-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60),
        )
        self.made: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def prepare(self) -> None:
        """The group and streams that the other clients write to."""
        self._logs.create_log_group(logGroupName=LOG_GROUP)
        self._logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName="client-0")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def missing(self) -> list[str]:
        """The groups, streams and filters that were acknowledged and are not there."""
        pages = self._logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="chaos")
        groups = {group["logGroupName"] for page in pages for group in page["logGroups"]}
        missing = [name for name in self.made if name not in groups]
        for name in self.made:
            if name in groups:
                streams = self._logs.describe_log_streams(logGroupName=name)["logStreams"]
                if [stream["logStreamName"] for stream in streams] != ["s"]:
                    missing.append(f"{name}:s")
                filters = self._logs.describe_metric_filters(logGroupName=name)["metricFilters"]
                if [each["filterName"] for each in filters] != ["errors"]:
                    missing.append(f"{name}:errors")
        return missing

    def _work(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            name = f"chaos-{number:05d}"
            self._until_acknowledged(self._logs.create_log_group, logGroupName=name)
            self._until_acknowledged(
                self._logs.create_log_stream, logGroupName=name, logStreamName="s"
            )
            self._until_acknowledged(
                self._logs.put_metric_filter,
                logGroupName=name,
                filterName="errors",
                filterPattern="ERROR",
                metricTransformations=[_TRANSFORMATION],
            )
            self.made.append(name)
            time.sleep(0.05)

    def _until_acknowledged(self, operation: Any, **parameters: Any) -> None:
        while True:
            try:
                operation(**parameters)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceAlreadyExistsException":
                    return  # the try before was stored and its answer lost
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (429, 503):
                    raise
                time.sleep(0.2)
            except BotoCoreError:
                time.sleep(0.05)  # killed: it comes back
            else:
                return


def _span_requests(client: int, count: int) -> Iterator[Request]:
    del client, count  # without end
    template = encoded_spans(SPANS)
    headers = {"Content-Type": "application/x-protobuf"}
    while True:
        body = with_own_ids_and_times(template, time.time_ns())
        yield http_request("/v1/traces", body, headers, SPANS)


def _event_requests(client: int, count: int) -> Iterator[Request]:
    del client, count
    for number in itertools.count():
        now_ms = time.time_ns() // 1_000_000
        events = [
            {"timestamp": now_ms, "message": f"event {number * EVENTS + place}"}
            for place in range(EVENTS)
        ]
        stream = {"logGroupName": LOG_GROUP, "logStreamName": "client-0", "logEvents": events}
        yield aws_json_request("logs", "Logs_20140328.PutLogEvents", stream, EVENTS)


def _datum_requests(client: int, count: int, *, with_timestamp: bool) -> Iterator[Request]:
    del client, count
    for number in itertools.count():
        data = [
            {
                "MetricName": f"m{place}",
                "Value": float(number),
                **({"Timestamp": time.time()} if with_timestamp else {}),
            }
            for place in range(DATUMS)
        ]
        yield aws_json_request(
            "monitoring",
            "GraniteServiceVersion20100801.PutMetricData",
            {"Namespace": "Chaos", "MetricData": data},
            DATUMS,
        )


_MAKERS: dict[str, Make] = {
    "spans": _span_requests,
    "events": _event_requests,
    "datums": partial(_datum_requests, with_timestamp=True),
}
_STORED = {
    "spans": "SELECT count() FROM spans FINAL",
    "events": "SELECT uniqExact(message) FROM log_events",
    "events_with_copies": "SELECT count() FROM log_events FINAL",
    "datums": "SELECT count() FROM metric_samples FINAL",
}


def _start_checks(logged: str) -> dict[str, int]:
    """How often each thing was found at a start, numbers and names left out."""
    lines = re.findall(r"store check: (.*)", logged)
    shapes = [re.sub(r"\d[\d.]*", "N", line) for line in lines]
    return {shape: shapes.count(shape) for shape in sorted(set(shapes))}


def _free_port() -> int:
    """A free port below those that clients get, on which a client could connect to itself."""
    for port in range(20_000, 32_768):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no port from 20000 to 32767 is free")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

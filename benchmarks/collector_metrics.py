"""Datums per second that PutMetricData acknowledges from concurrent clients, in each protocol.

A fresh collector process on an empty embedded store for each protocol; client processes keep their
connections busy with requests of 1000 datums with two dimensions and one value, encoded before the
clock starts. In the end the store must hold exactly what was acknowledged.

    python -m benchmarks.collector_metrics [--datums 2000000] [--protocols json cbor query]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import cbor2

from benchmarks.collector_process import (
    MemorySamples,
    cpu_seconds,
    peak_rss_mb,
    scalar,
    start_collector,
    stop,
)
from benchmarks.load_generator import Load, http_request

if TYPE_CHECKING:
    from benchmarks.load_generator import Request

DATUMS_PER_REQUEST = 1000
DATUMS_PER_S_MIN = 150_000
RSS_MB_MAX = 1200
TARGET = "GraniteServiceVersion20100801"


def main() -> int:
    options = _options()
    met = True
    for protocol in options.protocols:
        result = measure(protocol, options)
        print(json.dumps({"protocol": protocol, **result}, indent=2))
        sentences = {
            f"{protocol}: stored = acknowledged": result["stored"] == result["records"],
            f"{protocol}: {result['datums_per_s']:,}/s >= {DATUMS_PER_S_MIN:,}": result[
                "datums_per_s"
            ]
            >= DATUMS_PER_S_MIN,
            f"{protocol}: peak {result['peak_rss_mb']:,} MB < {RSS_MB_MAX:,} MB": result[
                "peak_rss_mb"
            ]
            < RSS_MB_MAX,
        }
        for sentence, is_met in sentences.items():
            print(f"{'met   ' if is_met else 'MISSED'} {sentence}")
        met = met and all(sentences.values())
    return 0 if met else 1


def measure(protocol: str, options: argparse.Namespace) -> dict[str, Any]:
    """What one protocol gives on a collector of its own."""
    with tempfile.TemporaryDirectory(prefix="lambdatrace-bench-") as folder:
        store = Path(folder) / "store"
        collector, url = start_collector(store)
        try:
            load = Load(
                url,
                partial(datum_requests, protocol=protocol),
                clients=options.clients,
                connections=options.connections,
                requests=options.datums // DATUMS_PER_REQUEST,
            )
            idle_cpu_s = cpu_seconds(collector.pid)
            with MemorySamples(collector.pid):
                load.start()
                report = load.wait()
            cpu_s = cpu_seconds(collector.pid) - idle_cpu_s
            peak_mb = peak_rss_mb(collector.pid)
        finally:
            stop(collector)
        return {
            "records": report.records,
            "stored": scalar(store, "SELECT count() FROM metric_samples FINAL"),
            "seconds": round(report.seconds, 2),
            "datums_per_s": round(report.records_per_s),
            "latency_p50_ms": round(report.latency_ms(0.5)),
            "latency_p99_ms": round(report.latency_ms(0.99)),
            "peak_rss_mb": round(peak_mb),
            # These do not move with what else the machine does.
            "collector_cpu_us_per_datum": round(cpu_s * 1e6 / report.records, 2),
            "client_cpu_us_per_datum": round(report.client_cpu_s * 1e6 / report.records, 2),
            "bytes_per_point": round(
                scalar(
                    store,
                    "SELECT sum(bytes_on_disk) FROM system.parts"
                    " WHERE active AND table = 'metric_samples'",
                )
                / report.records,
                2,
            ),
            "refused": dict(report.refused),
            "connections": options.clients * options.connections,
            "cores": os.cpu_count(),
        }


def datum_requests(client: int, count: int, *, protocol: str) -> list[Request]:
    """PutMetricData requests of one client; its encoded bodies repeat after the first fifty."""
    distinct = [_request(client, place, protocol) for place in range(min(count, 50))]
    return [distinct[place % len(distinct)] for place in range(count)]


def _request(client: int, place: int, protocol: str) -> Request:
    now = int(time.time())
    datums = [
        {
            "MetricName": ("Latency", "Size", "Errors")[number % 3],
            "Dimensions": [
                {"Name": "FunctionName", "Value": f"orders-{number // 3 % 100}"},
                {"Name": "Stage", "Value": "live"},
            ],
            "Timestamp": now - number % 60,
            "Value": (place * 7919 + number * 104_729 + client) % 10_000 / 10,
            "Unit": ("Milliseconds", "Bytes", "Count")[number % 3],
        }
        for number in range(DATUMS_PER_REQUEST)
    ]
    if protocol == "cbor":
        times = [{**d, "Timestamp": cbor2.CBORTag(1, d["Timestamp"])} for d in datums]
        body = cbor2.dumps({"Namespace": "Orders", "MetricData": times})
        headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
        return http_request(
            f"/service/{TARGET}/operation/PutMetricData", body, headers, DATUMS_PER_REQUEST
        )
    if protocol == "query":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return http_request("/", urlencode(_form(datums)).encode(), headers, DATUMS_PER_REQUEST)
    body = json.dumps({"Namespace": "Orders", "MetricData": datums}).encode()
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": f"{TARGET}.PutMetricData",
    }
    return http_request("/", body, headers, DATUMS_PER_REQUEST)


def _form(datums: list[dict[str, Any]]) -> dict[str, str]:
    form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "Orders"}
    for place, datum in enumerate(datums, start=1):
        path = f"MetricData.member.{place}"
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(datum["Timestamp"]))
        form |= {
            f"{path}.MetricName": datum["MetricName"],
            f"{path}.Timestamp": moment,
            f"{path}.Value": str(datum["Value"]),
            f"{path}.Unit": datum["Unit"],
        }
        for number, dimension in enumerate(datum["Dimensions"], start=1):
            form |= {
                f"{path}.Dimensions.member.{number}.{key}": value
                for key, value in dimension.items()
            }
    return form


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datums", type=int, default=2_000_000)
    parser.add_argument("--clients", type=int, default=8, help="client processes")
    parser.add_argument("--connections", type=int, default=4, help="per client process")
    parser.add_argument("--protocols", nargs="+", default=["json", "cbor", "query"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

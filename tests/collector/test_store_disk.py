"""A disk that is full, read-only or hangs: real ones, mounted for the test."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.collector.test_store_faults import PROTOBUF, one_span, store_one_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.collector.conftest import Collector

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk needs root")

RECOVERY_DEADLINE_S = 20
LOG_CALL = {
    "X-Amz-Target": "Logs_20140328.PutLogEvents",
    "Content-Type": "application/x-amz-json-1.1",
}


def run(*command: str | Path) -> None:
    finished = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=30, check=False
    )
    if finished.returncode:
        pytest.skip(f"{command[0]}: {finished.stderr.decode().strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk of 220 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=220m", "tmpfs", disk)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=30)


@pytest.fixture
def ext4_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk that can be frozen: writes wait until it is thawed, reads do not."""
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(300_000_000)
    run("mkfs.ext4", "-q", image)
    run("mount", "-o", "loop", image, disk)
    yield disk
    subprocess.run(["fsfreeze", "-u", str(disk)], capture_output=True, timeout=30, check=False)
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=30)


def refusals(collector: Collector) -> list[tuple[int, str | None]]:
    """How a span and a log event are refused: status and Retry-After."""
    _, span = one_span()
    events = [{"timestamp": time.time_ns() // 1_000_000, "message": "m"}]
    body = {"logGroupName": "g", "logStreamName": "s", "logEvents": events}
    requests = [
        ("/v1/traces", span, PROTOBUF),
        ("/", json.dumps(body).encode(), LOG_CALL),
    ]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda request: collector.post(*request), requests))
    return [(answer.status, answer.headers.get("Retry-After")) for answer in answers]


def prepare(collector: Collector) -> str:
    """Makes the log group and stream `g`, `s`; gives the id of a stored trace."""
    logs = collector.client("logs", "us-east-1")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    return store_one_span(collector)


def wait_until_ready(collector: Collector) -> None:
    deadline = time.monotonic() + RECOVERY_DEADLINE_S
    while collector.get("/readyz").status != 200:
        assert time.monotonic() < deadline, collector.get("/readyz").body
        time.sleep(0.2)


RETRY_LATER = [(503, "1"), (503, "1")]


def test_a_full_disk_refuses_writes_serves_reads_and_recovers(
    start_collector: Callable[..., Collector], small_disk: Path
) -> None:
    collector = start_collector(small_disk / "store")
    stored = prepare(collector)
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(65536))
                file.flush()
        except OSError:
            pass
    refused = refusals(collector)
    ready = collector.get("/readyz")
    alive, read = collector.get("/healthz").status, collector.get(f"/api/v3/traces/{stored}").status
    filler.unlink()
    wait_until_ready(collector)
    later = store_one_span(collector)

    assert refused == RETRY_LATER
    assert (ready.status, alive, read) == (503, 200, 200)
    assert "bytes free" in json.loads(ready.body)["error"]["message"]
    assert [collector.get(f"/api/v3/traces/{trace}").status for trace in (stored, later)] == [
        200,
        200,
    ]


def test_a_disk_that_becomes_read_only_refuses_writes_serves_reads_and_recovers(
    start_collector: Callable[..., Collector], small_disk: Path
) -> None:
    collector = start_collector(small_disk / "store")
    stored = prepare(collector)
    # The engine holds files open for writing: only a forced remount takes the right from them.
    incoming = small_disk / "store" / "incoming"
    run("mount", "--bind", incoming, incoming)
    run("mount", "-o", "remount,ro,bind", incoming)
    refused = refusals(collector)
    ready = collector.get("/readyz")
    read = collector.get(f"/api/v3/traces/{stored}").status
    run("umount", incoming)
    wait_until_ready(collector)

    assert refused == RETRY_LATER
    assert (ready.status, read) == (503, 200)
    assert json.loads(ready.body)["error"]["message"] == (
        "the store cannot be written (Read-only file system): send this later"
    )
    store_one_span(collector)


def test_a_disk_that_hangs_refuses_writes_in_time_serves_reads_and_recovers(
    start_collector: Callable[..., Collector], ext4_disk: Path
) -> None:
    collector = start_collector(ext4_disk / "store")
    stored = prepare(collector)
    run("fsfreeze", "-f", ext4_disk)
    with ThreadPoolExecutor(1) as threads:
        refused = threads.submit(refusals, collector)
        time.sleep(1)
        ready = collector.get("/readyz")
        read = collector.get(f"/api/v3/traces/{stored}").status
        answers = refused.result()
    run("fsfreeze", "-u", ext4_disk)
    wait_until_ready(collector)

    assert answers == RETRY_LATER
    assert (ready.status, read) == (503, 200)
    assert "within 3 s" in json.loads(ready.body)["error"]["message"]
    store_one_span(collector)

"""Platform logs and metrics on their way to a collector: the real one, in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import boto3

from lambdatrace.harness.delivery import BATCH_BYTES_MAX, Delivery, batches, by_stream
from lambdatrace.harness.log_stream import LogEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]


@contextlib.contextmanager
def collector(folder: Path, port: int = 0) -> Iterator[str]:
    """A collector on an embedded store; gives its URL."""
    command = [sys.executable, "-m", "lambdatrace_collector", "--store", f"chdb://{folder}/store"]
    command += ["--http", f"127.0.0.1:{port}", "--no-grpc", "--no-xray"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()
            process.wait(30)


def aws(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def statistics(url: str, metric: str, *names: str) -> dict[str, float]:
    """Sum, sample count and maximum of a metric over the last hour; `names` are dimensions."""
    now = datetime.now(timezone.utc)
    points = aws("cloudwatch", url).get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": "app"} for name in names],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum", "SampleCount", "Maximum"],
    )["Datapoints"]
    return {
        "Sum": sum(p["Sum"] for p in points),
        "SampleCount": sum(p["SampleCount"] for p in points),
        "Maximum": max((p["Maximum"] for p in points), default=-1.0),
    }


def test_logs_and_metrics_of_invokes_are_in_the_collector_after_a_flush(
    run: Run, tmp_path: Path
) -> None:
    source = """
        def handler(event, context):
            print("line", event)
            if event == 2:
                raise ValueError("two")
    """
    with collector(tmp_path) as url:
        with run(source, collector_url=url) as harness:
            for n in range(4):
                harness.invoke("app", n)
            harness.wait_frozen("app")
            assert harness.flush()
            kept = [(e.timestamp_ms, e.message) for e in harness.logs("app")]
            [environment] = harness.environments("app")
            stored = aws("logs", url).get_log_events(
                logGroupName="/aws/lambda/app",
                logStreamName=environment.log_stream,
                startFromHead=True,
            )["events"]
            assert [(e["timestamp"], e["message"]) for e in stored] == kept
        function = ("FunctionName",)
        for dimensions in ((), function, ("FunctionName", "Resource")):
            assert statistics(url, "Invocations", *dimensions) == {
                "Sum": 4,
                "SampleCount": 4,
                "Maximum": 1,
            }
            assert statistics(url, "Errors", *dimensions) == {
                "Sum": 1,
                "SampleCount": 4,
                "Maximum": 1,
            }
        assert statistics(url, "Throttles", *function) == {
            "Sum": 0,
            "SampleCount": 4,
            "Maximum": 0,
        }
        assert statistics(url, "ConcurrentExecutions", *function)["Maximum"] == 1
        assert statistics(url, "Duration", *function)["SampleCount"] == 4


def test_what_waits_is_sent_when_the_collector_comes_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    delivery = Delivery(f"http://127.0.0.1:{port}", "us-east-1")
    delivery.start()
    now_ms = int(time.time() * 1000)
    with caplog.at_level(logging.WARNING, "lambdatrace.harness"):
        delivery.log("/aws/lambda/late", LogEvent(now_ms, "kept\n", "stream"))
        assert not delivery.flush(0.5)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"the collector at http://127.0.0.1:{port} takes nothing")
    with collector(tmp_path, port) as url:
        assert delivery.flush(30)
        events = aws("logs", url).get_log_events(
            logGroupName="/aws/lambda/late", logStreamName="stream"
        )["events"]
        delivery.stop(5)
    assert [event["message"] for event in events] == ["kept\n"]
    assert delivery.dropped == 0


def test_a_collector_that_never_comes_costs_a_bounded_stop_and_a_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdatrace.harness.delivery.WAITING_MAX", 10)
    delivery = Delivery(f"http://127.0.0.1:{free_port()}", "us-east-1")
    for n in range(15):
        delivery.log("/aws/lambda/lost", LogEvent(n, f"{n}", "stream"))
    assert delivery.dropped == 5
    delivery.start()
    with caplog.at_level(logging.WARNING, "lambdatrace.harness"):
        delivery.stop(0.3)
    assert delivery.dropped == 15
    assert caplog.messages[-1].startswith("15 log events and metric samples were not delivered")


def test_a_collector_that_refuses_connections_at_the_end_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    delivery = Delivery(f"http://127.0.0.1:{free_port()}", "us-east-1")
    delivery.start()
    for n in range(3):
        delivery.log("/aws/lambda/lost", LogEvent(n, f"{n}", f"stream {n}"))
    with caplog.at_level(logging.WARNING, "lambdatrace.harness"):
        delivery.stop(600)  # beyond what a test may take
    assert delivery.dropped == 3
    assert caplog.messages[-1].startswith("3 log events and metric samples were not delivered")


def test_report_lines_are_kept_while_megabytes_of_a_function_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lambdatrace.harness.delivery.WAITING_BYTES_MAX", 20_000)
    delivery = Delivery(f"http://127.0.0.1:{free_port()}", "us-east-1")
    for n in range(5):
        delivery.log("/aws/lambda/app", LogEvent(n, "x" * 9_000, "stream"))
        delivery.log("/aws/lambda/app", LogEvent(n, "REPORT RequestId: 1".ljust(500), "stream"))
    assert (delivery.dropped, delivery.waiting_bytes) == (3, 2 * 9_000 + 5 * 500)


def test_events_for_a_store_that_was_emptied_are_stored_in_a_new_group(tmp_path: Path) -> None:
    port = free_port()
    delivery = Delivery(f"http://127.0.0.1:{port}", "us-east-1")
    delivery.start()
    try:
        for run in ("first", "second"):
            (tmp_path / run).mkdir()
            with collector(tmp_path / run, port) as url:
                for n in (1, 2):
                    now_ms = int(time.time() * 1000)
                    delivery.log("/aws/lambda/app", LogEvent(now_ms, f"{run} {n}", "stream"))
                    assert delivery.flush(30)
                stored = aws("logs", url).filter_log_events(logGroupName="/aws/lambda/app")
                messages = [event["message"] for event in stored["events"]]
                assert messages == [f"{run} 1", f"{run} 2"]
    finally:
        delivery.stop(1)
    assert delivery.dropped == 0


def test_every_event_of_a_refused_batch_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with collector(tmp_path) as url:
        delivery = Delivery(url, "us-east-1")
        delivery.start()
        now_ms = int(time.time() * 1000)
        with caplog.at_level(logging.WARNING, "lambdatrace.harness"):
            for n in range(3):
                delivery.log("no group: is called this", LogEvent(now_ms, f"{n}", "stream"))
            delivery.log("/aws/lambda/app", LogEvent(now_ms, "fine", "stream"))
            assert not delivery.flush(30)
            delivery.stop(10)
    assert delivery.dropped == 3
    assert caplog.messages[-1].startswith("3 log events and metric samples were not delivered")


def test_an_event_taken_while_others_are_settled_stays_in_the_count(tmp_path: Path) -> None:
    class Message(str):
        """Another event is taken at the moment the delivery's thread asks for the length."""

        __slots__ = ()

        def __len__(self) -> int:
            if threading.current_thread().name == "lambdatrace-delivery":
                delivery.log("/aws/lambda/app", LogEvent(now_ms, "more", "stream"))
            return super().__len__()

    now_ms = int(time.time() * 1000)
    with collector(tmp_path) as url:
        delivery = Delivery(url, "us-east-1")
        delivery.start()
        delivery.log("/aws/lambda/app", LogEvent(now_ms, Message("first"), "stream"))
        assert delivery.waiting_bytes == 5
        assert delivery.flush(30)
        assert delivery.flush(30)
        assert delivery.waiting_bytes == 0
        delivery.stop(10)


def test_events_are_sorted_by_stream_and_time_and_cut_to_the_size_of_a_request() -> None:
    records = [
        ("g", LogEvent(2, "b", "s1")),
        ("g", LogEvent(1, "a", "s1")),
        ("g", LogEvent(1, "c", "s2")),
    ]
    assert by_stream(records) == {
        ("g", "s1"): [LogEvent(1, "a", "s1"), LogEvent(2, "b", "s1")],
        ("g", "s2"): [LogEvent(1, "c", "s2")],
    }
    long = "x" * (BATCH_BYTES_MAX // 2)
    events = [LogEvent(n, message, "s") for n, message in enumerate(["a", "", long, long, "b"])]
    assert [[e["timestamp"] for e in batch] for batch in batches(events)] == [[0, 2], [3, 4]]
    assert batches(events[:1]) == [[{"timestamp": 0, "message": "a"}]]
    assert batches([]) == []

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.guard import Guard
from lambdatrace.records import Span, SpanContext
from lambdatrace.sinks.x_ray_udp import XRayUdpSink
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        yield receiver


def received(daemon: socket.socket) -> dict[str, Any]:
    header, _, document = daemon.recv(65_536).partition(b"\n")
    assert json.loads(header) == {"format": "json", "version": 1}
    found: dict[str, Any] = json.loads(document)
    return found


def span(name: str, trace_id: str = "1" * 32, **options: Any) -> Span:
    made = Span(name, SpanContext(trace_id, "2" * 16), None, 1, **options)
    made.end(2)
    return made


def test_each_span_is_a_datagram_and_a_long_one_is_divided_not_lost(
    daemon: socket.socket,
) -> None:
    reports: list[str] = []
    host, port = daemon.getsockname()
    sink = XRayUdpSink(host, port, lambda place, error: reports.append(f"{place}: {error}"))
    texts = {"a": "a" * 40_000, "b": "b" * 40_000, "c": "c" * 40_000}
    spans = [span("a"), span("bad", "z" * 32), span("long", attributes=texts)]
    outcome = sink.send(spans, 5, lambda: None)
    assert (outcome.is_accepted, outcome.rejected, outcome.unencodable) == (True, 0, 1)
    assert received(daemon)["name"] == "a"
    parts = [received(daemon) for _ in range(3)]
    assert [part["name"] for part in parts] == ["long", "long continued", "long continued"]
    assert [part["metadata"]["default"] for part in parts] == [{k: v} for k, v in texts.items()]
    assert (len(reports), sink.shortened) == (1, 0)
    sink.send([span("longest", attributes={"text": "x" * 70_000})], 5, lambda: None)
    sink.close()
    assert received(daemon)["name"] == "longest"
    assert received(daemon)["metadata"]["default"]["text"].endswith("x…")
    assert reports[1] == "a span was shortened to fit a datagram: 1 texts cut"
    assert sink.shortened == 1


def test_spans_go_to_the_daemon_when_that_is_the_exporter(daemon: socket.socket) -> None:
    host, port = daemon.getsockname()
    telemetry = Telemetry(
        {
            **ENVIRONMENT,
            "OTEL_TRACES_EXPORTER": "xray",
            "AWS_XRAY_DAEMON_ADDRESS": f"tcp:127.0.0.1:1 udp:{host}:{port}",
        },
        guard=Guard(is_strict=True),
    )
    sampled = telemetry.tracer.start_span("work")
    telemetry.tracer.end_span(sampled)
    left_out = Span("left out", SpanContext("1" * 32, "2" * 16, is_sampled=False), None, 1)
    telemetry.tracer.end_span(left_out)
    assert telemetry.flush()
    assert received(daemon)["name"] == "work"
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(1)
    assert telemetry.statistics()["traces"]["sent"] == 1
    telemetry.forget_connections()

from __future__ import annotations

import _socket
import json
import socket
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.errors import SendError
from lambdatrace.guard import Guard
from lambdatrace.records import Span, SpanContext
from lambdatrace.sinks.x_ray_udp import XRayUdpSink
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


@pytest.fixture
def slow_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """One whose socket lets the sender know when it is full, as those of UDP do not at will."""
    path = str(tmp_path / "daemon")

    class Local(_socket.socket):
        def __init__(self, *_: Any) -> None:
            super().__init__(_socket.AF_UNIX, _socket.SOCK_DGRAM)

        def sendto(self, datagram: Any, _target: Any) -> int:  # type: ignore[override]
            return super().sendto(datagram, path)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(5)
        monkeypatch.setattr(_socket, "socket", Local)
        yield receiver


def test_what_was_not_sent_in_time_is_sent_again(slow_daemon: socket.socket) -> None:
    sink = XRayUdpSink("127.0.0.1", 1, lambda _place, _error: None)
    spans = [span(f"s{number}") for number in range(2_000)]
    outcome = sink.send(spans, 0.2, lambda: None)
    assert (outcome.is_accepted, outcome.rejected) == (False, 0)
    assert 0 < outcome.unsent < 2_000
    sent = len(spans) - outcome.unsent
    assert [received(slow_daemon)["name"] for _ in range(sent)] == [s.name for s in spans[:sent]]
    slow_daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        slow_daemon.recv(1)
    sink.close()


def test_a_daemon_that_is_slow_is_waited_for(slow_daemon: socket.socket) -> None:
    sink = XRayUdpSink("127.0.0.1", 1, lambda _place, _error: None)
    names: list[str] = []
    reader = Thread(
        target=lambda: names.extend(received(slow_daemon)["name"] for _ in range(2_000))
    )
    reader.start()
    outcome = sink.send([span(f"s{number}") for number in range(2_000)], 30, lambda: None)
    reader.join(30)
    sink.close()
    assert (outcome.is_accepted, outcome.rejected, outcome.unsent) == (True, 0, 0)
    assert names == [f"s{number}" for number in range(2_000)]


def test_without_time_nothing_is_sent_and_nothing_lost(daemon: socket.socket) -> None:
    host, port = daemon.getsockname()
    sink = XRayUdpSink(host, port, lambda _place, _error: None)
    outcome = sink.send([span("a"), span("b")], -1, lambda: None)
    assert (outcome.is_accepted, outcome.unsent) == (False, 2)
    sink.close()


def test_the_daemons_name_is_resolved_once(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def resolve(host: Any, port: int, *_: Any) -> list[Any]:
        asked.append(host)
        if len(asked) == 1:
            raise _socket.gaierror(-3, "not now")
        return [(_socket.AF_INET, _socket.SOCK_DGRAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(_socket, "getaddrinfo", resolve)
    sink = XRayUdpSink("daemon.example", daemon.getsockname()[1], lambda _place, _error: None)
    with pytest.raises(SendError, match="not now"):
        sink.send([span("a")], 5, lambda: None)
    for name in ("a", "b"):
        assert sink.send([span(name), span(name)], 5, lambda: None).is_accepted
        assert [received(daemon)["name"], received(daemon)["name"]] == [name, name]
    assert asked == [b"daemon.example"] * 2
    sink.close()


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
    assert telemetry.delivery.statistics()["traces"]["sent"] == 1
    telemetry.delivery.forget_connections()

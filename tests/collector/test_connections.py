"""Clients that are slow on purpose take nothing from the others."""

from __future__ import annotations

import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.exchange import BODY_BYTES_MAX

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}
HEAD = (
    "POST /v1/traces HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-protobuf\r\n"
    f"Content-Length: {BODY_BYTES_MAX}\r\n\r\n"
).encode()
SLOW_MAX_S = 25


def connect(collector: Collector) -> socket.socket:
    host, port = collector.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=SLOW_MAX_S)


def send_slowly(collector: Collector, begin: bytes) -> bytes:
    """What the collector says to a client that sends a byte every tenth of a second."""
    with connect(collector) as connection:
        connection.sendall(begin)
        connection.settimeout(0.1)
        began = time.monotonic()
        while time.monotonic() - began < SLOW_MAX_S:
            try:
                connection.sendall(b"x")
                return connection.recv(65536)
            except TimeoutError:
                pass
            except OSError:
                return b""
    raise AssertionError("a slow client was never told to go")


def spans(name: str) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=secrets.token_bytes(16), span_id=secrets.token_bytes(8), name=name
    )
    return request.SerializeToString()


def test_clients_that_send_a_byte_at_a_time_do_not_squeeze_out_others(collector: Collector) -> None:
    with ThreadPoolExecutor(5) as threads:
        slow_bodies = [threads.submit(send_slowly, collector, HEAD) for _ in range(4)]
        slow_head = threads.submit(send_slowly, collector, b"POST /v1/traces HTTP/1.1\r\nX-A: ")
        time.sleep(1)
        meanwhile = [
            collector.post("/v1/traces", spans("s" * 100_000), PROTOBUF).status for _ in range(20)
        ]
        answers = sorted(slow.result()[:12] for slow in slow_bodies)
    afterwards = collector.post("/v1/traces", spans("s" * (BODY_BYTES_MAX // 2)), PROTOBUF).status

    assert meanwhile == [200] * 20
    assert answers == [b"HTTP/1.1 408", b"HTTP/1.1 408", b"HTTP/1.1 408", b"HTTP/1.1 503"]
    assert slow_head.result() == b""
    assert afterwards == 200

"""OTLP/gRPC, with OpenTelemetry's own exporters and with raw calls."""

from __future__ import annotations

import gzip
import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from lambdatrace_collector.errors import (
    BadRequestError,
    BodyTooLargeError,
    InternalError,
    OverloadedError,
    RequestTimeoutError,
    StoreDownError,
)
from lambdatrace_collector.otlp.grpc_server import MESSAGE_BYTES_MAX, STATUS_DETAILS, status_of
from tests.collector.test_otlp_traces import one_span, stored_trace, the_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.collector.conftest import Collector

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def channel(collector: Collector) -> Iterator[Any]:
    with grpc.insecure_channel(collector.address("OTLP/gRPC")) as channel:
        yield channel


def caller(channel: Any, method: str = TRACES) -> Any:
    return channel.unary_unary(method)


def export(channel: Any, body: bytes, **options: Any) -> bytes:
    answer: bytes = caller(channel)(body, timeout=30, **options)
    return answer


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_the_opentelemetry_sdk_exports_to_the_collector_by_grpc(
    collector: Collector, unique: str, compression: grpc.Compression
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": unique}))
    exporter = OTLPSpanExporter(
        collector.address("OTLP/gRPC"), insecure=True, compression=compression
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("tests").start_as_current_span("outer"):
        pass
    provider.shutdown()

    found = json.loads(collector.get(f"/api/v3/traces?query.service_name={unique}").body)
    (resource_spans,) = found["result"]["resourceSpans"]
    assert [span["name"] for span in resource_spans["scopeSpans"][0]["spans"]] == ["outer"]


def test_spans_that_are_not_stored_are_counted(collector: Collector, channel: Any) -> None:
    request = one_span("good")
    request.resource_spans[0].scope_spans[0].spans.add(name="bad")
    answer = ExportTraceServiceResponse.FromString(export(channel, request.SerializeToString()))
    assert answer.partial_success.rejected_spans == 1
    assert export(channel, one_span().SerializeToString()) == b""
    assert stored_trace(collector, the_span(request).trace_id)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT, "the body of 2 bytes is not a protobuf"),
        (bytes(MESSAGE_BYTES_MAX + 1), grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
        (b"\x0a\x00" * 100_001, grpc.StatusCode.RESOURCE_EXHAUSTED, "over 100000 spans"),
    ],
)
def test_what_is_wrong_has_a_code_and_cannot_be_retried(
    channel: Any, body: bytes, code: grpc.StatusCode, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, body)
    error: Any = caught.value
    assert error.code() is code
    assert message in error.details()
    details = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS)
    assert details is None or list(Status.FromString(details).details) == []


def test_a_message_that_bursts_when_it_is_unpacked_is_refused(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, bytes(50 * MESSAGE_BYTES_MAX), compression=grpc.Compression.Gzip)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(gzip.compress(bytes(50 * MESSAGE_BYTES_MAX))) < MESSAGE_BYTES_MAX


def test_an_unknown_method_is_unimplemented(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller(channel, "/no.such.Service/Export")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("error", "code", "is_retried"),
    [
        (OverloadedError("full"), 8, True),
        (StoreDownError("down"), 14, True),
        (BadRequestError("bad"), 3, False),
        (BodyTooLargeError("large"), 8, False),
        (RequestTimeoutError("slow"), 4, False),
        (InternalError("ours"), 13, False),
    ],
)
def test_only_what_may_be_sent_again_has_retry_info(
    error: Any, code: int, is_retried: bool
) -> None:
    status = status_of(error)
    assert (status.code, status.message) == (code, str(error))
    retries = [RetryInfo.FromString(detail.value) for detail in status.details]
    assert [retry.retry_delay.seconds for retry in retries] == ([1] if is_retried else [])


def test_a_port_that_is_taken_is_said_at_the_start(
    collector: Collector, start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    taken = collector.address("OTLP/gRPC")
    with pytest.raises(AssertionError, match=f"--grpc {taken} cannot be listened on"):
        start_collector(tmp_path / "store", "--grpc", taken)


def test_a_call_that_is_being_answered_ends_before_the_collector_stops(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    running = start_collector(tmp_path / "store", "--grpc", "127.0.0.1:0")
    with grpc.insecure_channel(running.address("OTLP/gRPC")) as channel:
        pending = [
            caller(channel).future(one_span().SerializeToString(), timeout=30) for _ in range(20)
        ]
        pending[0].result()
        running.process.send_signal(signal.SIGTERM)
        assert {answer.result() for answer in pending} == {b""}
    running.process.communicate(timeout=60)
    host, port = running.address("OTLP/gRPC").rsplit(":", 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)

"""OpenTelemetry's own packages inside a function, on the real runtime client in the harness."""

from __future__ import annotations

from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.end_to_end.conftest import OtlpReceiver, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

CLIENT = 3


@pytest.fixture
def deploy(deploy: Deploy) -> Deploy:
    """As for all tests, with time to import OpenTelemetry's packages."""
    return partial(deploy, timeout_s=20)


class GrpcReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """OpenTelemetry's own gRPC service, which keeps the spans it gets in `receiver`."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        self._receiver = receiver

    def Export(self, request: ExportTraceServiceRequest, context: object) -> Any:  # noqa: N802 - gRPC's
        for resource_spans in request.resource_spans:
            self._receiver.resources.append(attributes(resource_spans.resource))
            for scope_spans in resource_spans.scope_spans:
                self._receiver.spans.extend(scope_spans.spans)
        return ExportTraceServiceResponse()


@pytest.fixture
def grpc_endpoint(receiver: OtlpReceiver) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    add_service: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add_service(GrpcReceiver(receiver), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


def test_spans_of_the_api_are_sent_by_us_without_an_sdk(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy("""
        import sys
        import lambdatrace
        from opentelemetry import trace

        tracer = trace.get_tracer("mine", "1.0")

        @lambdatrace.instrument
        @tracer.start_as_current_span("decorated")
        def handler(event, context):
            with lambdatrace.span("own"), tracer.start_as_current_span("otel") as span:
                span.set_attribute("order.id", 7)
            return "opentelemetry.sdk" in sys.modules
    """)
    assert harness.invoke(name, {}).json() is False
    harness.wait_frozen(name)
    assert attributes(receiver.one("otel")) == {"order.id": 7}
    for child, parent in (("otel", "own"), ("own", "decorated"), ("decorated", name)):
        assert receiver.one(child).parent_span_id == receiver.one(parent).span_id
    assert len({span.trace_id for span in receiver.spans}) == 1


WITH_SDK = """
    import lambdatrace
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.{protocol}.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=3_600_000)
    )
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("mine")

    @lambdatrace.instrument
    def handler(event, context):
        with tracer.start_as_current_span("sdk"), lambdatrace.span("own"):
            if event.get("hangs"):
                import time
                time.sleep(60)
            return {{"ok": True}}
"""


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_nothing_of_a_users_sdk_is_lost_to_the_freeze(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver, grpc_endpoint: str, protocol: str
) -> None:
    endpoint = receiver.url if protocol == "http" else grpc_endpoint
    name = deploy(
        WITH_SDK.format(protocol=protocol), environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    )
    count = 50
    for number in range(1, count + 1):
        assert harness.invoke(name, {}).json() == {"ok": True}
        harness.wait_frozen(name)
        found = [len(receiver.named(span)) for span in ("sdk", "own", name)]
        assert found == [number] * 3, "frozen means that its spans are out"
    assert len(harness.environments(name)) == 1
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    names = {span.name for span in receiver.spans}
    assert names == {"sdk", "own", name, f"init {name}", "import app"}, "none of the exporter's own"
    parents = {span.span_id: span.parent_span_id for span in receiver.spans}
    for own in receiver.named("own"):
        sdk_id = own.parent_span_id
        assert parents[sdk_id] in {span.span_id for span in receiver.named(name)}
    assert {resource.get("faas.name") for resource in receiver.resources} == {name, None}


def test_open_spans_of_a_users_sdk_are_sent_before_a_timeout(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(WITH_SDK.format(protocol="http"), timeout_s=3)
    result = harness.invoke(name, {"hangs": True})
    harness.wait_frozen(name)
    assert result.json()["errorType"] == "Sandbox.Timedout"
    for span in ("sdk", "own", name):
        assert attributes(receiver.one(span))["error.type"] == "Sandbox.Timedout"


LIBRARIES = """
    import lambdatrace
    import socket, struct, threading

    def message(kind, body=b""):
        return kind + struct.pack("!i", len(body) + 4) + body

    READY = message(b"Z", b"I")
    ERROR = message(b"E", b"SERROR\\0C42601\\0Mno\\0\\0")
    VALUE = b"$5\\r\\nvalue\\r\\n"

    def serve(listener, answers):
        connection, _ = listener.accept()
        with connection:
            while connection.recv(65536):
                connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])

    def server(*answers):
        listener = socket.create_server(("127.0.0.1", 0))
        arguments = (listener, list(answers))
        threading.Thread(target=serve, args=arguments, daemon=True).start()
        return listener.getsockname()[1]

    @lambdatrace.instrument
    def handler(event, context):
        import boto3, botocore.config, psycopg, redis, requests
        http = b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
        requests.get(f"http://127.0.0.1:{server(http)}/orders")
        client = boto3.client(
            "sqs",
            endpoint_url=f"http://127.0.0.1:{server(http)}",
            region_name="eu-west-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        client.delete_message(QueueUrl="http://127.0.0.1/1/queue", ReceiptHandle="r")
        redis.Redis(port=server(b"+OK\\r\\n", VALUE), protocol=2, lib_name=None,
                    lib_version=None).get("key")
        port = server(message(b"R", struct.pack("!i", 0)) + READY, ERROR + READY)
        connection = psycopg.connect(
            host="127.0.0.1", port=port, dbname="shop", user="me", sslmode="disable",
            gssencmode="disable", autocommit=True,
        )
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            pass
"""


def test_contrib_instrumentors_record_each_call_once_below_the_invocation(
    harness: Harness, deploy: Deploy, receiver: OtlpReceiver
) -> None:
    name = deploy(
        LIBRARIES,
        environment={"LAMBDATRACE_INSTRUMENTATIONS": "botocore,requests,redis,psycopg"},
    )
    result = harness.invoke(name, {})
    harness.wait_frozen(name)
    assert result.json() is None
    root = receiver.one(name)
    clients = [span for span in receiver.spans if span.kind == CLIENT]
    assert sorted(span.name for span in clients) == ["GET", "GET", "SELECT", "SQS.DeleteMessage"]
    assert {span.parent_span_id for span in clients} == {root.span_id}

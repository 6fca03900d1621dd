from __future__ import annotations

import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from lambdatrace.harness import InvokeResult

    Deploy = Callable[..., str]

WAIT_S = 20.0


class OtlpReceiver(ThreadingHTTPServer):
    """An OTLP/HTTP endpoint that keeps what it gets.

    While `gate` is cleared it answers nobody; with `status` other than 200 it keeps nothing. It
    takes `delay_s` for an answer. Without `is_listening` connections are refused until `listen`.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, *, is_listening: bool = True) -> None:
        super().__init__(("127.0.0.1", port), _Handler, bind_and_activate=False)
        self.server_bind()
        if is_listening:
            self.server_activate()
        self.delay_s = 0.0
        self.spans: list[Span] = []
        self.log_records: list[LogRecord] = []
        self.metrics: list[Metric] = []
        self.resources: list[dict[str, Any]] = []
        self.requests = 0
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        (span,) = self.named(name)
        return span


class _Handler(BaseHTTPRequestHandler):
    server: OtlpReceiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.requests += 1
        server.arrived.release()
        assert server.gate.wait(WAIT_S)
        time.sleep(server.delay_s)
        if server.status == 200 and self.path.endswith("/v1/logs"):
            for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                for scope_logs in resource_logs.scope_logs:
                    server.log_records.extend(scope_logs.log_records)
        elif server.status == 200 and self.path.endswith("/v1/metrics"):
            for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope_metrics in resource_metrics.scope_metrics:
                    server.metrics.extend(scope_metrics.metrics)
        elif server.status == 200:
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                server.resources.append(attributes(resource_spans.resource))
                for scope_spans in resource_spans.scope_spans:
                    server.spans.extend(scope_spans.spans)
        self.send_response(server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def attributes(holder: Any) -> dict[str, Any]:
    """The attributes of an OTLP message as plain values."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in holder.attributes
    }


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    server = OtlpReceiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


@pytest.fixture
def deploy(harness: Harness, receiver: OtlpReceiver, tmp_path: Path) -> Deploy:
    """Add a function, sending to the receiver; its name. `code` is that of app.py, or of each file.

    The options are those of `Function`.
    """

    def add(code: str | dict[str, str], name: str = "orders", **options: Any) -> str:
        folder = tmp_path / name
        for path, source in (code if isinstance(code, dict) else {"app.py": code}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(textwrap.dedent(source))
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            **options.pop("environment", {}),
        }
        options.setdefault("handler", "app.handler")
        harness.add_function(Function(name, code_dir=folder, environment=environment, **options))
        return name

    return add


def invoke_frozen(harness: Harness, name: str = "orders", payload: Any = None) -> InvokeResult:
    """Invoke and wait until the environment is frozen."""
    result = harness.invoke(name, {} if payload is None else payload)
    harness.wait_frozen(name)
    return result

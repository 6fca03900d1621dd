"""An OTLP/HTTP endpoint in this process that keeps what functions send, for tests to look at.

A function is told apart by the path it was given as its endpoint, `http://…/NAME`, and not by a
resource attribute, which is the function's own to choose.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
import zlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

BODY_BYTES_MAX = 64 * 1024 * 1024
KEPT_MAX = 100_000  # of each signal and function, the oldest go first
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")
_REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_HEXADECIMAL = ("traceId", "spanId", "parentSpanId")  # in OTLP's JSON; protobuf's has base64


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was sent. Ids are hexadecimal, times Unix nanoseconds.

    `kind` and `status_code` are OpenTelemetry's words: `SERVER`, `ERROR`. `events` are pairs of
    name and attributes, `links` pairs of trace id and span id.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_span_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    status_code: str
    status_message: str = ""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    scope: str = ""
    resource: dict[str, Any] = field(default_factory=dict)


class OtlpReceiver:
    """Listens on the loopback interface, in threads of its own, between `start` and `stop`."""

    def __init__(self) -> None:
        self._spans: defaultdict[str, deque[ReceivedSpan]] = defaultdict(_bounded)
        self._others: defaultdict[tuple[str, str], deque[dict[str, Any]]] = defaultdict(_bounded)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    def start(self) -> None:
        """Listens on a free port."""
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="lambdatrace-otlp", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Closes the port; what was received stays."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    def endpoint(self, name: str) -> str:
        """The OTEL_EXPORTER_OTLP_ENDPOINT of the function `name`."""
        if self._server is None:
            raise RuntimeError("the receiver is not running")
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def take_spans(self, name: str) -> list[ReceivedSpan]:
        """The spans of a function that came since the last call, in order of arrival."""
        return _take(self._spans[name])

    def take(self, name: str, signal: str) -> list[dict[str, Any]]:
        """The `resourceMetrics` or `resourceLogs` that came since, in the shape of OTLP's JSON."""
        return _take(self._others[name, signal])

    def receive(self, path: str, content_type: str, body: bytes) -> int:
        """Keeps one request; the HTTP status to answer."""
        name, _, signal = path.strip("/").rpartition("/v1/")
        if not name or signal not in _REQUESTS:
            return HTTPStatus.NOT_FOUND
        message = _REQUESTS[signal]()
        try:
            if content_type.partition(";")[0].strip() == "application/json":
                json_format.ParseDict(_in_base64(json.loads(body)), message)
            else:
                message.ParseFromString(body)
        except (DecodeError, ValueError, json_format.ParseError):
            return HTTPStatus.BAD_REQUEST
        if isinstance(message, ExportTraceServiceRequest):
            self._spans[name].extend(_spans(message))
        else:
            document = json_format.MessageToDict(message)
            [resources] = document.values() if document else [[]]
            self._others[name, signal].extend(resources)
        return HTTPStatus.OK


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _span(span, scope.scope.name, resource)


def _span(span: Span, scope: str, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        span.name,
        _KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        _STATUS_CODES[span.status.code],
        span.status.message,
        [(event.name, _attributes(event.attributes)) for event in span.events],
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        scope,
        resource,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _in_base64(document: Any) -> Any:
    """OTLP's JSON with its ids as protobuf's JSON has them."""
    if isinstance(document, list):
        return [_in_base64(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode()
        if key in _HEXADECIMAL and isinstance(value, str)
        else _in_base64(value)
        for key, value in document.items()
    }


def _bounded() -> deque[Any]:
    return deque(maxlen=KEPT_MAX)


def _take(kept: deque[Any]) -> list[Any]:
    """All that is there now; more may arrive meanwhile."""
    return [kept.popleft() for _ in range(len(kept))]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: OtlpReceiver) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receiver = receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        content_type = self.headers.get("Content-Type", "")
        status = self._receive(content_type)
        body = b"{}" if content_type.startswith("application/json") else b""
        self.send_response(status)
        self.send_header("Content-Type", content_type or "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _receive(self, content_type: str) -> int:
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            self.close_connection = True  # where the next request begins is not known
            return HTTPStatus.LENGTH_REQUIRED
        if not 0 <= length <= BODY_BYTES_MAX:
            self.close_connection = True
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = self.rfile.read(length)
        if self.headers.get("Content-Encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, zlib.error):
                return HTTPStatus.BAD_REQUEST
        return self.server.receiver.receive(self.path, content_type, body)

    def log_message(self, *arguments: object) -> None:
        """Says nothing: a test's output is the test's."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from lambdatrace import __version__
from lambdatrace.errors import SendError
from lambdatrace.http1 import Address, Connection
from lambdatrace.records import Span, SpanContext
from lambdatrace.sinks.otlp_http import OtlpHttpSink
from lambdatrace.sinks.send_failure import told, unreachable
from lambdatrace.wire.otlp_protobuf import span_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.sinks import Outcome


class Endpoint(HTTPServer):
    """Answers `status`, `answer_headers` and `answer`; keeps the requests."""

    status = 200
    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer_headers: dict[str, str] = {}
        self.received: list[tuple[str, dict[str, str], bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        for name, value in self.server.answer_headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(server: Endpoint, spans: list[Span], *, is_gzip: bool = False) -> Outcome:
    errors: list[str] = []
    address = Address(f"http://127.0.0.1:{server.server_port}/v1/traces")
    sink = OtlpHttpSink(
        address,
        Connection(address),
        {"authorization": "Bearer 5ecret-5ecret"},
        span_encoder(
            {"service.name": "orders"},
            lambda place, error: errors.append(f"{place}: {error}"),
        ),
        is_gzip=is_gzip,
    )
    try:
        return sink.send(spans, 5, lambda: None)
    finally:
        sink.close()


def span(name: str, trace_id: str = "1" * 32) -> Span:
    return Span(name, SpanContext(trace_id, "2" * 16), None, 1)


@pytest.mark.parametrize("is_gzip", [False, True])
def test_spans_are_posted_as_otlp_protobuf(is_gzip: bool) -> None:
    with endpoint() as server:
        outcome = send(server, [span("a"), span("b")], is_gzip=is_gzip)
    ((path, headers, body),) = server.received
    request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if is_gzip else body)
    assert [s.name for s in request.resource_spans[0].scope_spans[0].spans] == ["a", "b"]
    assert path == "/v1/traces"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["User-Agent"] == f"lambdatrace/{__version__}"
    assert headers["authorization"] == "Bearer 5ecret-5ecret"
    assert headers.get("Content-Encoding") == ("gzip" if is_gzip else None)
    assert (outcome.is_accepted, outcome.rejected) == (True, 0)


def test_each_header_is_sent_once_in_whatever_case_it_was_given() -> None:
    address = Address("http://127.0.0.1:1/v1/traces")
    given = {"user-agent": "mine", "content-TYPE": "text/plain", "Api-Key": "1", "api-key": "2"}
    sink = OtlpHttpSink(
        address, Connection(address), given, span_encoder({}, lambda *_: None), is_gzip=True
    )
    assert sink._head == (
        b"POST /v1/traces HTTP/1.1\r\n"
        b"Host: 127.0.0.1:1\r\n"
        b"user-agent: mine\r\n"
        b"Content-Type: application/x-protobuf\r\n"
        b"api-key: 2\r\n"
        b"Content-Encoding: gzip\r\n"
        b"Content-Length: "
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retryable_answers_ask_for_a_retry_when_they_say(status: int) -> None:
    with endpoint() as server:
        server.status, server.answer, server.answer_headers = status, b"busy", {"Retry-After": "7"}
        outcome = send(server, [span("a")])
    assert (outcome.is_accepted, outcome.retry_after_s) == (False, 7.0)
    assert f"/v1/traces: HTTP {status} busy; it has " in outcome.message


ENDPOINT = (
    "check OTEL_EXPORTER_OTLP_ENDPOINT: a base URL, to which /v1/traces and its like are added"
)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (301, ""),
        (400, "; it does not understand the request"),
        (401, "; check the credentials in OTEL_EXPORTER_OTLP_HEADERS"),
        (404, f"; {ENDPOINT}"),
        (500, "; it has failed itself"),
    ],
)
def test_other_failures_are_final_and_say_where_and_what_to_do(status: int, remedy: str) -> None:
    with endpoint() as server:
        server.status, server.answer = status, b"\x08no\n"
        outcome = send(server, [span("a"), span("b")])
    assert (outcome.is_accepted, outcome.rejected, outcome.message) == (
        True,
        2,
        f"http://127.0.0.1:{server.server_port}/v1/traces: HTTP {status} no{remedy}",
    )


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"error": "bad key SEKRET-123"}', '{"error": "bad key REDACTED"}'),
        ("no user SEKRET-123 here", "no user REDACTED here"),
        ("authorization: Token token=SEKRET-123", "authorization: REDACTED"),
        ("nobody has the password pass-word", "nobody has the password REDACTED"),
        ("nothing at /t/SEKRET-456/v1/traces", "nothing at REDACTED/v1/traces"),
        ("no tenant SEKRET-456 or SEKRET 789", "no tenant REDACTED or REDACTED"),
        ('{"api_key":"Z9"}', '{"api_key":"REDACTED"}'),
        ("x" * 196 + "SEKRET-123", "x" * 196 + "REDA"),
        ("use application/x-protobuf", "use application/x-protobuf"),
    ],
)
def test_what_an_endpoint_says_is_told_without_the_credentials_it_echoes(
    said: str, shown: str
) -> None:
    address = Address("http://h/t/SEKRET-456/v1/traces?key=SEKRET%20789")
    headers = {
        "x-auth": "Token token=SEKRET-123",
        "proxy-authorization": "Basic " + b64encode(b"me:pass-word").decode(),
        "content-type": "application/x-protobuf",
    }
    assert told(said.encode(), address, headers, None) == shown


def test_neither_a_refusal_nor_a_partial_success_tells_a_header() -> None:
    with endpoint() as server:
        server.status, server.answer = 401, b"bad key 5ecret-5ecret"
        refusal = send(server, [span("a")])
        server.status = 200
        server.answer_headers = {"Content-Type": "application/json"}
        server.answer = (
            b'{"partialSuccess": {"rejectedSpans": 1, "errorMessage": "of 5ecret-5ecret"}}'
        )
        partial = send(server, [span("a")])
    assert "/v1/traces: HTTP 401 bad key REDACTED; check" in refusal.message
    assert partial.message == "of REDACTED"


def test_an_endpoint_where_nothing_listens_is_told_with_a_remedy_and_without_its_secrets() -> None:
    with endpoint() as server:
        port = server.server_port
    sink = OtlpHttpSink(
        address := Address(f"http://127.0.0.1:{port}/key-5ecret/v1/traces?token=5ecret"),
        Connection(address),
        {"authorization": "5ecret"},
        span_encoder({}, lambda *_: None),
    )
    with pytest.raises(SendError) as caught:
        sink.send([span("a")], 5, lambda: None)
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}/…/v1/traces: nothing listens there; "
        "start a collector, or set OTEL_EXPORTER_OTLP_ENDPOINT"
    )


class NoNameError(OSError):
    """What a resolver raises is called so."""


NoNameError.__name__ = "gaierror"


@pytest.mark.parametrize(
    ("text", "cause", "said"),
    [
        (
            "example.com did not answer within 2 s",
            TimeoutError(),
            (
                "did not answer within 2 s; is it reachable from the function's VPC? "
                "OTEL_EXPORTER_OTLP_TIMEOUT is for slow ones"
            ),
        ),
        (
            "example.com: [SSL: WRONG_VERSION_NUMBER] wrong version number",
            OSError(),
            (
                "[SSL: WRONG_VERSION_NUMBER] wrong version number; it does not speak TLS: use "
                "http:// in OTEL_EXPORTER_OTLP_ENDPOINT"
            ),
        ),
        (
            "the proxy 10.0.0.1 (HTTPS_PROXY) answered HTTP 403",
            None,
            (
                "the proxy 10.0.0.1 (HTTPS_PROXY) answered HTTP 403; "
                "check that variable and NO_PROXY"
            ),
        ),
        (
            "example.com: Name or service not known",
            NoNameError(),
            "its name cannot be resolved; check OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ],
)
def test_what_kept_a_request_from_its_answer_is_said(
    text: str, cause: Exception | None, said: str
) -> None:
    error = SendError(text)
    error.__cause__ = cause
    address = Address("https://example.com/v1/traces")
    assert unreachable(address, error) == f"https://example.com/v1/traces: {said}"


def test_a_request_that_is_too_large_is_to_be_sent_in_two() -> None:
    with endpoint() as server:
        server.status = 413
        outcome = send(server, [span("a"), span("b")])
        alone = send(server, [span("a")])
    assert (outcome.is_accepted, outcome.is_too_large, outcome.rejected) == (False, True, 0)
    assert (alone.is_accepted, alone.rejected) == (True, 1)


def test_a_partial_success_tells_how_many_were_rejected_and_why() -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 1
    response.partial_success.error_message = "too old"
    with endpoint() as server:
        server.answer = response.SerializeToString()
        outcome = send(server, [span("a"), span("b")])
    assert (outcome.is_accepted, outcome.rejected, outcome.message) == (True, 1, "too old")


def test_an_answer_of_megabytes_is_taken_by_its_status_in_little_memory() -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 1
    with endpoint() as server:
        server.answer = b"\x10\x01" * 500_000 + response.SerializeToString()
        tracemalloc.start()
        try:
            outcome = send(server, [span("a")])
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (outcome.is_accepted, outcome.rejected) == (True, 0)
    assert peak_bytes < 3_000_000, "with the answer itself"


@pytest.mark.parametrize(("told", "counted"), [(-1, 0), (2**62, 2)])
def test_of_what_was_sent_no_more_is_rejected_than_all_and_no_less_than_none(
    told: int, counted: int
) -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = told
    with endpoint() as server:
        server.answer = response.SerializeToString()
        in_protobuf = send(server, [span("a"), span("b")])
        server.answer_headers = {"Content-Type": "application/json"}
        server.answer = f'{{"partialSuccess": {{"rejectedSpans": "{told}"}}}}'.encode()
        in_json = send(server, [span("a"), span("b")])
    assert (in_protobuf.rejected, in_json.rejected) == (counted, counted)


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 200_000,
        b'{"partialSuccess": {"rejectedSpans": 1e999}}',
        b'{"partialSuccess": {"rejectedSpans": ' + b"9" * 5_000 + b"}}",
    ],
)
def test_an_answer_in_json_that_cannot_be_read_rejects_nothing(answer: bytes) -> None:
    with endpoint() as server:
        server.answer, server.answer_headers = answer, {"Content-Type": "application/json"}
        outcome = send(server, [span("a")])
    assert (outcome.is_accepted, outcome.rejected) == (True, 0)


def test_a_span_that_cannot_be_encoded_is_left_out_and_the_others_go() -> None:
    with endpoint() as server:
        outcome = send(server, [span("bad", "z" * 32), span("good")])
    request = ExportTraceServiceRequest.FromString(server.received[0][2])
    assert [s.name for s in request.resource_spans[0].scope_spans[0].spans] == ["good"]
    assert (outcome.is_accepted, outcome.rejected, outcome.unencodable) == (True, 0, 1)


def test_when_nothing_can_be_encoded_nothing_is_posted() -> None:
    with endpoint() as server:
        outcome = send(server, [span("bad", "z" * 32)])
    assert server.received == []
    assert (outcome.is_accepted, outcome.unencodable) == (True, 1)

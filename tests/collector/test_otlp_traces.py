from __future__ import annotations

import base64
import gzip
import json
import secrets
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status as RpcStatus  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from lambdatrace_collector.exchange import BODY_BYTES_MAX
from lambdatrace_collector.otlp.message_count import holds_more_messages
from lambdatrace_collector.otlp.signals import RECORDS_MAX, TRACES

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}
UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def one_span(name: str = "handler", **fields: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "orders"
    span = resource_spans.scope_spans.add().spans.add(
        trace_id=secrets.token_bytes(16), span_id=secrets.token_bytes(8), name=name
    )
    for field, value in fields.items():
        setattr(span, field, value)
    return request


def the_span(request: ExportTraceServiceRequest) -> Span:
    return request.resource_spans[0].scope_spans[0].spans[0]


def stored_trace(collector: Collector, trace_id: bytes) -> dict[str, Any]:
    answer = collector.get(f"/api/v3/traces/{trace_id.hex()}")
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def key_values(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    pairs = st.dictionaries(st.text("abc.", min_size=1, max_size=6), values, max_size=3)
    return pairs.map(lambda found: [KeyValue(key=key, value=found[key]) for key in found])


SCALARS = st.one_of(
    st.just(AnyValue()),
    TEXT.map(lambda value: AnyValue(string_value=value)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.floats(allow_nan=False).map(lambda value: AnyValue(double_value=value)),
    st.binary(max_size=9).map(lambda value: AnyValue(bytes_value=value)),
)


def array_of(values: list[AnyValue]) -> AnyValue:
    value = AnyValue()
    value.array_value.values.extend(values)
    return value


def list_of(pairs: list[KeyValue]) -> AnyValue:
    value = AnyValue()
    value.kvlist_value.values.extend(pairs)
    return value


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(array_of), key_values(inner).map(list_of)
    ),
    max_leaves=6,
)
EVENTS = st.builds(
    Span.Event,
    time_unix_nano=UINT64,
    name=TEXT,
    attributes=key_values(VALUES),
    dropped_attributes_count=UINT32,
)
LINKS = st.builds(
    Span.Link,
    trace_id=st.binary(max_size=16),
    span_id=st.binary(max_size=8),
    trace_state=TEXT,
    attributes=key_values(VALUES),
    dropped_attributes_count=UINT32,
    flags=UINT32,
)


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    """A request of one trace that uses every field of OTLP's traces."""
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(1, 2))):
        resource_spans = request.resource_spans.add(schema_url=draw(TEXT))
        resource_spans.resource.attributes.extend(draw(key_values(VALUES)))
        resource_spans.resource.dropped_attributes_count = draw(UINT32)
        resource_spans.resource.entity_refs.extend(
            draw(st.lists(st.builds(EntityRef, type=TEXT, id_keys=st.lists(TEXT)), max_size=1))
        )
        scope_spans = resource_spans.scope_spans.add(schema_url=draw(TEXT))
        scope_spans.scope.name = draw(TEXT)
        scope_spans.scope.version = draw(TEXT)
        scope_spans.scope.attributes.extend(draw(key_values(VALUES)))
        scope_spans.scope.dropped_attributes_count = draw(UINT32)
        for _ in range(draw(st.integers(1, 2))):
            span = scope_spans.spans.add(
                trace_id=trace_id,
                span_id=secrets.token_bytes(8),
                parent_span_id=draw(st.binary(max_size=8)),
                trace_state=draw(TEXT),
                flags=draw(UINT32),
                name=draw(TEXT),
                kind=draw(INT32),
                start_time_unix_nano=draw(UINT64),
                end_time_unix_nano=draw(UINT64),
                dropped_attributes_count=draw(UINT32),
                dropped_events_count=draw(UINT32),
                dropped_links_count=draw(UINT32),
            )
            span.attributes.extend(draw(key_values(VALUES)))
            span.events.extend(draw(st.lists(EVENTS, max_size=2)))
            span.links.extend(draw(st.lists(LINKS, max_size=2)))
            span.status.message = draw(TEXT)
            span.status.MergeFrom(Status(code=cast("Any", draw(INT32))))
    return request


def otlp_json(request: ExportTraceServiceRequest) -> Any:
    """protobuf's own JSON form, with ids in hex as OTLP has them."""

    def with_hex_ids(value: Any) -> Any:
        if isinstance(value, list):
            return [with_hex_ids(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: base64.b64decode(item).hex()
            if name in ("traceId", "spanId", "parentSpanId")
            else with_hex_ids(item)
            for name, item in value.items()
        }

    return with_hex_ids(MessageToDict(request, use_integers_for_enums=True))


def flattened(resource_spans: list[dict[str, Any]]) -> list[str]:
    """Each span with its resource and scope as one text; an empty message counts as absent."""
    rows = []
    for resource_entry in resource_spans:
        for scope_entry in resource_entry["scopeSpans"]:
            for span in scope_entry["spans"]:
                row = {
                    "resource": resource_entry.get("resource") or None,
                    "resourceSchemaUrl": resource_entry.get("schemaUrl"),
                    "scope": scope_entry.get("scope") or None,
                    "scopeSchemaUrl": scope_entry.get("schemaUrl"),
                    "span": {**span, "status": span.get("status") or None},
                }
                rows.append(json.dumps(row, sort_keys=True))
    return sorted(rows)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_what_is_sent_as_protobuf_comes_back_as_the_same_otlp_json(
    collector: Collector, request: ExportTraceServiceRequest
) -> None:
    answer = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)

    assert (answer.status, answer.body) == (200, b"")
    trace_id = the_span(request).trace_id
    expected = flattened(otlp_json(request)["resourceSpans"])
    assert expected == flattened(stored_trace(collector, trace_id)["result"]["resourceSpans"])


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_opentelemetry_sdk_exports_to_the_collector(
    collector: Collector, unique: str, compression: Compression
) -> None:
    provider = TracerProvider(resource=Resource({"service.name": unique}))
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests", "1.0")
    with tracer.start_as_current_span("outer", kind=trace.SpanKind.SERVER) as outer:
        outer.set_attribute("order.id", 7)
        with tracer.start_as_current_span("inner"):
            pass
    provider.shutdown()

    found = json.loads(collector.get(f"/api/v3/traces?query.service_name={unique}").body)
    spans = found["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    outer_id = f"{outer.get_span_context().span_id:016x}"
    assert [
        ("outer", 2, None, [{"key": "order.id", "value": {"intValue": "7"}}]),
        ("inner", 1, outer_id, None),
    ] == [
        (span["name"], span["kind"], span.get("parentSpanId"), span.get("attributes"))
        for span in spans
    ]


def test_a_request_that_is_sent_again_settles_to_one_copy(collector: Collector) -> None:
    request = one_span()
    for _ in range(3):
        collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)

    found = stored_trace(collector, the_span(request).trace_id)
    assert flattened(otlp_json(request)["resourceSpans"]) == flattened(
        found["result"]["resourceSpans"]
    )


def test_an_empty_request_is_a_success(collector: Collector) -> None:
    answer = collector.post("/v1/traces", b"", PROTOBUF)
    assert (
        answer.status,
        answer.body,
        answer.headers["content-type"],
    ) == (200, b"", "application/x-protobuf")


@pytest.mark.parametrize(
    ("field", "value"),
    [("trace_id", b"short"), ("trace_id", bytes(16)), ("span_id", b""), ("span_id", b"9 bytes  ")],
)
def test_a_span_without_valid_ids_is_rejected_and_the_others_are_stored(
    collector: Collector, field: str, value: bytes
) -> None:
    request = one_span("good")
    trace_id = the_span(request).trace_id
    bad = (
        request.resource_spans[0]
        .scope_spans[0]
        .spans.add(trace_id=trace_id, span_id=secrets.token_bytes(8), name="bad")
    )
    setattr(bad, field, value)

    answer = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)

    success = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, success.rejected_spans) == (200, 1)
    assert "were not stored" in success.error_message
    spans = stored_trace(collector, trace_id)["result"]["resourceSpans"][0]["scopeSpans"][0]
    assert [span["name"] for span in spans["spans"]] == ["good"]


BOMB = gzip.compress(bytes(BODY_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "message"),
    [
        (b"\x0a\xff", PROTOBUF, 400, 3, "the body of 2 bytes is not a protobuf"),
        (b"\x0a\x03\x0a\x01\xff", PROTOBUF, 400, 3, "is not a protobuf"),
        (b"", {"Content-Type": "text/plain"}, 415, 12, "Content-Type is 'text/plain'"),
        (b"x", {**PROTOBUF, "Content-Encoding": "br"}, 415, 12, "Content-Encoding is 'br'"),
        (b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, 3, "not valid gzip"),
        (
            gzip.compress(b"0123456789")[:-9],
            {**PROTOBUF, "Content-Encoding": "gzip"},
            400,
            3,
            "it ends too early",
        ),
        (BOMB, {**PROTOBUF, "Content-Encoding": "gzip"}, 413, 8, "over 20971520 bytes"),
        (bytes(BODY_BYTES_MAX + 1), PROTOBUF, 413, 8, "over 20971520 bytes"),
    ],
)
def test_bad_input_gets_a_google_rpc_status(
    collector: Collector,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: int,
    message: str,
) -> None:
    answer = collector.post("/v1/traces", body, headers)

    error = RpcStatus.FromString(answer.body)
    assert (status, code, "application/x-protobuf") == (
        answer.status,
        error.code,
        answer.headers["content-type"],
    )
    assert message in error.message


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("POST", "/v1/profiles", 404, 5, "there is nothing at /v1/profiles"),
        ("GET", "/v1/traces", 405, 12, "GET /v1/traces: expected POST"),
    ],
)
def test_whatever_is_below_v1_answers_a_google_rpc_status(
    collector: Collector, method: str, path: str, status: int, code: int, message: str
) -> None:
    def asked(headers: dict[str, str]) -> Answer:
        if method == "GET":
            return collector.get(path, headers)
        return collector.post(path, b"{}", headers)

    binary, text = asked(PROTOBUF), asked({"Content-Type": "application/json"})

    assert (binary.status, text.status) == (status, status)
    assert RpcStatus.FromString(binary.body) == RpcStatus(code=code, message=message)
    assert json.loads(text.body) == {"code": code, "message": message}
    types = [answer.headers["content-type"] for answer in (binary, text)]
    assert types == ["application/x-protobuf", "application/json"]
    assert binary.headers.get("Allow") == ("POST" if status == 405 else None)


def test_gzip_may_come_in_several_members(collector: Collector) -> None:
    request = one_span()
    body = request.SerializeToString()
    content = gzip.compress(body[:20]) + gzip.compress(body[20:])
    answer = collector.post("/v1/traces", content, {**PROTOBUF, "Content-Encoding": "gzip"})
    assert answer.status == 200
    assert stored_trace(collector, the_span(request).trace_id)


def test_a_sender_s_unusual_encoding_is_stored_as_protobuf_reads_it(collector: Collector) -> None:
    # A message field that comes twice is merged; fields we do not know are skipped.
    request = one_span()
    resource_spans = request.resource_spans[0].SerializeToString()
    extra = ExportTraceServiceRequest().resource_spans.add()
    extra.resource.attributes.add(key="second").value.string_value = "resource"
    unknown = b"\xfa\x07\x03abc"  # field 127, three bytes
    content = resource_spans + extra.SerializeToString() + unknown
    body = b"\x0a" + _varint(len(content)) + content

    assert collector.post("/v1/traces", body, PROTOBUF).status == 200
    merged = ExportTraceServiceRequest.FromString(body)
    merged.DiscardUnknownFields()
    found = stored_trace(collector, the_span(request).trace_id)
    assert flattened(otlp_json(merged)["resourceSpans"]) == flattened(
        found["result"]["resourceSpans"]
    )


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def span_with(field: bytes) -> bytes:
    """A request of one good span to which an encoded field is added."""
    span = the_span(one_span()).SerializeToString() + field
    for tag in (b"\x12", b"\x12", b"\x0a"):
        span = tag + _varint(len(span)) + span
    return span


KIND, DROPPED_ATTRIBUTES_COUNT, NAME_AS_VARINT = b"\x30", b"\x50", b"\x28"


@pytest.mark.parametrize(
    "field",
    [
        KIND + _varint(2**40),
        DROPPED_ATTRIBUTES_COUNT + _varint(2**60),
        NAME_AS_VARINT + b"\x05",
    ],
)
def test_a_field_that_is_not_as_otlp_has_it_is_the_sender_s_mistake_and_harms_nobody_else(
    collector: Collector, field: bytes
) -> None:
    good = [one_span() for _ in range(12)]
    bodies = [request.SerializeToString() for request in good]
    bodies.insert(5, span_with(field))
    with ThreadPoolExecutor(len(bodies)) as threads:
        answers = list(
            threads.map(lambda body: collector.post("/v1/traces", body, PROTOBUF), bodies)
        )

    refused = answers.pop(5)
    error = RpcStatus.FromString(refused.body)
    assert (refused.status, error.code) == (400, 3)
    assert error.message.startswith(
        "the body is protobuf, but a field of it is not what OTLP says it is: "
    )
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"")] * 12
    for request in good:
        assert stored_trace(collector, the_span(request).trace_id)


def nested(content: bytes, *tags: bytes) -> bytes:
    for tag in tags:
        content = tag + _varint(len(content)) + content
    return content


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x00" * (RECORDS_MAX + 1),
        nested(b"\x12\x00" * RECORDS_MAX, b"\x0a"),
        nested(b"\x12\x00" * 9_000_000, b"\x12", b"\x0a"),
        # The spans of one body may be spread over it, with fields we do not know between them.
        (b"\xf8\x07\x01" + nested(b"\x12\x00" * 50_000, b"\x12", b"\x0a")) * 3,
    ],
)
def test_a_request_of_more_spans_than_are_taken_is_too_large(
    collector: Collector, body: bytes
) -> None:
    answer = collector.post("/v1/traces", body, PROTOBUF)

    message = "the request holds over 100000 spans: send them in smaller requests"
    assert answer.status == 413
    assert RpcStatus.FromString(answer.body) == RpcStatus(code=8, message=message)


def test_a_request_of_as_many_spans_as_are_taken_is_stored(collector: Collector) -> None:
    request = one_span()
    template = the_span(request)
    scope_spans = request.resource_spans[0].scope_spans[0]
    for number in range(1, RECORDS_MAX - 2):
        template.span_id = number.to_bytes(8, "big")
        scope_spans.spans.append(template)

    assert not holds_more_messages(request.SerializeToString(), RECORDS_MAX, TRACES.levels)
    assert holds_more_messages(request.SerializeToString(), RECORDS_MAX - 1, TRACES.levels)
    assert collector.post("/v1/traces", request.SerializeToString(), PROTOBUF).status == 200


@given(st.binary(max_size=200))
def test_the_spans_of_any_bytes_can_be_counted(body: bytes) -> None:
    assert holds_more_messages(body, 0, TRACES.levels) in (False, True)
    assert not holds_more_messages(body, len(body), TRACES.levels)


def test_a_number_that_does_not_end_ends_the_count() -> None:
    assert not holds_more_messages(b"\x0a\x00" + b"\xff" * 1000, 1, TRACES.levels)


def test_deflate_is_not_taken_for_gzip(collector: Collector) -> None:
    body = zlib.compress(one_span().SerializeToString())
    answer = collector.post("/v1/traces", body, {**PROTOBUF, "Content-Encoding": "gzip"})
    assert answer.status == 400

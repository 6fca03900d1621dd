"""The oracle is `opentelemetry-proto`: what we write by hand, its generated classes must read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from lambdatrace.records import Link, Scope, Span, SpanContext
from lambdatrace.wire.otlp_protobuf import encode_span, span_encoder

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    texts
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def decoded(span: Span) -> trace_pb2.Span:
    message = trace_pb2.Span()
    message.ParseFromString(encode_span(span))
    return message


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def test_every_field_of_a_span_is_read_back() -> None:
    parent = SpanContext(TRACE_ID, "00f067aa0ba902b7", is_remote=True)
    span = Span(
        "charge card",
        SpanContext(TRACE_ID, SPAN_ID, trace_state="vendor=1"),
        parent,
        1_700_000_000_000_000_001,
        kind=3,
        attributes={"order.id": 7},
        links=[Link(SpanContext("1" * 32, "2" * 16, trace_state="a=b", is_remote=True), {"n": 1})],
    )
    span.add_event("charged", 1_700_000_000_000_000_002, {"amount": 1.5})
    span.set_status(2, "declined")
    span.dropped_attributes, span.dropped_events, span.dropped_links = 1, 300, 70_000
    span.end(1_700_000_000_000_000_003)
    assert MessageToDict(decoded(span)) == {
        "traceId": "CvdlGRbNQ92ESOshHIAxnA==",
        "spanId": "t61rcWkgMzE=",
        "traceState": "vendor=1",
        "parentSpanId": "APBnqgupArc=",
        "name": "charge card",
        "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": "1700000000000000001",
        "endTimeUnixNano": "1700000000000000003",
        "attributes": [{"key": "order.id", "value": {"intValue": "7"}}],
        "droppedAttributesCount": 1,
        "events": [
            {
                "timeUnixNano": "1700000000000000002",
                "name": "charged",
                "attributes": [{"key": "amount", "value": {"doubleValue": 1.5}}],
            }
        ],
        "droppedEventsCount": 300,
        "links": [
            {
                "traceId": "EREREREREREREREREREREQ==",
                "spanId": "IiIiIiIiIiI=",
                "traceState": "a=b",
                "attributes": [{"key": "n", "value": {"intValue": "1"}}],
                "flags": 0x301,
            }
        ],
        "droppedLinksCount": 70000,
        "status": {"message": "declined", "code": "STATUS_CODE_ERROR"},
        "flags": 0x301,
    }


def test_the_oracle_knows_no_span_field_that_we_leave_out() -> None:
    assert set(trace_pb2.Span.DESCRIPTOR.fields_by_number) == set(range(1, 17))


@given(st.dictionaries(texts, values, max_size=5))
def test_attribute_values_of_every_type_are_read_back(attributes: dict[str, Any]) -> None:
    span = Span("s", SpanContext(TRACE_ID, SPAN_ID), None, 1, attributes=attributes)
    read = {pair.key: plain(pair.value) for pair in decoded(span).attributes}
    assert read == attributes


def test_a_value_of_no_otlp_type_is_written_as_its_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    span = Span(
        "s",
        SpanContext(TRACE_ID, SPAN_ID),
        None,
        1,
        attributes={"huge": 1 << 64, "set": {1}, "none": None, "tuple": (1, "a"), "lone": "\ud800"},
    )
    read = {pair.key: plain(pair.value) for pair in decoded(span).attributes}
    assert read == {
        "huge": "18446744073709551616",
        "set": "{1}",
        "none": None,
        "tuple": [1, "a"],
        "lone": "?",
    }
    assert encode_span(Span("s", span.context, None, 1, attributes={"endless": endless}))


def fail(place: str, error: BaseException) -> None:
    raise AssertionError(place) from error


def test_a_request_has_the_resource_and_the_spans_by_their_scope() -> None:
    own = Scope("lambdatrace", "0.1.0")
    other = Scope("botocore", "1.2", schema_url="https://schema.example/1", attributes={"a": 1})
    same = Scope("lambdatrace", "0.1.0")
    spans = [
        Span(f"s{n}", SpanContext(TRACE_ID, f"{n + 1:016x}"), None, 1, scope=scope)
        for n, scope in enumerate((own, other, own, same))
    ]
    resource_attributes = {"service.name": "orders", "faas.max_memory": 134217728}
    body, unencodable = span_encoder(resource_attributes, fail).encode(spans)
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    (resource_spans,) = request.resource_spans
    assert unencodable == 0
    assert {pair.key: plain(pair.value) for pair in resource_spans.resource.attributes} == {
        "service.name": "orders",
        "faas.max_memory": 134217728,
    }
    assert resource_spans.schema_url == "https://opentelemetry.io/schemas/1.37.0"
    assert [
        (
            group.scope.name,
            group.scope.version,
            {pair.key: plain(pair.value) for pair in group.scope.attributes},
            group.schema_url,
            [span.name for span in group.spans],
        )
        for group in resource_spans.scope_spans
    ] == [
        ("lambdatrace", "0.1.0", {}, "", ["s0", "s2", "s3"]),
        ("botocore", "1.2", {"a": 1}, "https://schema.example/1", ["s1"]),
    ]


def test_an_id_that_is_not_hex_is_an_error_of_that_span_alone() -> None:
    with pytest.raises(ValueError, match="non-hexadecimal"):
        encode_span(Span("s", SpanContext("z" * 32, SPAN_ID), None, 1))

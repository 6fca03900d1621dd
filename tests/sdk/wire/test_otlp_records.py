"""Any record → protobuf and JSON → `opentelemetry-proto` → exactly what the record says."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import Parse
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2 as common
from opentelemetry.proto.logs.v1 import logs_pb2 as logs
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

from lambdatrace.log_record import LogRecord
from lambdatrace.records import Event, Link, Scope, Span, SpanContext
from lambdatrace.wire import otlp_json, otlp_protobuf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RESOURCE = {"service.name": "orders", "faas.max_memory": 134217728}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    texts
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=12)
    | st.none()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(texts, values, max_size=3)
times_ns = st.integers(0, (1 << 64) - 1)
counts = st.integers(0, (1 << 32) - 1)
contexts = st.builds(
    SpanContext,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    is_sampled=st.booleans(),
    trace_state=texts,
    is_remote=st.booleans(),
)
scopes = st.builds(Scope, texts, texts, schema_url=texts, attributes=attributes)


@st.composite
def spans(draw: Any) -> Span:
    span = Span(
        draw(texts),
        draw(contexts),
        draw(st.none() | contexts),
        draw(times_ns),
        kind=draw(st.integers(1, 5)),
        attributes=draw(attributes),
        links=draw(st.lists(st.builds(Link, contexts, attributes), max_size=2)),
        scope=draw(scopes),
    )
    span.events = draw(st.lists(st.builds(Event, texts, times_ns, attributes), max_size=2))
    span.set_status(draw(st.integers(0, 2)), draw(texts))
    span.dropped_attributes, span.dropped_events = draw(counts), draw(counts)
    span.dropped_links, span.end_ns = draw(counts), draw(times_ns)
    for event in span.events:
        event.dropped_attributes = draw(counts)
    for link in span.links:
        link.dropped_attributes = draw(counts)
    return span


@st.composite
def log_records(draw: Any) -> LogRecord:
    record = LogRecord(
        draw(values),
        draw(times_ns),
        time_ns=draw(times_ns),
        severity_number=draw(st.integers(0, 24)),
        severity_text=draw(texts),
        attributes=draw(attributes),
        context=draw(st.none() | contexts),
        event_name=draw(texts),
        scope=draw(scopes),
    )
    record.dropped_attributes = draw(counts)
    return record


def any_value(value: Any) -> common.AnyValue:
    if value is None:
        return common.AnyValue()
    if isinstance(value, list):
        array = common.ArrayValue(values=[any_value(item) for item in value])
        return common.AnyValue(array_value=array)
    if isinstance(value, dict):
        return common.AnyValue(kvlist_value=common.KeyValueList(values=pairs(value)))
    kinds = {str: "string", bool: "bool", int: "int", float: "double", bytes: "bytes"}
    return common.AnyValue(**{f"{kinds[type(value)]}_value": value})


def pairs(mapping: Mapping[str, Any]) -> list[common.KeyValue]:
    return [common.KeyValue(key=key, value=any_value(value)) for key, value in mapping.items()]


def flags(context: SpanContext, remote: SpanContext | None) -> int:
    found = trace.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK if remote is not None else 0
    if remote is not None and remote.is_remote:
        found |= trace.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    return found | context.is_sampled


def expected_span(span: Span) -> trace.Span:
    found = trace.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        trace_state=span.context.trace_state,
        parent_span_id=bytes.fromhex(span.parent.span_id) if span.parent else b"",
        flags=flags(span.context, span.parent),
        name=span.name,
        kind=trace.Span.SpanKind.ValueType(span.kind),
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=pairs(span.attributes),
        dropped_attributes_count=span.dropped_attributes,
        events=[
            trace.Span.Event(
                time_unix_nano=e.time_ns,
                name=e.name,
                attributes=pairs(e.attributes),
                dropped_attributes_count=e.dropped_attributes,
            )
            for e in span.events
        ],
        dropped_events_count=span.dropped_events,
        links=[
            trace.Span.Link(
                trace_id=bytes.fromhex(link.context.trace_id),
                span_id=bytes.fromhex(link.context.span_id),
                trace_state=link.context.trace_state,
                attributes=pairs(link.attributes),
                dropped_attributes_count=link.dropped_attributes,
                flags=flags(link.context, link.context),
            )
            for link in span.links
        ],
        dropped_links_count=span.dropped_links,
    )
    if span.status_code:
        found.status.code = trace.Status.StatusCode.ValueType(span.status_code)
        found.status.message = span.status_message
    return found


def expected_log(record: LogRecord) -> logs.LogRecord:
    context = record.context
    found = logs.LogRecord(
        time_unix_nano=record.time_ns,
        observed_time_unix_nano=record.observed_ns,
        severity_number=logs.SeverityNumber.ValueType(record.severity_number),
        severity_text=record.severity_text,
        attributes=pairs(record.attributes),
        dropped_attributes_count=record.dropped_attributes,
        flags=int(context.is_sampled) if context else 0,
        trace_id=bytes.fromhex(context.trace_id) if context else b"",
        span_id=bytes.fromhex(context.span_id) if context else b"",
        event_name=record.event_name,
    )
    if record.body is not None:
        found.body.CopyFrom(any_value(record.body))
    return found


def fail(place: str, error: BaseException) -> None:
    raise AssertionError(place) from error


def from_json(body: bytes, message: Any) -> Any:
    """The message in `body`: OTLP writes ids as hex where ProtoJSON has base64."""

    def with_base64_ids(found: dict[str, Any]) -> dict[str, Any]:
        for name in ("traceId", "spanId", "parentSpanId"):
            if isinstance(found.get(name), str):
                found[name] = b64encode(bytes.fromhex(found[name])).decode()
        return found

    document = json.loads(body, object_hook=with_base64_ids)
    return Parse(json.dumps(document), message())


def check_scope(group: Any, scope: Scope) -> None:
    assert group.scope == common.InstrumentationScope(
        name=scope.name, version=scope.version, attributes=pairs(scope.attributes)
    )
    assert group.schema_url == scope.schema_url


@given(spans())
def test_a_span_is_read_back_from_protobuf_and_json(span: Span) -> None:
    protobuf, _ = otlp_protobuf.span_encoder(RESOURCE, fail).encode([span])
    as_json, _ = otlp_json.span_encoder(RESOURCE, fail).encode([span])
    for request in (
        ExportTraceServiceRequest.FromString(protobuf),
        from_json(as_json, ExportTraceServiceRequest),
    ):
        (resource_spans,) = request.resource_spans
        assert list(resource_spans.resource.attributes) == pairs(RESOURCE)
        (scope_spans,) = resource_spans.scope_spans
        check_scope(scope_spans, span.scope)
        assert list(scope_spans.spans) == [expected_span(span)]


@given(log_records())
def test_a_log_record_is_read_back_from_json(record: LogRecord) -> None:
    body, _ = otlp_json.log_encoder(RESOURCE, fail).encode([record])
    (resource_logs,) = from_json(body, ExportLogsServiceRequest).resource_logs
    assert list(resource_logs.resource.attributes) == pairs(RESOURCE)
    (scope_logs,) = resource_logs.scope_logs
    check_scope(scope_logs, record.scope)
    (found,) = scope_logs.log_records
    assert found == expected_log(record)


@pytest.mark.parametrize("encoder", [otlp_json.span_encoder, otlp_protobuf.span_encoder])
def test_what_cannot_be_encoded_is_left_out_and_the_others_go(
    encoder: Callable[..., Any],
) -> None:
    reports: list[str] = []
    good = [Span(name, SpanContext("1" * 32, "2" * 16), None, 1) for name in ("a", "b")]
    bad = Span("bad", SpanContext("z" * 32, "2" * 16), None, 1)
    encode = encoder({}, lambda place, error: reports.append(f"{place}: {type(error).__name__}"))
    body, failed = encode.encode([good[0], bad, good[1]])
    assert (failed, reports) == (1, ["a record cannot be encoded: ValueError"])
    assert b"bad" not in body


def test_json_has_hex_ids_numbers_as_enums_and_names_for_what_is_no_number() -> None:
    span = Span(
        "s",
        SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
        None,
        1,
        kind=3,
        attributes={"nan": math.nan, "inf": -math.inf, "lone": "\ud800", "big": 1 << 60},
        scope=Scope("app"),
    )
    span.end(2)
    body, _ = otlp_json.span_encoder({}, fail).encode([span])
    assert json.loads(body) == {
        "resourceSpans": [
            {
                "resource": {"attributes": []},
                "scopeSpans": [
                    {
                        "scope": {"name": "app"},
                        "spans": [
                            {
                                "traceId": "0af7651916cd43dd8448eb211c80319c",
                                "spanId": "b7ad6b7169203331",
                                "flags": 1,
                                "name": "s",
                                "kind": 3,
                                "startTimeUnixNano": "1",
                                "endTimeUnixNano": "2",
                                "attributes": [
                                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                                    {"key": "inf", "value": {"doubleValue": "-Infinity"}},
                                    {"key": "lone", "value": {"stringValue": "?"}},
                                    {"key": "big", "value": {"intValue": "1152921504606846976"}},
                                ],
                            }
                        ],
                    }
                ],
                "schemaUrl": "https://opentelemetry.io/schemas/1.37.0",
            }
        ]
    }


class Interrupted(dict[str, str]):
    """Attributes at which the user presses Ctrl-C."""

    def __bool__(self) -> bool:
        raise KeyboardInterrupt

    def items(self) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("encoders", [otlp_json, otlp_protobuf])
def test_the_end_of_the_program_is_no_record_that_cannot_be_encoded(encoders: Any) -> None:
    span = Span("s", SpanContext("1" * 32, "2" * 16), None, 1)
    span.attributes = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        encoders.span_encoder({}, fail).encode([span])

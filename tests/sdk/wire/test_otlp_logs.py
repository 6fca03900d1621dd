"""The oracle is `opentelemetry-proto`: what we write by hand, its generated classes must read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2

from lambdatrace.log_record import LogRecord
from lambdatrace.records import Scope, SpanContext
from lambdatrace.wire.otlp_logs import encode_log_record, log_encoder
from tests.sdk.wire.test_otlp_protobuf import SPAN_ID, TRACE_ID, plain, texts, values

if TYPE_CHECKING:
    from lambdatrace.wire.otlp_protobuf import ProtobufEncoder

uint64, uint32 = st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1)
contexts = st.builds(
    SpanContext,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    is_sampled=st.booleans(),
)


def decoded(record: LogRecord) -> logs_pb2.LogRecord:
    message = logs_pb2.LogRecord()
    message.ParseFromString(encode_log_record(record))
    return message


def test_every_field_of_a_log_record_is_read_back() -> None:
    record = LogRecord(
        "paid",
        1_700_000_000_000_000_002,
        time_ns=1_700_000_000_000_000_001,
        severity_number=9,
        severity_text="INFO",
        attributes={"order.id": 7},
        context=SpanContext(TRACE_ID, SPAN_ID),
        event_name="order.paid",
    )
    record.dropped_attributes = 300
    assert MessageToDict(decoded(record)) == {
        "timeUnixNano": "1700000000000000001",
        "observedTimeUnixNano": "1700000000000000002",
        "severityNumber": "SEVERITY_NUMBER_INFO",
        "severityText": "INFO",
        "body": {"stringValue": "paid"},
        "attributes": [{"key": "order.id", "value": {"intValue": "7"}}],
        "droppedAttributesCount": 300,
        "flags": 1,
        "traceId": "CvdlGRbNQ92ESOshHIAxnA==",
        "spanId": "t61rcWkgMzE=",
        "eventName": "order.paid",
    }
    fields = {field.name for field in logs_pb2.LogRecord.DESCRIPTOR.fields}
    assert len(MessageToDict(decoded(record))) == len(fields), "OTLP has no field that we leave out"


@given(
    st.none() | values,
    st.dictionaries(texts, values, max_size=3),
    st.none() | contexts,
    uint64,
    uint64,
    st.integers(0, 24),
    uint32,
    texts,
    texts,
)
def test_any_log_record_is_read_back_as_it_was(
    body: Any,
    attributes: dict[str, Any],
    context: SpanContext | None,
    time_ns: int,
    observed_ns: int,
    severity: int,
    dropped: int,
    severity_text: str,
    event_name: str,
) -> None:
    record = LogRecord(
        body,
        observed_ns,
        time_ns=time_ns,
        severity_number=severity,
        severity_text=severity_text,
        attributes=attributes,
        context=context,
        event_name=event_name,
    )
    record.dropped_attributes = dropped
    message = decoded(record)
    assert plain(message.body) == body
    assert {pair.key: plain(pair.value) for pair in message.attributes} == attributes
    assert (message.time_unix_nano, message.observed_time_unix_nano) == (time_ns, observed_ns)
    assert (message.severity_number, message.severity_text) == (severity, severity_text)
    assert (message.dropped_attributes_count, message.event_name) == (dropped, event_name)
    assert message.trace_id.hex() == (context.trace_id if context else "")
    assert message.span_id.hex() == (context.span_id if context else "")
    assert message.flags == (1 if context and context.is_sampled else 0)


def test_a_request_has_the_resource_and_the_records_by_scope() -> None:
    errors: list[str] = []
    encoder: ProtobufEncoder = log_encoder(
        {"service.name": "orders"}, lambda place, _error: errors.append(place)
    )
    shop, cart = Scope("shop"), Scope("shop.cart", "1.2", schema_url="https://example.com/1")
    records = [LogRecord(str(n), n, scope=scope) for n, scope in enumerate((shop, cart, shop))]
    broken = LogRecord("x", -1)
    body, failed = encoder.encode([*records, broken])
    assert (failed, errors) == (1, ["a record cannot be encoded"])
    request = ExportLogsServiceRequest.FromString(body)
    (resource_logs,) = request.resource_logs
    assert [plain(pair.value) for pair in resource_logs.resource.attributes] == ["orders"]
    assert [
        (
            group.scope.name,
            group.scope.version,
            group.schema_url,
            [plain(record.body) for record in group.log_records],
        )
        for group in resource_logs.scope_logs
    ] == [("shop", "", "", ["0", "2"]), ("shop.cart", "1.2", "https://example.com/1", ["1"])]

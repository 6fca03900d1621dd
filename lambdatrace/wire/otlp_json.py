"""Records → OTLP/JSON, for `OTEL_EXPORTER_OTLP_PROTOCOL=http/json`.

Proto3's JSON with three differences: ids are hex, enums are numbers, and names are lowerCamelCase
only. 64-bit integers are decimal strings, bytes base64. Source: OpenTelemetry protocol
specification, "JSON Protobuf Encoding"; ProtoJSON for the rest.
"""

from __future__ import annotations

import json
from binascii import b2a_base64

from lambdatrace.plain import INT64_MAX, INT64_MIN, bounded, text_of
from lambdatrace.wire.otlp_protobuf import SCHEMA_URL, trace_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from lambdatrace.log_record import LogRecord
    from lambdatrace.records import Event, Link, Scope, Span, SpanContext

    OnError = Callable[[str, BaseException], None]

_NO_NUMBERS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


class JsonEncoder:
    """Records of one signal → the body of its Export…ServiceRequest, by resource and scope.

    `encode_record` gives the object of one record, which has a `scope`; `names` are those of the
    request's three levels. A record it fails on is reported to `on_error` and left out.
    """

    content_type = "application/json"

    def __init__(
        self,
        names: tuple[str, str, str],
        encode_record: Callable[[Any], dict[str, Any]],
        resource_attributes: Mapping[str, Any],
        on_error: OnError,
    ) -> None:
        self._names = names
        self._encode_record = encode_record
        self._resource = {"attributes": json_attributes(resource_attributes)}
        self._on_error = on_error

    def encode(self, records: Sequence[Any]) -> tuple[bytes, int]:
        """The body for `records` and how many of them could not be encoded."""
        resource_name, scope_name, records_name = self._names
        groups: dict[str, list[str]] = {}
        failed = 0
        for record in records:
            try:
                encoded = self._encode_record(record)
                scope = _text(_scope_group(record.scope))
                text = _text(encoded)  # here, where what has no JSON costs the one record only
            except Exception as error:  # noqa: BLE001 - one record's odd values, not the batch's
                self._on_error("a record cannot be encoded", error)
                failed += 1
            else:
                groups.setdefault(scope, []).append(text)
        scopes = [
            f'{scope[:-1]},"{records_name}":[{",".join(texts)}]}}'
            for scope, texts in groups.items()
        ]
        body = (
            f'{{"{resource_name}":[{{"resource":{_text(self._resource)},'
            f'"{scope_name}":[{",".join(scopes)}],"schemaUrl":{_text(SCHEMA_URL)}}}]}}'
        )
        # A lone surrogate has no UTF-8: a question mark, as in protobuf.
        return body.encode("utf-8", "replace"), failed


def span_encoder(resource_attributes: Mapping[str, Any], on_error: OnError) -> JsonEncoder:
    """What encodes spans."""
    names = ("resourceSpans", "scopeSpans", "spans")
    return JsonEncoder(names, span_object, resource_attributes, on_error)


def log_encoder(resource_attributes: Mapping[str, Any], on_error: OnError) -> JsonEncoder:
    """What encodes log records."""
    names = ("resourceLogs", "scopeLogs", "logRecords")
    return JsonEncoder(names, log_object, resource_attributes, on_error)


def span_object(span: Span) -> dict[str, Any]:
    """A Span; what is empty or 0 is left out, as proto3's JSON may."""
    context, parent = span.context, span.parent
    return _without_empty(
        {
            "traceId": _hex(context.trace_id),
            "spanId": _hex(context.span_id),
            "traceState": context.trace_state,
            "parentSpanId": _hex(parent.span_id) if parent is not None else "",
            "flags": trace_flags(context.is_sampled, parent),
            "name": str(span.name),
            "kind": span.kind,
            "startTimeUnixNano": str(span.start_ns),
            "endTimeUnixNano": str(span.end_ns),
            "attributes": json_attributes(span.attributes),
            "droppedAttributesCount": span.dropped_attributes,
            "events": [_event(event) for event in span.events],
            "droppedEventsCount": span.dropped_events,
            "links": [_link(link) for link in span.links],
            "droppedLinksCount": span.dropped_links,
            "status": _without_empty(
                {"message": str(span.status_message), "code": span.status_code}
            ),
        }
    )


def log_object(record: LogRecord) -> dict[str, Any]:
    """A LogRecord."""
    context = record.context
    return _without_empty(
        {
            "timeUnixNano": str(record.time_ns),
            "observedTimeUnixNano": str(record.observed_ns),
            "severityNumber": record.severity_number,
            "severityText": str(record.severity_text),
            "body": json_value(record.body),
            "attributes": json_attributes(record.attributes),
            "droppedAttributesCount": record.dropped_attributes,
            "flags": int(context.is_sampled) if context is not None else 0,
            "traceId": _hex(context.trace_id) if context is not None else "",
            "spanId": _hex(context.span_id) if context is not None else "",
            "eventName": str(record.event_name),
        }
    )


def json_attributes(attributes: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """KeyValues."""
    return [{"key": text_of(key), "value": json_value(value)} for key, value in attributes.items()]


def json_value(value: Any) -> dict[str, Any]:
    """An AnyValue, within `bounded`; a value of no OTLP type is written as its `str`."""
    return _bounded_value(bounded(value))


def _bounded_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": json_double(value)}
    if isinstance(value, bytes):
        return {"bytesValue": b2a_base64(value, newline=False).decode()}
    if value is None:
        return {}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_bounded_value(item) for item in value]}}
    if isinstance(value, dict):
        pairs = [{"key": key, "value": _bounded_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": pairs}}
    return {"stringValue": str(value)}


def json_double(value: float) -> float | str:
    """A double; what JSON has no number for is a name."""
    number = float(value)
    return _NO_NUMBERS.get(repr(number), number)


def _scope_group(scope: Scope) -> dict[str, Any]:
    group: dict[str, Any] = {
        "scope": _without_empty(
            {
                "name": scope.name,
                "version": scope.version,
                "attributes": json_attributes(scope.attributes),
            }
        )
    }
    if scope.schema_url:
        group["schemaUrl"] = scope.schema_url
    return group


def _event(event: Event) -> dict[str, Any]:
    return _without_empty(
        {
            "timeUnixNano": str(event.time_ns),
            "name": str(event.name),
            "attributes": json_attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes,
        }
    )


def _link(link: Link) -> dict[str, Any]:
    context: SpanContext = link.context
    return _without_empty(
        {
            "traceId": _hex(context.trace_id),
            "spanId": _hex(context.span_id),
            "traceState": context.trace_state,
            "attributes": json_attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes,
            "flags": trace_flags(context.is_sampled, context),
        }
    )


def _hex(identifier: str) -> str:
    """`identifier`, which must be hex. Raises ValueError."""
    return bytes.fromhex(identifier).hex()


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` without those that are 0, empty or None, which are proto3's defaults."""
    return {name: value for name, value in fields.items() if value}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

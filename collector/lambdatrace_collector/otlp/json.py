"""OTLP's JSON form, from what the store keeps.

Ids are hex, enums are numbers, 64-bit integers are decimal strings, absent fields are left out.
Source: OTLP specification, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Row = Mapping[str, Any]
    Json = dict[str, Any]


def resource_spans_json(spans: Iterable[Row], sources: Mapping[int, Row]) -> list[Json]:
    """`resourceSpans` of the rows of `spans`, in their order, grouped by resource and scope.

    `sources` are the rows of `otlp_sources` by id. Text is bytes, as the store gives it.
    """
    shape = ("resourceSpans", "scopeSpans", "spans")
    return grouped_by_source(spans, sources, shape, lambda rows: map(span_json, rows))


def grouped_by_source(
    rows: Iterable[Row],
    sources: Mapping[int, Row],
    shape: tuple[str, str, str],
    members: Callable[[Sequence[Row]], Iterable[Json]],
) -> list[Json]:
    """Rows in OTLP's shape of resources, scopes and what `members` makes of a scope's rows.

    `shape` are the names that a signal has for the three.
    """
    by_source: dict[int, list[Row]] = {}
    for row in rows:
        by_source.setdefault(row["source_id"], []).append(row)
    by_resource: dict[str, Json] = {}
    for source_id, own in by_source.items():
        source = sources[source_id]
        head = present(
            resource=resource_json(source), schemaUrl=text(source["resource_schema_url"])
        )
        entry = by_resource.setdefault(json.dumps(head), {**head, shape[1]: []})
        entry[shape[1]].append(
            {
                **present(scope=scope_json(source), schemaUrl=text(source["scope_schema_url"])),
                shape[2]: list(members(own)),
            }
        )
    return list(by_resource.values())


def resource_json(source: Row) -> Json:
    """The Resource of a source."""
    return present(
        attributes=attributes_json(source["resource_attributes"]),
        droppedAttributesCount=source["resource_dropped_attributes_count"],
        entityRefs=[
            _entity_ref(EntityRef.FromString(ref)) for ref in source["resource_entity_refs"]
        ],
    )


def scope_json(source: Row) -> Json:
    """The InstrumentationScope of a source."""
    return present(
        name=text(source["scope_name"]),
        version=text(source["scope_version"]),
        attributes=attributes_json(source["scope_attributes"]),
        droppedAttributesCount=source["scope_dropped_attributes_count"],
    )


def span_json(row: Row) -> Json:
    """A Span."""
    return present(
        traceId=row["trace_id"].hex(),
        spanId=row["span_id"].hex(),
        traceState=text(row["trace_state"]),
        parentSpanId=row["parent_span_id"].hex(),
        flags=row["flags"],
        name=text(row["name"]),
        kind=row["kind"],
        startTimeUnixNano=int64(row["start_time_unix_nano"]),
        endTimeUnixNano=int64(row["end_time_unix_nano"]),
        attributes=attributes_json(row["attributes"]),
        droppedAttributesCount=row["dropped_attributes_count"],
        events=[_event(Span.Event.FromString(event)) for event in row["events"]],
        droppedEventsCount=row["dropped_events_count"],
        links=[_link(Span.Link.FromString(link)) for link in row["links"]],
        droppedLinksCount=row["dropped_links_count"],
        status=present(message=text(row["status_message"]), code=row["status_code"]),
    )


def any_value_json(value: AnyValue) -> Json:
    """An AnyValue: one member, named after its type; none when it is empty."""
    kind = value.WhichOneof("value")
    if kind is None:
        return {}
    if kind == "string_value":
        return {"stringValue": value.string_value}
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "bool_value":
        return {"boolValue": value.bool_value}
    if kind == "double_value":
        return {"doubleValue": double(value.double_value)}
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    if kind == "array_value":
        members = [any_value_json(item) for item in value.array_value.values]
        return {"arrayValue": present(values=members)}
    if kind == "kvlist_value":
        return {"kvlistValue": present(values=key_values_json(value.kvlist_value.values))}
    return {"stringValueStrindex": value.string_value_strindex}


def _event(event: Span.Event) -> Json:
    return present(
        timeUnixNano=int64(event.time_unix_nano),
        name=event.name,
        attributes=key_values_json(event.attributes),
        droppedAttributesCount=event.dropped_attributes_count,
    )


def _link(link: Span.Link) -> Json:
    return present(
        traceId=link.trace_id.hex(),
        spanId=link.span_id.hex(),
        traceState=link.trace_state,
        attributes=key_values_json(link.attributes),
        droppedAttributesCount=link.dropped_attributes_count,
        flags=link.flags,
    )


def _entity_ref(ref: EntityRef) -> Json:
    return present(
        schemaUrl=ref.schema_url,
        type=ref.type,
        idKeys=list(ref.id_keys),
        descriptionKeys=list(ref.description_keys),
    )


def attributes_json(encoded: Mapping[bytes, bytes]) -> list[Json]:
    """Attributes as the store keeps them: encoded AnyValues by their key."""
    return [
        {"key": text(key), "value": any_value_json(AnyValue.FromString(value))}
        for key, value in encoded.items()
    ]


def key_values_json(pairs: Sequence[KeyValue]) -> list[Json]:
    """A list of KeyValue."""
    return [{"key": pair.key, "value": any_value_json(pair.value)} for pair in pairs]


def present(**members: Any) -> Json:
    """The members that differ from protobuf's default; an empty message counts as absent.

    Negative zero is not the default of a double: protobuf compares bits.
    """
    return {name: value for name, value in members.items() if value or _is_negative_zero(value)}


def _is_negative_zero(value: object) -> bool:
    return isinstance(value, float) and value == 0 and math.copysign(1, value) < 0


def int64(value: int) -> str | None:
    """A 64-bit integer as JSON has it; None for protobuf's default, which is left out."""
    return str(value) if value else None


def double(value: float) -> float | str:
    """A double as JSON has it: protobuf writes what JSON has no number for as a string."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text(value: bytes) -> str:
    """Text that the store gave as bytes."""
    return value.decode("utf-8", "replace")

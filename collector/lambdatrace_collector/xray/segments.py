"""X-Ray segment documents → OTLP spans: the segment, and each subsegment that is inline in it.

Which attribute a field becomes is as the OpenTelemetry Collector's `awsxrayreceiver` has it, with
the names of OpenTelemetry's current conventions. What has no attribute stays in the document, which
is kept beside the spans.
Source: X-Ray Developer Guide, "X-Ray segment documents".
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from lambdatrace_collector.xray.documents import SegmentError, members, number, objects, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Json = Mapping[str, Any]

DOCUMENT_BYTES_MAX = 64 * 1024
NAME_LENGTH_MAX = 200
DEPTH_MAX = 50  # of subsegments in each other
NS_PER_S = 1_000_000_000
TIME_S_MAX = 2**63 // NS_PER_S
SCOPE = "aws.xray"

_TRACE_ID = re.compile(r"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})|([0-9a-fA-F]{32})")
_ID = re.compile(r"[0-9a-fA-F]{16}")

# Field → attribute.
_REQUEST = {
    "method": "http.request.method",
    "url": "url.full",
    "user_agent": "user_agent.original",
    "client_ip": "client.address",
}
_RESPONSE = {"status": "http.response.status_code", "content_length": "http.response.body.size"}
_AWS = {
    "account_id": "cloud.account.id",
    "operation": "rpc.method",
    "region": "cloud.region",
    "request_id": "aws.request_id",
    "queue_url": "aws.sqs.queue.url",
    "topic_arn": "aws.sns.topic.arn",
    "table_name": "aws.dynamodb.table_names",
    "bucket_name": "aws.s3.bucket",
    "function_arn": "aws.lambda.invoked_arn",
    "cold_start": "faas.coldstart",
}
_SQL = {
    "database_type": "db.system.name",
    "sanitized_query": "db.query.text",
    "user": "db.user",
    "url": "db.connection_string",
}


class Segment(NamedTuple):
    """A document that was read: what its row has, and its spans."""

    trace_id: str  # 32 hex digits
    segment_id: str
    parent_id: str
    name: str
    is_in_progress: bool
    resource_spans: ResourceSpans


def read_segment(document: str) -> Segment:
    """The segment, or subsegment sent by itself, in `document`. Raises SegmentError."""
    if len(document.encode("utf-8", "replace")) > DOCUMENT_BYTES_MAX:
        raise SegmentError("", "ParseError", f"the document is over {DOCUMENT_BYTES_MAX} bytes")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise SegmentError("", "ParseError", str(error)) from error
    if not isinstance(value, dict):
        raise SegmentError("", "ParseError", "the document is not a JSON object")
    segment_id = _id(value, "id", "")
    trace_id = _trace_id(value.get("trace_id"), segment_id)
    is_subsegment = value.get("type") == "subsegment"
    parent_id = _id(value, "parent_id", segment_id) if "parent_id" in value or is_subsegment else ""
    name = _name(value, segment_id)
    resource_spans = ResourceSpans()
    _set_resource(resource_spans, value, "" if is_subsegment else name)
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = SCOPE
    for own, parent, depth in _entities(value, parent_id, segment_id):
        _set_span(scope_spans.spans.add(), own, bytes.fromhex(trace_id), parent, segment_id)
        if depth > DEPTH_MAX:
            raise SegmentError(segment_id, "ParseError", f"over {DEPTH_MAX} subsegments in another")
    return Segment(
        trace_id, segment_id, parent_id, name, bool(value.get("in_progress")), resource_spans
    )


def _entities(
    value: Json, parent_id: str, segment_id: str, depth: int = 0
) -> Iterator[tuple[Json, str, int]]:
    """Each segment and subsegment with its parent's id and its depth, parents first."""
    yield value, parent_id, depth
    subsegments = value.get("subsegments") or ()
    if not isinstance(subsegments, (list, tuple)):
        raise SegmentError(segment_id, "ParseError", "subsegments is not a list")
    own_id = _id(value, "id", segment_id)
    for subsegment in subsegments:
        if isinstance(subsegment, str):
            continue  # the id of one that is sent by itself
        if not isinstance(subsegment, dict):
            raise SegmentError(segment_id, "ParseError", "a subsegment is not an object")
        yield from _entities(subsegment, own_id, segment_id, depth + 1)


def _set_span(span: Span, value: Json, trace_id: bytes, parent_id: str, segment_id: str) -> None:
    span.trace_id = trace_id
    span.span_id = bytes.fromhex(_id(value, "id", segment_id))
    span.parent_span_id = bytes.fromhex(parent_id)
    span.name = _name(value, segment_id)
    span.kind = _kind(value)
    span.start_time_unix_nano = _time_ns(value, "start_time", segment_id)
    if "end_time" in value:
        span.end_time_unix_nano = _time_ns(value, "end_time", segment_id)
    elif not value.get("in_progress"):
        raise SegmentError(segment_id, "ParseError", "neither end_time nor in_progress is there")
    if any(value.get(flag) is True for flag in ("error", "fault", "throttle")):
        span.status.code = Status.STATUS_CODE_ERROR
    for key, attribute in _attributes(value):
        _set(span.attributes.add(key=key).value, attribute)
    _add_exceptions(span, members(value, "cause"))
    for link in objects(value, "links"):
        _add_link(span, link)


def _kind(value: Json) -> Span.SpanKind.ValueType:
    if value.get("namespace") in ("aws", "remote"):
        return Span.SPAN_KIND_CLIENT
    is_segment = value.get("type") != "subsegment" and "trace_id" in value
    return Span.SPAN_KIND_SERVER if is_segment else Span.SPAN_KIND_INTERNAL


def _attributes(value: Json) -> Iterator[tuple[str, Any]]:
    http = members(value, "http")
    yield from _renamed(members(http, "request"), _REQUEST)
    yield from _renamed(members(http, "response"), _RESPONSE)
    yield from _renamed(members(value, "aws"), _AWS)
    yield from _renamed(members(value, "sql"), _SQL)
    if value.get("namespace") == "aws":
        yield "rpc.system.name", "aws-api"
        yield "rpc.service", text(value.get("name"))
    if value.get("user"):
        yield "enduser.id", text(value["user"])
    if value.get("in_progress"):
        yield "aws.xray.inprogress", True
    annotations = members(value, "annotations")
    yield from annotations.items()
    if annotations:
        yield "aws.xray.annotations", list(annotations)
    for namespace, own in members(value, "metadata").items():
        yield f"aws.xray.metadata.{namespace}", json.dumps(own, ensure_ascii=False)


def _renamed(value: Json, names: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    return ((names[key], found) for key, found in value.items() if key in names)


def _set_resource(resource_spans: ResourceSpans, value: Json, service: str) -> None:
    aws = members(value, "aws")
    attributes = {
        "service.name": service,
        "service.version": members(value, "service").get("version"),
        "cloud.account.id": aws.get("account_id"),
        "aws.xray.origin": value.get("origin"),
        "telemetry.sdk.name": members(aws, "xray").get("sdk"),
        "telemetry.sdk.version": members(aws, "xray").get("sdk_version"),
    }
    for key, attribute in attributes.items():
        if attribute:
            _set(resource_spans.resource.attributes.add(key=key).value, attribute)


def _add_exceptions(span: Span, cause: Json) -> None:
    for exception in objects(cause, "exceptions"):
        event = span.events.add(
            name="exception", time_unix_nano=span.end_time_unix_nano or span.start_time_unix_nano
        )
        for field, key in (("type", "exception.type"), ("message", "exception.message")):
            if exception.get(field):
                event.attributes.add(key=key).value.string_value = text(exception[field])
        if exception.get("stack"):
            stack = json.dumps(exception["stack"], ensure_ascii=False)
            event.attributes.add(key="exception.stacktrace").value.string_value = text(stack)
        if exception.get("message") and not span.status.message:
            span.status.message = text(exception["message"])


def _add_link(span: Span, link: Json) -> None:
    trace_id, own_id = _TRACE_ID.fullmatch(text(link.get("trace_id"))), text(link.get("id"))
    if trace_id is None or _ID.fullmatch(own_id) is None:
        return
    added = span.links.add(
        trace_id=bytes.fromhex("".join(part or "" for part in trace_id.groups())),
        span_id=bytes.fromhex(own_id),
    )
    for key, attribute in members(link, "attributes").items():
        _set(added.attributes.add(key=text(key)).value, attribute)


def _set(value: Any, found: Any) -> None:
    """Set an AnyValue to what JSON has."""
    if isinstance(found, bool):
        value.bool_value = found
    elif isinstance(found, int) and -(2**63) <= found < 2**63:
        value.int_value = found
    elif isinstance(found, float):
        value.double_value = found
    elif isinstance(found, str):
        value.string_value = text(found)
    elif isinstance(found, list) and not any(isinstance(item, (list, dict)) for item in found):
        value.array_value.SetInParent()
        for item in found:
            _set(value.array_value.values.add(), item)
    else:  # what is nested, as JSON
        value.string_value = text(json.dumps(found, ensure_ascii=False))


def _trace_id(value: Any, segment_id: str) -> str:
    found = _TRACE_ID.fullmatch(text(value))
    trace_id = "".join(part or "" for part in found.groups()).lower() if found else ""
    if not trace_id.strip("0"):
        raise SegmentError(segment_id, "InvalidTraceId", "trace_id is not 1-8hex-24hex")
    return trace_id


def _id(value: Json, field: str, segment_id: str) -> str:
    if field not in value:
        raise SegmentError(segment_id, "MissingId", f"{field} is missing")
    found = text(value[field]).lower()
    if _ID.fullmatch(found) is None or not found.strip("0"):
        raise SegmentError(segment_id, "InvalidId", f"{field} is not 16 hex digits")
    return found


def _name(value: Json, segment_id: str) -> str:
    name = text(value.get("name"))
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise SegmentError(
            segment_id, "ParseError", f"name is missing, or over {NAME_LENGTH_MAX} characters"
        )
    return name


def _time_ns(value: Json, field: str, segment_id: str) -> int:
    seconds = number(value.get(field))
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds < TIME_S_MAX:
        raise SegmentError(segment_id, "ParseError", f"{field} is not a time in seconds")
    return round(seconds * 1_000_000) * 1000  # a float holds microseconds

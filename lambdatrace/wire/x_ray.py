"""Spans → X-Ray segment documents, each span one document of its own.

A span with a parent is a subsegment that is sent by itself, which X-Ray puts below its parent: with
Lambda's own header that is the function's segment. One without a parent is a segment. Source: X-Ray
Developer Guide, "X-Ray segment documents"; OpenTelemetry Collector, `awsxrayexporter`, for which
attribute goes where.
"""

from __future__ import annotations

import json
import re

from lambdatrace import __version__
from lambdatrace.plain import bounded, text_of
from lambdatrace.records import CLIENT, ERROR, PRODUCER
from lambdatrace.wire.x_ray_parts import NAME_LENGTH_MAX, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from lambdatrace.records import Event, Link, Span

ANNOTATION_COUNT_MAX = 50  # X-Ray's limit for a trace
STACK_FRAMES_MAX = 50
ANNOTATIONS = "aws.xray.annotations"
_DEPTH_MAX = 8
_NS_PER_S = 1_000_000_000  # as an int: the quotient of two is rounded once
_NAME = re.compile(r"[^\w\s.:/%&#=+\\\-@]")
_KEY = re.compile(r"[^A-Za-z0-9_]")
_FRAME = re.compile(r'^  File "(.*)", line (\d+), in (.*)$', re.MULTILINE)
_TOO_MANY_REQUESTS = 429
_CLIENT_ERROR, _SERVER_ERROR, _END = 400, 500, 600

# Where an attribute goes that has a field of its own: field → names, the first found counts.
_REQUEST = {
    "method": ("http.request.method", "http.method"),
    "url": ("url.full", "http.url"),
    "user_agent": ("user_agent.original", "http.user_agent"),
    "client_ip": ("client.address", "http.client_ip"),
}
_RESPONSE = {
    "status": ("http.response.status_code", "http.status_code"),
    "content_length": ("http.response.body.size", "http.response_content_length"),
}
_AWS = {
    "account_id": ("cloud.account.id",),
    "operation": ("rpc.method", "aws.operation"),
    "region": ("cloud.region", "aws.region"),
    "request_id": ("aws.request_id", "faas.invocation_id"),
    "id_2": ("aws.extended_request_id",),
    "retries": ("http.request.resend_count",),
    "queue_url": ("aws.sqs.queue.url", "messaging.url"),
    "topic_arn": ("aws.sns.topic.arn",),
    "table_name": ("aws.dynamodb.table_names",),
    "bucket_name": ("aws.s3.bucket",),
    "key": ("aws.s3.key",),
    "function_name": ("faas.invoked_name",),
    "stream_name": ("aws.kinesis.stream_name",),
}
_SQL = {
    "database_type": ("db.system.name", "db.system"),
    "sanitized_query": ("db.query.text", "db.statement"),
    "user": ("db.user",),
    "url": ("db.connection_string",),
}
# Metadata of a namespace of the user's, as JSON: what the X-Ray SDK's door makes of it.
_METADATA = "aws.xray.metadata."


def segment_document(span: Span) -> dict[str, Any]:
    """The document of an ended span. Raises ValueError if its ids are not hex."""
    context, parent, attributes = span.context, span.parent, span.attributes
    bytes.fromhex(context.trace_id + context.span_id)
    document: dict[str, Any] = {
        "id": context.span_id,
        "trace_id": f"1-{context.trace_id[:8]}-{context.trace_id[8:]}",
        "name": _name(span),
        "start_time": span.start_ns / _NS_PER_S,
        "end_time": span.end_ns / _NS_PER_S,
    }
    if parent is not None:
        document.update(type="subsegment", parent_id=parent.span_id)
    else:
        document["origin"] = "AWS::Lambda::Function"
        if "enduser.id" in attributes:
            document["user"] = str(attributes["enduser.id"])
    if _is_aws(attributes):
        document["namespace"] = "aws"
    elif span.kind in (CLIENT, PRODUCER):
        document["namespace"] = "remote"
    status = _status(attributes)
    document.update(_error_flags(span, status))
    causes = list(_causes(span))
    if causes:
        document["cause"] = {"exceptions": causes}
    document.update(_http(attributes))
    document["aws"] = {
        **_fields(_AWS, attributes),
        "xray": {"sdk": "lambdatrace", "sdk_version": __version__},
    }
    sql = _fields(_SQL, attributes)
    if "sanitized_query" in sql:
        document["sql"] = sql
    annotations, metadata = _annotations_and_metadata(span)
    if annotations:
        document["annotations"] = annotations
    if metadata:
        document["metadata"] = metadata
    if span.links:
        document["links"] = [_link(link) for link in span.links]
    return document


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON can have it: what has no type there is its `str`; within `bounded`."""
    if not depth:
        value = bounded(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # not NaN, not infinite
    if depth < _DEPTH_MAX:
        if isinstance(value, dict):
            return {str(key): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item, depth + 1) for item in value]
    return str(value)


def _name(span: Span) -> str:
    """What the node is called: the service for AWS's, the host for other calls, else the span."""
    attributes, name = span.attributes, span.name
    if _is_aws(attributes):
        name = attributes.get("rpc.service") or name
    elif span.kind in (CLIENT, PRODUCER):
        name = attributes.get("server.address") or attributes.get("db.namespace") or name
    return _NAME.sub("_", str(name))[:NAME_LENGTH_MAX] or "_"


def _is_aws(attributes: Mapping[str, Any]) -> bool:
    return "aws-api" in (attributes.get("rpc.system"), attributes.get("rpc.system.name"))


def _status(attributes: Mapping[str, Any]) -> int:
    status = _fields(_RESPONSE, attributes).get("status", 0)
    return status if isinstance(status, int) else 0


def _http(attributes: Mapping[str, Any]) -> dict[str, Any]:
    parts = {
        "request": _fields(_REQUEST, attributes),
        "response": _fields(_RESPONSE, attributes),
    }
    found = {name: part for name, part in parts.items() if part}
    return {"http": found} if found else {}


def _link(link: Link) -> dict[str, Any]:
    trace_id = link.context.trace_id
    return {
        "trace_id": f"1-{trace_id[:8]}-{trace_id[8:]}",
        "id": link.context.span_id,
        "attributes": plain(link.attributes),
    }


def _error_flags(span: Span, status: int) -> dict[str, bool]:
    """`error` for the caller's fault, `throttle` with it for 429, `fault` for the server's."""
    if status == _TOO_MANY_REQUESTS:
        return {"error": True, "throttle": True}
    if _CLIENT_ERROR <= status < _SERVER_ERROR:
        return {"error": True}
    if span.status_code == ERROR or _SERVER_ERROR <= status < _END:
        return {"fault": True}
    return {}


def _causes(span: Span) -> Iterator[dict[str, Any]]:
    found = False
    for number, event in enumerate(span.events):
        if event.name == "exception":
            found = True
            yield _exception(span, number, event)
    if not found and span.status_code == ERROR and span.status_message:
        yield {
            "id": _cause_id(span, 0),
            "message": span.status_message,
            "type": str(span.attributes.get("error.type", "")),
        }


def _exception(span: Span, number: int, event: Event) -> dict[str, Any]:
    frames = _FRAME.findall(str(event.attributes.get("exception.stacktrace", "")))
    kept = frames[-STACK_FRAMES_MAX:]
    exception: dict[str, Any] = {
        "id": _cause_id(span, number),
        "message": str(event.attributes.get("exception.message", "")),
        "type": str(event.attributes.get("exception.type", "")),
        "remote": span.kind == CLIENT,
        "stack": [{"path": path, "line": int(line), "label": label} for path, line, label in kept],
    }
    if len(frames) > len(kept):
        exception["truncated"] = len(frames) - len(kept)
    return exception


def _cause_id(span: Span, number: int) -> str:
    """An id that is the same each time the span is sent."""
    return f"{(int(span.span_id, 16) + number + 1) % (1 << 64):016x}"


def _fields(names: Mapping[str, tuple[str, ...]], attributes: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for field, candidates in names.items():
        for name in candidates:
            value = attributes.get(name)
            if isinstance(value, (list, tuple)):  # tables: X-Ray has room for one
                value = value[0] if value else None
            if value not in (None, ""):
                found[field] = value if isinstance(value, int) else text_of(value)
                break
    return found


def _annotations_and_metadata(span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes listed in `aws.xray.annotations` as annotations, all others as metadata."""
    listed = span.attributes.get(ANNOTATIONS, ())
    wanted = set(map(str, listed)) if isinstance(listed, (list, tuple)) else set()
    annotations: dict[str, Any] = {}
    default: dict[str, Any] = {}
    metadata: dict[str, Any] = {"default": default}
    for key, value in span.attributes.items():
        if key == ANNOTATIONS:
            continue
        if key in wanted and len(annotations) < ANNOTATION_COUNT_MAX:
            simple = plain(value)
            is_simple = isinstance(simple, (str, bool, int, float))
            annotations[_KEY.sub("_", key) or "_"] = (
                simple if is_simple else encode(simple).decode()
            )
        elif str(key).startswith(_METADATA) and isinstance(value, str):
            metadata[key[len(_METADATA) :]] = _read_json(value)
        else:
            default[str(key)] = plain(value)
    events = [event for event in span.events if event.name != "exception"]
    if events:
        default["events"] = [
            {
                "name": event.name,
                "time": event.time_ns / _NS_PER_S,
                "attributes": plain(event.attributes),
            }
            for event in events
        ]
    return annotations, {name: found for name, found in metadata.items() if found}


def _read_json(text: str) -> Any:
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError):
        return text

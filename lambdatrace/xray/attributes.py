"""What a subsegment says, as attributes of a span.

Annotations keep their keys, listed in `aws.xray.annotations`; metadata is JSON, by namespace. So
OpenTelemetry's X-Ray exporter writes them back as what they were.
Sources: X-Ray Developer Guide, "Segment documents"; opentelemetry-collector-contrib,
exporter/awsxrayexporter, README.
"""

from __future__ import annotations

import json

from lambdatrace.patches.http_attributes import METHODS
from lambdatrace.plain import plain_copy, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANNOTATIONS = "aws.xray.annotations"
METADATA_PREFIX = "aws.xray.metadata."
_METHOD = "http.request.method"
METADATA_LENGTH_MAX = 64 * 1024  # an X-Ray document's limit

_HTTP = {
    ("request", "method"): _METHOD,
    ("request", "url"): "url.full",
    ("request", "user_agent"): "user_agent.original",
    ("request", "client_ip"): "client.address",
    ("response", "status"): "http.response.status_code",
    ("response", "content_length"): "http.response.body.size",
}
_AWS = {
    "operation": "rpc.method",
    "region": "cloud.region",
    "request_id": "aws.request_id",
    "id_2": "aws.extended_request_id",
    "retries": "http.request.resend_count",
    "queue_url": "aws.sqs.queue.url",
    "topic_arn": "aws.sns.topic.arn",
    "bucket_name": "aws.s3.bucket",
    "key": "aws.s3.key",
    "function_name": "faas.invoked_name",
    "stream_name": "aws.kinesis.stream_name",
}
_SQL = {
    "database_type": "db.system.name",
    "sanitized_query": "db.query.text",
    "user": "db.user",
    "url": "db.connection_string",
    "database_version": "aws.xray.sql.database_version",
    "driver_version": "aws.xray.sql.driver_version",
    "preparation": "aws.xray.sql.preparation",
}


def _read_method(attributes: dict[str, Any]) -> None:
    """The method as OpenTelemetry has it: one of HTTP's, in capitals, or `_OTHER`."""
    method = attributes.get(_METHOD)
    if isinstance(method, str) and method not in METHODS:
        is_known = method.upper() in METHODS
        attributes[_METHOD] = method.upper() if is_known else "_OTHER"
        attributes[f"{_METHOD}_original"] = method


def read_subsegment(subsegment: Any) -> dict[str, Any]:
    """The attributes that an X-Ray subsegment, about to end, gives its span."""
    http = subsegment.http
    attributes: dict[str, Any] = {
        key: http[part][field]
        for (part, field), key in _HTTP.items()
        if field in http.get(part, ())
    }
    _read_method(attributes)
    if subsegment.namespace == "aws":
        attributes["rpc.system"] = "aws-api"
        attributes["rpc.service"] = subsegment.name
    attributes.update(_read_aws(subsegment.aws))
    for field, value in subsegment.sql.items():
        if field in _SQL and isinstance(value, str):
            attributes[_SQL[field]] = value
    if subsegment.annotations:
        attributes.update(subsegment.annotations)
        attributes[ANNOTATIONS] = list(subsegment.annotations)
    for namespace, values in subsegment.metadata.items():
        attributes[METADATA_PREFIX + namespace] = _json(values)
    return attributes


def _read_aws(data: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        _AWS.get(field, f"aws.{field}"): value
        for field, value in data.items()
        if isinstance(value, (str, int, float)) and field != "table_name"
    }
    if "table_name" in data:
        attributes["aws.dynamodb.table_names"] = [data["table_name"]]
    return attributes


def _json(values: Any) -> str:
    from aws_xray_sdk.core.utils.conversion import metadata_to_dict

    # Objects as their fields, as the SDK writes them; keys and values JSON lacks as text.
    return json.dumps(plain_copy(metadata_to_dict(values), METADATA_LENGTH_MAX, text_of))


def error_type(subsegment: Any) -> str:
    """Why the subsegment has failed: its status code, else which of its flags; empty if it has not.

    An exception's type is on the span already.
    """
    flags = [flag for flag in ("throttle", "fault", "error") if getattr(subsegment, flag, False)]
    if not flags:
        return ""
    status = subsegment.http.get("response", {}).get("status")
    return str(status) if isinstance(status, int) else flags[0]

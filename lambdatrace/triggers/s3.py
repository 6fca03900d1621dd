"""S3 notifications. Source: S3 User Guide, "Event message structure"."""

from __future__ import annotations

from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# `eventName` before the colon → OpenTelemetry's `faas.document.operation`.
_OPERATIONS = {"ObjectCreated": "insert", "ObjectRemoved": "delete"}


def read(event: dict[str, Any]) -> Trigger:
    """The object of a notification; of several, the first."""
    record = mapping(event["Records"][0])
    bucket = mapping(mapping(record.get("s3")).get("bucket"))
    item = mapping(mapping(record.get("s3")).get("object"))
    attributes = {
        "faas.document.collection": text(bucket.get("name")),
        "faas.document.name": text(item.get("key")),
        "faas.document.operation": _OPERATIONS.get(
            text(record.get("eventName")).partition(":")[0], ""
        ),
        "faas.document.time": text(record.get("eventTime")),
        "aws.s3.bucket": text(bucket.get("name")),
        "aws.s3.key": text(item.get("key")),
    }
    return Trigger("datasource", {key: value for key, value in attributes.items() if value})

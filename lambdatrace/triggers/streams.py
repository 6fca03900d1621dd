"""Batches of Kinesis and DynamoDB streams.

Sources: Lambda Developer Guide, "Using Lambda with Amazon Kinesis" and "… with Amazon DynamoDB".
"""

from __future__ import annotations

from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(event: dict[str, Any]) -> Trigger:
    """The stream or table of a batch, and the sequence numbers of its records."""
    records = [mapping(record) for record in event["Records"]]
    resource = text(records[0].get("eventSourceARN")).rpartition(":")[2]
    if records[0].get("eventSource") == "aws:dynamodb":
        # …:table/NAME/stream/2024-…, whose last part has colons.
        arn = text(records[0].get("eventSourceARN"))
        table = arn.partition(":table/")[2].partition("/")[0]
        ids = [text(mapping(record.get("dynamodb")).get("SequenceNumber")) for record in records]
        attributes: dict[str, Any] = {"aws.dynamodb.table_names": [table]} if table else {}
        return Trigger("datasource", attributes, item_ids=ids)
    ids = [text(mapping(record.get("kinesis")).get("sequenceNumber")) for record in records]
    stream = resource.partition("/")[2]
    attributes = {"aws.kinesis.stream_name": stream} if stream else {}
    return Trigger("pubsub", attributes, item_ids=ids)

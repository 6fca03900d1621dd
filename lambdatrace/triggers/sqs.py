"""SQS batches: the queue, the links to the senders, a span per message.

Sources: Lambda Developer Guide, "Using Lambda with Amazon SQS"; OpenTelemetry semantic
conventions, "Instrumenting AWS Lambda", SQS: the link comes from the system attribute
`AWSTraceHeader`. For a message's own span, a `traceparent` among the message attributes, which is
where other tracers put it, is linked too.
"""

from __future__ import annotations

from lambdatrace import propagation
from lambdatrace.records import Link
from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(event: dict[str, Any]) -> Trigger:
    """The batch in an SQS event."""
    records = [mapping(record) for record in event["Records"]]
    queues = {_queue(record) for record in records}
    queue = queues.pop() if len(queues) == 1 else ""
    attributes: dict[str, Any] = {
        "messaging.system": "aws_sqs",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": len(records),
    }
    if queue:
        attributes["messaging.destination.name"] = queue
    return Trigger(
        "pubsub",
        process_name=f"{queue or 'multiple_sources'} process",
        process_attributes=attributes,
        links=[link for record in records for link in _system_links(record)],
        item_ids=[text(record.get("messageId")) for record in records],
    )


def message_span(record: dict[str, Any]) -> tuple[str, dict[str, Any], list[Link]]:
    """Name, attributes and links of the CONSUMER span for one message."""
    queue = _queue(record)
    attributes = {
        "messaging.system": "aws_sqs",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": text(record.get("messageId")),
    }
    links = _system_links(record)
    carrier = {
        key: mapping(value).get("stringValue")
        for key, value in mapping(record.get("messageAttributes")).items()
    }
    context = propagation.extract(carrier)
    if context is not None and context.span_id not in {link.context.span_id for link in links}:
        links.append(Link(context))
    return (
        f"{queue} process" if queue else "process",
        {key: value for key, value in attributes.items() if value},
        links,
    )


def _queue(record: dict[Any, Any]) -> str:
    return text(record.get("eventSourceARN")).rpartition(":")[2]


def _system_links(record: dict[Any, Any]) -> list[Link]:
    context = propagation.link_context(mapping(record.get("attributes")).get("AWSTraceHeader"))
    message_id = text(record.get("messageId"))
    if context is None:
        return []
    return [Link(context, {"messaging.message.id": message_id} if message_id else None)]

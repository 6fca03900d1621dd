"""What called us: event → `Trigger`, one module per family, one shape for all.

A family's module has `read(event) -> Trigger | None` and is imported on its first event. An event
that is not what it looks like gives None: then the invocation is traced without those facts.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace.durable import DurableExecution
    from lambdatrace.records import Link, Span

# `eventSource` of a record → the module that reads it.
_RECORD_FAMILIES = {
    "aws:dynamodb": "streams",
    "aws:kinesis": "streams",
    "aws:s3": "s3",
    "aws:sqs": "sqs",
}


class Trigger:
    """What an event tells about its sender.

    `faas_trigger` is OpenTelemetry's `faas.trigger`: datasource, http, pubsub, timer or other.
    `name` is the span's name when the event gives a better one than the function's. `carrier` is
    where the sender's trace context is, if anywhere. A batch has `process_name`: the name of the
    CONSUMER span that the conventions want around its processing, which gets `process_attributes`
    and `links`. `item_ids` are those by which an answer may name what failed of a batch.
    `execution` is the durable execution that the invocation is a part of.
    """

    __slots__ = (
        "attributes",
        "carrier",
        "execution",
        "faas_trigger",
        "item_ids",
        "links",
        "name",
        "process_attributes",
        "process_name",
    )

    def __init__(
        self,
        faas_trigger: str,
        attributes: dict[str, Any] | None = None,
        *,
        name: str = "",
        carrier: Mapping[Any, Any] | None = None,
        process_name: str = "",
        process_attributes: dict[str, Any] | None = None,
        links: Sequence[Link] = (),
        item_ids: Sequence[str] = (),
        execution: DurableExecution | None = None,
    ) -> None:
        self.faas_trigger = faas_trigger
        self.attributes = attributes or {}
        self.name = name
        self.carrier = carrier
        self.process_name = process_name
        self.process_attributes = process_attributes or {}
        self.links = links
        self.item_ids = item_ids
        self.execution = execution

    def read_response(self, response: Any, span: Span) -> str:
        """Add to the invocation's span what its answer tells; its `error.type` if it is one."""
        if self.faas_trigger == "http":
            from lambdatrace.triggers.http import read_response

            return read_response(response, span)
        if self.execution is not None:
            from lambdatrace.durable import read_output

            return read_output(response, span)
        return ""


def read_trigger(event: Any) -> Trigger | None:
    """What `event` tells of its sender; None when it is of no family we know."""
    family = _family(event)
    if not family:
        return None
    trigger: Trigger | None = import_module("lambdatrace.triggers." + family).read(event)
    return trigger


def _family(event: Any) -> str:
    if not isinstance(event, dict):
        return ""
    if "requestContext" in event:
        return "http"
    if "DurableExecutionArn" in event:
        return "durable"
    if "detail-type" in event:
        return "eventbridge"
    records = event.get("Records")
    if isinstance(records, list) and records and isinstance(records[0], dict):
        return _RECORD_FAMILIES.get(str(records[0].get("eventSource")), "")
    return ""


def text(value: Any) -> str:
    """`value` if it is a string, else the empty string: events are not to be trusted."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> dict[Any, Any]:
    """`value` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}

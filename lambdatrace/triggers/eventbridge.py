"""EventBridge events and schedules. Source: EventBridge User Guide, "Events"."""

from __future__ import annotations

from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(event: dict[str, Any]) -> Trigger:
    """A schedule's tick, or an event of a bus, whose sender may put `traceparent` into `detail`."""
    source = text(event.get("source"))
    detail_type = text(event.get("detail-type"))
    if source in ("aws.events", "aws.scheduler") and detail_type.startswith("Scheduled Event"):
        resources = event.get("resources")
        rule = text(resources[0]) if isinstance(resources, list) and resources else ""
        attributes = {"faas.time": text(event.get("time")), "aws.eventbridge.rule.arn": rule}
        return Trigger("timer", {key: value for key, value in attributes.items() if value})
    attributes = {
        "messaging.system": "aws_eventbridge",
        "messaging.message.id": text(event.get("id")),
        "aws.eventbridge.source": source,
        "aws.eventbridge.detail_type": detail_type,
    }
    return Trigger(
        "pubsub",
        {key: value for key, value in attributes.items() if value},
        carrier=mapping(event.get("detail")),
    )

"""Subscription filters: which log events go on to Lambda, Kinesis and Firehose as they arrive."""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.arrived_events import Wanted, read_arrived
from lambdatrace_collector.logs.definitions import DESTINATION, SUBSCRIPTION_FILTER, described
from lambdatrace_collector.logs.delivery import (
    PAYLOAD_BYTES_MAX,
    delivered_event,
    parse_target,
    payload,
)
from lambdatrace_collector.logs.filter_pattern import parse_filter_pattern
from lambdatrace_collector.logs.metric_filters import check_quota, refuse_unsupported
from lambdatrace_collector.logs.reading import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions, Owner
    from lambdatrace_collector.logs.delivery import Deliveries, Target
    from lambdatrace_collector.logs.filter_followers import FilterFollowers
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.logs.reading import LogReading
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch Logs quotas; user guide, "Real-time processing of log data with subscriptions".
FILTERS_MAX = 2
DELIVERY_S_MAX = 24 * 3600
BATCH_EVENTS_MAX = 10_000
BATCH_BYTES_MAX = 1024 * 1024


class SubscriptionDelivery:
    """Sends what arrives for subscription filters; counts what it sends and what it gives up."""

    def __init__(self, store: Store, definitions: Definitions, deliveries: Deliveries) -> None:
        self._store = store
        self._definitions = definitions
        self._deliveries = deliveries
        self.events_delivered = 0
        self.events_dropped = 0

    async def target(self, owner: Owner, arn: str) -> Target:
        """Where an ARN leads: that of a destination to the destination's target.

        Raises AwsError InvalidParameterException.
        """
        before, is_destination, name = arn.partition(":destination:")
        if not is_destination or ":logs:" not in before:
            return parse_target(arn)
        destination = await self._definitions.get(owner, DESTINATION, name)
        if destination is None:
            raise AwsError("InvalidParameterException", "The specified destination does not exist.")
        return parse_target(destination["targetArn"])

    async def handle(
        self, key: GroupKey, definition: Mapping[str, Any], after_id: int, until_id: int
    ) -> int:
        """Send a batch of the events that arrived after `after_id`; gives the last id it sent.

        Events of one stream go in order. What could not be sent for a day is dropped, as on AWS.
        """
        too_old_id = (time.time_ns() - DELIVERY_S_MAX * 1_000_000_000) << 64
        pattern = parse_filter_pattern(definition["filterPattern"])
        arrived = await read_arrived(
            self._store,
            Wanted(key, (key.log_group,), pattern),
            after_id,
            until_id,
            events_max=BATCH_EVENTS_MAX,
            bytes_max=BATCH_BYTES_MAX,
        )
        fresh = [event for event in arrived.events if event["event_id"] >= too_old_id]
        self.events_dropped += len(arrived.events) - len(fresh)
        if fresh:
            target = await self.target(key, definition["destinationArn"])
            by_stream = sorted(fresh, key=lambda event: event["log_stream"])  # keeps their order
            for stream, events in groupby(by_stream, key=lambda event: event["log_stream"]):
                await self._send(key, definition, target, stream, list(events))
        return until_id if arrived.is_all else arrived.events[-1]["event_id"]

    async def _send(
        self,
        key: GroupKey,
        definition: Mapping[str, Any],
        target: Target,
        stream: str,
        events: Sequence[Mapping[str, Any]],
    ) -> None:
        sent = [
            delivered_event(event, Position(event["timestamp_ms"], event["event_id"]).number)
            for event in events
        ]
        names = [definition["filterName"]]
        message = payload("DATA_MESSAGE", key.account, key.log_group, stream, names, sent)
        if len(message) > PAYLOAD_BYTES_MAX and len(events) > 1:
            half = len(events) // 2
            await self._send(key, definition, target, stream, events[:half])
            await self._send(key, definition, target, stream, events[half:])
            return
        is_random = definition["distribution"] == "Random"
        await self._deliveries.send(target, message, sent[0]["id"] if is_random else stream)
        self.events_delivered += len(events)


class SubscriptionFilters:
    """The operations on subscription filters."""

    def __init__(
        self,
        groups: LogGroups,
        definitions: Definitions,
        reading: LogReading,
        followers: FilterFollowers,
        delivery: SubscriptionDelivery,
        deliveries: Deliveries,
    ) -> None:
        self._groups = groups
        self._definitions = definitions
        self._reading = reading
        self._followers = followers
        self._delivery = delivery
        self._deliveries = deliveries

    async def put_subscription_filter(self, call: Call) -> Mapping[str, Any]:
        """PutSubscriptionFilter: tries the destination, then sends what arrives from now on."""
        parameters = call.parameters
        group, name = parameters["logGroupName"], parameters["filterName"]
        refuse_unsupported(parameters, "emitSystemFields")
        pattern = parse_filter_pattern(parameters["filterPattern"])
        await self._reading.require_regexes(pattern)
        await self._groups.require_group(call, group)
        arn = parameters["destinationArn"]
        target = await self._delivery.target(call, arn)
        if target.service != "lambda" and ":logs:" not in arn and "roleArn" not in parameters:
            raise AwsError(
                "InvalidParameterException",
                f"roleArn is required for a {target.shown} stream.",
            )
        old = await self._definitions.get(call, SUBSCRIPTION_FILTER, name, group) or {}
        others = await self._definitions.page(call, SUBSCRIPTION_FILTER, log_group=group)
        check_quota(FILTERS_MAX, [each[2] for each in others], name, pattern)
        await self._deliveries.test(target, name)
        definition = {
            "filterName": name,
            "logGroupName": group,
            "filterPattern": parameters["filterPattern"],
            "destinationArn": arn,
            "distribution": parameters.get("distribution", "ByLogStream"),
            "applyOnTransformedLogs": False,
            "creationTime": old.get("creationTime", call.now_ms),
        }
        if "roleArn" in parameters:
            definition["roleArn"] = parameters["roleArn"]
        await self._followers.put(GroupKey(call.account, call.region, group), definition)
        return {}

    async def describe_subscription_filters(self, call: Call) -> Mapping[str, Any]:
        """DescribeSubscriptionFilters."""
        group = call.parameters["logGroupName"]
        await self._groups.require_group(call, group)
        found, token = await described(
            self._definitions,
            call,
            SUBSCRIPTION_FILTER,
            log_group=group,
            prefix=call.parameters.get("filterNamePrefix", ""),
        )
        return {"subscriptionFilters": found, "nextToken": token}

    async def delete_subscription_filter(self, call: Call) -> Mapping[str, Any]:
        """DeleteSubscriptionFilter."""
        group, name = call.parameters["logGroupName"], call.parameters["filterName"]
        await self._groups.require_group(call, group)
        if await self._definitions.get(call, SUBSCRIPTION_FILTER, name, group) is None:
            raise AwsError(
                "ResourceNotFoundException", "The specified subscription filter does not exist."
            )
        await self._followers.delete(GroupKey(call.account, call.region, group), name)
        return {}

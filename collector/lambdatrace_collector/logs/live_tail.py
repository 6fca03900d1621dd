"""StartLiveTail: what arrives in log groups, told each second."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.arrived_events import Wanted, read_arrived
from lambdatrace_collector.logs.filter_pattern import parse_filter_pattern
from lambdatrace_collector.logs.groups import name_of_identifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.arrivals import Arrivals, Follower
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.logs.reading import LogReading
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch Logs API reference, StartLiveTail.
UPDATE_INTERVAL_S = 1
UPDATE_EVENTS_MAX = 500
SESSION_S_MAX = 3 * 3600
# What a session holds in memory at most: 500 of the largest events would be 500 MB.
UPDATE_BYTES_MAX = 4 * 1024 * 1024


class LiveTail:
    """The operation StartLiveTail."""

    def __init__(
        self, store: Store, groups: LogGroups, arrivals: Arrivals, reading: LogReading
    ) -> None:
        self._store = store
        self._groups = groups
        self._arrivals = arrivals
        self._reading = reading

    async def start_live_tail(self, call: Call) -> Mapping[str, Any]:
        """StartLiveTail. Events come within a second of their PutLogEvents being answered."""
        parameters = call.parameters
        groups = tuple(name_of_identifier(each) for each in parameters["logGroupIdentifiers"])
        streams = tuple(parameters.get("logStreamNames", ()))
        prefixes = tuple(parameters.get("logStreamNamePrefixes", ()))
        if streams and prefixes:
            raise AwsError(
                "InvalidParameterException",
                "logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.",
            )
        if (streams or prefixes) and len(groups) > 1:
            raise AwsError(
                "InvalidParameterException",
                "logStreamNames and logStreamNamePrefixes go with a single log group.",
            )
        pattern = parse_filter_pattern(parameters.get("logEventFilterPattern", ""))
        await self._reading.require_regexes(pattern)
        for group in groups:
            await self._groups.require_group(call, group)
        wanted = Wanted(call, groups, pattern, streams, prefixes)
        return {"responseStream": self._session(call, wanted, self._arrivals.stored_until)}

    async def _session(
        self, call: Call, wanted: Wanted, after_id: int
    ) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + SESSION_S_MAX
        yield {"sessionStart": _session_start(call)}
        keys = [GroupKey(call.account, call.region, group) for group in wanted.log_groups]
        with self._arrivals.follow(keys) as follower:
            while loop.time() < ends_at:
                await asyncio.sleep(UPDATE_INTERVAL_S)
                update, after_id = await self._update(wanted, follower, after_id)
                yield {"sessionUpdate": update}
        raise AwsError(
            "SessionTimeoutException", "The session has been open for three hours: start another."
        )

    async def _update(
        self, wanted: Wanted, follower: Follower, after_id: int
    ) -> tuple[dict[str, Any], int]:
        """What arrived since the last update; of more than can be told, the first."""
        until_id = self._arrivals.stored_until
        if not follower.has_arrived():
            return {"sessionMetadata": {"sampled": False}, "sessionResults": []}, until_id
        arrived = await read_arrived(
            self._store,
            wanted,
            after_id,
            until_id,
            events_max=UPDATE_EVENTS_MAX,
            bytes_max=UPDATE_BYTES_MAX,
        )
        update = {
            "sessionMetadata": {"sampled": not arrived.is_all},
            "sessionResults": [
                {
                    "logStreamName": event["log_stream"],
                    "logGroupIdentifier": f"{wanted.owner.account}:{event['log_group']}",
                    "message": event["message"],
                    "timestamp": event["timestamp_ms"],
                    "ingestionTime": event["ingestion_ms"],
                }
                for event in arrived.events
            ],
        }
        return update, until_id


def _session_start(call: Call) -> dict[str, Any]:
    parameters = call.parameters
    return {
        "requestId": str(uuid.uuid4()),
        "sessionId": str(uuid.uuid4()),
        "logGroupIdentifiers": parameters["logGroupIdentifiers"],
        "logStreamNames": parameters.get("logStreamNames", []),
        "logStreamNamePrefixes": parameters.get("logStreamNamePrefixes", []),
        "logEventFilterPattern": parameters.get("logEventFilterPattern", ""),
    }

"""PutLogEvents: from a request to one line of the engine's input."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError, StoreRejectedError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.groups import expiry_ms
from lambdatrace_collector.logs.raw_batch import read_raw_batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.arrivals import Arrivals
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.logs.raw_batch import RawBatch
    from lambdatrace_collector.store.engine import Store

    Commit = Callable[[bytes, int], Awaitable[None]]

# Source: CloudWatch Logs API reference, PutLogEvents.
BATCH_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26
BATCH_SPAN_MS = 24 * 3600 * 1000
TOO_OLD_MS = 14 * 24 * 3600 * 1000
TOO_NEW_MS = 2 * 3600 * 1000
# Source: the same, Entity.
ENTITY_TYPES = frozenset({"Service", "RemoteService", "AWS::Service", "AWS::Resource", "Resource"})
ENTITY_BYTES_MAX = 3_000

JSON = "application/json"  # Call.body_type

# Where a member of EMF is written, in JSON: as it is, or a letter of it by its code.
_EMF_MEMBER = b"CloudWatchMetrics"
_ASCII_ESCAPE = re.compile(rb"\\u00[4-7]")


@dataclass(frozen=True)
class Admitted:
    """The events of a request that are taken: from `start` to `end`; the rest is too old or new.

    Those before `expired_end` are older than their group keeps events.
    """

    start: int
    end: int
    count: int
    expired_end: int = 0

    @property
    def rejected_info(self) -> dict[str, int] | None:
        """`rejectedLogEventsInfo` of the answer; None when all are taken."""
        info = {}
        if self.start > self.expired_end:
            info["tooOldLogEventEndIndex"] = self.start
        if self.expired_end > 0:
            info["expiredLogEventEndIndex"] = self.expired_end
        if self.end < self.count:
            info["tooNewLogEventStartIndex"] = self.end
        return info or None


def admit(times: Sequence[int], size_bytes: int, now_ms: int, retention_days: int = 0) -> Admitted:
    """Which events, by their times, are within two weeks back, two hours ahead and the retention.

    `size_bytes` are those of their messages. Raises AwsError InvalidParameterException when they
    are not sorted, span more than a day, or are more bytes than a batch may have.
    """
    if list(times) != sorted(times):
        raise AwsError(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        )
    size = size_bytes + EVENT_OVERHEAD_BYTES * len(times)
    if size > BATCH_BYTES_MAX:
        raise AwsError(
            "InvalidParameterException",
            f"Upload too large: {size} bytes exceeds limit of {BATCH_BYTES_MAX}",
        )
    if times[-1] - times[0] > BATCH_SPAN_MS:
        raise AwsError(
            "InvalidParameterException",
            "The batch of log events in a single PutLogEvents request cannot span more than"
            " 24 hours.",
        )
    too_old = _count_before(times, now_ms - TOO_OLD_MS)
    expired = _count_before(times, expiry_ms(retention_days, now_ms))
    end = _count_before(times, now_ms + TOO_NEW_MS + 1)
    return Admitted(max(too_old, expired), end, len(times), expired if expired > too_old else 0)


def encode_events(
    columns: Mapping[str, Any], group: str, stream: str, events: Sequence[Mapping[str, Any]]
) -> bytes:
    """One row of `log_input`, as a line of JSON."""
    row = {
        **columns,
        "logGroupName": group,
        "logStreamName": stream,
        "logEvents": [
            {
                "timestamp": event["timestamp"],
                # JSON may hold half of a surrogate pair, UTF-8 may not.
                "message": event["message"].encode("utf-8", "replace").decode("utf-8"),
            }
            for event in events
        ],
    }
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class LogIngestion:
    """The operation PutLogEvents."""

    def __init__(self, groups: LogGroups, arrivals: Arrivals, commit: Commit) -> None:
        self._groups = groups
        self._arrivals = arrivals
        self._commit = commit

    async def put_log_events(self, call: Call) -> Mapping[str, Any]:
        """PutLogEvents. Answers when the events, and the metrics embedded in them, are stored.

        An ordinary body goes to the engine as it is; its parameters are not decoded.
        """
        times: Sequence[int]
        raw = read_raw_batch(call.body) if call.body_type == JSON else None
        if raw is None:
            name, stream = call.parameters["logGroupName"], call.parameters["logStreamName"]
            events = call.parameters["logEvents"]
            times = [event["timestamp"] for event in events]
            size = sum(len(event["message"].encode("utf-8", "replace")) for event in events)
            entity = call.parameters.get("entity")
        else:
            name, stream, events = raw.log_group, raw.log_stream, raw.events
            times, size, entity = raw.times_ms, raw.message_bytes, None
        await self._groups.require_stream(call, name, stream)
        group = await self._groups.require_group(call, name)
        admitted = admit(times, size, call.now_ms, group.retention_days)
        taken = events[admitted.start : admitted.end]
        first_event_id = self._arrivals.take(GroupKey(call.account, call.region, name))
        columns = {
            "account": call.account,
            "region": call.region,
            "ingestion_ms": call.now_ms,
            "first_event_id": str(first_event_id),
        }
        try:
            if raw is not None and len(taken) == len(events):
                await self._commit_raw(raw, columns)
            elif taken:
                await self._commit(encode_events(columns, name, stream, taken), len(taken))
        finally:
            self._arrivals.leave(first_event_id)
        return {
            "nextSequenceToken": f"{first_event_id:056d}",
            "rejectedLogEventsInfo": admitted.rejected_info,
            "rejectedEntityInfo": rejected_entity(entity),
        }

    async def _commit_raw(self, raw: RawBatch, columns: Mapping[str, Any]) -> None:
        count = len(raw.events)
        try:
            await self._commit(raw.line(columns), count)
        except StoreRejectedError:
            # Such as a member that is there twice, of which Python's parser keeps the last.
            line = encode_events(columns, raw.log_group, raw.log_stream, raw.events)
            await self._commit(line, count)


def logs_insert(store: Store) -> Callable[[bytes], Awaitable[None]]:
    """How a group of PutLogEvents requests is written: what may be EMF by way of its views."""

    async def insert(body: bytes) -> None:
        table = "emf_log_input" if may_embed_metrics(body) else "log_input"
        await store.insert(table, body, "JSONEachRow")

    return insert


def may_embed_metrics(lines: bytes) -> bool:
    """Whether rows of `log_input` can hold EMF; the engine then finds out whether they do."""
    return _EMF_MEMBER in lines or _ASCII_ESCAPE.search(lines) is not None


def rejected_entity(entity: Mapping[str, Any] | None) -> dict[str, str] | None:
    """`rejectedEntityInfo` of the answer; None for an entity that AWS takes, or none at all.

    Source: CloudWatch Logs API reference, RejectedEntityInfo and Entity.
    """
    if entity is None:
        return None
    keys, attributes = entity.get("keyAttributes", {}), entity.get("attributes", {})
    if "Type" not in keys or not ("Name" in keys or "Identifier" in keys):
        return {"errorType": "MissingRequiredFields"}
    if keys["Type"] not in ENTITY_TYPES:
        return {"errorType": "InvalidTypeValue"}
    if len(json.dumps([keys, attributes])) > ENTITY_BYTES_MAX:
        return {"errorType": "EntitySizeTooLarge"}
    return None


def _count_before(times: Sequence[int], moment_ms: int) -> int:
    return bisect.bisect_left(times, moment_ms)

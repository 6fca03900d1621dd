"""PutLogEvents: from a request to one line of the engine's input."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.ingest.record_ids import RecordIds
    from lambdatrace_collector.logs.groups import LogGroups

    Commit = Callable[[bytes, int], Awaitable[None]]

# Source: CloudWatch Logs API reference, PutLogEvents.
BATCH_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26
BATCH_SPAN_MS = 24 * 3600 * 1000
TOO_OLD_MS = 14 * 24 * 3600 * 1000
TOO_NEW_MS = 2 * 3600 * 1000


@dataclass(frozen=True)
class Admitted:
    """The events of a request that are taken: from `start` to `end`; the rest is too old or new."""

    start: int
    end: int
    count: int

    @property
    def rejected_info(self) -> dict[str, int] | None:
        """`rejectedLogEventsInfo` of the answer; None when all are taken."""
        info = {}
        if self.start > 0:
            info["tooOldLogEventEndIndex"] = self.start
        if self.end < self.count:
            info["tooNewLogEventStartIndex"] = self.end
        return info or None


def admit(events: Sequence[Mapping[str, Any]], now_ms: int) -> Admitted:
    """Which of `events`, sorted by time, are within the last two weeks and the next two hours.

    Raises AwsError InvalidParameterException when they are not sorted, span more than a day, or
    are more bytes than a batch may have.
    """
    times = [event["timestamp"] for event in events]
    if any(later < earlier for earlier, later in itertools.pairwise(times)):
        raise AwsError(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        )
    size = sum(len(event["message"].encode("utf-8", "replace")) for event in events)
    size += EVENT_OVERHEAD_BYTES * len(events)
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
    start = sum(1 for moment in times if moment < now_ms - TOO_OLD_MS)
    end = len(times) - sum(1 for moment in times if moment > now_ms + TOO_NEW_MS)
    return Admitted(start, end, len(times))


def encode_events(
    call: Call, group: str, stream: str, events: Sequence[Mapping[str, Any]], first_event_id: int
) -> bytes:
    """One row of `log_input`, as a line of JSON."""
    row = {
        "account": call.account,
        "region": call.region,
        "log_group": group,
        "log_stream": stream,
        "ingestion_ms": call.now_ms,
        "first_event_id": str(first_event_id),
        "timestamps_ms": [event["timestamp"] for event in events],
        # JSON may hold half of a surrogate pair, UTF-8 may not.
        "messages": [
            event["message"].encode("utf-8", "replace").decode("utf-8") for event in events
        ],
    }
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class LogIngestion:
    """The operation PutLogEvents."""

    def __init__(self, groups: LogGroups, record_ids: RecordIds, commit: Commit) -> None:
        self._groups = groups
        self._record_ids = record_ids
        self._commit = commit

    async def put_log_events(self, call: Call) -> Mapping[str, Any]:
        """PutLogEvents. Answers when the events, and the metrics embedded in them, are stored."""
        group, stream = call.parameters["logGroupName"], call.parameters["logStreamName"]
        events = call.parameters["logEvents"]
        admitted = admit(events, call.now_ms)
        await self._groups.require_stream(call, group, stream)
        taken = events[admitted.start : admitted.end]
        first_event_id = self._record_ids.take()
        if taken:
            await self._commit(
                encode_events(call, group, stream, taken, first_event_id), len(taken)
            )
        return {
            "nextSequenceToken": f"{first_event_id:056d}",
            "rejectedLogEventsInfo": admitted.rejected_info,
        }

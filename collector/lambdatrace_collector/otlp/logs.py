"""Log records: what stores their export requests, as records and as log events.

Source: CloudWatch Logs user guide, "Sending logs using the OTLP endpoint".
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.ingestion import TOO_NEW_MS, TOO_OLD_MS
from lambdatrace_collector.otlp.envelope import logs_envelope
from lambdatrace_collector.otlp.ingestion import commit_valid, keep_only
from lambdatrace_collector.otlp.nested_json import with_nested_json
from lambdatrace_collector.otlp.signals import LOGS, NONE_REJECTED, Origin, Rejected, parse_request

if TYPE_CHECKING:
    from lambdatrace_collector.logs.arrivals import Arrivals
    from lambdatrace_collector.otlp.ingestion import Commit, Ingest
    from lambdatrace_collector.otlp.log_places import LogPlaces

NS_PER_MS = 1_000_000


def logs_ingest(commit: Commit, places: LogPlaces, arrivals: Arrivals) -> Ingest:
    """What stores export requests of log records through `commit`."""

    async def ingest(body: bytes, origin: Origin) -> Rejected:
        message = parse_request(LOGS, body)
        if not message.resource_logs:
            return NONE_REJECTED
        own = await places.of([entry.resource for entry in message.resource_logs], origin)
        # Written anew: the engine reads the values of attributes for the event's message, and
        # protobuf's own encoding of them is the only one it has to know.
        message.DiscardUnknownFields()
        data = with_nested_json(message.SerializeToString())
        del message  # it takes several times the body

        async def commit_request(data: bytes) -> None:
            owner = (origin.account, origin.region)
            first_event_id = arrivals.take(*{GroupKey(*owner, group) for group, _ in own})
            try:
                await commit(logs_envelope(data, own, owner, origin.now_ms, first_event_id))
            finally:
                arrivals.leave(first_event_id)

        return await commit_valid(
            LOGS, data, commit_request, partial(remove_untimely_records, now_ms=origin.now_ms)
        )

    return ingest


def remove_untimely_records(message: Any, now_ms: int) -> Rejected:
    """Take the records that CloudWatch Logs does not take out of `message`, counted as it does.

    It takes those of the last two weeks and the next two hours.
    """
    old = new = 0
    for resource_logs in message.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            records = scope_logs.log_records
            old += keep_only(
                records, lambda record: _event_ms(record, now_ms) >= now_ms - TOO_OLD_MS
            )
            new += keep_only(
                records, lambda record: _event_ms(record, now_ms) <= now_ms + TOO_NEW_MS
            )
    reason = {"tooOldLogEventCount": old, "tooNewLogEventCount": new, "expiredLogEventCount": 0}
    return Rejected(old + new, json.dumps(reason))


def _event_ms(record: Any, now_ms: int) -> int:
    moment_ns = record.time_unix_nano or record.observed_time_unix_nano
    return moment_ns // NS_PER_MS if moment_ns else now_ms

"""The log events of a trace, and the traces of an invocation: by trace id and request id.

    GET /api/v3/traces/{trace_id}/logs               by time, as FilterLogEvents gives events
    GET /api/v3/traces?query.request_id=…            the traces of an invocation

Lambda's own lines name the invocation they are of, and few of them its trace; a span of the
invocation, a REPORT line, or a JSON log with both ids says which trace it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import BadRequestError
from lambdatrace_collector.exchange import Request, Response, json_response
from lambdatrace_collector.logs.reading import Position
from lambdatrace_collector.traces.trace_id import parse_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.store.engine import Store

EVENTS_MAX = 10_000  # as a page of FilterLogEvents
# Invocations of one trace whose events are looked for; multiSearchAny takes at most 255 texts.
REQUEST_IDS_MAX = 200
# Before and after a trace's spans: an invocation takes at most 15 minutes.
AROUND_MS = 15 * 60_000
INT64_MAX = 2**63 - 1


class TraceLogEvents:
    """The handler of a trace's log events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_trace_logs(self, request: Request) -> Response:
        """`GET /api/v3/traces/{trace_id}/logs`: what names the trace or one of its invocations.

        Of all accounts, regions and groups, in the time of the trace's spans and AROUND_MS before
        and after; of all time when it has none. Raises BadRequestError for what is no trace id.
        """
        if request.query:
            name = next(iter(request.query))
            raise BadRequestError(f"parameter {name[:100]!r} is not known here: none is expected")
        trace_id = parse_trace_id(request.path_parameters["trace_id"])
        [spans] = await self._store.query(
            "trace_request_ids", trace_id=trace_id, ids_max=REQUEST_IDS_MAX
        )
        in_trace = {
            "trace_id": trace_id,
            "start_ms": max(spans["first_ms"] - AROUND_MS, 0),
            "end_ms": min(spans["last_ms"] + AROUND_MS, INT64_MAX),
        }
        rows = await self._store.query("trace_log_request_ids", **in_trace, ids_max=REQUEST_IDS_MAX)
        found = {*spans["request_ids"], *(row["request_id"] for row in rows)}
        request_ids = sorted(found)[:REQUEST_IDS_MAX]
        rows = await self._store.query(
            "trace_log_events", **in_trace, request_ids=request_ids, events_max=EVENTS_MAX + 1
        )
        is_complete = len(rows) <= EVENTS_MAX and len(found) < REQUEST_IDS_MAX
        events = [_event(row) for row in rows[:EVENTS_MAX]]
        return json_response({"events": events, "isComplete": is_complete})


async def traces_of_request(
    store: Store,
    request_id: str,
    *,
    start_ns_min: int,
    start_ns_max: int,
    received_s_min: int,
    traces_max: int,
) -> list[str]:
    """The ids of the traces of an invocation, the newest first.

    By what the log events of the time say; where they say nothing, by the attribute
    `faas.invocation_id` of its spans. Both read all there is of that time.
    """
    rows = await store.query(
        "request_log_traces",
        request_id=request_id,
        start_ms=max(start_ns_min // 1_000_000, received_s_min * 1000) - AROUND_MS,
        end_ms=start_ns_max // 1_000_000 + AROUND_MS,
        traces_max=traces_max,
    )
    if not rows:
        rows = await store.query(
            "request_span_traces",
            request_id=request_id,
            start_ns_min=start_ns_min,
            start_ns_max=start_ns_max,
            received_s_min=received_s_min,
            traces_max=traces_max,
        )
    return [row["trace_id"] for row in rows]


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    number = Position(row["timestamp_ms"], row["event_id"]).number
    return {
        "accountId": row["account"],
        "region": row["region"],
        "logGroupName": row["log_group"],
        "logStreamName": row["log_stream"],
        "timestamp": row["timestamp_ms"],
        "ingestionTime": row["ingestion_ms"],
        "eventId": f"{number:056d}",
        "requestId": row["request_id"] or None,
        "message": row["message"],
    }

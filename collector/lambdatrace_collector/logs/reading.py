"""GetLogEvents and FilterLogEvents: pages of events in order of time.

A place in a log is an event's timestamp and id, written as one number of 56 digits: that number is
the event's id for clients, and what the page tokens hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace_collector.errors import AwsError, StoreUnavailableError
from lambdatrace_collector.logs.filter_pattern import (
    Terms,
    invalid_pattern,
    parse_filter_pattern,
    regexes,
)
from lambdatrace_collector.logs.filter_pattern_sql import all_of, any_of, call, matches, text
from lambdatrace_collector.logs.groups import expiry_ms, group_name
from lambdatrace_collector.logs.selection import group_conditions
from lambdatrace_collector.store.compiled_query import Column, Order, Parameter, Select, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.filter_pattern import FilterPattern
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch Logs API reference, GetLogEvents and FilterLogEvents.
PAGE_EVENTS_MAX = 10_000
PAGE_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26
# Of each event in a page at first: 40 MB for 10,000; most messages are whole then, and reading the
# others' place again costs as much as finding it.
HEAD_BYTES = 4096
END_OF_TIME_MS = 2**62
# Source: the same, GetLogGroupFields.
FIELDS_SPAN_MS = 15 * 60_000
FIELDS_AROUND_MS = 8 * 60_000
MILLISECOND = 2**128  # one millisecond in a position: the ids below it are one moment's
END_OF_TIME = END_OF_TIME_MS * MILLISECOND  # a position after every event's

CANNOT_COMPILE_REGEXP = 427  # the engine's error code

_ENGINE_REASON = re.compile(r", error: (.*?)\. Look at")
_TOKEN = re.compile(r"[fb]/(\d{56})/s")


class Position(NamedTuple):
    """Where an event is: its time, then its id."""

    timestamp_ms: int
    event_id: int

    @classmethod
    def of_number(cls, number: int) -> Position:
        """The position that the 56 digits of an event id write."""
        return cls(*divmod(number, MILLISECOND))

    @property
    def number(self) -> int:
        """The position as one number that sorts as the position does."""
        return self.timestamp_ms * MILLISECOND + self.event_id


@dataclass(frozen=True)
class Selection:
    """Which events are read: a group's, in streams, in [start_ms, end_ms), matching a pattern."""

    log_group: str
    streams: tuple[str, ...]
    stream_prefix: str
    start_ms: int
    end_ms: int
    pattern: FilterPattern


class LogReading:
    """The operations GetLogEvents and FilterLogEvents."""

    def __init__(self, store: Store, groups: LogGroups) -> None:
        self._store = store
        self._groups = groups

    async def get_log_events(self, call: Call) -> Mapping[str, Any]:
        """GetLogEvents: one stream, its latest page unless told otherwise, ascending inside."""
        parameters = call.parameters
        group, stream = group_name(parameters), parameters["logStreamName"]
        is_forward, at = _start_of_page(parameters, is_forward_first=False)
        await self._groups.require_stream(call, group, stream)
        selection = Selection(
            group,
            (stream,),
            "",
            max(parameters.get("startTime", 0), await self._expiry_ms(call, group)),
            parameters.get("endTime", END_OF_TIME_MS),
            Terms(),
        )
        limit = parameters.get("limit", PAGE_EVENTS_MAX)
        events = await self._page(call, selection, at, limit, is_forward=is_forward)
        first, last = _page_ends(events, at, is_forward=is_forward)
        return {
            "events": [
                {
                    "timestamp": event["timestamp_ms"],
                    "message": event["message"],
                    "ingestionTime": event["ingestion_ms"],
                }
                for event in events
            ],
            "nextForwardToken": _token(last, is_forward=True),
            "nextBackwardToken": _token(first, is_forward=False),
        }

    async def filter_log_events(self, call: Call) -> Mapping[str, Any]:
        """FilterLogEvents: a group's events across its streams, that match a pattern.

        With `startFromHead` false the latest come first, in a page and from page to page; a token
        keeps the direction of its page.
        """
        parameters = call.parameters
        group = group_name(parameters)
        if "logStreamNames" in parameters and "logStreamNamePrefix" in parameters:
            raise AwsError(
                "InvalidParameterException",
                "logStreamNamePrefix and logStreamNames are mutually exclusive parameters.",
            )
        selection = Selection(
            group,
            tuple(parameters.get("logStreamNames", ())),
            parameters.get("logStreamNamePrefix", ""),
            max(parameters.get("startTime", 0), await self._expiry_ms(call, group)),
            min(parameters.get("endTime", END_OF_TIME_MS), END_OF_TIME_MS) + 1,  # end included
            parse_filter_pattern(parameters.get("filterPattern", "")),
        )
        is_forward, at = _start_of_page(parameters, is_forward_first=True)
        await self.require_regexes(selection.pattern)
        await self._require(call, selection)
        limit = parameters.get("limit", PAGE_EVENTS_MAX)
        events = await self._page(call, selection, at, limit, is_forward=is_forward)
        if not is_forward:
            events.reverse()
        result: dict[str, Any] = {
            "events": [_filtered_event(event) for event in events],
            "searchedLogStreams": [],
        }
        if events:
            end = _number(events[-1])
            if await self._positions(call, selection, end, 1, is_forward=is_forward):
                result["nextToken"] = _token(end, is_forward=is_forward)
        return result

    async def get_log_group_fields(self, call: Call) -> Mapping[str, Any]:
        """GetLogGroupFields: of the last 15 minutes, or of 8 before and after a time."""
        group = group_name(call.parameters)
        moment_ms = call.parameters.get("time")
        await self._groups.require_group(call, group)
        if moment_ms is None:
            start_ms, end_ms = call.now_ms - FIELDS_SPAN_MS, call.now_ms + 1
        else:
            moment_ms *= 1000  # AWS's API reference: seconds since 1970
            start_ms, end_ms = moment_ms - FIELDS_AROUND_MS, moment_ms + FIELDS_AROUND_MS
        rows = await self._store.query(
            "log_group_fields",
            account=call.account,
            region=call.region,
            log_group=group,
            start_ms=start_ms,
            end_ms=end_ms,
        )
        return {"logGroupFields": rows}

    async def _expiry_ms(self, call: Call, log_group: str) -> int:
        """What is older is answered no more, also where it is not deleted yet."""
        group = await self._groups.require_group(call, log_group)
        return expiry_ms(group.retention_days, call.now_ms)

    async def _require(self, call: Call, selection: Selection) -> None:
        for stream in selection.streams:
            await self._groups.require_stream(call, selection.log_group, stream)

    async def require_regexes(self, pattern: FilterPattern) -> None:
        """Raise AwsError InvalidParameterException for an expression that the engine cannot run.

        Asked ahead of the events: a group without any would take what the next event makes fail.
        """
        expressions = regexes(pattern)
        if not expressions:
            return
        try:
            await self._store.query("regexes_compile", regexes=expressions)
        except StoreUnavailableError as error:
            cause = error.__cause__
            if getattr(cause, "code", None) != CANNOT_COMPILE_REGEXP:
                raise
            reason = _ENGINE_REASON.search(str(cause))
            raise invalid_pattern(
                f"not a regular expression: {reason[1] if reason else cause}"
            ) from error

    async def _page(
        self, call: Call, selection: Selection, at: int, limit: int, *, is_forward: bool
    ) -> list[dict[str, Any]]:
        """At most `limit` events and a page's bytes next to the position `at`, ascending."""
        rows = await self._positions(call, selection, at, limit, is_forward=is_forward)
        kept = _cut(rows)
        if not is_forward:
            kept.reverse()
        long = [row for row in kept if row["message_bytes"] > HEAD_BYTES]
        if not long:
            return kept
        times = [row["timestamp_ms"] for row in long]
        whole = await self._store.query(
            "log_messages",
            account=call.account,
            region=call.region,
            log_group=selection.log_group,
            first_ms=min(times),
            last_ms=max(times),
            event_ids=[row["event_id"] for row in long],
        )
        messages = {row["event_id"]: row["message"] for row in whole}
        return [{**row, "message": messages.get(row["event_id"], row["message"])} for row in kept]

    async def _positions(
        self, call: Call, selection: Selection, at: int, limit: int, *, is_forward: bool
    ) -> list[dict[str, Any]]:
        # Before everything is a position of no event: one below the first moment's first id.
        position = Position.of_number(at) if at >= 0 else Position(-1, 0)
        return await self._store.query_compiled(
            positions_query(call, selection, position, limit, is_forward=is_forward)
        )


def positions_query(
    request: Call, selection: Selection, at: Position, limit: int, *, is_forward: bool
) -> Select:
    """The next events after `at`, or before it, with their sizes and the heads of their messages.

    A page is cut by bytes before the whole of long messages is read.
    What was written twice is named once: copies stand side by side in the order that is read.
    """
    moment, event_id = Column("timestamp_ms"), Column("event_id")
    head = Parameter(HEAD_BYTES, "UInt32")
    at_ms, at_id = Parameter(at.timestamp_ms, "Int64"), Parameter(at.event_id, "UInt128")
    beyond, reached = ("greater", "greaterOrEquals") if is_forward else ("less", "lessOrEquals")
    conditions = [
        *group_conditions(request, selection.log_group),
        call(reached, moment, at_ms),
        any_of((call("notEquals", moment, at_ms), call(beyond, event_id, at_id))),
        call("greaterOrEquals", moment, Parameter(selection.start_ms, "Int64")),
        call("less", moment, Parameter(selection.end_ms, "Int64")),
    ]
    if selection.streams:
        streams = Parameter(list(selection.streams), "Array(String)")
        conditions.append(call("has", streams, Column("log_stream")))
    if selection.stream_prefix:
        prefix = text(selection.stream_prefix)
        conditions.append(call("startsWith", Column("log_stream"), prefix))
    matching = matches(selection.pattern)
    if matching is not None:
        conditions.append(matching)
    return Select(
        columns=(
            ("timestamp_ms", moment),
            ("event_id", event_id),
            ("message_bytes", call("length", Column("message"))),
            ("log_stream", Column("log_stream")),
            ("ingestion_ms", Column("ingestion_ms")),
            ("message", call("substring", Column("message"), Parameter(1, "UInt32"), head)),
        ),
        source=Table("log_events"),
        where=all_of(conditions),
        order_by=(Order(moment, not is_forward), Order(event_id, not is_forward)),
        limit_one_by=(moment, event_id),
        limit=limit,
    )


def _start_of_page(parameters: Mapping[str, Any], *, is_forward_first: bool) -> tuple[bool, int]:
    """Whether the page goes forward, and the position it starts at: its token's, else an end's.

    `is_forward_first` is what the operation does when `startFromHead` is not given.
    """
    token = parameters.get("nextToken")
    if token is not None:
        return token[:1] == "f", _token_number(token)
    is_forward = parameters.get("startFromHead", is_forward_first)
    return is_forward, -1 if is_forward else END_OF_TIME


def _page_ends(events: list[dict[str, Any]], at: int, *, is_forward: bool) -> tuple[int, int]:
    """What the two tokens hold: the page's first and last position.

    A page without events ends where it started, so that the same token comes back at the end.
    """
    if events:
        return _number(events[0]), _number(events[-1])
    if is_forward:
        return at + 1, max(at, 0)
    return (at, max(at - 1, 0)) if at < END_OF_TIME else (0, 0)


def _cut(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, from the first on, whose events fit into a page; at least one."""
    size = 0
    for place, row in enumerate(rows):
        size += row["message_bytes"] + EVENT_OVERHEAD_BYTES
        if size > PAGE_BYTES_MAX and place:
            return rows[:place]
    return rows


def _token(number: int, *, is_forward: bool) -> str:
    return f"{'f' if is_forward else 'b'}/{number:056d}/s"


def _token_number(token: str) -> int:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    return int(match[1])


def _number(event: Mapping[str, Any]) -> int:
    return Position(event["timestamp_ms"], event["event_id"]).number


def _filtered_event(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "logStreamName": event["log_stream"],
        "timestamp": event["timestamp_ms"],
        "message": event["message"],
        "ingestionTime": event["ingestion_ms"],
        "eventId": f"{_number(event):056d}",
    }

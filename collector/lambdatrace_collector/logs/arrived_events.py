"""What has arrived in log groups and matches a pattern, read in bounded steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.filter_pattern_sql import all_of, any_of, call, matches, text
from lambdatrace_collector.logs.selection import arrived_conditions
from lambdatrace_collector.store.compiled_query import Column, Order, Parameter, Select, Table

if TYPE_CHECKING:
    from lambdatrace_collector.logs.definitions import Owner
    from lambdatrace_collector.logs.filter_pattern import FilterPattern
    from lambdatrace_collector.store.engine import Store


@dataclass(frozen=True)
class Wanted:
    """Which events: of groups, of named streams or those with prefixes, that match a pattern."""

    owner: Owner
    log_groups: tuple[str, ...]
    pattern: FilterPattern
    streams: tuple[str, ...] = ()
    stream_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrived:
    """Events in order of arrival; `is_all` when no more of them match in the range."""

    events: list[dict[str, Any]]
    is_all: bool


async def read_arrived(
    store: Store, wanted: Wanted, after_id: int, until_id: int, *, events_max: int, bytes_max: int
) -> Arrived:
    """The first events with ids above `after_id` up to `until_id`, at least one if there are any.

    Their sizes are asked for first: what is read into memory is `bytes_max`, or one event.
    """
    found = await store.query_compiled(_sizes_query(wanted, after_id, until_id, events_max + 1))
    taken: list[int] = []
    size = 0
    for row in found[:events_max]:
        size += row["message_bytes"]
        if taken and size > bytes_max:
            break
        taken.append(row["event_id"])
    if not taken:
        return Arrived([], is_all=True)
    events = await store.query(
        "arrived_messages",
        account=wanted.owner.account,
        region=wanted.owner.region,
        log_groups=list(wanted.log_groups),
        first_id=taken[0],
        last_id=taken[-1],
        event_ids=taken,
    )
    return Arrived(events, is_all=len(taken) == len(found))


def _sizes_query(wanted: Wanted, after_id: int, until_id: int, limit: int) -> Select:
    event_id = Column("event_id")
    conditions = [
        *arrived_conditions(wanted.owner, wanted.log_groups, after_id, until_id),
        *(part for part in (_in_streams(wanted), matches(wanted.pattern)) if part is not None),
    ]
    return Select(
        columns=(
            ("event_id", event_id),
            ("message_bytes", call("length", Column("message"))),
        ),
        source=Table("log_events"),
        where=all_of(conditions),
        order_by=(Order(event_id),),
        limit_one_by=(event_id,),
        limit=limit,
    )


def _in_streams(wanted: Wanted) -> Any:
    stream = Column("log_stream")
    choices = [call("startsWith", stream, text(prefix)) for prefix in wanted.stream_prefixes]
    if wanted.streams:
        names = Parameter(list(wanted.streams), "Array(String)")
        choices.append(call("has", names, stream))
    return any_of(choices) if choices else None

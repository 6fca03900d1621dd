"""The events of a query's selection with the fields that it names, the innermost of its selects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights import fields
from lambdatrace_collector.logs.insights.links import COLUMNS
from lambdatrace_collector.logs.insights.values import Kind, Value
from lambdatrace_collector.store.compiled_query import Column, Select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.logs.insights.selection import Selection
    from lambdatrace_collector.logs.insights.syntax import Field
    from lambdatrace_collector.store.compiled_query import Expression

RECORDS = ("timestamp_ms", "event_id", "log_group", "log_stream", "ingestion_ms", "message")


def events_with_fields(
    selection: Selection, named: Mapping[str, Field]
) -> tuple[Select, dict[str, Value]]:
    """The events with all that the query names of them and no more; and what each name stands for.

    What is taken out of JSON is first as it is written there, so that it is found once.
    """
    carried = tuple((name, Column(name)) for name in RECORDS)
    linked = (*carried, *((name, Column(name)) for name in COLUMNS))
    events = selection.events(linked)
    with_json = Select((*linked, ("json", fields.json_of_event())), events)
    raw: list[tuple[str, Expression]] = []
    texts: list[tuple[str, Expression]] = []
    found: dict[str, Value] = {}
    for place, (name, each) in enumerate(named.items()):
        column = f"f{place}"
        own = fields.own_field(name, selection.account)
        if own is not None:
            raw.append((column, own.expression))
            texts.append((column, Column(column)))
            found[name] = Value(Column(column), own.kind)
        else:
            raw.append((column, fields.json_field(each.path)))
            texts.append((column, fields.json_field_text(Column(column))))
            found[name] = Value(Column(column), Kind.TEXT)
    with_raw = Select((*carried, *raw), with_json)
    return Select((*carried, *texts), with_raw), found

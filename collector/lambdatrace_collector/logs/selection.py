"""Conditions on the table of log events that several readers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.logs.filter_pattern_sql import call, text
from lambdatrace_collector.store.compiled_query import Column, Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace_collector.logs.definitions import Owner
    from lambdatrace_collector.store.compiled_query import Expression


def group_conditions(owner: Owner, log_group: str) -> list[Expression]:
    """The events of one log group: the front of the table's key."""
    return [
        call("equals", Column("account"), text(owner.account)),
        call("equals", Column("region"), text(owner.region)),
        call("equals", Column("log_group"), text(log_group)),
    ]


def arrived_conditions(
    owner: Owner, log_groups: Sequence[str], after_id: int, until_id: int
) -> list[Expression]:
    """The events of some groups that arrived after `after_id`, up to `until_id`."""
    return [
        call("equals", Column("account"), text(owner.account)),
        call("equals", Column("region"), text(owner.region)),
        call("in", Column("log_group"), Parameter(list(log_groups), "Array(String)")),
        call("greater", Column("event_id"), Parameter(after_id, "UInt128")),
        call("lessOrEquals", Column("event_id"), Parameter(until_id, "UInt128")),
    ]

"""The events that a query is about."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.values import call, integer, string
from lambdatrace_collector.store.compiled_query import (
    Column,
    Expression,
    Parameter,
    Select,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Selection:
    """The groups' events from `start_ms` to `end_ms`, both included, asked for at `now_s`.

    `kept_from_ms` has, for a group with a retention, the time before which events count no more,
    whether they are deleted yet or not. `conditions` are further ones on columns of the events.
    """

    account: str
    region: str
    groups: tuple[str, ...]
    start_ms: int
    end_ms: int
    now_s: int
    kept_from_ms: tuple[tuple[str, int], ...] = ()
    conditions: tuple[Expression, ...] = ()

    def events(self, columns: tuple[tuple[str, Expression], ...]) -> Select:
        """Those events, with these columns."""
        where = call(
            "and",
            call("equals", Column("account"), string(self.account)),
            call("equals", Column("region"), string(self.region)),
            self._in_groups(self.groups),
            call("greaterOrEquals", Column("timestamp_ms"), integer(self.start_ms)),
            call("lessOrEquals", Column("timestamp_ms"), integer(self.end_ms)),
            *self._kept(),
            *self.conditions,
        )
        return Select(columns, Table("log_events", is_final=True), where)

    def only(self, conditions: Sequence[Expression]) -> Selection:
        """Of these events, those that fulfil the conditions too."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def before(self, period: str) -> Selection:
        """The range of the same length that `diff` compares with: right before, or a day earlier.

        `period` is previous, previousday, previousweek or previousmonth; a month is the calendar's,
        and a day that its month has not is its last.
        """
        if period == "previousmonth":
            shift_ms = self.start_ms - _a_month_earlier_ms(self.start_ms)
        else:
            length_ms = self.end_ms - self.start_ms + 1
            days = {"previousday": DAY_MS, "previousweek": 7 * DAY_MS}
            shift_ms = days.get(period, length_ms)
        return replace(self, start_ms=self.start_ms - shift_ms, end_ms=self.end_ms - shift_ms)

    def _kept(self) -> list[Expression]:
        """For each time that groups keep events from: not those of the groups that are older."""
        groups_from: dict[int, list[str]] = {}
        for group, kept_from_ms in self.kept_from_ms:
            if kept_from_ms > self.start_ms:
                groups_from.setdefault(kept_from_ms, []).append(group)
        return [
            call(
                "or",
                call("greaterOrEquals", Column("timestamp_ms"), integer(kept_from_ms)),
                call("not", self._in_groups(groups)),
            )
            for kept_from_ms, groups in sorted(groups_from.items())
        ]

    @staticmethod
    def _in_groups(groups: Sequence[str]) -> Expression:
        return call("in", Column("log_group"), Parameter(list(groups), "Array(String)"))


def _a_month_earlier_ms(moment_ms: int) -> int:
    try:
        moment = _EPOCH + timedelta(milliseconds=moment_ms)
        year, month = divmod(moment.year * 12 + moment.month - 2, 12)
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        earlier = moment.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError):
        return moment_ms - 30 * DAY_MS  # there is no such date
    return (earlier - _EPOCH) // timedelta(milliseconds=1)

"""Rows of the engine as GetQueryResults shows them: fields and their values, all text."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.insights.values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambdatrace_collector.logs.insights.planner import Plan

    Field = dict[str, str]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# What Java writes without an exponent.
_PLAIN = (1e-3, 1e7)


def shown_rows(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> list[list[Field]]:
    """The results of a plan: for each row its fields that are not missing, in order."""
    values = [
        [
            (name, kind, row[f"r{place}"])
            for place, (name, kind) in enumerate(plan.columns)
            if row[f"r{place}"] is not None
        ]
        for row in rows
    ]
    shown = [
        [{"field": name, "value": shown_value(value, kind)} for name, kind, value in row]
        for row in values
    ]
    if plan.totals:
        shown.append(_totals(plan, values))
    return shown


def shown_value(value: Any, kind: Kind) -> str:
    """A value as text: a time as date and time of day, a number in as few digits as it needs."""
    if kind is Kind.TIME:
        return shown_time(int(value))
    if kind is Kind.DOUBLE:
        return java_double(float(value))
    if kind is Kind.NUMBER:
        return plain_number(float(value))
    if kind is Kind.BOOLEAN:
        return "1" if value else "0"
    return str(value)


def shown_time(milliseconds: int) -> str:
    """`YYYY-MM-DD HH:MM:SS.mmm` in UTC; the number itself where there is no such date."""
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return str(milliseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{milliseconds % 1000:03d}"


def plain_number(value: float) -> str:
    """A number without an exponent or needless zeros."""
    if value.is_integer():
        return str(int(value))
    return format(Decimal(repr(value)), "f")


def java_double(value: float) -> str:
    """A number as Java writes a double, which is how CloudWatch shows Lambda's: 1395.0, 1.28E8."""
    if value == 0 or _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return format(Decimal(repr(value)), "f")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    fraction = "".join(map(str, digits[1:])) or "0"
    power = int(exponent) + len(digits) - 1
    return f"{'-' if sign else ''}{digits[0]}.{fraction}E{power}"


def _totals(plan: Plan, rows: Sequence[Sequence[tuple[str, Kind, Any]]]) -> list[Field]:
    """The last row of `addtotals col=true`: the sums of the columns with numbers."""
    sums: dict[str, float] = {}
    for row in rows:
        for name, kind, value in row:
            number = _number(value, kind) if name in plan.totals else None
            if number is not None:
                sums[name] = sums.get(name, 0.0) + number
    return [
        {"field": name, "value": plain_number(sums[name])}
        for name, _ in plan.columns
        if name in sums
    ]


def _number(value: Any, kind: Kind) -> float | None:
    if kind in (Kind.TIME, Kind.BOOLEAN):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

"""Labels of results: what a series is called when nobody says, and dynamic labels.

Source: CloudWatch user guide, "Use dynamic labels"; API reference, MetricDataQuery, LabelOptions.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    LiveValue = Callable[[Mapping[int, float], int, timezone], str]
    Place = Callable[[Mapping[int, float]], int]

    from lambdatrace_collector.metrics.series import Selection
    from lambdatrace_collector.metrics.time_series import TimeSeries

DYNAMIC_VALUES_MAX = 6
NO_VALUE = "--"

_DYNAMIC = re.compile(r"\$\{\s*([^{}]*?)\s*\}")
_PROPERTY = re.compile(r"""PROP\(\s*(?:'([^']*)'|"([^"]*)")\s*\)""")
_TIMEZONE = re.compile(r"([+-])([01]\d|2[0-3])([0-5]\d)")
_OF_NOTHING = ("DATAPOINT_COUNT", "SUM")  # what even a series without points has


class LabelError(Exception):
    """A dynamic label is not what AWS knows; the message says which part."""


def default_labels(selections: Sequence[Selection]) -> list[str]:
    """The metric's name for each, with what tells it from the others of the same name.

    The statistic, the period and then the values of the dimensions are added where they differ.
    """
    by_name: dict[str, list[Selection]] = {}
    for selection in selections:
        by_name.setdefault(selection.metric.metric_name, []).append(selection)
    differing = {name: _differing(of_one_name) for name, of_one_name in by_name.items()}
    return [_label(selection, differing[selection.metric.metric_name]) for selection in selections]


def searched_labels(selections: Sequence[Selection]) -> list[str]:
    """For the series of one SEARCH what tells them apart; the metric's name if nothing does."""
    dimensions = [selection.metric.dimensions for selection in selections]
    names = {name for item in dimensions for name in item}
    differing = {name for name in names if len({item.get(name) for item in dimensions}) > 1}
    names_differ = len({selection.metric.metric_name for selection in selections}) > 1
    labels: list[str] = []
    for selection, item in zip(selections, dimensions, strict=True):
        words = [value for name, value in item.items() if name in differing]
        if names_differ or not words:
            words.append(selection.metric.metric_name)
        labels.append(" ".join(words))
    return labels


def dynamic_label(
    template: str, series: TimeSeries, account: str, region: str, now_s: int, offset: str
) -> str:
    """`template` with its `${…}` replaced. `offset` is LabelOptions' Timezone, as +0130.

    Raises LabelError.
    """
    found = _DYNAMIC.findall(template)
    if not found:
        return template
    if found.count("LABEL") > 1:
        raise LabelError("A label can hold ${LABEL} only once")
    if len(found) - found.count("LABEL") > DYNAMIC_VALUES_MAX:
        raise LabelError(f"A label can hold at most {DYNAMIC_VALUES_MAX} dynamic values")
    zone = _zone(offset)

    def value(match: re.Match[str]) -> str:
        property_name = _PROPERTY.fullmatch(match[1])
        if property_name:
            return _property(property_name[1] or property_name[2], series, account, region)
        if match[1] == "LABEL":
            return series.label
        if match[1] not in _VALUES:
            raise LabelError(f"The label has an unknown dynamic value: ${{{match[1]}}}")
        if not (series.points or match[1] in _OF_NOTHING):
            return NO_VALUE
        return _VALUES[match[1]](series.points, now_s, zone)

    return _DYNAMIC.sub(value, template)


def _differing(selections: Sequence[Selection]) -> tuple[bool, bool, bool]:
    """Whether statistics, periods and metrics of one name are several."""
    return (
        len({selection.statistic.name for selection in selections}) > 1,
        len({selection.period_s for selection in selections}) > 1,
        len({selection.metric for selection in selections}) > 1,
    )


def _label(selection: Selection, differing: tuple[bool, bool, bool]) -> str:
    statistics_differ, periods_differ, metrics_differ = differing
    words = [selection.metric.metric_name]
    if statistics_differ:
        words.append(selection.statistic.name)
    if periods_differ:
        words.append(str(selection.period_s))
    if metrics_differ:
        words += selection.metric.dimension_values
    return " ".join(words)


def _property(name: str, series: TimeSeries, account: str, region: str) -> str:
    if name == "AccountId":
        return account
    if name == "Region":
        return region
    if name == "Period":
        return str(series.period_s)
    source = series.source
    if name.startswith("Dim."):
        return source.metric.dimensions.get(name[4:], "") if source else ""
    named = {
        "MetricName": source.metric.metric_name if source else "",
        "Namespace": source.metric.namespace if source else "",
        "Stat": source.statistic.name if source else "",
    }
    if name not in named:
        raise LabelError(f"The label has an unknown property: {name}")
    return named[name]


def _zone(offset: str) -> timezone:
    match = _TIMEZONE.fullmatch(offset)
    if match is None:
        raise LabelError(f"The Timezone {offset} is not of the form +0130")
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def _number(value: float) -> str:
    return f"{value:.6g}"


def _moment(timestamp_s: int, zone: timezone) -> str:
    return datetime.fromtimestamp(timestamp_s, zone).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: int) -> str:
    """As 1d 2h 3m 4s, without what is zero."""
    parts = []
    for letter, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts) or "0s"


def _first(points: Mapping[int, float]) -> int:
    return next(iter(points))


def _last(points: Mapping[int, float]) -> int:
    return next(reversed(list(points)))


def _least(points: Mapping[int, float]) -> int:
    return min(points, key=lambda at: points[at])


def _most(points: Mapping[int, float]) -> int:
    return max(points, key=lambda at: points[at])


def _live_values() -> dict[str, LiveValue]:
    values: dict[str, LiveValue] = {
        "AVG": lambda points, _now, _zone: _number(sum(points.values()) / len(points)),
        "SUM": lambda points, _now, _zone: _number(sum(points.values())),
        "DATAPOINT_COUNT": lambda points, _now, _zone: str(len(points)),
    }
    for name, place in {"FIRST": _first, "LAST": _last, "MIN": _least, "MAX": _most}.items():
        values |= _of_place(name, place)
    return values | _of_range("MIN_MAX", _least, _most) | _of_range("FIRST_LAST", _first, _last)


def _of_place(name: str, place: Place) -> dict[str, LiveValue]:
    return {
        name: lambda points, _now, _zone: _number(points[place(points)]),
        f"{name}_TIME": lambda points, _now, zone: _moment(place(points), zone),
        f"{name}_TIME_RELATIVE": lambda points, now, _zone: _duration(abs(now - place(points))),
    }


def _of_range(name: str, start: Place, end: Place) -> dict[str, LiveValue]:
    return {
        f"{name}_RANGE": lambda points, _now, _zone: _number(
            points[end(points)] - points[start(points)]
        ),
        f"{name}_TIME_RANGE": lambda points, _now, _zone: _duration(
            abs(end(points) - start(points))
        ),
    }


_VALUES = _live_values()

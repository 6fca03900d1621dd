"""The samples that a metric filter makes of log events, as a query that writes them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.filter_pattern import (
    FieldsPattern,
    parse_filter_pattern,
    parse_selector,
)
from lambdatrace_collector.logs.filter_pattern_sql import (
    all_of,
    as_number,
    call,
    field_places,
    json_value,
    matches,
    message_fields,
    text,
)
from lambdatrace_collector.logs.selection import arrived_conditions
from lambdatrace_collector.store.compiled_query import (
    Column,
    Lambda,
    Parameter,
    Select,
    Table,
    Variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.logs.arrivals import GroupKey
    from lambdatrace_collector.logs.filter_pattern import FilterPattern
    from lambdatrace_collector.store.compiled_query import Expression

# A sample's ordinal within its event: above all of those that embedded metrics have.
ORDINAL_MIN = 2**31
_DIMENSION = r"^[\x00-\x7f]*[\x21-\x7e][\x00-\x7f]*$"  # ASCII, and something visible
VALUE_MAX = 2.0**360  # source: CloudWatch API reference, MetricDatum


def samples_query(
    key: GroupKey, metric_filter: Mapping[str, Any], after_id: int, until_id: int
) -> Select:
    """Rows of `metric_input`: one for each matching event that arrived after `after_id`.

    A sample has its event's id, so that events that are read again settle to the same samples.
    An event without a value or a dimension of the metric gives none.
    """
    pattern = parse_filter_pattern(metric_filter["filterPattern"])
    (transformation,) = metric_filter["metricTransformations"]
    names = sorted(transformation.get("dimensions", {}))
    found = Select(
        columns=(
            ("timestamp_ms", Column("timestamp_ms")),
            ("event_id", Column("event_id")),
            ("value", _value(transformation["metricValue"], pattern)),
            ("dimension_values", _dimension_values(transformation, names, pattern)),
        ),
        source=Table("log_events"),
        where=all_of(
            [
                *arrived_conditions(key, (key.log_group,), after_id, until_id),
                *(part for part in (matches(pattern),) if part is not None),
            ]
        ),
        limit_one_by=(Column("event_id"),),
    )
    is_dimension = call("match", Variable("dimension"), text(_DIMENSION))
    value = call("assumeNotNull", Column("value"))
    dimensions = Column("dimension_values")
    return Select(
        columns=(
            ("account", text(key.account)),
            ("region", text(key.region)),
            ("namespace", text(transformation["metricNamespace"])),
            ("metric_name", text(transformation["metricName"])),
            ("dimension_names", Parameter(names, "Array(String)")),
            ("dimension_values", dimensions),
            ("timestamp_ms", Column("timestamp_ms")),
            ("unit", text(transformation.get("unit", "None"))),
            ("storage_resolution", Parameter(60, "UInt8")),
            ("values", call("array", value)),
            ("counts", call("array", Parameter(1.0, "Float64"))),
            ("sample_count", Parameter(1.0, "Float64")),
            ("sum", value),
            ("minimum", value),
            ("maximum", value),
            ("sample_id", Column("event_id")),
            ("ordinal", Parameter(ordinal(metric_filter), "UInt32")),
        ),
        source=found,
        where=all_of(
            (
                call("isNotNull", Column("value")),
                call("lessOrEquals", call("abs", value), Parameter(VALUE_MAX, "Float64")),
                call("arrayAll", Lambda(("dimension",), is_dimension), dimensions),
            )
        ),
    )


def ordinal(metric_filter: Mapping[str, Any]) -> int:
    """What tells the samples of several filters of one event apart."""
    return ORDINAL_MIN | zlib.crc32(metric_filter["filterName"].encode())


def _value(value: str, pattern: FilterPattern) -> Expression:
    if value.startswith("$"):
        return as_number(_named(value, pattern))
    return call("toNullable", Parameter(float(value), "Float64"))


def _dimension_values(
    transformation: Mapping[str, Any], names: list[str], pattern: FilterPattern
) -> Expression:
    if not names:
        return Parameter([], "Array(String)")
    dimensions = transformation["dimensions"]
    return call("array", *(_named(dimensions[name], pattern) for name in names))


def _named(name: str, pattern: FilterPattern) -> Expression:
    """The text of `$.selector` or `$field` in an event; empty when there is none."""
    if not isinstance(pattern, FieldsPattern):
        return json_value(parse_selector(name))
    place = field_places(pattern).get(name[1:]) or int(name[1:])
    return call("arrayElement", message_fields(), Parameter(place, "Int64"))

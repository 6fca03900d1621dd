"""Metric filters: which log events make which metric."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.arrivals import GroupKey
from lambdatrace_collector.logs.definitions import METRIC_FILTER, described
from lambdatrace_collector.logs.filter_pattern import (
    FieldsPattern,
    JsonPattern,
    parse_filter_pattern,
    parse_selector,
    regexes,
    selectors,
    shown_selector,
)
from lambdatrace_collector.logs.filter_pattern_sql import call as apply
from lambdatrace_collector.logs.filter_pattern_sql import (
    field_places,
    json_value,
    matches,
    message_fields,
)
from lambdatrace_collector.store.compiled_query import Column, Order, Parameter, Select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions
    from lambdatrace_collector.logs.filter_followers import FilterFollowers
    from lambdatrace_collector.logs.filter_pattern import FilterPattern
    from lambdatrace_collector.logs.groups import LogGroups
    from lambdatrace_collector.logs.reading import LogReading
    from lambdatrace_collector.store.compiled_query import Expression
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch Logs quotas, and "Filter pattern syntax" for regular expressions.
FILTERS_MAX = 100
REGEX_FILTERS_MAX = 5
DIMENSIONS_MAX = 3

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class MetricFilters:
    """The operations on metric filters."""

    def __init__(
        self,
        store: Store,
        groups: LogGroups,
        definitions: Definitions,
        reading: LogReading,
        followers: FilterFollowers,
    ) -> None:
        self._store = store
        self._groups = groups
        self._definitions = definitions
        self._reading = reading
        self._followers = followers

    async def put_metric_filter(self, call: Call) -> Mapping[str, Any]:
        """PutMetricFilter: from now on each matching event is a sample of the filter's metric."""
        parameters = call.parameters
        group, name = parameters["logGroupName"], parameters["filterName"]
        refuse_unsupported(parameters, "emitSystemFieldDimensions")
        pattern = parse_filter_pattern(parameters["filterPattern"])
        (transformation,) = parameters["metricTransformations"]
        check_transformation(transformation, pattern)
        await self._reading.require_regexes(pattern)
        found = await self._groups.require_group(call, group)
        if found.log_group_class != "STANDARD":
            raise AwsError(
                "InvalidOperationException",
                f"Log groups of the class {found.log_group_class} have no metric filters.",
            )
        others = await self._definitions.page(call, METRIC_FILTER, log_group=group)
        check_quota(FILTERS_MAX, [each[2] for each in others], name, pattern)
        await self._followers.put(
            GroupKey(call.account, call.region, group),
            {
                "filterName": name,
                "filterPattern": parameters["filterPattern"],
                "metricTransformations": [transformation],
                "creationTime": call.now_ms,
                "logGroupName": group,
                "applyOnTransformedLogs": False,
            },
        )
        return {}

    async def describe_metric_filters(self, call: Call) -> Mapping[str, Any]:
        """DescribeMetricFilters: of a group, by prefix, or of a metric."""
        parameters = call.parameters
        group = parameters.get("logGroupName", "")
        if group:
            await self._groups.require_group(call, group)
        named = [parameters.get("metricName"), parameters.get("metricNamespace")]
        if named.count(None) == 1:
            raise AwsError(
                "InvalidParameterException",
                "metricName and metricNamespace must be given together.",
            )
        found, token = await described(
            self._definitions,
            call,
            METRIC_FILTER,
            log_group=group,
            prefix=parameters.get("filterNamePrefix", ""),
        )
        filters = [
            document
            for document in found
            if named[0] is None
            or named
            == [
                document["metricTransformations"][0]["metricName"],
                document["metricTransformations"][0]["metricNamespace"],
            ]
        ]
        return {"metricFilters": filters, "nextToken": token}

    async def delete_metric_filter(self, call: Call) -> Mapping[str, Any]:
        """DeleteMetricFilter."""
        group, name = call.parameters["logGroupName"], call.parameters["filterName"]
        await self._groups.require_group(call, group)
        if await self._definitions.get(call, METRIC_FILTER, name, group) is None:
            raise AwsError(
                "ResourceNotFoundException", "The specified metric filter does not exist."
            )
        await self._followers.delete(GroupKey(call.account, call.region, group), name)
        return {}

    async def test_metric_filter(self, call: Call) -> Mapping[str, Any]:
        """TestMetricFilter: which of 50 messages match, and what the pattern names in them."""
        pattern = parse_filter_pattern(call.parameters["filterPattern"])
        await self._reading.require_regexes(pattern)
        rows = await self._store.query_compiled(
            matching_messages(pattern, call.parameters["logEventMessages"])
        )
        return {
            "matches": [
                {
                    "eventNumber": row["number"],
                    "eventMessage": row["message"],
                    "extractedValues": _extracted(pattern, row["extracted"]),
                }
                for row in rows
            ]
        }


def matching_messages(pattern: FilterPattern, messages: Sequence[str]) -> Select:
    """The messages that match, their numbers from 1, and what the pattern extracts of them.

    Extracted are the values of a JSON pattern's selectors, or all fields of the message.
    """
    texts = Parameter(list(messages), "Array(String)")
    pairs = apply("arrayZip", texts, apply("arrayEnumerate", texts))
    pair = Select(columns=(("pair", apply("arrayJoin", pairs)),))
    rows = Select(
        columns=(
            ("message", apply("tupleElement", Column("pair"), Parameter(1, "UInt8"))),
            ("number", apply("tupleElement", Column("pair"), Parameter(2, "UInt8"))),
        ),
        source=pair,
    )
    return Select(
        columns=(
            ("number", Column("number")),
            ("message", Column("message")),
            ("extracted", extracted_values(pattern)),
        ),
        source=rows,
        where=matches(pattern),
        order_by=(Order(Column("number")),),
    )


def extracted_values(pattern: FilterPattern) -> Expression:
    """The values that a pattern names in the column `message`, as an array of texts."""
    if isinstance(pattern, FieldsPattern):
        return message_fields()
    values = [json_value(selector) for selector in selectors(pattern)]
    return apply("array", *values) if values else Parameter([], "Array(String)")


def check_transformation(transformation: Mapping[str, Any], pattern: FilterPattern) -> None:
    """Raise AwsError InvalidParameterException for a metric that the pattern cannot give."""
    value, dimensions = transformation["metricValue"], transformation.get("dimensions", {})
    if value.startswith("$"):
        check_named(value, pattern)
    elif not _NUMBER.fullmatch(value) or not math.isfinite(float(value)):
        raise _invalid(f"metricValue is '{value}': expected a number, $.selector or $field")
    if not dimensions:
        return
    if not isinstance(pattern, (JsonPattern, FieldsPattern)):
        raise AwsError(
            "InvalidParameterException",
            "The specified filter pattern does not support dimensions",
        )
    if "defaultValue" in transformation:
        raise _invalid("dimensions and default value are mutually exclusive properties.")
    if len(dimensions) > DIMENSIONS_MAX:
        raise _invalid(f"{len(dimensions)} dimensions: at most {DIMENSIONS_MAX} are allowed")
    for dimension_value in dimensions.values():
        check_named(dimension_value, pattern)


def check_named(name: str, pattern: FilterPattern) -> None:
    """Raise AwsError InvalidParameterException unless the pattern can extract `name` from events.

    `$.selector` goes with JSON, `$field` with the name or place of a space-delimited field.
    """
    if isinstance(pattern, JsonPattern) and name.startswith("$"):
        parse_selector(name)
    elif isinstance(pattern, FieldsPattern) and name.startswith("$"):
        if name[1:] not in field_places(pattern) and not re.fullmatch(r"\$[1-9]\d{0,4}", name):
            raise _invalid(f"'{name}' is no field of the filter pattern")
    else:
        raise _invalid(f"'{name}' is not found in events by this filter pattern")


def check_quota(
    filters_max: int, others: Sequence[Mapping[str, Any]], name: str, pattern: FilterPattern
) -> None:
    """Raise AwsError LimitExceededException when a group may not have one filter more."""
    rest = [other for other in others if other["filterName"] != name]
    with_regex = [other for other in rest if regexes(parse_filter_pattern(other["filterPattern"]))]
    too_many_regexes = bool(regexes(pattern)) and len(with_regex) >= REGEX_FILTERS_MAX
    if len(rest) >= filters_max or too_many_regexes:
        raise AwsError("LimitExceededException", "Resource limit exceeded.")


def refuse_unsupported(parameters: Mapping[str, Any], *names: str) -> None:
    """Raise AwsError InvalidParameterException for what would otherwise be ignored."""
    for name in ("applyOnTransformedLogs", "fieldSelectionCriteria", *names):
        if parameters.get(name):
            raise AwsError(
                "InvalidParameterException", f"{name} is not supported by this collector."
            )


def _extracted(pattern: FilterPattern, values: Sequence[str]) -> dict[str, str]:
    if isinstance(pattern, FieldsPattern):
        names = {
            place if place > 0 else len(values) + 1 + place: name
            for name, place in field_places(pattern).items()
        }
        return {f"${names.get(place, place)}": value for place, value in enumerate(values, start=1)}
    named = zip(selectors(pattern), values, strict=True)
    return {shown_selector(selector): value for selector, value in named if value}


def _invalid(reason: str) -> AwsError:
    return AwsError("InvalidParameterException", f"Invalid metric transformation: {reason}")

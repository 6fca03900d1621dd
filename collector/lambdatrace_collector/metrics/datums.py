"""The rules of PutMetricData: which datum breaks which, in AWS's words.

The engine decides whether a request is taken (`0002_metrics.sql`, put_metric_data_to_metric_input);
these say what is wrong with one that is not. Source: CloudWatch API reference, PutMetricData,
MetricDatum, Dimension, StatisticSet.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call

    Datum = Mapping[str, Any]

DATUMS_MAX = 1000
VALUES_MAX = 150
VALUE_MAX = 2.0**360
PAST_MAX_MS = 14 * 24 * 3600 * 1000
FUTURE_MAX_MS = 2 * 3600 * 1000
STORAGE_RESOLUTIONS = (1, 60)

_PRINTED = re.compile(r"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")  # ASCII, and not blank


def checked_datums(call: Call) -> list[Datum]:
    """The datums of a PutMetricData call, those of entities after those of none.

    Raises AwsError when one breaks a rule.
    """
    datums = _datums(call.parameters)
    if len(datums) > DATUMS_MAX:
        raise invalid_value(
            f"The collection MetricData must not have a size greater than {DATUMS_MAX}."
        )
    for path, datum in datums:
        dimension_columns(f"{path}.Dimensions", datum.get("Dimensions", ()))
        _check_timestamp(call, path, datum)
        _check_storage_resolution(path, datum)
        _check_sample(path, datum)
    return [datum for _, datum in datums]


def dimension_columns(
    path: str, dimensions: Sequence[Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """Names and values of the dimensions at `path`, sorted by name, as the store keeps them.

    Raises AwsError when a name comes twice, or one of them is blank or not ASCII.
    """
    pairs = sorted((dimension["Name"], dimension["Value"]) for dimension in dimensions)
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise invalid_value(f"The parameter {path} has the same name more than once.")
    for name, value in pairs:
        if name.startswith(":") or not (_PRINTED.fullmatch(name) and _PRINTED.fullmatch(value)):
            raise invalid_value(
                f"The parameter {path} has {name}={value}: names and values must be printable"
                " ASCII and not blank, and names must not begin with a colon."
            )
    return names, [value for _, value in pairs]


def invalid_value(message: str) -> AwsError:
    """AWS's InvalidParameterValue."""
    return AwsError("InvalidParameterValueException", message, query_code="InvalidParameterValue")


def invalid_combination(message: str) -> AwsError:
    """AWS's InvalidParameterCombination."""
    return AwsError(
        "InvalidParameterCombinationException",
        message,
        query_code="InvalidParameterCombination",
    )


def missing_parameter(message: str) -> AwsError:
    """AWS's MissingParameter."""
    return AwsError("MissingRequiredParameterException", message, query_code="MissingParameter")


def _datums(parameters: Mapping[str, Any]) -> list[tuple[str, Datum]]:
    """Every datum with its path; those of an entity count like those of none."""
    datums = [
        (f"MetricData.member.{place}", datum)
        for place, datum in enumerate(parameters.get("MetricData", ()), start=1)
    ]
    for entity_place, entity in enumerate(parameters.get("EntityMetricData", ()), start=1):
        prefix = f"EntityMetricData.member.{entity_place}.MetricData.member"
        datums += [
            (f"{prefix}.{place}", datum)
            for place, datum in enumerate(entity.get("MetricData", ()), start=1)
        ]
    if not datums and "MetricData" not in parameters and "EntityMetricData" not in parameters:
        raise missing_parameter("The parameter MetricData is required.")
    return datums


def _check_sample(path: str, datum: Datum) -> None:
    """A sample is a Value, Values with Counts, or StatisticValues."""
    given = [name for name in ("Value", "Values", "StatisticValues") if name in datum]
    if len(given) > 1:
        raise invalid_combination(
            f"The parameters {path}.{given[0]} and {path}.{given[1]} are mutually exclusive and"
            " you have specified both."
        )
    if not given:
        raise missing_parameter(
            f"At least one of the parameters {path}.Value, {path}.Values and"
            f" {path}.StatisticValues must be specified."
        )
    if "Counts" in datum and given[0] != "Values":
        raise invalid_combination(f"The parameter {path}.Counts goes with {path}.Values alone.")
    if given[0] == "StatisticValues":
        _check_statistic_set(f"{path}.StatisticValues", datum["StatisticValues"])
    elif given[0] == "Value":
        _check_number(f"{path}.Value", datum["Value"])
    else:
        _check_values(path, datum["Values"], datum.get("Counts"))


def _check_values(path: str, values: Sequence[float], counts: Sequence[float] | None) -> None:
    for place, value in enumerate(values, start=1):
        _check_number(f"{path}.Values.member.{place}", value)
    if counts is None:
        counts = [1.0] * len(values)
    for place, count in enumerate(counts, start=1):
        _check_number(f"{path}.Counts.member.{place}", count)
    if len(values) != len(counts):
        raise invalid_value(
            f"The parameters {path}.Values and {path}.Counts must be of the same size."
        )
    if not 1 <= len(values) <= VALUES_MAX:
        raise invalid_value(
            f"The collection {path}.Values must have a size from 1 to {VALUES_MAX}."
        )
    if any(count <= 0 for count in counts):
        raise invalid_value(f"The parameter {path}.Counts must hold numbers above 0.")


def _check_statistic_set(path: str, statistics: Mapping[str, float]) -> None:
    for name, value in statistics.items():
        _check_number(f"{path}.{name}", value)
    if statistics["SampleCount"] <= 0:
        raise invalid_value(f"The parameter {path}.SampleCount must be greater than 0.")
    if statistics["Minimum"] > statistics["Maximum"]:
        raise invalid_value(
            f"The parameter {path}.Maximum must be greater than or equal to {path}.Minimum."
        )


def _check_number(path: str, value: float) -> None:
    if not math.isfinite(value) or abs(value) > VALUE_MAX:
        shown = "NaN" if math.isnan(value) else repr(value)
        raise invalid_value(f"The value {shown} for parameter {path} is invalid.")


def _check_timestamp(call: Call, path: str, datum: Datum) -> None:
    timestamp_ms = datum.get("Timestamp", call.now_ms / 1000) * 1000
    if timestamp_ms < call.now_ms - PAST_MAX_MS:
        raise invalid_value(
            f"The parameter {path}.Timestamp must specify a time no more than two weeks in the"
            " past."
        )
    if timestamp_ms > call.now_ms + FUTURE_MAX_MS:
        raise invalid_value(
            f"The parameter {path}.Timestamp must specify a time no more than two hours in the"
            " future."
        )


def _check_storage_resolution(path: str, datum: Datum) -> None:
    if datum.get("StorageResolution", 60) not in STORAGE_RESOLUTIONS:
        raise invalid_value(f"The parameter {path}.StorageResolution must be 1 or 60.")

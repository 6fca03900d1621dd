"""PutMetricData: from datums to rows of the engine's input."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.ingest.record_ids import RecordIds

    Commit = Callable[[bytes, int], Awaitable[None]]
    Datum = Mapping[str, Any]

# Source: CloudWatch API reference, PutMetricData and MetricDatum.
DATUMS_MAX = 1000
VALUES_MAX = 150
VALUE_MAX = 2.0**360
PAST_MAX_MS = 14 * 24 * 3600 * 1000
FUTURE_MAX_MS = 2 * 3600 * 1000
STORAGE_RESOLUTIONS = (1, 60)


class MetricIngestion:
    """The operation PutMetricData."""

    def __init__(self, record_ids: RecordIds, commit: Commit) -> None:
        self._record_ids = record_ids
        self._commit = commit

    async def put_metric_data(self, call: Call) -> Mapping[str, Any]:
        """PutMetricData. Answers when the datums are stored."""
        datums = _datums(call.parameters)
        if len(datums) > DATUMS_MAX:
            raise invalid_value(
                f"The collection MetricData must not have a size greater than {DATUMS_MAX}."
            )
        sample_id = self._record_ids.take_for(call)
        lines = [
            encode_datum(call, path, datum, sample_id, ordinal)
            for ordinal, (path, datum) in enumerate(datums)
        ]
        if lines:
            await self._commit(b"".join(lines), len(lines))
        return {}


def encode_datum(call: Call, path: str, datum: Datum, sample_id: int, ordinal: int) -> bytes:
    """One row of `metric_input`, as a line of JSON. `path` names the datum in errors.

    Raises AwsError when the datum breaks a rule of PutMetricData.
    """
    names, values = dimension_columns(f"{path}.Dimensions", datum.get("Dimensions", ()))
    row = {
        "account": call.account,
        "region": call.region,
        "namespace": call.parameters["Namespace"],
        "metric_name": datum["MetricName"],
        "dimension_names": names,
        "dimension_values": values,
        "timestamp_ms": _timestamp_ms(call, path, datum),
        "unit": datum.get("Unit", "None"),
        "storage_resolution": _storage_resolution(path, datum),
        **_sample(path, datum),
        "sample_id": str(sample_id),
        "ordinal": ordinal,
    }
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


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
        if not (name.isascii() and value.isascii() and name.strip() and value.strip()):
            raise invalid_value(
                f"The parameter {path} has {name}={value}: names and values must be"
                " ASCII and not blank."
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


def _sample(path: str, datum: Datum) -> dict[str, Any]:
    """The columns of what was measured: a Value, Values with Counts, or StatisticValues."""
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
    if given[0] == "StatisticValues":
        return _statistic_set(path, datum["StatisticValues"])
    if given[0] == "Value":
        return _weighted([_checked(f"{path}.Value", datum["Value"])], [1.0])
    return _values(path, datum)


def _values(path: str, datum: Datum) -> dict[str, Any]:
    values = [
        _checked(f"{path}.Values.member.{place}", value)
        for place, value in enumerate(datum["Values"], start=1)
    ]
    counts = [
        _checked(f"{path}.Counts.member.{place}", count)
        for place, count in enumerate(datum.get("Counts", [1.0] * len(values)), start=1)
    ]
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
    return _weighted(values, counts)


def _weighted(values: list[float], counts: list[float]) -> dict[str, Any]:
    return {
        "values": values,
        "counts": counts,
        "sample_count": math.fsum(counts),
        "sum": math.fsum(value * count for value, count in zip(values, counts, strict=True)),
        "minimum": min(values),
        "maximum": max(values),
    }


def _statistic_set(path: str, statistics: Mapping[str, float]) -> dict[str, Any]:
    """A StatisticSet; where it says all, since it has one value only, that value is kept.

    Source: CloudWatch user guide, "Statistics definitions": percentiles need SampleCount 1 or
    Minimum = Maximum.
    """
    checked = {
        name: _checked(f"{path}.StatisticValues.{name}", value)
        for name, value in statistics.items()
    }
    count, least, most = checked["SampleCount"], checked["Minimum"], checked["Maximum"]
    if count <= 0:
        raise invalid_value(
            f"The parameter {path}.StatisticValues.SampleCount must be greater than 0."
        )
    if least > most:
        raise invalid_value(
            f"The parameter {path}.StatisticValues.Maximum must be greater than or equal to"
            f" {path}.StatisticValues.Minimum."
        )
    if least == most:
        values, counts = [least], [count]
    elif count == 1:
        values, counts = [checked["Sum"]], [count]
    else:
        values, counts = [], []
    return {
        "values": values,
        "counts": counts,
        "sample_count": count,
        "sum": checked["Sum"],
        "minimum": least,
        "maximum": most,
    }


def _checked(path: str, value: float) -> float:
    if not math.isfinite(value) or abs(value) > VALUE_MAX:
        shown = "NaN" if math.isnan(value) else repr(value)
        raise invalid_value(f"The value {shown} for parameter {path} is invalid.")
    return value


def _timestamp_ms(call: Call, path: str, datum: Datum) -> int:
    if "Timestamp" not in datum:
        return call.now_ms
    timestamp_ms: int = round(datum["Timestamp"] * 1000)
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
    return timestamp_ms


def _storage_resolution(path: str, datum: Datum) -> int:
    resolution: int = datum.get("StorageResolution", 60)
    if resolution not in STORAGE_RESOLUTIONS:
        raise invalid_value(f"The parameter {path}.StorageResolution must be 1 or 60.")
    return resolution

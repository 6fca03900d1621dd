from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar

from lambdatrace_collector.otlp.json import (
    attributes_json,
    double,
    int64,
    key_values_json,
    present,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, Any]
    Json = dict[str, Any]

_MEMBERS = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponential_histogram": "exponentialHistogram",
    "summary": "summary",
}


def metrics_json(rows: Iterable[Row]) -> list[Json]:
    """Metrics in OTLP's JSON, of rows of `metric_points` of one scope: one for each metric."""
    by_metric: dict[str, Json] = {}
    for row in rows:
        metric = present(
            name=text(row["name"]),
            description=text(row["description"]),
            unit=text(row["unit"]),
            metadata=attributes_json(row["metadata"]),
        )
        data = present(
            aggregationTemporality=row["aggregation_temporality"],
            isMonotonic=bool(row["is_monotonic"]),
        )
        kind = row["data"].decode() if isinstance(row["data"], bytes) else row["data"]
        metric[_MEMBERS[kind]] = data
        known = by_metric.setdefault(repr(metric), metric)
        known[_MEMBERS[kind]].setdefault("dataPoints", []).append(_POINTS[kind](row))
    return list(by_metric.values())


def _point(row: Row) -> Json:
    """What points of all kinds have."""
    return present(
        attributes=attributes_json(row["attributes"]),
        startTimeUnixNano=int64(row["start_time_unix_nano"]),
        timeUnixNano=int64(row["time_unix_nano"]),
        flags=row["flags"],
        exemplars=[_exemplar(Exemplar.FromString(encoded)) for encoded in row["exemplars"]],
    )


def _number(row: Row) -> Json:
    return {**_point(row), **_value(row["as_double"], row["as_int"])}


def _histogram(row: Row) -> Json:
    return {
        **_distribution(row),
        **present(
            bucketCounts=[str(count) for count in row["bucket_counts"]],
            explicitBounds=[double(bound) for bound in row["explicit_bounds"]],
        ),
    }


def _exponential(row: Row) -> Json:
    return {
        **_distribution(row),
        **present(
            scale=row["scale"],
            zeroCount=int64(row["zero_count"]),
            zeroThreshold=double(row["zero_threshold"]),
            positive=_buckets(row["positive"]),
            negative=_buckets(row["negative"]),
        ),
    }


def _summary(row: Row) -> Json:
    return {
        **_point(row),
        **present(
            count=int64(row["count"]),
            sum=double(row["sum"]),
            quantileValues=[
                present(quantile=double(each["quantile"]), value=double(each["value"]))
                for each in row["quantile_values"]
            ],
        ),
    }


def _distribution(row: Row) -> Json:
    optional = {name: double(row[name]) for name in ("sum", "min", "max") if row[name] is not None}
    return {**_point(row), **present(count=int64(row["count"])), **optional}


def _buckets(buckets: Row) -> Json:
    return present(
        offset=buckets["offset"], bucketCounts=[str(count) for count in buckets["bucket_counts"]]
    )


def _value(as_double: float | None, as_int: int | None) -> Json:
    if as_int is not None:
        return {"asInt": str(as_int)}
    return {} if as_double is None else {"asDouble": double(as_double)}


def _exemplar(exemplar: Exemplar) -> Json:
    kind = exemplar.WhichOneof("value")
    return {
        **present(
            filteredAttributes=key_values_json(exemplar.filtered_attributes),
            timeUnixNano=int64(exemplar.time_unix_nano),
            spanId=exemplar.span_id.hex(),
            traceId=exemplar.trace_id.hex(),
        ),
        **_value(
            exemplar.as_double if kind == "as_double" else None,
            exemplar.as_int if kind == "as_int" else None,
        ),
    }


_POINTS = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}

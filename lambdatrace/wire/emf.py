"""Metrics → CloudWatch embedded metric format, one JSON document a line.

Source: CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from lambdatrace.records import Metric

METRIC_COUNT_MAX = 100  # per document
VALUE_COUNT_MAX = 100  # per metric and document

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode_metrics(
    namespace: str, metrics: Sequence[Metric], now_ms: int, properties: Mapping[str, Any]
) -> list[str]:
    """The documents for `metrics`, without newlines; one for each set of dimensions, or more.

    Values of the same metric become one array. A document holds at most 100 metrics with 100
    values each, so more give more documents; order is kept. `properties` are root members that are
    no metrics (request id, trace id); a metric or dimension of the same name wins. A metric that
    comes again with another unit or resolution gets another document, since the format has one
    definition per name.
    """
    documents: list[str] = []
    for dimensions, group in _by_dimensions(metrics).items():
        for batch in _batches(group):
            definitions = []
            document: dict[str, Any] = dict(properties)
            document.update(dimensions)
            for first, values in batch:
                definition: dict[str, Any] = {"Name": first.name, "Unit": first.unit}
                if first.resolution_s == 1:
                    definition["StorageResolution"] = 1
                definitions.append(definition)
                document[first.name] = values if len(values) > 1 else values[0]
            document["_aws"] = {
                "Timestamp": now_ms,
                "CloudWatchMetrics": [
                    {
                        "Namespace": namespace,
                        "Dimensions": [[key for key, _ in dimensions]],
                        "Metrics": definitions,
                    }
                ],
            }
            documents.append(_encode(document))
    return documents


def _by_dimensions(
    metrics: Sequence[Metric],
) -> dict[tuple[tuple[str, str], ...], list[Metric]]:
    groups: dict[tuple[tuple[str, str], ...], list[Metric]] = {}
    for metric in metrics:
        groups.setdefault(metric.dimensions, []).append(metric)
    return groups


def _batches(metrics: list[Metric]) -> Iterator[list[tuple[Metric, list[float]]]]:
    """Lists of (first metric of a name, its values), each list fit for one document."""
    waiting = metrics
    while waiting:
        batch: dict[str, tuple[Metric, list[float]]] = {}
        later: list[Metric] = []
        for metric in waiting:
            first, values = batch.get(metric.name, (metric, []))
            if (
                (not values and len(batch) >= METRIC_COUNT_MAX)
                or len(values) >= VALUE_COUNT_MAX
                or (first.unit, first.resolution_s) != (metric.unit, metric.resolution_s)
            ):
                later.append(metric)
            else:
                values.append(metric.value)
                batch[metric.name] = (first, values)
        yield list(batch.values())
        waiting = later

"""Data points: what stores their export requests, as points and as CloudWatch samples."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.logs.ingestion import TOO_NEW_MS, TOO_OLD_MS
from lambdatrace_collector.otlp.envelope import metrics_envelope
from lambdatrace_collector.otlp.ingestion import commit_valid, keep_only
from lambdatrace_collector.otlp.signals import (
    METRICS,
    NONE_REJECTED,
    Origin,
    Rejected,
    parse_request,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace_collector.otlp.ingestion import Commit, Ingest

NS_PER_MS = 1_000_000
NAMESPACE_DEFAULT = "default"
NAMESPACE_LENGTH_MAX = 255
UNTIMELY = "data points older than two weeks or over two hours ahead were not stored"
KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")

# Source: CloudWatch API reference, PutMetricData, Namespace.
_NOT_IN_NAMESPACE = re.compile(r"[^A-Za-z0-9._/#:\- ]")


def metrics_ingest(commit: Commit) -> Ingest:
    """What stores export requests of data points through `commit`."""

    async def ingest(body: bytes, origin: Origin) -> Rejected:
        message = parse_request(METRICS, body)
        if not message.resource_metrics:
            return NONE_REJECTED
        namespaces = [namespace(entry.resource.attributes) for entry in message.resource_metrics]
        # Written anew: the engine reads the values of attributes as dimensions, and protobuf's own
        # encoding of them is the only one it has to know.
        message.DiscardUnknownFields()
        data = message.SerializeToString()
        del message  # it takes several times the body

        async def commit_request(data: bytes) -> None:
            owner = (origin.account, origin.region)
            await commit(metrics_envelope(data, namespaces, owner, origin.now_ms))

        return await commit_valid(
            METRICS, data, commit_request, partial(remove_untimely_points, now_ms=origin.now_ms)
        )

    return ingest


def namespace(attributes: Sequence[Any]) -> str:
    """The CloudWatch namespace of a resource: `service.namespace/service.name`, or what there is.

    Source: the OpenTelemetry Collector's awsemfexporter, setting `namespace`.
    """
    texts = {pair.key: pair.value.string_value for pair in attributes}
    parts = [texts[key] for key in ("service.namespace", "service.name") if texts.get(key)]
    found = _NOT_IN_NAMESPACE.sub("_", "/".join(parts))[:NAMESPACE_LENGTH_MAX]
    # A leading colon, and nothing but blanks, are refused.
    return found.lstrip(":").strip() or NAMESPACE_DEFAULT


def remove_untimely_points(message: Any, now_ms: int) -> Rejected:
    """Take the points that CloudWatch does not take, for their time, out of `message`.

    It takes those of the last two weeks and the next two hours.
    """
    first_ns = (now_ms - TOO_OLD_MS) * NS_PER_MS
    last_ns = (now_ms + TOO_NEW_MS) * NS_PER_MS
    removed = sum(
        keep_only(
            getattr(metric, kind).data_points,
            lambda point: first_ns <= point.time_unix_nano <= last_ns,
        )
        for resource_metrics in message.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        for kind in KINDS
        if metric.HasField(kind)
    )
    return Rejected(removed, UNTIMELY)

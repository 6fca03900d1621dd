"""What the collector has stored, asked as anybody would: boto3, and its HTTP API for traces."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3

REGION = "us-east-1"
TIMEOUT_S = 20.0
PERIOD_S_MAX = 86_400  # a period is a multiple of 60 s, at most a day
_KINDS = ("", "internal", "server", "client", "producer", "consumer")
_ERROR = 2


@dataclass
class StoredSpan:
    """A span with its children in order of time; times are Unix nanoseconds."""

    name: str
    service: str
    kind: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    error: str
    attributes: dict[str, Any]
    links: list[str]
    children: list[StoredSpan] = field(default_factory=list)

    @property
    def duration_ms(self) -> float:
        """From start to end."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True)
class FunctionMetrics:
    """`AWS/Lambda` of one function; durations in ms."""

    name: str
    invocations: float
    errors: float
    duration_p50: float
    duration_p99: float


class Stored:
    """Questions to the collector at `url`, about the time from `since_ms` (Unix time) to now."""

    def __init__(self, url: str, since_ms: int) -> None:
        self.url = url
        credentials = {"aws_access_key_id": "demo", "aws_secret_access_key": "demo"}
        session = boto3.session.Session(region_name=REGION, **credentials)
        self._logs = session.client("logs", endpoint_url=url)
        self._cloudwatch = session.client("cloudwatch", endpoint_url=url)
        self._since_ms = since_ms
        start = datetime.fromtimestamp(since_ms // 1000, timezone.utc)
        # The end is not part of the range, and metrics have the second they happened in.
        end = datetime.now(timezone.utc) + timedelta(seconds=1)
        self._range = {"StartTime": start, "EndTime": end}
        self._period_s = period_s_around(int(start.timestamp()), int(end.timestamp()))

    def trace(self, trace_id: str) -> list[StoredSpan]:
        """The roots of a trace: spans whose parent is not in it."""
        address = f"{self.url}/api/v3/traces/{trace_id}"
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 - ours
            document = json.load(answer)
        spans = {
            span.span_id: span
            for resource in document["result"]["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in (_span(resource, raw) for raw in scope["spans"])
        }
        roots: list[StoredSpan] = []
        for span in sorted(spans.values(), key=lambda span: span.start_ns):
            parent = spans.get(span.parent_id)
            (parent.children if parent else roots).append(span)
        return roots

    def log_groups(self) -> list[str]:
        """The names of all log groups."""
        pages = self._logs.get_paginator("describe_log_groups").paginate()
        return [group["logGroupName"] for page in pages for group in page["logGroups"]]

    def log_lines(self, group: str, pattern: str) -> list[str]:
        """The events of a group that match a filter pattern, oldest first."""
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, filterPattern=pattern, startTime=self._since_ms
        )
        return [event["message"].rstrip() for page in pages for event in page["events"]]

    def function_metrics(self, names: list[str]) -> list[FunctionMetrics]:
        """`AWS/Lambda` metrics per function."""
        return [
            FunctionMetrics(
                name,
                sum(self._values("AWS/Lambda", "Invocations", name, "Sum")),
                sum(self._values("AWS/Lambda", "Errors", name, "Sum")),
                max(self._values("AWS/Lambda", "Duration", name, "p50"), default=0.0),
                max(self._values("AWS/Lambda", "Duration", name, "p99"), default=0.0),
            )
            for name in names
        ]

    def custom_metrics(self, namespace: str) -> list[tuple[str, str, float, float]]:
        """(name, dimensions, sum, samples) of each custom metric."""
        found = []
        pages = self._cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace)
        for metric in (metric for page in pages for metric in page["Metrics"]):
            points = self._cloudwatch.get_metric_statistics(
                Namespace=namespace,
                MetricName=metric["MetricName"],
                Dimensions=metric["Dimensions"],
                Period=self._period_s,
                Statistics=["Sum", "SampleCount"],
                **self._range,
            )["Datapoints"]
            dimensions = ", ".join(f"{d['Name']}={d['Value']}" for d in metric["Dimensions"])
            sums = sum(point["Sum"] for point in points)
            samples = sum(point["SampleCount"] for point in points)
            found.append((metric["MetricName"], dimensions, sums, samples))
        return sorted(found)

    def _values(self, namespace: str, metric: str, function: str, statistic: str) -> list[float]:
        answer = self._cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": "q",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": namespace,
                            "MetricName": metric,
                            "Dimensions": [{"Name": "FunctionName", "Value": function}],
                        },
                        "Period": self._period_s,
                        "Stat": statistic,
                    },
                }
            ],
            **self._range,
        )
        return list(answer["MetricDataResults"][0]["Values"])


def period_s_around(start_s: int, end_s: int) -> int:
    """A period, in seconds, one of whose intervals has both times in it.

    Percentiles of two intervals cannot be added up, and CloudWatch's intervals begin at multiples
    of the period, so that an hour's or a day's may begin within any run, however short. The longest
    period that has no such boundary is taken; times far apart get a day.
    """
    periods = range(PERIOD_S_MAX, 0, -60)
    return next((p for p in periods if start_s // p == end_s // p), PERIOD_S_MAX)


def _span(resource: dict[str, Any], raw: dict[str, Any]) -> StoredSpan:
    attributes = _attributes(raw)
    status = raw.get("status", {})
    return StoredSpan(
        name=raw["name"],
        service=str(_attributes(resource["resource"]).get("service.name", "")),
        kind=_KINDS[int(raw.get("kind", 0))],
        span_id=raw["spanId"],
        parent_id=raw.get("parentSpanId", ""),
        start_ns=int(raw["startTimeUnixNano"]),
        end_ns=int(raw["endTimeUnixNano"]),
        error=(status.get("message") or "error") if status.get("code") == _ERROR else "",
        attributes=attributes,
        links=[link["traceId"] for link in raw.get("links", [])],
    )


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {
        pair["key"]: next(iter(pair.get("value", {}).values()), None)
        for pair in holder.get("attributes", [])
    }

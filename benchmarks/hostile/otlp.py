"""Targets of OTLP: JSON and protobuf of each signal."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.hostile.targets import Target, register
from lambdatrace_collector.otlp.from_json import request_from_json
from lambdatrace_collector.otlp.signals import LOGS, METRICS, TRACES, parse_request


def traces_request() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "s"
    span = resource.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")
    span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
    value = span.attributes.add(key="k").value.array_value.values.add()
    value.kvlist_value.values.add(key="n").value.double_value = 1.5
    span.events.add(name="e", time_unix_nano=1)
    span.links.add(trace_id=b"l" * 16, span_id=b"l" * 8)
    return request


def logs_request() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "s"
    record = resource.scope_logs.add().log_records.add(time_unix_nano=1, severity_text="INFO")
    record.body.kvlist_value.values.add(key="n").value.bytes_value = b"b"
    record.attributes.add(key="k").value.bool_value = True
    return request


def _metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    point = metrics.add(name="sum").sum.data_points.add(time_unix_nano=1, as_int=5)
    point.exemplars.add(time_unix_nano=1, as_double=1.5)
    histogram = metrics.add(name="histogram").histogram.data_points.add(count=2, sum=3.0)
    histogram.bucket_counts.extend((1, 1))
    histogram.explicit_bounds.append(1.0)
    exponential = metrics.add(name="exponential").exponential_histogram.data_points.add(scale=3)
    exponential.positive.bucket_counts.extend((1, 2))
    metrics.add(name="gauge").gauge.data_points.add(as_double=1.5)
    return request


def _json(request: Any) -> bytes:
    """A request as OTLP writes it in JSON: ids are hexadecimal, where protobuf has base64."""
    text: str = MessageToJson(request)
    for content in (b"t" * 16, b"s" * 8, b"l" * 16, b"l" * 8):
        text = text.replace(base64.b64encode(content).decode(), content.hex())
    return text.encode()


for _signal, _request in (
    (TRACES, traces_request()),
    (LOGS, logs_request()),
    (METRICS, _metrics()),
):
    register(
        Target(
            f"OTLP {_signal.name} as JSON",
            partial(request_from_json, _signal),
            [_json(_request)],
        )
    )
    register(
        Target(
            f"OTLP {_signal.name} as protobuf",
            partial(parse_request, _signal),
            [_request.SerializeToString()],
        )
    )

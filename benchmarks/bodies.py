"""Bodies as instrumented Lambda functions send them, for every kind of thing that is taken in.

The functions whose names end in `_requests` are what `load_generator` calls in its clients.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.load_generator import http_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.load_generator import Request

SPANS_PER_REQUEST = 500
SPANS_PER_TRACE = 5
EVENTS_PER_REQUEST = 500
DATUMS_PER_REQUEST = 500
REQUEST_NS = 3_000_000  # between the first spans of two requests, as at 170,000 spans/s

# Ids and times of the template, replaced in its encoded bytes; no other field holds these bytes.
TRACE_MARK = b"TRACE-ID-16BYTES"
SPAN_MARK = b"SPAN-ID8"
PARENT_MARK = b"PARENTID"
START_MARK = b"START-NS"
END_MARK = b"END-NANO"

LOG_GROUP = "/aws/lambda/orders"
_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/eu-west-1/{service}/aws4_request,"
    " SignedHeaders=host, Signature=0"
)


def span_requests(client: int, count: int, *, spans: int = SPANS_PER_REQUEST) -> list[Request]:
    """Requests of `POST /v1/traces` with `spans` spans each, every span with an id of its own."""
    del client  # ids are random
    template = encoded_spans(spans)
    started_ns = time.time_ns()
    headers = {"Content-Type": "application/x-protobuf"}
    return [
        http_request(
            "/v1/traces",
            with_own_ids_and_times(template, started_ns + place * REQUEST_NS),
            headers,
            spans,
        )
        for place in range(count)
    ]


def log_requests(client: int, count: int, *, events: int = EVENTS_PER_REQUEST) -> list[Request]:
    """Requests of PutLogEvents with `events` events each, to the stream `client-N` of LOG_GROUP."""
    now_ms = time.time_ns() // 1_000_000
    return [
        aws_json_request(
            "logs",
            "Logs_20140328.PutLogEvents",
            {
                "logGroupName": LOG_GROUP,
                "logStreamName": f"client-{client}",
                "logEvents": [
                    {"timestamp": now_ms, "message": _log_line(place * events + number, client)}
                    for number in range(events)
                ],
            },
            events,
        )
        for place in range(count)
    ]


def metric_requests(client: int, count: int, *, datums: int = DATUMS_PER_REQUEST) -> list[Request]:
    """Requests of PutMetricData (AWS JSON) with `datums` datums each, one value to a datum."""
    return [
        aws_json_request(
            "monitoring",
            "GraniteServiceVersion20100801.PutMetricData",
            {
                "Namespace": "Orders",
                "MetricData": [
                    {
                        "MetricName": ("Latency", "Size", "Errors")[number % 3],
                        "Dimensions": [{"Name": "Function", "Value": f"f{number // 3 % 100}"}],
                        "Value": (place * 7919 + number * 104_729 + client) % 10_000 / 10,
                        "Unit": ("Milliseconds", "Bytes", "Count")[number % 3],
                    }
                    for number in range(datums)
                ],
            },
            datums,
        )
        for place in range(count)
    ]


def aws_json_request(
    service: str, target: str, parameters: Mapping[str, Any], records: int = 1
) -> Request:
    """A call in AWS JSON; `service` is the name that requests are signed for."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": target,
        "Authorization": _AUTHORIZATION.format(service=service),
        "amz-sdk-invocation-id": secrets.token_hex(16),
    }
    body = json.dumps(parameters, separators=(",", ":")).encode()
    return http_request("/", body, headers, records)


def _log_line(number: int, client: int) -> str:
    """A line as a structured logger writes it, about 200 bytes."""
    return json.dumps(
        {
            "level": "ERROR" if number % 50 == 0 else "INFO",
            "message": "charged the card",
            "requestId": secrets.token_hex(16),
            "orderId": number * 7919 % 100_003,
            "latency_ms": number * 104_729 % 5000 / 10,
            "function": f"orders-{client}",
        }
    )


def encoded_spans(spans: int = SPANS_PER_REQUEST) -> bytes:
    """A request of `spans` spans as an instrumented Lambda function sends them, ids marked."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in {
        "service.name": "orders",
        "cloud.provider": "aws",
        "cloud.region": "eu-west-1",
        "cloud.account.id": "123456789012",
        "faas.name": "orders",
        "faas.version": "$LATEST",
        "faas.instance": f"2026/01/31/[$LATEST]{secrets.token_hex(16)}",
        "telemetry.sdk.name": "lambdatrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "0.1.0",
    }.items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "lambdatrace"
    scope_spans.scope.version = "0.1.0"
    for number in range(spans):
        _add_span(scope_spans, number)
    return request.SerializeToString()


def _add_span(scope_spans: Any, number: int) -> None:
    names = ("GET /orders/{id}", "handler", "DynamoDB.GetItem", "charge card", "SQS.SendMessage")
    place = number % SPANS_PER_TRACE
    span = scope_spans.spans.add(
        trace_id=TRACE_MARK,
        span_id=SPAN_MARK,
        parent_span_id=PARENT_MARK if place else b"",
        name=names[place],
        kind=place + 1,
        start_time_unix_nano=int.from_bytes(START_MARK, "little"),
        end_time_unix_nano=int.from_bytes(END_MARK, "little"),
        flags=257,
    )
    for key, value in {
        "http.request.method": "GET",
        "url.path": f"/orders/{number * 7919 % 100_003}",
        "faas.invocation_id": secrets.token_hex(16),
        "aws.request_id": secrets.token_hex(8),
    }.items():
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="http.response.status_code").value.int_value = 200
    span.attributes.add(key="faas.coldstart").value.bool_value = False
    if number % 50 == 0:
        event = span.events.add(name="exception", time_unix_nano=time.time_ns())
        event.attributes.add(key="exception.type").value.string_value = "ValueError"
        event.attributes.add(key="exception.message").value.string_value = "no such order"


def with_own_ids_and_times(template: bytes, started_ns: int) -> bytes:
    """The template with ids of its own, five spans to a trace, each the parent of the next."""
    body = bytearray(template)
    trace_id = span_id = b""
    marks = (TRACE_MARK, SPAN_MARK, PARENT_MARK, START_MARK, END_MARK)
    spans = 0
    for match in re.finditer(b"|".join(marks), template):
        if match[0] == TRACE_MARK:
            if spans % SPANS_PER_TRACE == 0:
                trace_id = os.urandom(16)
            spans += 1
            value = trace_id
        elif match[0] == SPAN_MARK:
            parent_id, span_id = span_id, os.urandom(8)
            value = span_id
        elif match[0] == PARENT_MARK:
            value = parent_id
        else:
            moment_ns = started_ns + spans * REQUEST_NS // SPANS_PER_REQUEST
            value = (moment_ns + (match[0] == END_MARK) * spans * 7919).to_bytes(8, "little")
        body[match.start() : match.end()] = value
    return bytes(body)

"""Targets of X-Ray: segment documents and datagrams. And nested values of log records."""

from __future__ import annotations

import base64
import json

from benchmarks.hostile.otlp import logs_request, traces_request
from benchmarks.hostile.targets import Target, register
from lambdatrace_collector.otlp.nested_json import with_nested_json
from lambdatrace_collector.otlp.signals import LOGS, parse_request
from lambdatrace_collector.xray.datagrams import read_datagram
from lambdatrace_collector.xray.documents import SegmentError
from lambdatrace_collector.xray.segments import read_segment

HEADER = b'{"format": "json", "version": 1}\n'
SEGMENT = {
    "name": "orders",
    "id": "53995c3f42cd8ad8",
    "trace_id": "1-581cf771-a006649127e371903a2de979",
    "start_time": 1.5,
    "end_time": 2.5,
    "http": {"request": {"method": "GET"}, "response": {"status": 200}},
    "annotations": {"tier": "gold", "n": 7},
    "metadata": {"default": {"a": [1, None]}},
    "cause": {"exceptions": [{"type": "E", "message": "m", "stack": [{"path": "p"}]}]},
    "links": [{"trace_id": "1-581cf771-a006649127e371903a2de979", "id": "53995c3f42cd8ad8"}],
    "subsegments": [{"name": "DynamoDB", "id": "53995c3f42cd8ad9", "start_time": 1, "end_time": 2}],
}


def _segment(content: bytes) -> object:
    return read_segment(content.decode("utf-8", "replace")).resource_spans.SerializeToString()


def _nested(content: bytes) -> object:
    return with_nested_json(parse_request(LOGS, content).SerializeToString())


register(
    Target("X-Ray segment", _segment, [json.dumps(SEGMENT).encode()], refusals=(SegmentError,))
)
register(
    Target(
        "datagram",
        read_datagram,
        [
            HEADER + json.dumps(SEGMENT).encode(),
            HEADER + b"T1S" + base64.b64encode(traces_request().SerializeToString()),
        ],
    )
)
register(Target("nested values of log records", _nested, [logs_request().SerializeToString()]))

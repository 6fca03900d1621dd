"""OTLP/JSON: hex ids, lowerCamelCase, and answers in JSON."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdatrace_collector.errors import RequestError
from lambdatrace_collector.otlp.from_json import JSON_OBJECTS_MAX, request_from_json
from lambdatrace_collector.otlp.signals import LOGS, METRICS, TRACES
from tests.collector.test_otlp_traces import (
    flattened,
    one_span,
    otlp_json,
    requests,
    stored_trace,
    the_span,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.collector.conftest import Collector

JSON = {"Content-Type": "application/json"}


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests())
def test_what_is_sent_as_json_comes_back_as_it_was(collector: Collector, request: Message) -> None:
    sent: Any = request
    expected = otlp_json(sent)
    answer = collector.post("/v1/traces", json.dumps(expected).encode(), JSON)

    assert (answer.status, answer.body, answer.headers["content-type"]) == (
        200,
        b"{}",
        "application/json",
    )
    found = stored_trace(collector, the_span(sent).trace_id)
    assert flattened(expected["resourceSpans"]) == flattened(found["result"]["resourceSpans"])


def test_json_may_be_gzip_and_have_members_that_we_do_not_know(collector: Collector) -> None:
    request = one_span()
    body = {**otlp_json(request), "unknown": {"deep": [1, None]}}
    content = gzip.compress(json.dumps(body).encode())
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"}
    assert collector.post("/v1/traces", content, headers).status == 200
    assert stored_trace(collector, the_span(request).trace_id)


def test_spans_of_a_json_request_that_are_not_stored_are_counted_in_json(
    collector: Collector,
) -> None:
    request = one_span("good")
    request.resource_spans[0].scope_spans[0].spans.add(name="bad")
    answer = collector.post("/v1/traces", json.dumps(otlp_json(request)).encode(), JSON)

    assert (answer.status, json.loads(answer.body)) == (
        200,
        {
            "partialSuccess": {
                "rejectedSpans": "1",
                "errorMessage": "spans whose trace_id is not 16 bytes or span_id not 8 bytes, or"
                " which are all zero, were not stored",
            }
        },
    )


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"[]", 400, 3, "expected an object"),
        (b"{", 400, 3, "the body is not a JSON ExportTraceServiceRequest"),
        (b"\xff", 400, 3, "the body is not a JSON"),
        (b'{"resourceSpans": 7}', 400, 3, "the body is not a JSON"),
        (b"[" * 150_000, 400, 3, "the body is not a JSON"),
        (b"[" * (JSON_OBJECTS_MAX + 1), 413, 8, "send it in smaller requests"),
    ],
)
def test_bad_json_gets_a_status_in_json(
    collector: Collector, body: bytes, status: int, code: int, message: str
) -> None:
    answer = collector.post("/v1/traces", body, JSON)
    error = json.loads(answer.body)
    assert (answer.status, error["code"]) == (status, code)
    assert message in error["message"]


def test_an_id_that_is_not_hex_is_named(collector: Collector) -> None:
    request = otlp_json(one_span())
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "xyz"
    answer = collector.post("/v1/traces", json.dumps(request).encode(), JSON)
    assert (answer.status, json.loads(answer.body)) == (
        400,
        {"code": 3, "message": "traceId is 'xyz': expected hex digits"},
    )


NAMES = ["resourceSpans", "scopeSpans", "spans", "traceId", "attributes", "value", "stringValue"]
NAMES += ["resourceMetrics", "scopeMetrics", "metrics", "gauge", "dataPoints", "asDouble", "key"]
NAMES += ["resourceLogs", "scopeLogs", "logRecords", "body", "arrayValue", "values", "intValue"]
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("signal", [TRACES, METRICS, LOGS])
@given(value=ANY_JSON)
def test_any_json_is_read_or_refused(signal: Any, value: Any) -> None:
    try:
        encoded = request_from_json(signal, json.dumps(value).encode())
    except RequestError:
        return
    signal.request.FromString(encoded)

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.errors import BadRequestError
from lambdatrace_collector.traces.api import SPANS_MAX, parse_time_ns
from lambdatrace_collector.traces.trace_id import parse_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Answer, Collector

START_NS = 1_790_000_000_000_000_000  # 2026-09-21T14:13:20Z


@pytest.fixture
def three_traces(collector: Collector, unique: str) -> list[str]:
    """Three traces of two spans, a second apart; the trace ids, oldest first."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = unique
    scope_spans = resource_spans.scope_spans.add()
    trace_ids = []
    for number in range(3):
        trace_id = secrets.token_bytes(16)
        trace_ids.append(trace_id.hex())
        for name in (f"root-{number}", "child"):
            scope_spans.spans.add(
                trace_id=trace_id,
                span_id=secrets.token_bytes(8),
                name=name,
                kind=2,
                start_time_unix_nano=START_NS + number * 10**9 + (name == "child"),
            )
    headers = {"Content-Type": "application/x-protobuf"}
    assert collector.post("/v1/traces", request.SerializeToString(), headers).status == 200
    return trace_ids


def found_spans(collector: Collector, query: str) -> list[tuple[str, str]]:
    """Trace id and name of each span that the query answers, in order."""
    answer = collector.get(f"/api/v3/traces?{query}")
    assert answer.status == 200, answer
    return [
        (span["traceId"], span["name"])
        for resource_spans in json.loads(answer.body)["result"]["resourceSpans"]
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    ]


def test_the_newest_traces_come_first_with_all_their_spans(
    collector: Collector, unique: str, three_traces: list[str]
) -> None:
    query = f"query.service_name={unique}&query.num_traces=2"
    assert found_spans(collector, query) == [
        (three_traces[2], "root-2"),
        (three_traces[2], "child"),
        (three_traces[1], "root-1"),
        (three_traces[1], "child"),
    ]


def test_traces_are_found_by_operation_and_time(
    collector: Collector, unique: str, three_traces: list[str]
) -> None:
    service = f"query.service_name={unique}"
    by_name = found_spans(collector, f"{service}&query.operation_name=root-0")
    by_time = found_spans(
        collector,
        f"{service}&query.start_time_min=2026-09-21T14:13:21Z"
        "&query.start_time_max=2026-09-21T16:13:21.5%2B02:00",
    )
    assert by_name == [(three_traces[0], "root-0"), (three_traces[0], "child")]
    assert by_time == [(three_traces[1], "root-1"), (three_traces[1], "child")]


def test_a_trace_is_found_by_its_id_as_x_ray_writes_it(
    collector: Collector, three_traces: list[str]
) -> None:
    trace_id = three_traces[0]
    plain = collector.get(f"/api/v3/traces/{trace_id}")
    xray = collector.get(f"/api/v3/traces/1-{trace_id[:8]}-{trace_id[8:]}")
    assert plain.status == 200
    assert xray.body == plain.body


@pytest.fixture
def wide_traces(collector: Collector, unique: str) -> tuple[str, str]:
    """A trace with as many spans as an answer holds, then one with one more; their ids."""
    trace_ids = []
    for number, spans in enumerate((SPANS_MAX, SPANS_MAX + 1)):
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.add(key="service.name").value.string_value = unique
        scope_spans = resource_spans.scope_spans.add()
        trace_id = secrets.token_bytes(16)
        trace_ids.append(trace_id.hex())
        for place in range(1, spans + 1):
            scope_spans.spans.add(
                trace_id=trace_id,
                span_id=place.to_bytes(8, "big"),
                name=f"wide-{number}",
                start_time_unix_nano=START_NS + place * 1_000_000,
            )
        headers = {"Content-Type": "application/x-protobuf"}
        assert collector.post("/v1/traces", request.SerializeToString(), headers).status == 200
    return trace_ids[0], trace_ids[1]


def test_spans_are_never_left_out_of_an_answer_without_a_word(
    collector: Collector, unique: str, wide_traces: tuple[str, str]
) -> None:
    full, too_wide = wide_traces
    several = collector.get(f"/api/v3/traces?query.service_name={unique}")
    found_alone = collector.get(
        f"/api/v3/traces?query.service_name={unique}&query.operation_name=wide-1"
    )
    alone = collector.get(f"/api/v3/traces/{too_wide}")
    half = collector.get(f"/api/v3/traces/{too_wide}?start_time=2026-09-21T14:13:50Z")
    first = collector.get(f"/api/v3/traces/{too_wide}?end_time=2026-09-21T14:13:20.002Z")

    def message(answer: Answer) -> tuple[int, str]:
        return answer.status, json.loads(answer.body)["error"]["message"]

    in_parts = (
        f"trace {too_wide} has over 50000 spans, more than one answer holds: read it in parts,"
        f" GET /api/v3/traces/{too_wide}?start_time=…&end_time=…"
    )
    assert message(several) == (
        400,
        (
            "the 2 traces found have over 50000 spans, more than one answer holds: ask for fewer"
            " with query.num_traces"
        ),
    )
    assert (message(found_alone), message(alone)) == ((400, in_parts), (400, in_parts))
    assert span_count(collector.get(f"/api/v3/traces/{full}")) == SPANS_MAX
    assert span_count(half) == SPANS_MAX + 1 - 29_999
    assert span_count(first) == 2


def span_count(answer: Answer) -> int:
    assert answer.status == 200, answer
    return sum(
        len(scope_spans["spans"])
        for resource_spans in json.loads(answer.body)["result"]["resourceSpans"]
        for scope_spans in resource_spans["scopeSpans"]
    )


def test_services_and_operations_are_listed(
    collector: Collector, unique: str, three_traces: list[str]
) -> None:
    assert three_traces
    services = json.loads(collector.get("/api/v3/services").body)
    operations = json.loads(collector.get(f"/api/v3/operations?service={unique}").body)
    assert unique in services["services"]
    assert operations == {
        "operations": [
            {"name": "child", "spanKind": "server"},
            {"name": "root-0", "spanKind": "server"},
            {"name": "root-1", "spanKind": "server"},
            {"name": "root-2", "spanKind": "server"},
        ]
    }
    of_server = f"/api/v3/operations?service={unique}&span_kind=server"
    of_client = f"/api/v3/operations?service={unique}&span_kind=client"
    assert json.loads(collector.get(of_server).body) == operations
    assert json.loads(collector.get(of_client).body) == {"operations": []}


# Run by itself: the embedded engine serves one store per process.
AGE_SPANS = """
import sys
import clickhouse_connect
from lambdatrace_collector.store.url import parse_store_url

url = parse_store_url(f"chdb://{sys.argv[1]}")
client = clickhouse_connect.get_client(dsn=url.dsn, database=url.database)
client.command(
    "INSERT INTO spans SELECT * REPLACE (received - INTERVAL 8 DAY AS received,"
    " concat('old ', service_name) AS service_name, reverse(trace_id) AS trace_id) FROM spans"
)
client.close()
"""


def test_a_query_without_a_range_looks_back_a_week(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    first = start_collector(tmp_path / "data")
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "orders"
    resource_spans.scope_spans.add().spans.add(
        trace_id=trace_id, span_id=b"8 bytes.", name="handler", start_time_unix_nano=START_NS
    )
    first.post(
        "/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
    )
    first.stop()
    subprocess.run((sys.executable, "-c", AGE_SPANS, tmp_path / "data"), check=True, timeout=60)
    collector = start_collector(tmp_path / "data")
    old_id = trace_id[::-1].hex()

    everything = "query.start_time_min=1970-01-01T00:00:00Z"
    old = "/api/v3/operations?service=old%20orders"
    assert json.loads(collector.get("/api/v3/services").body) == {"services": ["orders"]}
    assert json.loads(collector.get(old).body) == {"operations": []}
    assert found_spans(collector, "") == [(trace_id.hex(), "handler")]
    assert sorted(found_spans(collector, everything)) == sorted(
        [(trace_id.hex(), "handler"), (old_id, "handler")]
    )
    assert collector.get(f"/api/v3/traces/{old_id}").status == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            f"/api/v3/traces?query.num_traces={'9' * 5000}",
            400,
            f"query.num_traces is '{'9' * 100}…': expected a number from 1 to 1000",
        ),
        (f"/api/v3/traces/{'a' * 32}", 404, f"trace {'a' * 32} is not stored here"),
        (
            "/api/v3/traces/xyz",
            400,
            "trace id is 'xyz': expected 32 hex digits, or 1-8hex-24hex as X-Ray writes it",
        ),
        (
            "/api/v3/traces?query.num_traces=0",
            400,
            "query.num_traces is '0': expected a number from 1 to 1000",
        ),
        (
            "/api/v3/traces?query.start_time_min=yesterday",
            400,
            (
                "query.start_time_min is 'yesterday': expected an RFC 3339 time such as"
                " 2026-01-31T12:00:00Z"
            ),
        ),
        (
            "/api/v3/traces?service=orders",
            400,
            (
                "parameter 'service' is not known here: expected query.service_name,"
                " query.operation_name, query.request_id, query.start_time_min,"
                " query.start_time_max, query.num_traces, query.raw_traces"
            ),
        ),
        (
            f"/api/v3/traces/{'a' * 32}?start=",
            400,
            "parameter 'start' is not known here: expected start_time, end_time, raw_traces",
        ),
        (
            f"/api/v3/operations?{'s' * 101}=orders",
            400,
            f"parameter '{'s' * 100}…' is not known here: expected service, span_kind",
        ),
        (
            "/api/v3/services?limit=5",
            400,
            "parameter 'limit' is not known here: none is expected",
        ),
        ("/nowhere", 404, "there is nothing at /nowhere"),
    ],
)
def test_a_bad_request_gets_an_error_in_json(
    collector: Collector, path: str, status: int, message: str
) -> None:
    answer = collector.get(path)
    assert answer.status == status
    assert json.loads(answer.body) == {"error": {"httpCode": status, "message": message}}


def test_trace_ids_of_both_spellings_are_one() -> None:
    assert parse_trace_id("1-58406520-A006649127E371903A2DE979") == (
        "58406520a006649127e371903a2de979"
    )
    for text in ("", "1-58406520-a0", "g" * 32):
        with pytest.raises(BadRequestError):
            parse_trace_id(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-09-21T14:13:20.123456789Z", START_NS + 123_456_789),
        ("2026-09-21T16:13:20.5 02:00", START_NS + 500_000_000),
    ],
)
def test_times_keep_their_nanoseconds(text: str, expected: int) -> None:
    assert parse_time_ns(text) == expected


def test_health_and_readiness_are_told(collector: Collector) -> None:
    alive = collector.get("/healthz")
    assert (alive.status, json.loads(alive.body)) == (200, {"status": "ok"})
    # A machine that is busy with other tests may not write a row within its 3 s, and says so.
    deadline = time.monotonic() + 60
    while (ready := collector.get("/readyz")).status == 503 and time.monotonic() < deadline:
        time.sleep(0.5)
    body: dict[str, Any] = json.loads(ready.body)
    assert (ready.status, body["status"]) == (200, "ok")
    assert f"(store {body['store']})" in collector.ready_line
    assert time.time_ns() > START_NS

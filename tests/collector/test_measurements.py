from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def read(collector: Collector) -> dict[str, float]:
    """The lines of /metrics: name with its labels, and value."""
    answer = collector.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_collector_tells_what_it_took_in_and_refused(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for _ in range(7):
        spans.add(trace_id=secrets.token_bytes(16), span_id=secrets.token_bytes(8))
    body = request.SerializeToString()
    logs = collector.client("logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    event = {"timestamp": 1_700_000_000_000, "message": "m"}
    assert collector.post("/v1/traces", body, PROTOBUF).status == 200
    assert collector.post("/v1/traces", b"\xff", PROTOBUF).status == 400
    assert collector.get("/nowhere").status == 404
    for group in ("g", "none"):
        try:
            logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event] * 3)
        except logs.exceptions.ResourceNotFoundException:
            assert group == "none"
    told = read(collector)

    http = "http_server_request_duration_seconds_count"
    labels = 'http_request_method="POST",http_route="/v1/traces",http_response_status_code'
    assert told[f'{http}{{{labels}="200"}}'] == 1
    assert told[f'{http}{{{labels}="400"}}'] == 1
    assert told['http_server_request_body_size_bytes_sum{http_route="/v1/traces"}'] == len(body) + 1
    refused = {name: value for name, value in told.items() if "refused" in name}
    assert refused == {
        'lambdatrace_collector_refused_total{error_type="BadRequestError",'
        'http_response_status_code="400"}': 1,
        'lambdatrace_collector_refused_total{error_type="NotFoundError",'
        'http_response_status_code="404"}': 1,
        'lambdatrace_collector_refused_total{error_type="ResourceNotFoundException",'
        'http_response_status_code="400"}': 1,
    }
    assert told['lambdatrace_collector_records_total{lambdatrace_signal="traces"}'] == 7
    assert told['lambdatrace_collector_group_records_sum{lambdatrace_signal="traces"}'] == 7
    assert told['lambdatrace_collector_group_bodies_sum{lambdatrace_signal="traces"}'] == 1
    assert told['lambdatrace_collector_group_size_bytes_sum{lambdatrace_signal="traces"}'] == len(
        body
    )
    inserts = 'db_operation_name="INSERT",db_collection_name="otlp_traces"'
    assert told[f"db_client_operation_duration_seconds_count{{{inserts}}}"] == 1
    assert told['lambdatrace_collector_queue_size_bytes{lambdatrace_signal="traces"}'] == 0
    assert told["http_server_active_requests"] == 1
    assert told["process_memory_usage_bytes"] > 100_000_000
    assert told["lambdatrace_collector_engine_memory_usage_bytes"] > 0
    assert told['lambdatrace_collector_engine_parts{lambdatrace_part_state="active"}'] > 0
    assert told['system_filesystem_usage_bytes{system_filesystem_state="free"}'] > 0


def test_every_instrument_has_one_type_and_a_description(collector: Collector) -> None:
    text = collector.get("/metrics").body.decode()
    types = re.findall(r"^# TYPE (\S+) (counter|gauge|histogram)$", text, re.MULTILINE)
    helps = re.findall(r"^# HELP (\S+) (.+\.)$", text, re.MULTILINE)

    assert len(types) > 10
    assert [name for name, _ in types] == [name for name, _ in helps]
    assert len({name for name, _ in types}) == len(types)

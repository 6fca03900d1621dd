"""X-Ray segments by UDP and by API: spans of the store, beside the documents they were."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from lambdatrace_collector.errors import BadRequestError
from lambdatrace_collector.xray.datagrams import read_datagram
from lambdatrace_collector.xray.documents import SegmentError
from lambdatrace_collector.xray.segments import DEPTH_MAX, read_segment
from tests.collector.test_otlp_metrics import statistics
from tests.collector.test_otlp_traces import one_span, stored_trace, the_span

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

HEADER = b'{"format": "json", "version": 1}\n'
ARRIVAL_DEADLINE_S = 20


def document(**fields: Any) -> dict[str, Any]:
    """A whole segment; a field that is None is left out."""
    now = int(time.time())
    whole = {
        "name": "orders",
        "id": secrets.token_hex(8),
        "trace_id": f"1-{now:08x}-{secrets.token_hex(12)}",
        "start_time": now + 0.25,
        "end_time": now + 0.5,
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def send(collector: Collector, *datagrams: bytes) -> None:
    """Send datagrams, and wait until all were looked at."""
    host, port = collector.address("X-Ray").rsplit(":", 1)
    before = counts(collector)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, (host, int(port)))
    deadline = time.monotonic() + ARRIVAL_DEADLINE_S
    while time.monotonic() < deadline:
        now = counts(collector)
        settled = sum(now[name] - before[name] for name in ("stored", "rejected", "dropped"))
        if settled >= len(datagrams):
            return
        time.sleep(0.02)
    raise AssertionError(counts(collector))


def counts(collector: Collector) -> dict[str, int]:
    answer = collector.get("/_lambdatrace/datagrams")
    found: dict[str, int] = json.loads(answer.body)
    return found


def segment_datagram(value: dict[str, Any]) -> bytes:
    return HEADER + json.dumps(value).encode()


def spans_of(collector: Collector, trace_id: str) -> list[dict[str, Any]]:
    found = stored_trace(collector, bytes.fromhex(trace_id.replace("1-", "", 1).replace("-", "")))
    return [
        span
        for resource_spans in found["result"]["resourceSpans"]
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    ]


def attributes_of(span: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


def test_a_segment_and_its_subsegments_are_spans(collector: Collector) -> None:
    inner = {
        "id": "00000000000000c1",
        "name": "DynamoDB",
        "namespace": "aws",
        "start_time": 1_700_000_000.3,
        "end_time": 1_700_000_000.4,
        "aws": {"operation": "GetItem", "table_name": "orders", "region": "eu-west-1"},
        "http": {"response": {"status": 200}},
    }
    outer = {
        "id": "00000000000000b1",
        "name": "charge",
        "start_time": 1_700_000_000.25,
        "end_time": 1_700_000_000.45,
        "fault": True,
        "cause": {"exceptions": [{"id": "e", "type": "ValueError", "message": "no card"}]},
        "subsegments": [inner],
    }
    segment = document(
        http={"request": {"method": "POST", "url": "https://a.example/x"}},
        annotations={"tier": "gold", "count": 7, "big": True, "ratio": 0.5},
        metadata={"default": {"basket": [1, {"a": None}]}},
        origin="AWS::Lambda::Function",
        user="anna",
        start_time=1_700_000_000.125,
        end_time=1_700_000_000.5,
        subsegments=[outer],
    )
    send(collector, segment_datagram(segment))

    root, charge, dynamo = spans_of(collector, segment["trace_id"])
    assert [
        (span["name"], span["kind"], span["spanId"], span.get("parentSpanId"))
        for span in (root, charge, dynamo)
    ] == [
        ("orders", 2, segment["id"], None),
        ("charge", 1, "00000000000000b1", segment["id"]),
        ("DynamoDB", 3, "00000000000000c1", "00000000000000b1"),
    ]
    assert (root["startTimeUnixNano"], root["endTimeUnixNano"]) == (
        "1700000000125000000",
        "1700000000500000000",
    )
    assert attributes_of(root) == {
        "http.request.method": "POST",
        "url.full": "https://a.example/x",
        "enduser.id": "anna",
        "tier": "gold",
        "count": "7",
        "big": True,
        "ratio": 0.5,
        "aws.xray.annotations": {
            "values": [{"stringValue": name} for name in ("tier", "count", "big", "ratio")]
        },
        "aws.xray.metadata.default": '{"basket": [1, {"a": null}]}',
    }
    assert charge["status"] == {"code": 2, "message": "no card"}
    assert charge["events"][0]["name"] == "exception"
    assert attributes_of(dynamo) == {
        "http.response.status_code": "200",
        "rpc.method": "GetItem",
        "aws.dynamodb.table_names": "orders",
        "cloud.region": "eu-west-1",
        "rpc.system.name": "aws-api",
        "rpc.service": "DynamoDB",
    }
    found = json.loads(collector.get("/api/v3/services").body)
    assert "orders" in found["services"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_complete_segment_replaces_one_in_progress(
    collector: Collector, order: tuple[int, int]
) -> None:
    done = document()
    both = (document(**{**done, "end_time": None, "in_progress": True}), done)
    send(collector, *(segment_datagram(both[place]) for place in order))

    (span,) = spans_of(collector, done["trace_id"])
    assert "endTimeUnixNano" in span
    assert "attributes" not in span


def test_a_subsegment_may_be_sent_by_itself(collector: Collector) -> None:
    segment = document()
    own = document(
        type="subsegment", trace_id=segment["trace_id"], parent_id=segment["id"], name="later"
    )
    send(collector, segment_datagram(segment), segment_datagram(own))

    names = {
        span["name"]: span.get("parentSpanId") for span in spans_of(collector, own["trace_id"])
    }
    assert names == {"orders": None, "later": segment["id"]}


@pytest.mark.parametrize("mark", [b"T1S", b"T1U"])
def test_otlp_spans_come_by_udp_as_aws_s_distribution_sends_them(
    collector: Collector, mark: bytes
) -> None:
    request = one_span()
    send(collector, HEADER + mark + base64.b64encode(request.SerializeToString()))
    assert stored_trace(collector, the_span(request).trace_id)


def test_otlp_metrics_come_by_udp(collector: Collector, unique: str) -> None:
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.add(key="service.name").value.string_value = unique
    metric = resource_metrics.scope_metrics.add().metrics.add(name="used")
    metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_int=7)
    send(collector, HEADER + b"M1" + base64.b64encode(request.SerializeToString()) + b"\n")
    assert statistics(collector, unique, "used", "Sum") == [7]


def test_what_is_no_segment_is_counted_and_harms_nothing(collector: Collector) -> None:
    before = counts(collector)
    good = document()
    bad = [
        b"",
        b"no header",
        b'{"format": "xml", "version": 1}\n{}',
        HEADER,
        HEADER + b"[]",
        HEADER + b"T1S!!!",
        HEADER + b"T1S" + base64.b64encode(b"\x0a\xff"),
        segment_datagram(document(trace_id="1-x")),
        segment_datagram(document(end_time=None)),
        segment_datagram(document(start_time="soon")),
        segment_datagram(document(id="xyz")),
        segment_datagram(document(name="")),
    ]
    send(collector, *bad, segment_datagram(good))

    after = counts(collector)
    assert {name: after[name] - before[name] for name in after} == {
        "received": 13,
        "stored": 1,
        "rejected": 12,
        "dropped": 0,
        "waiting": 0,
    }
    assert len(spans_of(collector, good["trace_id"])) == 1


def test_segments_come_by_the_api_too_and_wrong_ones_are_named(collector: Collector) -> None:
    good, unnamed = document(), document(name="")
    answer = collector.client("xray").put_trace_segments(
        TraceSegmentDocuments=[json.dumps(good), json.dumps(unnamed), "{"]
    )
    assert [(each.get("Id"), each["ErrorCode"]) for each in answer["UnprocessedTraceSegments"]] == [
        (unnamed["id"], "ParseError"),
        (None, "ParseError"),
    ]
    assert len(spans_of(collector, good["trace_id"])) == 1


def test_the_daemon_s_port_answers_for_sampling_as_x_ray_does(collector: Collector) -> None:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    client = boto3.client(
        "xray",
        endpoint_url=f"http://{collector.address('X-Ray')}",
        region_name="eu-west-1",
        config=Config(signature_version=UNSIGNED),
    )
    (record,) = client.get_sampling_rules()["SamplingRuleRecords"]
    now = int(time.time())
    targets = client.get_sampling_targets(
        SamplingStatisticsDocuments=[
            {
                "RuleName": name,
                "ClientID": client_id * 24,
                "Timestamp": now,
                "RequestCount": 9,
                "SampledCount": 1,
            }
            for name, client_id in (("Default", "a"), ("Default", "b"), ("mine", "a"))
        ]
    )
    rule = record["SamplingRule"]
    assert [rule[key] for key in ("RuleName", "Priority", "FixedRate", "ReservoirSize")] == [
        *("Default", 10000, 0.05, 1)
    ]
    assert [
        (target["FixedRate"], target["ReservoirQuota"], target["Interval"])
        for target in targets["SamplingTargetDocuments"]
    ] == [(0.05, 1, 10), (0.05, 0, 10)]
    assert targets["UnprocessedStatistics"] == [
        {"RuleName": "mine", "ErrorCode": "400", "Message": "Unknown rule"}
    ]


X_RAY_SDK = """
import time
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.sampling.connector import ServiceConnector
xray_recorder.configure(service="with-the-sdk", sampling=False, context_missing="RUNTIME_ERROR")
with xray_recorder.in_segment("with-the-sdk") as segment:
    with xray_recorder.in_subsegment("work") as subsegment:
        subsegment.put_annotation("order", 7)
    print(segment.trace_id)
connector = ServiceConnector()
connector.setup_xray_client("127.0.0.1", PORT, None)
print([rule.name for rule in connector.fetch_sampling_rules()])
"""


def test_the_x_ray_sdk_works_unmodified(collector: Collector) -> None:
    address = collector.address("X-Ray")
    before = counts(collector)["stored"]
    finished = subprocess.run(
        [sys.executable, "-c", X_RAY_SDK.replace("PORT", address.rsplit(":", 1)[1])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "AWS_XRAY_DAEMON_ADDRESS": address, "AWS_REGION": "eu-west-1"},
    )
    assert finished.returncode == 0, finished.stderr
    trace_id, rules = finished.stdout.split("\n")[:2]
    deadline = time.monotonic() + ARRIVAL_DEADLINE_S
    while counts(collector)["stored"] == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert rules == "['Default']"
    assert {span["name"]: span["kind"] for span in spans_of(collector, trace_id)} == {
        "with-the-sdk": 2,
        "work": 1,
    }


NAMES = ["name", "id", "trace_id", "start_time", "end_time", "subsegments", "cause", "exceptions"]
NAMES += ["http", "request", "response", "status", "aws", "metadata", "annotations", "links"]
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(NAMES[5:]), ANY_JSON))
def test_any_fields_of_a_segment_are_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        segment = read_segment(json.dumps(document(**fields)))
    except SegmentError:
        return
    assert segment.resource_spans.SerializeToString()


@given(st.one_of(st.text(), ANY_JSON.map(json.dumps)))
def test_any_text_is_a_segment_or_refused(text: str) -> None:
    with pytest.raises(SegmentError):
        read_segment(text)


@given(st.one_of(st.binary(), st.binary().map(lambda body: HEADER + b"T1S" + body)))
def test_any_datagram_is_read_or_refused(data: bytes) -> None:
    try:
        read_datagram(data)
    except BadRequestError:
        return


def test_subsegments_are_only_so_deep() -> None:
    inner = document()
    for _ in range(DEPTH_MAX + 1):
        inner = document(subsegments=[inner])
    with pytest.raises(SegmentError, match=f"over {DEPTH_MAX} subsegments in another"):
        read_segment(json.dumps(inner))
    with pytest.raises(SegmentError):
        read_segment("[" * 30_000)

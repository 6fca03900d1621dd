"""PutMetricData's bodies as they come over the wire, read by the engine."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import cbor2
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.collector.conftest import Answer, Collector

TARGET = "GraniteServiceVersion20100801"
JSON = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{TARGET}.PutMetricData"}
CBOR = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
EU = {"Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/monitoring/aws4_request"}


def put(collector: Collector, body: bytes, headers: Mapping[str, str] = JSON) -> Answer:
    path = f"/service/{TARGET}/operation/PutMetricData" if headers is CBOR else "/"
    return collector.post(path, body, {**headers, **EU})


def datums(collector: Collector, namespace: str) -> list[tuple[Any, ...]]:
    """Name, dimensions, unit and the basic statistics of all that a namespace has."""
    cloudwatch = collector.client("cloudwatch")
    found = []
    for metric in cloudwatch.list_metrics(Namespace=namespace)["Metrics"]:
        now = time.time()
        points = cloudwatch.get_metric_statistics(
            **metric,
            StartTime=now - 7200,
            EndTime=now + 7200,
            Period=86_400,
            Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
        )["Datapoints"]
        for point in points:
            dims = {item["Name"]: item["Value"] for item in metric["Dimensions"]}
            numbers = [point[key] for key in ("SampleCount", "Sum", "Minimum", "Maximum")]
            found.append((metric["MetricName"], dims, point["Unit"], *numbers))
    cloudwatch.close()
    return sorted(found, key=repr)


def test_every_protocol_s_body_gives_the_same_samples(collector: Collector, unique: str) -> None:
    noon = time.time() // 86_400 * 86_400 + 43_200  # one period, whenever the test runs
    now = min(max(noon, time.time() - 3600), time.time() + 3600)
    data: list[dict[str, Any]] = [
        {
            "MetricName": "Größe",
            "Dimensions": [{"Name": "b", "Value": '2 "x"\\'}, {"Name": "a", "Value": "1"}],
            "Timestamp": now,
            "Value": 1.5,
            "Unit": "Bytes/Second",
        },
        {"MetricName": "m", "Timestamp": now, "Values": [1.0, 4.0], "Counts": [3.0, 0.5]},
        {
            "MetricName": "s",
            "Timestamp": now,
            "StorageResolution": 1,
            "StatisticValues": {"SampleCount": 3.0, "Sum": 6.0, "Minimum": 1.0, "Maximum": 3.0},
        },
    ]
    timed = [{**item, "Timestamp": cbor2.CBORTag(1, item["Timestamp"])} for item in data]
    form: dict[str, Any] = {"Action": "PutMetricData", "Version": "2010-08-01"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    flatten(form, {"MetricData": [{**item, "Timestamp": moment} for item in data]})
    namespaces = [f"{unique}-{name}" for name in ("json", "cbor", "query")]
    answers = [
        put(
            collector,
            json.dumps({"Namespace": namespaces[0], "MetricData": data}, indent=1).encode(),
        ),
        put(collector, cbor2.dumps({"Namespace": namespaces[1], "MetricData": timed}), CBOR),
        put(collector, urlencode({**form, "Namespace": namespaces[2]}).encode(), FORM),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200]
    expected = [
        ("Größe", {"a": "1", "b": '2 "x"\\'}, "Bytes/Second", 1.0, 1.5, 1.5, 1.5),
        ("m", {}, "None", 3.5, 5.0, 1.0, 4.0),
        ("s", {}, "None", 3.0, 6.0, 1.0, 3.0),
    ]
    assert [datums(collector, namespace) for namespace in namespaces] == [expected] * 3


def flatten(form: dict[str, Any], value: Any, path: str = "") -> None:
    """The form of the query protocol: lists are `member.N`."""
    if isinstance(value, dict):
        for name, item in value.items():
            flatten(form, item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for place, item in enumerate(value, start=1):
            flatten(form, item, f"{path}.member.{place}")
    else:
        form[path] = value


def test_the_datums_of_entities_are_stored_like_others(collector: Collector, unique: str) -> None:
    cloudwatch = collector.client("cloudwatch")
    cloudwatch.put_metric_data(
        Namespace=unique,
        MetricData=[{"MetricName": "own", "Value": 1.0}],
        EntityMetricData=[
            {
                "Entity": {"KeyAttributes": {"Type": "Service", "Name": "orders"}},
                "MetricData": [{"MetricName": "entity", "Value": 2.0}],
            }
        ],
    )
    names = [
        metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace=unique)["Metrics"]
    ]
    cloudwatch.close()
    assert sorted(names) == ["entity", "own"]


def test_a_datum_without_a_time_keeps_its_first_when_it_is_sent_again(
    collector: Collector, unique: str
) -> None:
    body = json.dumps(
        {
            "Namespace": unique,
            "MetricData": [{"MetricName": "m", "Value": 1.0, "StorageResolution": 1}],
        }
    )
    headers = {**JSON, "amz-sdk-invocation-id": unique}
    for _ in range(3):
        assert put(collector, body.encode(), headers).status == 200
        time.sleep(0.5)  # not within one second, which is as fine as the store keeps times
    assert [found[3] for found in datums(collector, unique)] == [1.0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"null",
        b"\xff\xfe",
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1}]}}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1}]},"account":"other"',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1}]},"closing":"x"}\n{"opening":"x"',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1}],}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":5,"Value":1}]}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":true}]}',
        b'{"Namespace":"NS","MetricData":{"MetricName":"m","Value":1}}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1,"Dimensions":"d"}]}',
        b'{"Namespace":":NS","MetricData":[{"MetricName":"m","Value":1}]}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"m","Value":1,"Counts":[1]}]}',
        b'{"Namespace":"NS","MetricData":[{"MetricName":"ok","Value":1},{"MetricName":"m"}]}',
        b'{"Namespace":"NS","MetricData":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"Namespace":"NS","Other":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_body_that_is_not_what_it_should_be_is_refused_whole(
    collector: Collector, unique: str, body: bytes
) -> None:
    answer = put(collector, body.replace(b"NS", unique.encode()))
    assert answer.status == 400
    assert json.loads(answer.body)["__type"]
    assert datums(collector, unique) == []


def test_members_that_the_engine_does_not_know_are_passed_over(
    collector: Collector, unique: str
) -> None:
    datum = {"MetricName": "m", "Value": 1, "Future": {"a": [1]}, "Unit": None, "Dimensions": None}
    body = {"Namespace": unique, "MetricData": [datum], "StrictEntityValidation": True, "New": 1}
    assert put(collector, json.dumps(body).encode()).status == 200
    assert [found[0] for found in datums(collector, unique)] == ["m"]


def test_a_request_of_more_than_a_megabyte_is_refused(collector: Collector, unique: str) -> None:
    body = {"Namespace": unique, "MetricData": [{"MetricName": "m", "Value": 1}]}
    answer = put(collector, json.dumps(body).encode().ljust(1024 * 1024 + 1))
    assert (answer.status, json.loads(answer.body)["__type"].rpartition("#")[2]) == (
        413,
        "RequestEntityTooLargeException",
    )

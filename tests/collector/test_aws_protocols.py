from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Collector

LOGS = {
    "X-Amz-Target": "Logs_20140328.DescribeLogGroups",
    "Content-Type": "application/x-amz-json-1.1",
}
METRICS = {
    "X-Amz-Target": "GraniteServiceVersion20100801.ListMetrics",
    "Content-Type": "application/x-amz-json-1.0",
    "x-amzn-query-mode": "true",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
XML_NAMES = {"cw": "http://monitoring.amazonaws.com/doc/2010-08-01/"}


def json_error(answer: Answer) -> tuple[int, str, str]:
    body = json.loads(answer.body)
    assert answer.headers["x-amzn-RequestId"]
    assert answer.headers["content-type"].startswith("application/x-amz-json-1.")
    return answer.status, body["__type"], body["message"]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.CreateScheduledQuery"},
            b"{}",
            (
                404,
                "UnknownOperationException",
                "CreateScheduledQuery of logs is not offered by this collector",
            ),
        ),
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.Nonsense"},
            b"{}",
            (404, "UnknownOperationException", "'Nonsense' is not an operation of logs"),
        ),
        (
            {**LOGS, "X-Amz-Target": "DynamoDB_20120810.GetItem"},
            b"{}",
            (
                404,
                "UnknownOperationException",
                (
                    "X-Amz-Target is 'DynamoDB_20120810.GetItem': the collector answers"
                    " Logs_20140328 and GraniteServiceVersion20100801"
                ),
            ),
        ),
        (
            LOGS,
            b'{"limit": "5"}',
            (400, "SerializationException", "limit is '5': expected an integer"),
        ),
        (LOGS, b"[]", (400, "SerializationException", "the body is a list: expected a structure")),
        (
            LOGS,
            b'{"logGroupNamePrefix": 5}',
            (400, "SerializationException", "logGroupNamePrefix is '5': expected a string"),
        ),
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.FilterLogEvents"},
            b'{"logGroupName": "g", "filterPattern": "a\\ud800"}',
            (
                400,
                "SerializationException",
                "filterPattern is 'a\\ud800': expected text without half of a surrogate pair",
            ),
        ),
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.CreateLogStream"},
            b'{"logGroupName": "g", "logStreamName": "\\udfff"}',
            (
                400,
                "SerializationException",
                "logStreamName is '\\udfff': expected text without half of a surrogate pair",
            ),
        ),
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.CreateLogGroup"},
            b'{"logGroupName": "g", "tags": {"\\ud800": "x"}}',
            (
                400,
                "SerializationException",
                "tags is '\\ud800': expected text without half of a surrogate pair",
            ),
        ),
        (
            LOGS,
            # the base64 of ["\ud800"]
            b'{"nextToken": "WyJcdWQ4MDAiXQ=="}',
            (400, "InvalidParameterException", "The specified nextToken is invalid."),
        ),
        (
            METRICS,
            # the base64 of ["a","b",-1]
            b'{"NextToken": "WyJhIiwiYiIsLTFd"}',
            (
                400,
                "com.amazonaws.cloudwatch.v2010_08_01#InvalidParameterValueException",
                "The value for parameter NextToken is invalid.",
            ),
        ),
        (
            METRICS,
            b'{"Namespace": "\\ud800"}',
            (
                400,
                "com.amazon.coral.service#SerializationException",
                "Namespace is '\\ud800': expected text without half of a surrogate pair",
            ),
        ),
        (
            {"Content-Type": "text/plain"},
            b"hello",
            (
                400,
                "MalformedHttpRequestException",
                (
                    "this is no AWS request that the collector knows: expected X-Amz-Target (AWS"
                    " JSON), smithy-protocol (RPC v2 CBOR) or a form with Action and Version (AWS"
                    " query)"
                ),
            ),
        ),
        (
            {**LOGS, "X-Amz-Target": "Logs_20140328.PutLogEvents"},
            b"{}",
            (
                400,
                "InvalidParameterException",
                (
                    "3 validation errors detected: Value null at 'logGroupName' failed to satisfy"
                    " constraint: Member must not be null; Value null at 'logStreamName' failed to"
                    " satisfy constraint: Member must not be null; Value null at 'logEvents' failed"
                    " to satisfy constraint: Member must not be null"
                ),
            ),
        ),
        (
            {**METRICS, "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData"},
            b"{}",
            (
                400,
                "com.amazon.coral.validate#ValidationException",
                (
                    "1 validation error detected: Value null at 'namespace' failed to satisfy"
                    " constraint: Member must not be null"
                ),
            ),
        ),
    ],
)
def test_bad_json_calls_get_aws_s_error_in_json(
    collector: Collector, headers: dict[str, str], body: bytes, expected: tuple[int, str, str]
) -> None:
    assert json_error(collector.post("/", body, headers)) == expected


@pytest.mark.parametrize("body", [b"{", b'{"a": ', b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_a_serialization_error(
    collector: Collector, body: bytes
) -> None:
    status, kind, message = json_error(collector.post("/", body, LOGS))
    assert (status, kind) == (400, "SerializationException")
    assert message.startswith("the body is not valid JSON: ")


def test_query_mode_names_the_query_protocol_s_code(collector: Collector) -> None:
    answer = collector.post("/", b'{"NextToken": "x"}', METRICS)
    assert answer.headers["x-amzn-query-error"] == "InvalidParameterValue;Sender"
    assert json_error(answer) == (
        400,
        "com.amazonaws.cloudwatch.v2010_08_01#InvalidParameterValueException",
        "The value for parameter NextToken is invalid.",
    )


def test_gzip_is_read_on_every_aws_call(collector: Collector) -> None:
    answer = collector.post("/", gzip.compress(b"{}"), {**LOGS, "Content-Encoding": "gzip"})
    broken = collector.post("/", b"{}", {**LOGS, "Content-Encoding": "gzip"})
    assert answer.status == 200
    assert "logGroups" in json.loads(answer.body)
    assert json_error(broken)[:2] == (400, "MalformedHttpRequestException")


def test_the_query_protocol_publishes_and_reads_metrics(collector: Collector, unique: str) -> None:
    put = collector.post(
        "/",
        urlencode(
            {
                "Action": "PutMetricData",
                "Version": "2010-08-01",
                "Namespace": unique,
                "MetricData.member.1.MetricName": "a<b",
                "MetricData.member.1.Value": "2.5",
                "MetricData.member.1.Dimensions.member.1.Name": "tier",
                "MetricData.member.1.Dimensions.member.1.Value": "gold & silver",
            }
        ).encode(),
        FORM,
    )
    listed = collector.post(
        "/",
        urlencode({"Action": "ListMetrics", "Version": "2010-08-01", "Namespace": unique}).encode(),
        FORM,
    )
    assert (put.status, put.headers["content-type"]) == (200, "text/xml")
    request_id = put.headers["x-amzn-RequestId"]
    assert put.body.decode() == (
        '<PutMetricDataResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/">'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</PutMetricDataResponse>"
    )
    metric = ET.fromstring(listed.body).find("cw:ListMetricsResult/cw:Metrics/cw:member", XML_NAMES)
    assert metric is not None
    assert [element.text for element in metric.iter() if element.text] == [
        unique,
        "a<b",
        "tier",
        "gold & silver",
    ]


@pytest.mark.parametrize(
    ("form", "code", "message"),
    [
        ({"Action": "Nonsense"}, "InvalidAction", "'Nonsense' is not an operation of cloudwatch"),
        (
            {"Action": "ListMetrics", "Version": "2000-01-01"},
            "InvalidAction",
            "Version is '2000-01-01': no service here speaks the query protocol",
        ),
        (
            {"Action": "PutMetricData"},
            "ValidationError",
            (
                "1 validation error detected: Value null at 'namespace' failed to satisfy"
                " constraint: Member must not be null"
            ),
        ),
        (
            {
                "Action": "PutMetricData",
                "Namespace": "n",
                f"MetricData.member.{'1' * 5000}.MetricName": "m",
            },
            "MalformedInput",
            "MetricData is a structure: expected members numbered from 1",
        ),
        (
            {
                "Action": "PutMetricData",
                "Namespace": "n",
                "MetricData.member.1.MetricName": "m",
                "MetricData.member.1.Value": "much",
            },
            "MalformedInput",
            "MetricData.member.1.Value is 'much': expected a double",
        ),
    ],
)
def test_bad_query_calls_get_aws_s_error_in_xml(
    collector: Collector, form: dict[str, str], code: str, message: str
) -> None:
    body = urlencode({"Version": "2010-08-01", **form}).encode()
    answer = collector.post("/", body, FORM)
    error = ET.fromstring(answer.body).find("cw:Error", XML_NAMES)
    assert error is not None
    assert answer.status == 400
    assert [(element.tag.partition("}")[2], element.text) for element in error] == [
        ("Type", "Sender"),
        ("Code", code),
        ("Message", message),
    ]

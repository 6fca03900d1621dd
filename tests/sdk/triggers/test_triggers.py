from __future__ import annotations

from typing import Any

import pytest

from lambdatrace.cli.demo import events
from lambdatrace.triggers import read_trigger

REST_EVENT: dict[str, Any] = {
    "resource": "/pets/{id}",
    "path": "/pets/7",
    "httpMethod": "GET",
    "headers": {"Host": "api.example", "User-Agent": "curl"},
    "multiValueHeaders": {"traceparent": ["first", "last"]},
    "multiValueQueryStringParameters": {"a": ["1", "2"]},
    "requestContext": {"identity": {"sourceIp": "203.0.113.7"}, "domainName": "api.example"},
}

ALB_EVENT: dict[str, Any] = {
    "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}},
    "httpMethod": "POST",
    "path": "/in",
    "queryStringParameters": {"a": "1"},
    "headers": {
        "host": "lb.example",
        "x-forwarded-for": "203.0.113.9, 10.0.0.1",
        "x-forwarded-proto": "http",
    },
}


@pytest.mark.parametrize(
    ("event", "faas_trigger", "name", "attributes"),
    [
        (
            events.post_order({"id": "1"}),
            "http",
            "POST /orders",
            {
                "http.request.method": "POST",
                "url.path": "/orders",
                "url.scheme": "https",
                "http.route": "/orders",
                "user_agent.original": "curl/8.5.0",
                "server.address": events.DOMAIN,
                "client.address": "203.0.113.7",
            },
        ),
        (
            REST_EVENT,
            "http",
            "GET /pets/{id}",
            {
                "http.request.method": "GET",
                "url.path": "/pets/7",
                "url.query": "a=1&a=2",
                "url.scheme": "https",
                "http.route": "/pets/{id}",
                "user_agent.original": "curl",
                "server.address": "api.example",
                "client.address": "203.0.113.7",
            },
        ),
        (
            ALB_EVENT,
            "http",
            "POST",
            {
                "http.request.method": "POST",
                "url.path": "/in",
                "url.query": "a=1",
                "url.scheme": "http",
                "server.address": "lb.example",
                "client.address": "203.0.113.9",
            },
        ),
        (
            events.s3_put("shop", "a/b.csv"),
            "datasource",
            "",
            {
                "faas.document.collection": "shop",
                "faas.document.name": "a/b.csv",
                "faas.document.operation": "insert",
                "aws.s3.bucket": "shop",
                "aws.s3.key": "a/b.csv",
            },
        ),
        (
            events.schedule("nightly"),
            "timer",
            "",
            {"aws.eventbridge.rule.arn": "arn:aws:events:us-east-1:123456789012:rule/nightly"},
        ),
        (
            {"detail-type": "Order", "source": "shop", "id": "e1", "detail": {"traceparent": "x"}},
            "pubsub",
            "",
            {
                "messaging.system": "aws_eventbridge",
                "messaging.message.id": "e1",
                "aws.eventbridge.source": "shop",
                "aws.eventbridge.detail_type": "Order",
            },
        ),
    ],
)
def test_an_event_tells_its_trigger_and_the_attributes_of_the_conventions(
    event: dict[str, Any], faas_trigger: str, name: str, attributes: dict[str, Any]
) -> None:
    trigger = read_trigger(event)
    assert trigger is not None
    assert (trigger.faas_trigger, trigger.name) == (faas_trigger, name)
    timeless = {k: v for k, v in trigger.attributes.items() if not k.endswith("time")}
    assert timeless == attributes


def test_of_several_header_values_the_last_counts() -> None:
    trigger = read_trigger(REST_EVENT)
    assert trigger is not None
    assert trigger.carrier is not None
    assert trigger.carrier["traceparent"] == "last"


@pytest.mark.parametrize("event", [None, [], {}, {"Records": []}, {"Records": [{}]}, {"a": 1}])
def test_an_event_of_no_family_has_no_trigger(event: Any) -> None:
    assert read_trigger(event) is None

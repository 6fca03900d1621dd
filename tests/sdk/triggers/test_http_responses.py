"""A 5xx answer is an error of the invocation, whichever service asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lambdatrace
from lambdatrace.records import ERROR, SERVER, UNSET
from lambdatrace.testing import LambdaContext, recording

EVENTS = {
    "REST API, v1": {
        "resource": "/pets",
        "httpMethod": "GET",
        "path": "/pets",
        "requestContext": {"resourcePath": "/pets", "httpMethod": "GET"},
    },
    "HTTP API, v2": {
        "version": "2.0",
        "routeKey": "GET /pets",
        "rawPath": "/pets",
        "requestContext": {"http": {"method": "GET", "path": "/pets"}},
    },
    "load balancer": {
        "httpMethod": "GET",
        "path": "/pets",
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:…"}},
    },
    "function URL": {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/pets",
        "requestContext": {"http": {"method": "GET", "path": "/pets"}, "domainName": "x.on.aws"},
    },
}


@pytest.mark.parametrize("source", EVENTS)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, (UNSET, 200, None)),
        (404, (UNSET, 404, None)),
        (500, (ERROR, 500, "500")),
        ("503", (ERROR, 503, "503")),
        (599, (ERROR, 599, "599")),
    ],
)
def test_a_5xx_answer_is_an_error(source: str, status: Any, expected: Any) -> None:
    with recording() as recorded:
        handler: Any = lambdatrace.instrument(lambda *_: {"statusCode": status, "body": ""})
        handler(EVENTS[source], LambdaContext())
        (span,) = [span for span in recorded.spans if span.kind == SERVER]
    found = span.attributes
    assert (span.status_code, found["http.response.status_code"], found.get("error.type")) == (
        expected
    )


def test_an_answer_to_what_is_no_http_request_is_not_read() -> None:
    with recording() as recorded:
        lambdatrace.instrument(lambda *_: {"statusCode": 500})({}, LambdaContext())
        assert recorded.span("orders").status_code == UNSET


def test_5xx_answers_to_real_requests_are_errors() -> None:
    folder = Path(__file__).parents[4] / "shared" / "events"
    names = ["apigw-request", "apigw-v2-request-no-authorizer", "lambda-urls-request"]
    names += [
        f"alb-lambda-target-request-{kind}" for kind in ("headers-only", "multivalue-headers")
    ]
    if not folder.is_dir():
        pytest.skip("the collection of real events is not here")
    for name in names:
        (path,) = list(folder.rglob(f"{name}.json"))[:1]
        with recording() as recorded:
            handler: Any = lambdatrace.instrument(lambda *_: {"statusCode": 502})
            handler(json.loads(path.read_bytes()), LambdaContext())
            (span,) = [span for span in recorded.spans if span.kind == SERVER]
        assert (span.status_code, span.attributes["error.type"]) == (ERROR, "502"), name

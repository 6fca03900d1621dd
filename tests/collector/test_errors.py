from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from lambdatrace_collector import errors
from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.exchange import Request
from lambdatrace_collector.otlp.status import error_response as otlp_error
from lambdatrace_collector.traces.api import api_error

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOBUF = Request("POST", "/v1/traces", {}, {"content-type": "application/x-protobuf"}, b"")
LOGS = Request("POST", "/", {}, {"x-amz-target": "Logs_20140328.PutLogEvents"}, b"")

# HTTP status, google.rpc code, AWS's exception, Retry-After
ANSWERS = {
    errors.BadRequestError: (400, 3, "MalformedHttpRequestException", None),
    errors.NotFoundError: (404, 5, "UnknownOperationException", None),
    errors.RequestTimeoutError: (408, 4, "RequestTimeoutException", None),
    errors.BodyTooLargeError: (413, 8, "RequestEntityTooLargeException", None),
    errors.UnsupportedMediaError: (415, 12, "UnsupportedMediaTypeException", None),
    errors.OverloadedError: (503, 14, "ServiceUnavailableException", "1"),
    errors.StoreDownError: (503, 14, "ServiceUnavailableException", "1"),
    errors.StoreUnavailableError: (503, 14, "ServiceUnavailableException", "1"),
    errors.ScanTimeoutError: (503, 14, "ServiceUnavailableException", "1"),
    errors.ScanCancelledError: (503, 14, "ServiceUnavailableException", "1"),
    errors.ScanTooLargeError: (503, 14, "ServiceUnavailableException", "1"),
    errors.StoreRejectedError: (500, 13, "InternalFailure", None),
    errors.InternalError: (500, 13, "InternalFailure", None),
}
# Their constructors take more than a message; their answers are tested where they are raised.
TESTED_ELSEWHERE = {errors.MethodNotAllowedError, errors.AwsError}


def leaves(kind: type[errors.CollectorError]) -> Iterator[type[errors.CollectorError]]:
    """The classes below `kind` that have none below them."""
    for child in kind.__subclasses__():
        yield from leaves(child) if child.__subclasses__() else [child]


def test_every_error_that_a_request_can_meet_has_its_answer() -> None:
    met = {*leaves(errors.RequestError), *leaves(errors.ServiceError)}
    assert met == ANSWERS.keys() | TESTED_ELSEWHERE


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_error_says_in_each_protocol_whose_fault_it_is_and_whether_to_try_again(
    kind: type[errors.RequestError | errors.ServiceError],
) -> None:
    status, rpc_code, aws_code, retry_after = ANSWERS[kind]
    error = kind("why")
    otlp, api = otlp_error(PROTOBUF, error), api_error(error)
    aws = AwsEndpoint(load_services(), {}).error_response(LOGS, error)

    assert Status.FromString(otlp.body) == Status(code=rpc_code, message="why")
    assert json.loads(api.body) == {"error": {"httpCode": status, "message": "why"}}
    assert json.loads(aws.body) == {"__type": aws_code, "message": "why"}
    for answer in (otlp, api, aws):
        assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)

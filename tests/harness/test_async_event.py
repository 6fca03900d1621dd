from __future__ import annotations

import json
from typing import Any

import pytest

from lambdatrace.harness import EventInvokeConfig
from lambdatrace.harness.async_event import (
    AsyncEvent,
    Response,
    after_function_error,
    after_refusal,
    invocation_record,
    throttle_delay_s,
)
from lambdatrace.harness.destinations import AwsCall, dead_letter_call, destination_call
from lambdatrace.harness.invocation import Invocation

ARN = "arn:aws:lambda:us-east-1:123456789012:function:orders"
AT_S = 1_573_755_365.568
FAILED = Response(
    200,
    "no stock",
    b'{"errorMessage":"no stock"}',
    function_error="Unhandled",
    executed_version="2",
)


def event(condition: str = "", attempts: int = 0, response: Response | None = None) -> AsyncEvent:
    def unexpected(value: object) -> None:
        raise AssertionError(value)

    invocation = Invocation(b'{"id": 7}', ARN, unexpected, unexpected, request_id="r-1")
    return AsyncEvent(invocation, AT_S, attempts, condition=condition, response=response)


def record(condition: str, attempts: int = 0, response: Response | None = None) -> dict[str, Any]:
    text = invocation_record(event(condition, attempts, response), "2019-11-14T18:16:05.568Z")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("attempts", "retries", "expected"),
    [
        (1, 2, (60.0, "")),
        (2, 2, (120.0, "")),
        (3, 2, (0.0, "RetriesExhausted")),
        (1, 1, (60.0, "")),
        (2, 1, (0.0, "RetriesExhausted")),
        (1, 0, (0.0, "RetriesExhausted")),
    ],
)
def test_a_failed_event_is_tried_again_after_one_minute_and_after_two(
    attempts: int, retries: int, expected: tuple[float, str]
) -> None:
    config = EventInvokeConfig(maximum_retry_attempts=retries)
    assert after_function_error(event(attempts=attempts), config, AT_S) == expected


def test_an_event_that_would_be_too_old_for_its_next_attempt_is_given_up_at_once() -> None:
    config = EventInvokeConfig(maximum_event_age_in_seconds=180)
    assert after_function_error(event(attempts=1), config, AT_S + 120) == (60.0, "")
    assert after_function_error(event(attempts=1), config, AT_S + 121) == (0.0, "EventAgeExceeded")
    throttled = event()
    throttled.refusals = 6
    assert after_refusal(throttled, config, AT_S + 148) == (32.0, "")
    assert after_refusal(throttled, config, AT_S + 149) == (0.0, "EventAgeExceeded")


def test_the_backoff_doubles_from_one_second_to_five_minutes() -> None:
    assert [throttle_delay_s(n) for n in (1, 2, 3, 9, 10, 9999)] == [1, 2, 4, 256, 300, 300]


def test_the_record_of_a_success_has_the_response_and_one_attempt() -> None:
    assert record("Success", 2, Response(200, "", b"[1]", executed_version="2")) == {
        "version": "1.0",
        "timestamp": "2019-11-14T18:16:05.568Z",
        "requestContext": {
            "requestId": "r-1",
            "functionArn": f"{ARN}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"id": 7},
        "responseContext": {"statusCode": 200, "executedVersion": "2"},
        "responsePayload": [1],
    }


def test_the_record_of_a_failure_has_the_error() -> None:
    found = record("RetriesExhausted", 3, FAILED)
    assert found["requestContext"]["approximateInvokeCount"] == 3
    assert found["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "2",
        "functionError": "Unhandled",
    }
    assert found["responsePayload"] == {"errorMessage": "no stock"}


def test_the_record_of_a_throttled_event_has_no_payload_of_a_response() -> None:
    found = record("EventAgeExceeded", 0, Response(429, "Rate Exceeded."))
    assert found["responseContext"] == {"statusCode": 429}
    assert "responsePayload" not in found


def test_the_record_of_an_event_that_was_never_tried_has_no_response() -> None:
    found = record("ZeroReservedConcurrency")
    assert found["requestContext"]["approximateInvokeCount"] == 0
    assert found.keys() == {"version", "timestamp", "requestContext", "requestPayload"}


def test_each_kind_of_destination_gets_the_record_in_its_own_call() -> None:
    ended = event("RetriesExhausted", 3, FAILED)
    text = invocation_record(ended, "2019-11-14T18:16:05.568Z").decode()
    queue = "arn:aws:sqs:eu-west-1:123456789012:failed"
    assert destination_call(ended, queue, AT_S) == AwsCall(
        queue, "sqs", "eu-west-1", "send_message", {"MessageBody": text}, ("failed", "123456789012")
    )
    topic = "arn:aws:sns:eu-west-1:123456789012:failed"
    assert destination_call(ended, topic, AT_S) == AwsCall(
        topic, "sns", "eu-west-1", "publish", {"TopicArn": topic, "Message": text}
    )
    function = "arn:aws:lambda:eu-west-1:123456789012:function:failed"
    assert destination_call(ended, function, AT_S) == AwsCall(
        function,
        "lambda",
        "eu-west-1",
        "invoke",
        {"FunctionName": function, "InvocationType": "Event", "Payload": text.encode()},
    )
    bus = "arn:aws:events:eu-west-1:123456789012:event-bus/default"
    entry = {
        "Source": "lambda",
        "DetailType": "Lambda Function Invocation Result - Failure",
        "Detail": text,
        "EventBusName": bus,
        "Resources": [bus, f"{ARN}:$LATEST"],
        "Time": 1_573_755_365,
    }
    assert destination_call(ended, bus, AT_S) == AwsCall(
        bus, "events", "eu-west-1", "put_events", {"Entries": [entry]}
    )
    found = destination_call(ended, "arn:aws:s3:::failed", AT_S)
    key = found.parameters.pop("Key")
    assert key.startswith("aws/lambda/async/orders/2019/11/14/2019-11-14T18.16.05-")
    assert len(key.rpartition("05-")[2]) == 36
    assert found == AwsCall(
        "arn:aws:s3:::failed",
        "s3",
        "",
        "put_object",
        {"Bucket": "failed", "Body": text.encode(), "ContentType": "application/json"},
    )


def attributes(ended: AsyncEvent) -> dict[str, tuple[str, str]]:
    call = dead_letter_call(ended, "arn:aws:sqs:eu-west-1:123456789012:dead")
    assert call.parameters["MessageBody"] == '{"id": 7}'
    found = call.parameters["MessageAttributes"]
    return {name: (value["DataType"], value["StringValue"]) for name, value in found.items()}


def test_a_dead_letter_is_the_event_with_three_attributes() -> None:
    assert attributes(event("RetriesExhausted", 3, FAILED)) == {
        "RequestID": ("String", "r-1"),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "no stock"),
    }


def test_a_dead_letters_error_message_has_at_most_a_kilobyte() -> None:
    long = Response(429, "é" * 1000)
    assert attributes(event("EventAgeExceeded", 0, long))["ErrorMessage"][1] == "é" * 512


def test_a_dead_letter_of_a_function_without_concurrency_has_no_code() -> None:
    assert attributes(event("ZeroReservedConcurrency")) == {
        "RequestID": ("String", "r-1"),
        "ErrorMessage": (
            "String",
            "Function not invoked. Function isconfigured with zero reserved concurrent executions",
        ),
    }

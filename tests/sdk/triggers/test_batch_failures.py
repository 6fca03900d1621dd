from __future__ import annotations

from typing import Any

import pytest

import lambdatrace
from lambdatrace.records import ERROR, UNSET
from lambdatrace.testing import LambdaContext, recording
from lambdatrace.triggers.batch_failures import failed_items

IDS = ["m1", "m2", "m3"]
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:orders-queue"
SQS = {
    "Records": [
        {"eventSource": "aws:sqs", "eventSourceARN": QUEUE, "messageId": message_id}
        for message_id in IDS
    ]
}
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/clicks"
KINESIS = {
    "Records": [
        {
            "eventSource": "aws:kinesis",
            "eventSourceARN": STREAM,
            "kinesis": {"sequenceNumber": item_id},
        }
        for item_id in IDS
    ]
}
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/carts/stream/2024-01-01T00:00:00.000"
DYNAMODB = {
    "Records": [
        {
            "eventSource": "aws:dynamodb",
            "eventSourceARN": TABLE,
            "dynamodb": {"SequenceNumber": item_id},
        }
        for item_id in IDS
    ]
}


def answer(*item_ids: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": item_id} for item_id in item_ids]}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer("m2"), ["m2"]),
        (answer("m3", "m1", "m3"), ["m1", "m3"]),
        (answer(), []),
        ({"batchItemFailures": None}, None),
        ({}, None),
        (None, None),
        ("done", None),
        (answer(""), IDS),
        (answer(None), IDS),
        (answer("unknown"), IDS),
        (answer("m1", "unknown"), IDS),
        (answer(7), IDS),
        (answer(["m1"]), IDS),
        ({"batchItemFailures": [{"itemId": "m1"}]}, IDS),
        ({"batchItemFailures": ["m1"]}, IDS),
        ({"batchItemFailures": "m1"}, IDS),
    ],
)
def test_what_failed_is_what_lambda_takes_for_it(response: Any, expected: Any) -> None:
    assert failed_items(response, IDS) == expected


def test_the_messages_that_are_reported_have_the_error_and_the_others_none() -> None:
    def handler(event: Any, context: Any) -> Any:
        for _ in lambdatrace.messages(event):
            pass
        return answer("m2")

    with recording() as recorded:
        told: list[Any] = []
        recorded.telemetry.on_completed.append(told.append)
        lambdatrace.instrument(handler)(SQS, LambdaContext())
        root = recorded.span("orders")
        messages = {
            span.attributes["messaging.message.id"]: (
                span.status_code,
                span.attributes.get("error.type"),
            )
            for span in recorded.spans
            if "messaging.message.id" in span.attributes
        }
        (batch,) = [s for s in recorded.spans if "messaging.batch.message_count" in s.attributes]
    assert messages == {
        "m1": (UNSET, None),
        "m2": (ERROR, "BatchItemFailure"),
        "m3": (UNSET, None),
    }
    for span in (root, batch):
        assert span.attributes["aws.lambda.batch_item_failures"] == 1
        assert span.status_code == UNSET
    assert [(o.batch_item_failures, o.error_type) for o in told] == [(1, "")]


def test_a_message_keeps_the_error_it_has() -> None:
    def handler(event: Any, context: Any) -> Any:
        for message in lambdatrace.messages(event):
            if message["messageId"] == "m1":
                lambdatrace.current_span().record_exception(ValueError("no"))
        return answer("m1")

    with recording() as recorded:
        lambdatrace.instrument(handler)(SQS, LambdaContext())
        (span,) = [s for s in recorded.spans if s.attributes.get("messaging.message.id") == "m1"]
    assert (span.attributes["error.type"], span.status_message) == ("ValueError", "no")


@pytest.mark.parametrize("response", [answer(*IDS), answer("unknown"), answer("")])
def test_a_batch_of_which_all_failed_is_an_error_and_the_invocation_is_none(response: Any) -> None:
    with recording() as recorded:
        lambdatrace.instrument(lambda *_: response)(SQS, LambdaContext())
        root, batch = recorded.span("orders"), recorded.span("orders-queue process")
    assert (root.status_code, root.attributes["aws.lambda.batch_item_failures"]) == (UNSET, 3)
    assert (batch.status_code, batch.attributes["error.type"]) == (ERROR, "BatchItemFailure")


@pytest.mark.parametrize(
    ("event", "attributes"),
    [
        (KINESIS, {"faas.trigger": "pubsub", "aws.kinesis.stream_name": "clicks"}),
        (DYNAMODB, {"faas.trigger": "datasource", "aws.dynamodb.table_names": ["carts"]}),
    ],
)
def test_the_records_of_a_stream_that_failed_are_counted(
    event: Any, attributes: dict[str, Any]
) -> None:
    with recording() as recorded:
        lambdatrace.instrument(lambda *_: answer("m2", "m3"))(event, LambdaContext())
        found = recorded.span("orders").attributes
    assert found["aws.lambda.batch_item_failures"] == 2
    assert {name: found[name] for name in attributes} == attributes


def test_an_answer_that_reports_nothing_has_no_count() -> None:
    with recording() as recorded:
        lambdatrace.instrument(lambda *_: {})(SQS, LambdaContext())
        assert "aws.lambda.batch_item_failures" not in recorded.span("orders").attributes

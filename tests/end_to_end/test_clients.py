"""What a function calls: recorded, and traced on, on the real runtime client and real libraries."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import boto3

from lambdatrace.harness import Function, Harness
from tests.end_to_end.conftest import OtlpReceiver, attributes
from tests.sdk.patches.conftest import moto_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

CLIENT, PRODUCER = 3, 4  # as OTLP has them

CALLER = """
    import lambdatrace
    import boto3
    from aws_xray_sdk.core import xray_recorder

    sqs, functions = boto3.client("sqs"), boto3.client("lambda")

    @xray_recorder.capture("order")
    def order(queue):
        sqs.send_message(QueueUrl=queue, MessageBody="{}")
        return functions.invoke(FunctionName="charge", Payload=b'{"amount": 5}')

    @lambdatrace.instrument
    def handler(event, context):
        return order(event["queue"])["Payload"].read().decode()
"""

CALLED = """
    import lambdatrace

    @lambdatrace.instrument
    def handler(event, context):
        for message in lambdatrace.messages(event):
            pass
        return event
"""


def test_calls_are_spans_and_those_who_are_called_know_of_them(
    receiver: OtlpReceiver,
    tmp_path: Path,
    moto_url: str,  # noqa: F811 - the fixture
) -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    sqs = boto3.client("sqs", endpoint_url=moto_url, **keys)
    queue = sqs.create_queue(QueueName="charges")["QueueUrl"]
    with Harness() as harness:

        def add(name: str, source: str) -> None:
            folder = tmp_path / name
            folder.mkdir()
            (folder / "app.py").write_text(textwrap.dedent(source))
            environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "AWS_ENDPOINT_URL_SQS": moto_url,
            }
            harness.add_function(
                Function(
                    name,
                    code_dir=folder,
                    handler="app.handler",
                    environment=environment,
                    timeout_s=30,
                )
            )

        add("shop", CALLER)
        add("charge", CALLED)
        assert harness.invoke("shop", {"queue": queue}).json() == '{"amount": 5}'
        for name in ("shop", "charge"):
            harness.wait_frozen(name)
        (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
        harness.invoke("charge", {"Records": [as_record(message)]})
        harness.wait_frozen("charge")

    order, sent, invoked = map(receiver.one, ("order", "SQS.SendMessage", "Lambda.Invoke"))
    assert order.parent_span_id == receiver.one("shop").span_id
    assert sent.parent_span_id == invoked.parent_span_id == order.span_id
    assert (sent.kind, invoked.kind) == (PRODUCER, CLIENT)
    assert attributes(invoked)["faas.invoked_name"] == "charge"
    assert attributes(sent)["messaging.message.id"] == message["MessageId"]
    called, _ = receiver.named("charge")
    assert called.parent_span_id == invoked.span_id
    assert called.trace_id == invoked.trace_id
    (link,) = [link for span in receiver.named("charges process") for link in span.links]
    assert (link.trace_id, link.span_id) == (sent.trace_id, sent.span_id)


def as_record(message: dict[str, Any]) -> dict[str, Any]:
    """A received message as Lambda gives it to a function."""
    return {
        "messageId": message["MessageId"],
        "body": message["Body"],
        "attributes": {},
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in message["MessageAttributes"].items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:charges",
        "awsRegion": "us-east-1",
    }

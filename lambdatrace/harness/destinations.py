"""Which AWS call tells a destination or dead-letter queue of an event's end: values, no I/O.

Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations" and
"Adding a dead-letter queue"; what the guide leaves open (the order of an EventBridge event's
resources, the words for a function without concurrency) is as captured from Lambda.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdatrace.harness.async_event import SUCCESS, ZERO_RESERVED_CONCURRENCY, invocation_record

if TYPE_CHECKING:
    from lambdatrace.harness.async_event import AsyncEvent

ERROR_MESSAGE_BYTES_MAX = 1024
_ZERO_MESSAGE = (
    # The missing space is Lambda's.
    "Function not invoked. Function isconfigured with zero reserved concurrent executions"
)


class AwsCall(NamedTuple):
    """One call of an AWS API, for `destination`, an ARN.

    `queue` is the (name, account) whose URL SQS is to be asked for.
    """

    destination: str
    service: str
    region: str
    operation: str
    parameters: dict[str, Any]
    queue: tuple[str, str] = ("", "")


def destination_call(event: AsyncEvent, destination: str, now_s: float) -> AwsCall:
    """Sends the record of a finished event to `destination`, an ARN. `now_s` is Unix time."""
    millis = int(now_s * 1000) % 1000
    second = time.gmtime(now_s)
    timestamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', second)}.{millis:03d}Z"
    record = invocation_record(event, timestamp).decode()
    service, region, rest = _parts(destination)
    if service in ("sqs", "sns"):
        return _message(destination, record, {})
    if service == "lambda":
        parameters = {
            "FunctionName": destination,
            "InvocationType": "Event",
            "Payload": record.encode(),
        }
        return AwsCall(destination, service, region, "invoke", parameters)
    if service == "events":
        result = "Success" if event.condition == SUCCESS else "Failure"
        entry = {
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {result}",
            "Detail": record,
            "EventBusName": destination,
            "Resources": [destination, event.function_arn],
            "Time": int(now_s),
        }
        return AwsCall(destination, service, region, "put_events", {"Entries": [entry]})
    name = event.function_arn.split(":")[6]
    day, instant = time.strftime("%Y/%m/%d", second), time.strftime("%Y-%m-%dT%H.%M.%S", second)
    parameters = {
        "Bucket": rest,
        "Key": f"aws/lambda/async/{name}/{day}/{instant}-{uuid.uuid4()}",
        "Body": record.encode(),
        "ContentType": "application/json",
    }
    return AwsCall(destination, "s3", region, "put_object", parameters)


def dead_letter_call(event: AsyncEvent, target: str) -> AwsCall:
    """Sends the event itself to `target`, a queue's or topic's ARN, the error as attributes."""
    response = event.response
    if event.condition == ZERO_RESERVED_CONCURRENCY:
        message = _ZERO_MESSAGE
    else:
        message = response.message if response else ""
    attributes = {"RequestID": ("String", event.invocation.request_id)}
    if response:
        attributes["ErrorCode"] = ("Number", str(response.status_code))
    cut = message.encode()[:ERROR_MESSAGE_BYTES_MAX].decode("utf-8", "replace")
    if cut:  # SQS and SNS take no attribute without a value
        attributes["ErrorMessage"] = ("String", cut)
    return _message(target, event.invocation.payload.decode("utf-8", "replace"), attributes)


def _message(arn: str, body: str, attributes: dict[str, tuple[str, str]]) -> AwsCall:
    service, region, rest = _parts(arn)
    found: dict[str, Any] = {}
    if attributes:
        found["MessageAttributes"] = {
            name: {"DataType": kind, "StringValue": value}
            for name, (kind, value) in attributes.items()
        }
    if service == "sns":
        return AwsCall(arn, service, region, "publish", {"TopicArn": arn, "Message": body, **found})
    account = arn.split(":")[4]
    return AwsCall(
        arn, service, region, "send_message", {"MessageBody": body, **found}, queue=(rest, account)
    )


def _parts(arn: str) -> tuple[str, str, str]:
    """(service, region, what follows the account) of an ARN."""
    _, _, service, region, _, rest = arn.split(":", 5)
    return service, region, rest

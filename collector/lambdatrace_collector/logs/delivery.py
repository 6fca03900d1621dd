"""What subscription filters send, and to whom: Lambda, Kinesis and Firehose by AWS's own APIs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from lambdatrace_collector.errors import AwsError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DELIVERIES_AT_ONCE = 4
CONNECT_DEADLINE_S = 5
ANSWER_DEADLINE_S = 30
COMPRESSION_LEVEL = 6
# Lambda takes 1 MB of an asynchronous event, which is base64 here; Kinesis and Firehose 1 MB.
PAYLOAD_BYTES_MAX = 700_000

_SERVICES = {"lambda": "Lambda", "kinesis": "Kinesis", "firehose": "Firehose"}


class DeliveryError(StoreUnavailableError):
    """A delivery has failed: it is tried again."""


class Target(NamedTuple):
    """Where a subscription goes: a service, a region and the resource's ARN and name."""

    service: str
    region: str
    arn: str
    name: str

    @property
    def shown(self) -> str:
        """As AWS's messages call the service."""
        return _SERVICES[self.service]


def parse_target(arn: str) -> Target:
    """The target of an ARN. Raises AwsError InvalidParameterException for other services."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[2] in _SERVICES:  # noqa: PLR2004 - arn:aws:SERVICE:REGION:ACCOUNT:NAME
        _, _, service, region, _, resource = parts
        return Target(service, region, arn, resource.rpartition("/")[2])
    raise AwsError(
        "InvalidParameterException",
        f"destinationArn is '{arn}': expected the ARN of a Lambda function, a Kinesis stream, a"
        " Firehose stream or a destination",
    )


def payload(
    kind: str, owner: str, group: str, stream: str, names: Sequence[str], events: Sequence[Any]
) -> bytes:
    """A message of a subscription: gzip of its JSON. `kind` is DATA_MESSAGE or CONTROL_MESSAGE."""
    document = {
        "messageType": kind,
        "owner": owner,
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": list(names),
        "logEvents": list(events),
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), COMPRESSION_LEVEL)


class Deliveries:
    """Sends messages to the AWS APIs at one endpoint. `close` at the end."""

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint
        self._threads = ThreadPoolExecutor(DELIVERIES_AT_ONCE, thread_name_prefix="delivery")
        self._clients: dict[tuple[str, str], Any] = {}

    async def test(self, target: Target, name: str) -> None:
        """Send the message that AWS tries a new subscription with.

        Raises AwsError InvalidParameterException when it does not arrive.
        """
        control = {
            "id": "",
            "timestamp": 0,
            "message": f"CWL CONTROL MESSAGE: Checking health of destination {target.shown}.",
        }
        message = payload("CONTROL_MESSAGE", "CloudwatchLogs", "", "", [], [control])
        try:
            await self.send(target, message, name)
        except DeliveryError as error:
            reason = (
                "Could not execute the lambda function. Make sure you have given CloudWatch Logs"
                " permission to execute your function."
                if target.service == "lambda"
                else f"Could not deliver test message to specified {target.shown} stream."
                f" Check if the given {target.shown} stream is in ACTIVE state."
            )
            raise AwsError("InvalidParameterException", f"{reason} ({error})") from error

    async def send(self, target: Target, message: bytes, partition_key: str) -> None:
        """Return once the target has taken `message`. Raises DeliveryError."""
        if self._endpoint is None:
            raise DeliveryError("this collector delivers nothing: start it with --aws-endpoint URL")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._send, target, message, partition_key)
        except (BotoCoreError, ClientError) as error:
            raise DeliveryError(f"{target.arn} did not take a message: {error}") from error

    def close(self) -> None:
        """End the threads; what is being sent is waited for."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _send(self, target: Target, message: bytes, partition_key: str) -> None:
        client = self._client(target)
        if target.service == "lambda":
            event = {"awslogs": {"data": base64.b64encode(message).decode()}}
            client.invoke(
                FunctionName=target.arn,
                InvocationType="Event",
                Payload=json.dumps(event).encode(),
            )
        elif target.service == "kinesis":
            client.put_record(StreamName=target.name, Data=message, PartitionKey=partition_key)
        else:
            client.put_record(DeliveryStreamName=target.name, Record={"Data": message})

    def _client(self, target: Target) -> Any:
        key = (target.service, target.region)
        if key not in self._clients:
            # Loaded with the first subscription: 110 ms of a start.
            import boto3
            from botocore.config import Config

            # Nothing here checks signatures, and boto3 sends nothing without some key.
            session = boto3.session.Session(
                aws_access_key_id="collector",
                aws_secret_access_key="collector",  # noqa: S106
            )
            self._clients[key] = session.client(
                target.service,
                region_name=target.region,
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=CONNECT_DEADLINE_S,
                    read_timeout=ANSWER_DEADLINE_S,
                    retries={"total_max_attempts": 1},
                ),
            )
        return self._clients[key]


def delivered_event(event: Mapping[str, Any], number: int) -> dict[str, Any]:
    """An event as subscribers get it; `number` is its place, of 56 digits."""
    return {
        "id": f"{number:056d}",
        "timestamp": event["timestamp_ms"],
        "message": event["message"],
    }

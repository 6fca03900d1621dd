"""Records and dead letters on their way to AWS's services, in a thread of their own.

The thread starts with the first call and makes each with boto3, as any AWS client would, at one
endpoint for all services but Lambda, whose calls go to the harness itself.
"""

from __future__ import annotations

import logging
import queue
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import DeliveryError
from lambdatrace.harness.variables import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.destinations import AwsCall

ATTEMPTS_MAX = 5
RETRY_FIRST_S, RETRY_LAST_S = 0.1, 2.0
CONNECT_S, READ_S = 2.0, 10.0

_log = logging.getLogger("lambdatrace.harness")


class DestinationDelivery:
    """Makes calls one after the other. Their number is bounded by the events they belong to."""

    def __init__(self, endpoint_url: str, lambda_url: Callable[[], str]) -> None:
        self._endpoint_url = endpoint_url
        self._lambda_url = lambda_url
        self._calls: queue.SimpleQueue[tuple[AwsCall, Callable[[DeliveryError | None], None]]] = (
            queue.SimpleQueue()
        )
        self._clients: dict[tuple[str, str], Any] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, call: AwsCall, settled: Callable[[DeliveryError | None], None]) -> None:
        """Makes `call` when its turn comes and then calls `settled`, in the thread.

        After a stop it is not called: what is not sent then is the owner's to count.
        """
        self._calls.put((call, settled))
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="lambdatrace-destinations", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the call it is in."""
        self._stopping.set()
        if self._thread:
            self._thread.join(CONNECT_S + READ_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                call, settled = self._calls.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                self._deliver(call)
            except DeliveryError as error:
                if not self._stopping.is_set():
                    _log.warning("%s", error)
                    settled(error)
            else:
                settled(None)

    def _deliver(self, call: AwsCall) -> None:
        """Makes the call, again with backoff while the service is away. Raises DeliveryError."""
        from botocore.exceptions import BotoCoreError, ClientError

        delay_s = RETRY_FIRST_S
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                self._call(call)
            except ClientError as error:
                status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
                is_passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or (
                    status == HTTPStatus.TOO_MANY_REQUESTS
                )
                if not is_passing or attempt == ATTEMPTS_MAX:
                    raise DeliveryError(call.service, call.operation, str(error)) from error
            except BotoCoreError as error:
                if attempt == ATTEMPTS_MAX:
                    raise DeliveryError(call.service, call.operation, str(error)) from error
            else:
                return
            if self._stopping.wait(delay_s):
                break
            delay_s = min(RETRY_LAST_S, delay_s * 2)
        raise DeliveryError(call.service, call.operation, "the harness was stopped")

    def _call(self, call: AwsCall) -> None:
        client = self._client(call)
        parameters = dict(call.parameters)
        name, account = call.queue
        if name:
            found = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            parameters["QueueUrl"] = found["QueueUrl"]
        answer = getattr(client, call.operation)(**parameters)
        if answer.get("FailedEntryCount"):
            entry = answer["Entries"][0]
            reason = f"{entry.get('ErrorCode')}: {entry.get('ErrorMessage')}"
            raise DeliveryError(call.service, call.operation, reason)

    def _client(self, call: AwsCall) -> Any:
        key = call.service, call.region
        if key not in self._clients:
            self._clients[key] = self._new_client(*key)
        return self._clients[key]

    def _new_client(self, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config

        url = self._lambda_url() if service == "lambda" else self._endpoint_url
        if not url:
            raise DeliveryError(
                service, "client", "no endpoint: give the harness an aws_endpoint_url"
            )
        session = boto3.session.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=region or "us-east-1",  # a bucket's ARN has none
        )
        return session.client(
            service,
            endpoint_url=url,
            config=Config(
                retries={"total_max_attempts": 1},  # we do
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )

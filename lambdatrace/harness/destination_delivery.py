"""Records and dead letters on their way to AWS's services, in threads of their own.

A thread is started when a call has none to wait for, up to `THREADS_MAX`; each call is made with
boto3, as any AWS client would, at one endpoint for all services but Lambda, whose calls go to the
harness itself. One destination has at most `CALLS_EACH_MAX` at a time, so that one that is slow or
down holds up itself alone. Calls for one destination are begun in order; Lambda promises none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import DeliveryError
from lambdatrace.harness.variables import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.destinations import AwsCall

    Settled = Callable[[DeliveryError | None], None]

THREADS_MAX = 16
CALLS_EACH_MAX = 2  # eight destinations can hang before another one waits
ATTEMPTS_MAX = 5
RETRY_FIRST_S, RETRY_LAST_S = 0.1, 2.0
CONNECT_S, READ_S = 2.0, 10.0
DELIVERY_S = 20.0  # from the first attempt: later none begins

_log = logging.getLogger("lambdatrace.harness")


class DestinationDelivery:
    """Makes calls, several at a time. Their number is bounded by the events they belong to."""

    def __init__(
        self,
        endpoint_url: str,
        lambda_url: Callable[[], str],
        delivery_s: float = DELIVERY_S,
    ) -> None:
        self._endpoint_url = endpoint_url
        self._lambda_url = lambda_url
        self._delivery_s = delivery_s
        self._waiting: dict[str, deque[tuple[AwsCall, Settled]]] = {}  # by destination
        self._waiting_calls = 0
        self._running: dict[str, int] = {}  # calls that are being made, by destination
        self._idle_threads = 0
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._clients: dict[tuple[str, str], Any] = {}
        self._making_client = threading.Lock()  # a boto3 session is not for several threads
        self._stopping = threading.Event()

    def send(self, call: AwsCall, settled: Settled) -> None:
        """Makes `call` when its turn comes and then calls `settled`, in a thread.

        After a stop it is not called: what is not sent then is the owner's to count.
        """
        with self._changed:
            self._waiting.setdefault(call.destination, deque()).append((call, settled))
            self._waiting_calls += 1
            self._changed.notify()
            if self._waiting_calls > self._idle_threads and len(self._threads) < THREADS_MAX:
                thread = threading.Thread(
                    target=self._run, name="lambdatrace-destinations", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def stop(self) -> None:
        """Ends the threads, each after the call it is in."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
            threads = list(self._threads)
        until = time.monotonic() + CONNECT_S + READ_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while (taken := self._wait()) is not None:
            call, settled = taken
            try:
                self._deliver(call)
            except DeliveryError as error:
                if not self._stopping.is_set():
                    _log.warning("%s", error)
                    settled(error)
            else:
                settled(None)
            finally:
                self._ended(call.destination)

    def _wait(self) -> tuple[AwsCall, Settled] | None:
        """The next call to make, None after a stop."""
        with self._changed:
            while not self._stopping.is_set():
                if taken := self._take():
                    return taken
                self._idle_threads += 1
                self._changed.wait()
                self._idle_threads -= 1
        return None

    def _take(self) -> tuple[AwsCall, Settled] | None:
        """A call of the destination that has waited longest for one and may have another."""
        for destination, calls in self._waiting.items():
            if self._running.get(destination, 0) < CALLS_EACH_MAX:
                del self._waiting[destination]
                taken = calls.popleft()
                self._waiting_calls -= 1
                if calls:
                    self._waiting[destination] = calls  # behind the others
                self._running[destination] = self._running.get(destination, 0) + 1
                return taken
        return None

    def _ended(self, destination: str) -> None:
        with self._changed:
            self._running[destination] -= 1
            if not self._running[destination]:
                del self._running[destination]

    def _deliver(self, call: AwsCall) -> None:
        """Makes the call, again with backoff while the service is away. Raises DeliveryError."""
        from botocore.exceptions import BotoCoreError, ClientError

        delay_s = RETRY_FIRST_S
        until = time.monotonic() + self._delivery_s
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                self._call(call)
            except (BotoCoreError, ClientError) as error:
                is_last = attempt == ATTEMPTS_MAX or time.monotonic() + delay_s > until
                if is_last or not _is_passing(error):
                    raise DeliveryError(call.service, call.operation, str(error)) from error
            except DeliveryError:
                raise
            except (
                Exception
            ) as error:  # an endpoint that is no URL to botocore, an answer not AWS's
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
        with self._making_client:
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
                max_pool_connections=THREADS_MAX,
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )


def _is_passing(error: Any) -> bool:
    """Whether another attempt may succeed: the service is away, busy, or was not reached."""
    response = getattr(error, "response", None)
    if response is None:
        return True
    status: int = response["ResponseMetadata"].get("HTTPStatusCode", 0)
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR

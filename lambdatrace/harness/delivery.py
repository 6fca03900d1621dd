"""Platform logs and metrics on their way to the collector, in a thread of their own.

The event loop only appends to a queue. The thread batches, sends with boto3 as any AWS client
would, tries again with backoff while the collector is away, and counts what it had to drop.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import HarnessSettingsError
from lambdatrace.harness.metrics import NAMESPACE, Sample, executed, metric_data, requests
from lambdatrace.harness.variables import CREDENTIALS
from lambdatrace.harness.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambdatrace.harness.invocation import InvocationFacts
    from lambdatrace.harness.log_stream import LogEvent

WAITING_MAX = 100_000  # log events and metric facts held while the collector is away: some 30 MB
WAITING_BYTES_MAX = 64 * 1024 * 1024  # of log text; few but long events must not fill the memory
# START, END and REPORT are shorter: they come through while a function prints megabytes.
SMALL_EVENT_BYTES = 512
BATCH_EVENTS_MAX = 1_000  # of 10,000 allowed: encoding one batch holds the interpreter for 3 ms
BATCH_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26  # what CloudWatch Logs adds to each event's size
INTERVAL_S = 0.25  # how long a record waits for company
RETRY_FIRST_S, RETRY_LAST_S = 0.2, 5.0
CONNECT_S, READ_S = 2.0, 10.0
_WAITED_MAX = 10.0

_log = logging.getLogger("lambdatrace.harness")

Record = tuple[str, "LogEvent"]


class Delivery:
    """The queues and their thread.

    `log`, `executed` and `sampled` never wait, and are called by one thread at a time; records
    over a bound are dropped and counted in `dropped`.
    """

    def __init__(self, collector_url: str, region: str) -> None:
        self._url = collector_url
        self._region = region
        self._logs: Waiting[Record] = Waiting(WAITING_MAX, WAITING_BYTES_MAX, SMALL_EVENT_BYTES)
        self._facts: Waiting[InvocationFacts | Sample] = Waiting(WAITING_MAX, 0)
        self._abandoned = 0
        self._streams: set[tuple[str, str]] = set()
        self._groups: set[str] = set()
        self._is_ending = False
        self._is_stopping = False
        self._is_warned = False
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._ready = threading.Event()
        self._no_clients = ""  # why there are none
        self._thread = threading.Thread(target=self._run, name="lambdatrace-delivery", daemon=True)

    @property
    def dropped(self) -> int:
        """Records that were refused for lack of room, refused by the collector, or not sent."""
        return self._logs.dropped + self._facts.dropped + self._abandoned

    @property
    def waiting_bytes(self) -> int:
        """The log text taken and not yet sent or dropped."""
        return self._logs.waiting_bytes

    def start(self) -> None:
        """Starts the thread and waits for its AWS clients, so that loading them slows no invoke.

        Raises HarnessSettingsError for a URL that they do not take.
        """
        self._thread.start()
        self._ready.wait(_WAITED_MAX)
        if self._no_clients:
            raise HarnessSettingsError(f"collector '{self._url}': {self._no_clients}")

    def log(self, log_group: str, event: LogEvent) -> None:
        """Takes one log event."""
        self._logs.put((log_group, event), len(event.message))

    def executed(self, facts: InvocationFacts) -> None:
        """Takes the facts of one executed invoke."""
        self._facts.put(facts)

    def sampled(self, sample: Sample) -> None:
        """Takes one sample of something else than an executed invoke."""
        self._facts.put(sample)

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything taken so far was sent or dropped.

        False when time ran out, or when anything was dropped since the start.
        """
        logs, facts = self._logs.accepted, self._facts.accepted
        self._wake.set()
        with self._progress:
            is_settled = self._progress.wait_for(
                lambda: self._logs.settled >= logs and self._facts.settled >= facts, timeout_s
            )
        return is_settled and not self.dropped

    def stop(self, timeout_s: float) -> None:
        """Sends what waits, for at most `timeout_s`, and ends the thread.

        A collector that refuses connections now is not waited for.
        """
        self._is_ending = True
        self.flush(timeout_s)
        self._is_stopping = True
        self._wake.set()
        self._thread.join(CONNECT_S + READ_S)
        self._abandoned = sum(w.accepted - w.settled for w in (self._logs, self._facts))
        if self.dropped:
            _log.warning(
                "%d log events and metric samples were not delivered to %s",
                self.dropped,
                self._url,
            )

    # The thread

    def _run(self) -> None:
        try:
            logs, cloudwatch = _clients(self._url, self._region)
        except ValueError as error:  # as of a host name with an underscore
            self._no_clients = str(error)
            return
        finally:
            self._ready.set()
        while not self._is_stopping:
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            while self._logs and not self._is_stopping:
                self._send_logs(logs)
            while self._facts and not self._is_stopping:
                self._send_metrics(cloudwatch)

    def _send_logs(self, client: Any) -> None:
        """Sends the oldest records, one request per log stream."""
        records, size = self._logs.take(BATCH_EVENTS_MAX)
        lost = 0
        for (group, stream), events in by_stream(records).items():
            for batch in batches(events):
                if not self._deliver(functools.partial(self._put, client, group, stream, batch)):
                    lost += len(batch)
        with self._progress:
            self._logs.settle(len(records), size, lost)
            self._progress.notify_all()

    def _put(self, client: Any, group: str, stream: str, events: list[dict[str, Any]]) -> None:
        """Stores events; group and stream are made before their first, or if they have gone."""
        try:
            self._put_into_known(client, group, stream, events)
        except client.exceptions.ResourceNotFoundException:
            # The collector's store was emptied, or another one listens there now: nothing of what
            # we made is left.
            self._groups.clear()
            self._streams.clear()
            self._put_into_known(client, group, stream, events)

    def _put_into_known(
        self, client: Any, group: str, stream: str, events: list[dict[str, Any]]
    ) -> None:
        exists = client.exceptions.ResourceAlreadyExistsException
        if group not in self._groups:
            _create(lambda: client.create_log_group(logGroupName=group), exists)
            self._groups.add(group)
        if (group, stream) not in self._streams:
            _create(
                lambda: client.create_log_stream(logGroupName=group, logStreamName=stream), exists
            )
            self._streams.add((group, stream))
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def _send_metrics(self, client: Any) -> None:
        """Sends the oldest facts; if a part of their data is lost, all of them count as lost."""
        facts, size = self._facts.take(BATCH_EVENTS_MAX)
        data = metric_data(
            sample for f in facts for sample in ([f] if isinstance(f, Sample) else executed(f))
        )
        sent = [
            self._deliver(
                functools.partial(
                    client.put_metric_data, Namespace=NAMESPACE, MetricData=list(part)
                )
            )
            for part in requests(data)
        ]
        with self._progress:
            self._facts.settle(len(facts), size, 0 if all(sent) else len(facts))
            self._progress.notify_all()

    def _deliver(self, send: Callable[[], object]) -> bool:
        """Sends, again with backoff while the collector cannot be reached or is overloaded.

        False for what the collector refuses for good, as sending it again would not help, for what
        it answers as nothing of AWS does, and for what could not be sent before the stop.
        """
        from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

        delay_s = RETRY_FIRST_S
        while not self._is_stopping:
            try:
                send()
            except ClientError as error:
                status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
                self._warn(error)
                if status < HTTPStatus.INTERNAL_SERVER_ERROR and (
                    status != HTTPStatus.TOO_MANY_REQUESTS
                ):
                    return False
            except BotoCoreError as error:
                self._warn(error)
                if self._is_ending and isinstance(error, EndpointConnectionError):
                    return False
            except Exception as error:  # noqa: BLE001 - as of an answer that is none of AWS's
                self._warn(error)
                return False
            else:
                self._is_warned = False
                return True
            if self._wake.wait(delay_s):
                self._wake.clear()  # once for each flush or stop, or this would spin
            delay_s = min(RETRY_LAST_S, delay_s * 2)
        return False

    def _warn(self, error: Exception) -> None:
        if not self._is_warned:
            self._is_warned = True
            _log.warning("the collector at %s takes nothing: %s", self._url, error)


def by_stream(records: Iterable[Record]) -> dict[tuple[str, str], list[LogEvent]]:
    """The events of each (log group, log stream), in time order as PutLogEvents wants them."""
    found: defaultdict[tuple[str, str], list[LogEvent]] = defaultdict(list)
    for group, event in records:
        found[group, event.log_stream].append(event)
    return {key: sorted(events, key=lambda e: e.timestamp_ms) for key, events in found.items()}


def batches(events: Iterable[LogEvent]) -> list[list[dict[str, Any]]]:
    """Events as PutLogEvents takes them, cut to the size of one request."""
    found: list[list[dict[str, Any]]] = []
    size = BATCH_BYTES_MAX + 1
    for event in events:
        if not event.message:
            continue  # PutLogEvents refuses an empty message
        added = len(event.message.encode()) + EVENT_OVERHEAD_BYTES
        size += added
        if size > BATCH_BYTES_MAX:
            found.append([])
            size = added
        found[-1].append({"timestamp": event.timestamp_ms, "message": event.message})
    return found


def _create(create: Callable[[], object], exists: type[Exception]) -> None:
    try:
        create()
    except exists:
        return  # another harness, or an earlier run, made it


def _clients(url: str, region: str) -> tuple[Any, Any]:
    """boto3 clients for CloudWatch Logs and CloudWatch at the collector; we retry, not they."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=region,
    )
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        proxies={},
        # What we send is ours and well-formed; checking it took half the thread's time, which the
        # event loop spent waiting for the interpreter.
        parameter_validation=False,
    )
    return (
        session.client("logs", endpoint_url=url, config=config),
        session.client("cloudwatch", endpoint_url=url, config=config),
    )

"""The telemetry of one execution environment: early events, subscriptions, subscribers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lambdatrace.harness.telemetry_api import SubscriptionStep, TelemetryApi
from lambdatrace.harness.telemetry_delivery import Subscriber
from lambdatrace.harness.telemetry_events import TelemetryEvent, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

EARLY_BYTES_MAX = 1_048_576  # what an init says before its last extension has subscribed
_EVENT_BYTES = 200  # of a platform record, roughly

LOGS_DROPPED_REASON = (
    "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
)


class Telemetry:
    """Events to the extensions that have subscribed. For the event loop's thread.

    While an init runs its events are kept, so that who subscribes late gets them as well. It
    outlives a reset, as subscriptions do.
    """

    def __init__(
        self,
        address: str,
        hosts: Collection[str],
        on_dropped: Callable[[int, int], None],
        *,
        is_json: bool,
    ) -> None:
        self._api = TelemetryApi(hosts)
        self._address = address
        self._on_dropped = on_dropped
        self._is_json = is_json
        self._subscribers: dict[str, Subscriber] = {}
        self._early: list[TelemetryEvent] = []
        self._early_bytes = 0
        self._is_running = True
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def has_subscribers(self) -> bool:
        """Somebody has subscribed."""
        return bool(self._subscribers)

    def emit(self, event: TelemetryEvent) -> None:
        """Gives an event to everyone who wants its kind; never waits."""
        if self._api.is_open:
            size = len(event.record) if isinstance(event.record, str) else _EVENT_BYTES
            if self._early_bytes + size <= EARLY_BYTES_MAX:
                self._early_bytes += size
                self._early.append(event)
        for subscriber in self._subscribers.values():
            self._give(subscriber, event)

    def _give(self, subscriber: Subscriber, event: TelemetryEvent) -> None:
        subscription = subscriber.subscription
        if event.category in subscription.types:
            encoded = encode(event, subscription.schema, is_json=self._is_json)
            if encoded is not None:
                subscriber.put(encoded)

    def subscribe(self, extension_name: str, api: str, body: bytes) -> SubscriptionStep:
        """Takes a subscription; the events so far follow at once."""
        step = self._api.subscribe(extension_name, api, body)
        known = self._subscribers.get(extension_name)
        if step.subscription is None or (known and known.subscription == step.subscription):
            return step
        if known:
            self._discard(known)
        subscriber = Subscriber(
            step.subscription, self._address, lambda _, *lost: self._on_dropped(*lost)
        )
        self._subscribers[extension_name] = subscriber
        for event in self._early:
            self._give(subscriber, event)
        if self._is_running:
            subscriber.resume()
        return step

    def _discard(self, subscriber: Subscriber) -> None:
        task = asyncio.get_running_loop().create_task(subscriber.close())
        self._closing.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._closing.discard)

    def open_subscriptions(self) -> None:
        """An init begins: extensions may subscribe until it ends."""
        self._api.is_open = True

    def close_subscriptions(self) -> None:
        """The init has ended."""
        self._api.is_open = False
        self._early.clear()
        self._early_bytes = 0

    def resume(self) -> None:
        """The processes run."""
        self._is_running = True
        for subscriber in self._subscribers.values():
            subscriber.resume()

    def pause(self) -> None:
        """The processes are stopped, or gone."""
        self._is_running = False
        for subscriber in self._subscribers.values():
            subscriber.pause()

    def flush(self) -> None:
        """What waits is sent now: the environment shuts down."""
        for subscriber in self._subscribers.values():
            subscriber.flush()

    async def close(self) -> None:
        """Ends everything; what was not sent is given up."""
        for subscriber in self._subscribers.values():
            await subscriber.close()
        self._subscribers.clear()

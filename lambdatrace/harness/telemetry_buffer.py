"""What waits for one subscriber of the Telemetry API, cut into batches. No I/O, no clock.

A batch is due when it has `maxItems` events or `maxBytes` bytes, or `timeoutMs` after its first
event. While one is on its way the next gather, up to a bound; what has no room then is dropped and
counted, and told to the subscriber in a `platform.logsDropped` event once there is room.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdatrace.harness.telemetry_api import Buffering

WAITING_BATCHES_MAX = 4  # of the subscriber's own size: 1 MiB by default
_SEPARATOR_BYTES = 1  # between events in a batch


class TelemetryBuffer:
    """Encoded events, oldest first. Times are in seconds, of any one clock."""

    def __init__(self, buffering: Buffering) -> None:
        self.dropped_records = 0
        self.dropped_bytes = 0
        self._limits = buffering
        self._events: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._is_flushing = False

    def put(self, event: bytes, now_s: float) -> None:
        """Takes an event, or counts it as dropped."""
        size = len(event) + _SEPARATOR_BYTES
        if (
            len(self._events) >= self._limits.max_items * WAITING_BATCHES_MAX
            or self._bytes + size > self._limits.max_bytes * WAITING_BATCHES_MAX
        ):
            self.dropped_records += 1
            self.dropped_bytes += len(event)
            return
        self._events.append((now_s, event))
        self._bytes += size

    def take_dropped(self) -> tuple[int, int]:
        """Records and bytes dropped since the last call."""
        dropped = self.dropped_records, self.dropped_bytes
        self.dropped_records = self.dropped_bytes = 0
        return dropped

    def flush(self) -> None:
        """All that waits now is due."""
        self._is_flushing = bool(self._events)

    @property
    def due_s(self) -> float | None:
        """When there will be a batch at the latest; None when nothing waits."""
        if not self._events:
            return None
        first_s = self._events[0][0]
        is_full = len(self._events) >= self._limits.max_items
        if self._is_flushing or is_full or self._bytes >= self._limits.max_bytes:
            return first_s
        return first_s + self._limits.timeout_ms / 1000

    def take(self, now_s: float) -> list[bytes]:
        """The batch that is due, empty when none is. One event may be larger than `maxBytes`."""
        due_s = self.due_s
        if due_s is None or due_s > now_s:
            return []
        batch: list[bytes] = []
        size = 0
        while self._events and len(batch) < self._limits.max_items:
            event = self._events[0][1]
            if batch and size + len(event) + _SEPARATOR_BYTES > self._limits.max_bytes:
                break
            self._events.popleft()
            batch.append(event)
            size += len(event) + _SEPARATOR_BYTES
        self._bytes -= size
        self._is_flushing = self._is_flushing and bool(self._events)
        return batch

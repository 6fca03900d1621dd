"""Takes finished spans from the buffer and gives them to the sink, as `flushing.py` decides."""

from __future__ import annotations

import _thread

from lambdatrace.errors import SendError
from lambdatrace.flushing import EndpointHealth, send_timeout_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.buffer import Buffer
    from lambdatrace.clock import Clock
    from lambdatrace.records import Span
    from lambdatrace.sinks import Sink

# Another thread's send under way is waited for at most this long, when nothing else bounds it.
_LOCK_S_MAX = 10.0


def _nothing() -> None:
    """What there is to do meanwhile when nobody has anything."""


class Sender:
    """Sends what waits, one thread at a time, within the invocation's remaining time.

    `sent`, `retried` and `rejected` count spans: stored by the endpoint, put back to be sent again
    later, refused for good.
    """

    def __init__(
        self,
        buffer: Buffer,
        sink: Sink,
        clock: Clock,
        *,
        batch_size_max: int,
        timeout_ms_max: int,
        on_error: Callable[[str, object], None],
    ) -> None:
        self._buffer = buffer
        self._sink = sink
        self._clock = clock
        self._batch_size_max = batch_size_max
        self._timeout_ms_max = timeout_ms_max
        self._on_error = on_error
        self._lock = _thread.allocate_lock()
        self._health = EndpointHealth()
        self.sent = 0
        self.retried = 0
        self.rejected = 0

    def close(self) -> None:
        """Close the sink's connection, if it has one."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()

    def send_pending(self, deadline_ns: int, meanwhile: Callable[[], None] = _nothing) -> bool:
        """Send until the buffer is empty; False if something had to be kept.

        `deadline_ns` is the end of the invocation in Unix time, 0 if there is none. `meanwhile` is
        called while an answer is awaited, if one is.
        """
        while len(self._buffer):
            if not self._send_batch(deadline_ns, meanwhile):
                return False
        return True

    def send_spans(self, spans: list[Span], deadline_ns: int) -> bool:
        """Send these before what waits in the buffer; False if that failed, and they are gone."""
        for first in range(0, len(spans), self._batch_size_max):
            timeout_ms = send_timeout_ms(
                self._clock.time_ns(), deadline_ns, self._health, self._timeout_ms_max
            )
            if not timeout_ms or not self._lock.acquire(timeout=timeout_ms / 1000):
                return False
            try:
                batch = spans[first : first + self._batch_size_max]
                if not self._send(batch, timeout_ms, _nothing):
                    return False
            finally:
                self._lock.release()
        return True

    def _send_batch(self, deadline_ns: int, meanwhile: Callable[[], None]) -> bool:
        """False if a batch had to be kept."""
        timeout_ms = send_timeout_ms(
            self._clock.time_ns(), deadline_ns, self._health, self._timeout_ms_max
        )
        if not timeout_ms or not self._lock.acquire(timeout=min(timeout_ms / 1000, _LOCK_S_MAX)):
            return False
        try:
            spans = self._buffer.take(self._batch_size_max)
            if not spans or self._send(spans, timeout_ms, meanwhile):
                return True
            self._buffer.put_back(spans)
            self.retried += len(spans)
            return False
        finally:
            self._lock.release()

    def _send(self, spans: list[Span], timeout_ms: int, meanwhile: Callable[[], None]) -> bool:
        started_ns = self._clock.time_ns()
        try:
            outcome = self._sink.send(spans, timeout_ms / 1000, meanwhile)
        except SendError as error:
            now_ns = self._clock.time_ns()
            self._health = self._health.after_failure(now_ns, now_ns - started_ns)
            self._on_error("spans could not be sent and wait", error)
            return False
        except Exception as error:  # noqa: BLE001 - sent again, they would only fail again
            self.rejected += len(spans)
            self._on_error("spans could not be written", error)
            return True
        if outcome.is_too_large and len(spans) > 1:
            # What was stored of a half may be sent again with the other: its ids are the same.
            first, second = spans[: len(spans) // 2], spans[len(spans) // 2 :]
            return self._send(first, timeout_ms, meanwhile) and self._send(
                second, timeout_ms, meanwhile
            )
        if not outcome.is_accepted:
            now_ns = self._clock.time_ns()
            self._health = self._health.after_failure(
                now_ns, now_ns - started_ns, outcome.retry_after_s
            )
            self._on_error("spans could not be sent and wait", outcome.message)
            return False
        self._health = EndpointHealth()
        self.sent += len(spans) - outcome.rejected
        self.rejected += outcome.rejected
        if outcome.rejected:
            self._on_error("spans were refused by the endpoint", outcome.message)
        return True

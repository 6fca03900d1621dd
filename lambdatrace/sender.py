"""Takes finished records from a buffer and gives them to a sink, as `flushing.py` decides."""

from __future__ import annotations

import _thread
import os

from lambdatrace.errors import SendError
from lambdatrace.flushing import EndpointHealth, send_timeout_ms
from lambdatrace.guard import let_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdatrace.buffer import Buffer
    from lambdatrace.clock import Clock
    from lambdatrace.sinks import Outcome, Sink

# Another thread's send under way is waited for at most this long, when nothing else bounds it.
_LOCK_S_MAX = 10.0


def _nothing() -> None:
    """What there is to do meanwhile when nobody has anything."""


def forget(_records: list[Any]) -> None:
    """What there is to do about records that are settled when nobody keeps account."""


def _random() -> float:
    """From 0 to 1; of the kernel, since the clones of a SnapStart snapshot share `random`'s."""
    return os.urandom(1)[0] / 255


class Sender:
    """Sends what waits of one signal, one thread at a time, within the invocation's remaining time.

    `records` is what they are called in a report. `sent`, `retried`, `rejected`, `unencodable` and
    `unwritable` count records: stored by the endpoint, put back to be sent again later, refused by
    it for good, left out since no bytes could be made of them, lost to a failure of the sink's own.
    `on_settled` is told of those that will not be sent again, whichever of these became of them.
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
        records: str = "spans",
        random: Callable[[], float] = _random,
        on_settled: Callable[[list[Any]], None] = forget,
    ) -> None:
        self._buffer = buffer
        self._sink = sink
        self._clock = clock
        self._batch_size_max = batch_size_max
        self._timeout_ms_max = timeout_ms_max
        self._on_error = on_error
        self._records = records
        self._random = random
        self._on_settled = on_settled
        self._lock = _thread.RLock()  # a plain one's own thread would wait for itself
        self._is_sending = False
        self._health = EndpointHealth()
        self.sent = 0
        self.retried = 0
        self.rejected = 0
        self.unencodable = 0
        self.unwritable = 0

    def send_pending(self, deadline_ns: int, meanwhile: Callable[[], None] = _nothing) -> bool:
        """Send until the buffer is empty; False if something had to be kept.

        `deadline_ns` is the end of the invocation in Unix time, 0 if there is none. `meanwhile` is
        called while an answer is awaited, if one is.
        """
        while len(self._buffer):
            if not self._take_lock(deadline_ns):
                return False
            kept: list[Any] = []
            try:
                self._is_sending = True  # before a record is taken
                self._send(self._buffer.take(self._batch_size_max), kept, deadline_ns, meanwhile)
            finally:  # whatever ended it
                if kept:
                    self._buffer.put_back(kept)
                    self.retried += len(kept)
                self._is_sending = False
                self._lock.release()
            if kept:
                return False
        return True

    def send_now(self, records: list[Any], deadline_ns: int) -> bool:
        """Send these before what waits in the buffer; False if that failed, and they are gone."""
        for first in range(0, len(records), self._batch_size_max):
            if not self._take_lock(deadline_ns):
                return False
            kept: list[Any] = []
            try:
                self._is_sending = True
                batch = records[first : first + self._batch_size_max]
                self._send(batch, kept, deadline_ns, _nothing)
            finally:
                self._is_sending = False
                self._lock.release()
            if kept:
                return False
        return True

    def is_sending(self) -> bool:
        """Whether a thread has taken records that are neither sent nor put back yet."""
        return self._is_sending

    def close(self) -> None:
        """Close the sink's connection, if it has one; a later send opens another."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()

    def _timeout_ms(self, deadline_ns: int) -> int:
        return send_timeout_ms(
            self._clock.time_ns(), deadline_ns, self._health, self._timeout_ms_max
        )

    def _take_lock(self, deadline_ns: int) -> bool:
        """Whether a send may begin now, and none is under way any more.

        It may be this thread's own, which a signal handler has interrupted: that is not waited for.
        """
        timeout_s = self._timeout_ms(deadline_ns) / 1000
        if timeout_s <= 0 or not self._lock.acquire(timeout=min(timeout_s, _LOCK_S_MAX)):
            return False
        if self._is_sending:
            self._lock.release()
            return False
        return True

    def _send(
        self,
        records: list[Any],
        kept: list[Any],
        deadline_ns: int,
        meanwhile: Callable[[], None],
    ) -> None:
        """Send one batch; `kept` gets what of it is to be sent again, also if this raises."""
        parts = [records]  # the last is the next
        try:
            while parts:
                part = parts[-1]
                left = self._send_part(part, deadline_ns, meanwhile)
                parts.pop()
                if left is None:
                    half = len(part) // 2
                    parts += part[half:], part[:half]
                else:
                    kept += left
        finally:
            for part in reversed(parts):
                kept += part

    def _send_part(
        self, records: list[Any], deadline_ns: int, meanwhile: Callable[[], None]
    ) -> list[Any] | None:
        """What of `records` is to be sent again later; None: all of them at once, in halves."""
        timeout_ms = self._timeout_ms(deadline_ns)
        if not timeout_ms:  # used up waiting for the lock, or by the first half
            return records
        started_ns = self._clock.time_ns()
        try:
            outcome = self._sink.send(records, timeout_ms / 1000, meanwhile)
        except SendError as error:
            let_through(error)
            self._note_failure(started_ns, None, error)
            return records
        except Exception as error:  # noqa: BLE001 - sent again, they would only fail again
            let_through(error)
            self.unwritable += len(records)
            self._on_error(f"{self._records} could not be written", error)
            self._on_settled(records)
            return []
        if outcome.is_too_large and len(records) > 1:
            return None
        if not outcome.is_accepted:
            self._note_failure(started_ns, outcome.retry_after_s, outcome.message)
            if not outcome.unsent:
                return records
            settled = records[: -outcome.unsent]
            self._count(len(settled), outcome)
            self._on_settled(settled)
            return records[-outcome.unsent :]
        self._health = EndpointHealth()
        self._count(len(records), outcome)
        self._on_settled(records)
        return []

    def _note_failure(self, started_ns: int, retry_after_s: float | None, error: object) -> None:
        now_ns = self._clock.time_ns()
        self._health = self._health.after_failure(
            now_ns, now_ns - started_ns, retry_after_s, self._random()
        )
        self._on_error(f"{self._records} could not be sent and wait", error)

    def _count(self, count: int, outcome: Outcome) -> None:
        self.sent += count - outcome.rejected - outcome.unencodable
        self.rejected += outcome.rejected
        self.unencodable += outcome.unencodable
        if outcome.rejected:
            self._on_error(f"{self._records} were refused by the endpoint", outcome.message)

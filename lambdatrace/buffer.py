"""Finished spans waiting to be sent."""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.records import Span


class Buffer:
    """Finished spans, oldest first; when full, the oldest is dropped and counted.

    Safe to use from several threads: each step is one operation of `deque`, which CPython makes
    atomic. `dropped` may undercount under such races, never overcount.
    """

    __slots__ = ("_spans", "dropped")

    def __init__(self, size_max: int) -> None:
        self._spans: deque[Span] = deque(maxlen=size_max)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._spans)

    def append(self, span: Span) -> None:
        """Add a finished span."""
        if len(self._spans) == self._spans.maxlen:
            self.dropped += 1
        self._spans.append(span)

    def take(self, count_max: int) -> list[Span]:
        """Remove and return up to `count_max` spans, oldest first."""
        spans: list[Span] = []
        try:
            while len(spans) < count_max:
                spans.append(self._spans.popleft())
        except IndexError:
            pass  # empty: what was there is taken
        return spans

    def put_back(self, spans: list[Span]) -> None:
        """Return spans that could not be sent to the front; what has no room is dropped, oldest."""
        room = (self._spans.maxlen or 0) - len(self._spans)
        kept = spans[max(0, len(spans) - room) :] if room > 0 else []
        self.dropped += len(spans) - len(kept)
        self._spans.extendleft(reversed(kept))

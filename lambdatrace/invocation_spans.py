"""The spans of one invocation: its own, and those that are open in it."""

from __future__ import annotations

import _thread
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdatrace.exceptions import StackTrace
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.records import Span

# Spans that nobody ends must not fill the memory: beyond this, they are sent only if they do end,
# and are counted as dropped if they have not by the end of the invocation.
OPEN_SPANS_MAX = 10_000
# Ended spans of an unsampled trace that may yet be sent; beyond, the first are let go.
HELD_SPANS_MAX = 1_000

# How long stack traces may take to be written out: a thousand of them take a second.
FORMAT_NS_MAX = 100_000_000

# A span that began with what an earlier invocation has done already, and has gone on since.
REPLAYED = "durable.span.replayed"


class InvocationSpans:
    """The spans of one invocation: its own, opened when it is first asked for, and what is open.

    One of its kind holds what is open outside of any. `by_id` has the open spans, oldest first, for
    whoever must close them when the invocation ends before they do. `invocation` is what began it,
    None once that is complete.
    """

    __slots__ = (
        "_held",
        "_held_dropped",
        "_left",
        "_open_root",
        "_opening",
        "_root",
        "_stack_traces",
        "by_id",
        "facades",
        "invocation",
        "is_holding",
        "messages",
        "metrics",
        "replay_ns",
        "request_id",
        "unwatched",
    )

    def __init__(
        self,
        open_root: Callable[[InvocationSpans], Callable[[], Span]] | None = None,
        request_id: str = "",
        invocation: Any = None,
        *,
        is_holding: bool = False,
    ) -> None:
        self.by_id: dict[str, Span] = {}
        # Of the messages of a batch, by their ids, for what the answer tells of them.
        self.messages: dict[str, Span] = {}
        self.invocation = invocation
        self.request_id = request_id
        self.is_holding = is_holding  # what the sampler leaves out, as it may yet be sent
        # Since when a durable execution does again what it has done before; 0 when it does not.
        self.replay_ns = 0
        # What it recorded, where several invocations may run at a time.
        self.metrics: MetricRecorder | None = None
        # What other APIs hold of our open spans, by span id; made by them.
        self.facades: dict[str, Any] | None = None
        self.unwatched = 0  # open spans that have no place in `by_id`
        self._held_dropped = 0
        self._held: deque[Span] | None = None  # both made when there is something for them
        self._left: dict[str, int] = {}  # span id → when it was left
        self._root: Span | None = None
        self._open_root = open_root
        # One that its own thread, in a signal handler of the user's, can take again.
        self._opening = _thread.RLock()
        self._stack_traces: deque[StackTrace] | None = None

    def root(self) -> Span | None:
        """The invocation's span; None outside of any."""
        open_root = self._open_root
        if open_root is not None:
            # Not under the lock: it asks the context, which is the user's code.
            start = open_root(self)
            with self._opening:
                if self._open_root is open_root:  # or another thread was quicker
                    self._root = start()
                    self._open_root = None
        return self._root

    def own_metrics(self, make: Callable[[], MetricRecorder]) -> MetricRecorder:
        """The metric recorder of this invocation alone, made at its first metric."""
        with self._opening:
            if self.metrics is None:
                self.metrics = make()
                self.metrics.request_id = self.request_id
            return self.metrics

    def note_open(self, span: Span) -> None:
        """Take `span` in, unless too many are open."""
        if len(self.by_id) < OPEN_SPANS_MAX:
            self.by_id[span.context.span_id] = span
        else:
            self.unwatched += 1
        span.opened_in = self

    def note_message(self, message_id: str, span: Span) -> None:
        """`span` is that of a message of the batch."""
        if len(self.messages) < OPEN_SPANS_MAX:
            self.messages[message_id] = span

    def note_left(self, span: Span, now_ns: int) -> None:
        """`span` ends now, but is kept until it is known whether that was an error."""
        self._left[span.context.span_id] = now_ns

    def take_over(self, others: InvocationSpans) -> None:
        """Take in what others left open, so that it is closed with these."""
        for span in list(others.by_id.values()):
            others.by_id.pop(span.context.span_id, None)
            if not span.end_ns:
                self.note_open(span)
        if others.facades:
            self.facades, others.facades = others.facades, None

    def hold(self, span: Span) -> None:
        """Keep an ended span that is not sampled until it is known how the invocation ends."""
        if self._held is None:
            self._held = deque(maxlen=HELD_SPANS_MAX)
        elif len(self._held) == HELD_SPANS_MAX:
            self._held_dropped += 1
        self._held.append(span)

    def take_held(self) -> tuple[list[Span], int]:
        """The spans that were held, from now on sampled, and how many of them had no room."""
        held, self._held = list(self._held or ()), None
        dropped, self._held_dropped = self._held_dropped, 0
        for span in held:
            span.context.is_sampled = True
        return held, dropped

    def end_replay(self) -> None:
        """What ends from now on is recorded; what began in the replay is marked."""
        self.replay_ns = 0
        root = self.root()
        for span in list(self.by_id.values()):
            if span is not root:
                span.set_attribute(REPLAYED, value=True)

    def still_open(self) -> list[Span]:
        """The spans that are open, oldest first, the invocation's among them."""
        self.root()
        return list(self.by_id.values())

    def left_ns(self, span: Span) -> int:
        """When `span` was left; 0 if it was not."""
        return self._left.pop(span.context.span_id, 0)

    def stack_trace(self, error: BaseException) -> StackTrace:
        """The stack trace of `error`, shared by the spans it passes."""
        last = self._stack_traces[-1] if self._stack_traces else None
        if last is not None and last.reached_further(error):
            return last
        from lambdatrace.exceptions import StackTrace

        trace = StackTrace(error)
        if self._stack_traces is None:
            self._stack_traces = deque(maxlen=OPEN_SPANS_MAX)
        self._stack_traces.append(trace)
        return trace

    def format_stack_traces(self, time_ns: Callable[[], int], deadline_ns: int) -> None:
        """Turn the stack traces of this invocation into text, and let go of their frames.

        The last first, for at most FORMAT_NS_MAX and half of what is left until `deadline_ns`, 0 if
        that is unknown; the others tell no more than their error.
        """
        if not self._stack_traces:
            return
        now_ns = time_ns()
        until_ns = now_ns + FORMAT_NS_MAX
        if deadline_ns:
            until_ns = min(until_ns, (now_ns + deadline_ns) // 2)
        while self._stack_traces:
            trace = self._stack_traces.pop()
            if time_ns() < until_ns:
                str(trace)
            else:
                trace.shorten()

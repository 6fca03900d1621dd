"""How what was recorded leaves: when a flush is due, from the buffers to what sends them."""

from __future__ import annotations

import _thread
import os

from lambdatrace.records import ERROR, TIMED_OUT
from lambdatrace.span_copies import ended_copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.journal import Entry
    from lambdatrace.pipelines import Pipelines
    from lambdatrace.records import Span
    from lambdatrace.sender import Sender
    from lambdatrace.sinks import Sink
    from lambdatrace.telemetry import Telemetry


# How long what a dead process left may take before the first invocation of the next, and for how
# long it is not tried again there: an endpoint that does not answer must not cost each its time.
LOOK_BACK_NS_MAX = 250_000_000
LOOK_BACK_AFTER_NS = 60_000_000_000
_TRIED = ".lambdatrace.tried"  # a file beside the journals, whose names begin otherwise


class Delivery:
    """What flushes, made at the first flush; `sink` stands for every sink, in tests."""

    __slots__ = (
        "_has_looked_back",
        "_making",
        "_pipelines",
        "_sink",
        "_telemetry",
        "_told_dropped",
    )

    def __init__(self, telemetry: Telemetry, sink: Sink | None = None) -> None:
        self._telemetry = telemetry
        self._sink = sink
        self._pipelines: Pipelines | None = None
        self._making = _thread.RLock()  # one of them; a signal handler may send meanwhile
        self._told_dropped = 0  # entries that the journal had no room for
        self._has_looked_back = False  # for what processes before this one have left

    def forget_parent(self) -> None:
        """In a forked child: the connections are the parent's, and so is what others have left."""
        self._pipelines = None
        self._told_dropped = 0
        self._has_looked_back = not self._telemetry.function.is_multi_concurrent
        self._making = _thread.RLock()

    @property
    def pipelines(self) -> Pipelines:
        """What sends the signals, made at the first send."""
        pipelines = self._pipelines
        if pipelines is None:
            with self._making:
                pipelines = self._pipelines = self._pipelines or self._new_pipelines()
        return pipelines

    def _new_pipelines(self) -> Pipelines:
        from lambdatrace.pipelines import Pipelines

        current = self._telemetry
        return Pipelines(
            current.buffers,
            current.settings,
            current.function,
            current.exporters,
            current.environ,
            current.clock,
            current.guard,
            current.redaction,
            self._given_sink,
            self._note_settled,
        )

    @property
    def sender(self) -> Sender | None:
        """The sender of spans, made at the first send; None if spans go nowhere."""
        return self.pipelines.sender("traces")

    def _given_sink(self, signal: str) -> Sink | None:
        """The sink that stands for the configured one: the user's own provider's, or a test's."""
        current = self._telemetry
        if signal == "traces" and current.providers is not None:
            sink: Sink | None = current.providers.span_sink()
            return sink or self._sink
        return self._sink

    def flush(self, deadline_ns: int = 0) -> bool:
        """Write the metrics and send what waits of every signal; False if some had to be kept."""
        current = self._telemetry
        is_all_sent = self._send_own(deadline_ns)
        if current.providers is None:
            return is_all_sent
        return bool(current.guard.run(current.providers.flush, deadline_ns)) and is_all_sent

    def _send_own(self, deadline_ns: int) -> bool:
        current = self._telemetry
        current.complete_ended()
        current.guard.run(self._recover)
        is_collected = False

        def collect_and_write() -> None:
            # While an answer is awaited, so that nothing that is there waits for the callbacks of
            # the user's that are asked. Guarded: a failure must not look like one of the send.
            nonlocal is_collected
            if not is_collected:
                is_collected = True
                current.guard.run(current.metering.collect)
            current.guard.run(current.metering.write)

        is_all_sent = self.pipelines.send(deadline_ns, collect_and_write)
        collect_and_write()
        if len(current.metric_buffer):
            is_all_sent = self.pipelines.send(deadline_ns, collect_and_write) and is_all_sent
        current.guard.run(self._settle_journal)
        return is_all_sent

    def send_open_spans(self, open_spans: InvocationSpans, message: str, deadline_ns: int) -> None:
        """Send what is open now as it is, with the status of a timeout; it may still end."""
        current = self._telemetry
        if open_spans.invocation is not None:
            current.guard.run(open_spans.invocation.describe)
            current.guard.run(open_spans.invocation.tell, is_timed_out=True)
            if current.journal is not None:
                current.journal.write(("timeout", open_spans.request_id))
        current.guard.run(current.metering.collect, open_spans)
        current.metering.write(open_spans)
        now_ns = current.clock.time_ns()
        is_kept = "errors" in current.settings.keep_unsampled
        spans: list[Span] = []
        if is_kept:
            spans, dropped = open_spans.take_held()
            current.buffer.dropped += dropped
        for span in list(open_spans.by_id.values()):
            if span.context.is_sampled or is_kept:
                copy = ended_copy(span, now_ns)
                copy.attributes["error.type"] = TIMED_OUT
                copy.status_code = ERROR
                copy.status_message = message
                spans.append(copy)
        if self.sender is None or self.sender.send_now(spans, deadline_ns):
            self.pipelines.send(deadline_ns, self._write_metrics_meanwhile)

    def look_back(self) -> None:
        """Send what processes that are gone have left, before there is an invocation.

        An invocation may be waiting for this: Lambda begins the next one when a process has died.
        So it is tried for LOOK_BACK_NS_MAX, and where that failed or was cut off, in this process
        or another of the environment, not again for LOOK_BACK_AFTER_NS, but after a response.
        """
        current = self._telemetry
        mark = f"{current.folder}/{_TRIED}"
        now_ns = current.clock.time_ns()
        try:
            tried_ns = os.stat(mark).st_mtime_ns  # noqa: PTH116 - pathlib costs 2.8 ms
        except OSError:
            tried_ns = 0
        if 0 <= now_ns - tried_ns < LOOK_BACK_AFTER_NS:
            return
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        os.utime(mark, ns=(now_ns, now_ns))
        self._recover(is_early=True)
        if not len(current.buffer) or self.pipelines.send(
            now_ns + LOOK_BACK_NS_MAX, self._write_metrics_meanwhile
        ):
            os.unlink(mark)  # noqa: PTH108 - see above

    def _recover(self, *, is_early: bool = False) -> None:
        """Take over what processes that are gone have left.

        Once, and once more where one is left alone; each time where there are other processes.
        """
        current, journal = self._telemetry, self._telemetry.journal
        if journal is None and current.has_no_room:
            from lambdatrace.journal import Journal

            journal = Journal(current.folder, ())  # which is not made, since nothing is written
        has_others = current.has_children or current.function.is_multi_concurrent
        if journal is None or (self._has_looked_back and not has_others):
            return
        self._has_looked_back = True
        names = journal.others()
        if names:
            from lambdatrace.recovery import recover

            is_all_taken = recover(current, journal, names, is_early=is_early)
            self._has_looked_back = is_all_taken or not is_early

    def _settle_journal(self) -> None:
        """Forget in the journal what need not outlive this process any more."""
        current = self._telemetry
        journal = current.journal
        if journal is None:
            return
        journal.settle(self._is_all_settled, _compacted)
        if journal.dropped > self._told_dropped:
            self._told_dropped = journal.dropped
            current.guard.report(
                "the journal was full, or the function closed it",
                f"{journal.dropped} entries not kept",
            )

    def _is_all_settled(self) -> bool:
        current = self._telemetry
        spans = current.tracer.spans()
        return not (
            current.ended
            or current.running_now
            or spans.invocation is not None
            or spans.by_id
            or current.metering.is_waiting
            or self._is_waiting()
            or self.pipelines.is_sending()
            or self._is_waiting()  # what another thread could not send, and has put back meanwhile
        )

    def _is_waiting(self) -> bool:
        return any(map(len, list(self._telemetry.buffers.values())))

    def _note_settled(self, signal: str, records: list[Any]) -> None:
        journal = self._telemetry.journal
        if journal is None or signal == "metrics":
            return
        journal.settled += len(records)
        if signal == "traces":
            journal.settled_spans([span.span_id for span in records])
        else:
            journal.write(("logged", [record.number for record in records]))

    def losses(self) -> str:
        """What was lost so far, in one line; empty when nothing was."""
        return self._pipelines.losses() if self._pipelines is not None else ""

    def statistics(self) -> dict[str, Any]:
        """What became of the records so far.

        For `traces`, `metrics` and `logs`: how many were `sent`, put back to be sent again
        (`retried`), refused by the endpoint (`rejected`), `dropped`, by reason, and how many are
        `waiting`. And the `failures` inside lambdatrace.
        """
        statistics: dict[str, Any] = self.pipelines.statistics()
        statistics["metrics"]["dropped"]["invalid"] = self._telemetry.metering.dropped
        statistics["failures"] = self._telemetry.guard.failures
        return statistics

    def forget_connections(self) -> None:
        """Close what is open to endpoints; the next send opens it again, for the function then."""
        pipelines, self._pipelines = self._pipelines, None
        if pipelines is not None:
            pipelines.close()

    def _write_metrics_meanwhile(self) -> None:
        # Guarded: whatever fails here must not look like a failure of the send it runs within.
        self._telemetry.guard.run(self._telemetry.metering.write)


def _compacted(entries: list[Entry]) -> list[Entry]:
    from lambdatrace.journal_state import compacted

    return compacted(entries)

"""The metrics of a process: the recorder and the instruments, and how what they hold is written."""

from __future__ import annotations

import _thread

from lambdatrace.errors import MetricError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambdatrace.instruments import Instruments
    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.journal import Journal
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.records import SpanContext
    from lambdatrace.telemetry import Telemetry

_WRITTEN_MAX = 1_000  # of one entry, so that of a full journal the first are those it has room for


class Metering:
    """Made at the first metric, or to write what there may be."""

    __slots__ = ("_dropped", "_instruments", "_making", "_recorder", "_telemetry")

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._recorder: MetricRecorder | None = None
        self._instruments: Instruments | None = None
        self._dropped = 0  # by recorders that are gone
        self._making = _thread.RLock()  # either, at the first use in any thread

    @property
    def is_waiting(self) -> bool:
        """Whether metrics are recorded that are not written."""
        return bool(self._recorder)

    @property
    def dropped(self) -> int:
        """How many metrics were not recorded, being none."""
        return self._dropped + (self._recorder.dropped if self._recorder is not None else 0)

    def keep_journal(self, journal: Journal) -> None:
        """Note in `journal` what is recorded from now on."""
        if self._recorder is not None:
            self._recorder.journal = journal

    def forget_parent(self) -> None:
        """In a forked child: what was recorded is the parent's."""
        self._recorder = None
        self._telemetry.early_metrics.clear()
        self._making = _thread.RLock()
        self.forget_counts()

    def forget_counts(self) -> None:
        """Begin the instruments' counts again: they are the parent's, or those of all clones."""
        if self._instruments is not None:
            self._instruments.forget_parent()

    def recorder_of(self, spans: InvocationSpans) -> MetricRecorder:
        """The recorder of an invocation's metrics, where they have one each; else the one."""
        if self._telemetry.function.is_multi_concurrent:
            return spans.own_metrics(self.new_recorder)
        recorder = self._recorder
        if recorder is None:
            with self._making:
                made = self.new_recorder()
                # Unless another thread has, or a signal handler while it was made.
                if self._recorder is None:
                    self._recorder = made
                recorder = self._recorder
            self._record_early()
        return recorder

    def _record_early(self) -> None:
        """Record what a signal handler gave before there was anything to record it with."""
        current = self._telemetry
        while current.early_metrics:
            try:
                given = current.early_metrics.popleft()
            except IndexError:  # another thread was quicker
                return
            current.guard.run(self.recorder_of(current.tracer.spans()).record, *given)

    def new_recorder(self) -> MetricRecorder:
        """A metric recorder with the function's settings."""
        current = self._telemetry
        from lambdatrace.metrics import MetricRecorder

        settings = current.settings
        dimensions = {
            "service": settings.service_name or current.function.name,
            **settings.metrics_dimensions,
        }
        recorder = MetricRecorder(
            current.clock,
            settings.metrics_namespace,
            {name: text for name, text in dimensions.items() if text},
            on_error=self._report_metric,
            redact=self._redact,
        )
        recorder.journal = current.journal
        return recorder

    @property
    def instruments(self) -> Instruments:
        """OpenTelemetry's metric instruments, made at the first."""
        instruments = self._instruments
        if instruments is None:
            with self._making:
                if self._instruments is None:
                    made = self._new_instruments()
                    if self._instruments is None:
                        self._instruments = made
                instruments = self._instruments
        return instruments

    def _new_instruments(self) -> Instruments:
        current = self._telemetry
        from lambdatrace.instruments import Instruments

        settings = current.settings
        is_fixed = settings.metrics_histogram == "explicit_bucket_histogram"
        histogram = "explicit" if is_fixed else "exponential"
        instruments = Instruments(
            current.clock,
            current.guard.report,
            preference=settings.metrics_temporality,
            histogram="values" if settings.metrics_exporter == "emf" else histogram,
            exemplars=settings.metrics_exemplars,
            redact=self._redact,
        )
        current.on_completed.append(lambda outcome: instruments.note_begin(outcome.start_ns))
        return instruments

    def write(self, spans: InvocationSpans | None = None) -> None:
        """Export the metrics recorded so far, by standard output or by the instruments.

        Where several invocations may run at a time, those recorded in that of `spans`, by default
        the one under way here.
        """
        current = self._telemetry
        self._record_early()
        spans = spans or current.tracer.spans()
        recorder = spans.metrics if current.function.is_multi_concurrent else self._recorder
        if not recorder:  # there is none, or nothing in it
            return
        root = spans.root()
        self.put(recorder, root.context if root is not None else None, spans.request_id)
        if spans.metrics is not None:
            self._dropped += spans.metrics.dropped
            spans.metrics.dropped = 0

    def put(self, recorder: MetricRecorder, context: SpanContext | None, request_id: str) -> None:
        """Write what `recorder` holds of one invocation, whose span is that of `context`."""
        current = self._telemetry
        from lambdatrace.metric_export import export_metrics

        export_metrics(current, recorder, context, request_id)
        if current.journal is not None and recorder.taken:
            written, recorder.taken = recorder.taken, []
            current.journal.settled += len(written)
            for at in range(0, len(written), _WRITTEN_MAX):
                current.journal.write(("written", written[at : at + _WRITTEN_MAX]))

    def collect(self, spans: InvocationSpans | None = None) -> None:
        """Make records of what the instruments measured since the last time."""
        current = self._telemetry
        exporter = current.settings.metrics_exporter
        if exporter == "otlp":
            self.write(spans)  # to the instruments
        if self._instruments is None:
            return
        collected = self._instruments.collect()
        if exporter == "otlp":
            for data in collected:
                current.metric_buffer.append(data)
        elif exporter == "emf":
            from lambdatrace.metric_export import record_as_metrics

            recorder = self.recorder_of(spans or current.tracer.spans())
            record_as_metrics(collected, recorder, current.guard.report)

    def _redact(self, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        # Its rules are loaded here, after the response, and not by the first metric.
        redaction = self._telemetry.redaction
        return redaction.mapping(mapping) if redaction is not None else mapping

    def _report_metric(self, name: str, error: BaseException) -> None:
        # Once for each rule: a metric's value and its dimensions may break different ones.
        if isinstance(error, MetricError):
            fact, _, rule = str(error).rpartition(": ")  # which names the metric
            self._telemetry.guard.report(fact, rule, once_per=f"metric {name}: {rule}")
            return
        place = f"metric {name}"
        self._telemetry.guard.report(place, error, once_per=f"{place}: {type(error).__name__}")

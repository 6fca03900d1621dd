"""What sends each signal: its buffer, its sender and its sink, made at the first send.

Loaded after the first response, with the settings, the encoder and the HTTP client it needs.
"""

from __future__ import annotations

import _thread
from functools import partial
from importlib import import_module

# The rest of the public names, and what odd attributes need: a function that uses one first when it
# has no file descriptor left must not fail for it.
import lambdatrace.journal_values
import lambdatrace.recording  # noqa: F401
from lambdatrace.exporter_settings import (
    JSON,
    LOGS,
    METRICS,
    PROTOBUF,
    SIGNALS,
    TRACES,
)
from lambdatrace.resource import resource_attributes
from lambdatrace.sender import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.buffer import Buffer
    from lambdatrace.clock import Clock
    from lambdatrace.exporter_settings import ExporterSettings
    from lambdatrace.guard import Guard
    from lambdatrace.invocation import Function
    from lambdatrace.redaction import Redaction
    from lambdatrace.settings import Settings
    from lambdatrace.sinks import Encoder, Outcome, Sink

# Signal and protocol → the module and the function in it that gives the encoder for them, from the
# resource's attributes and a function that is told of what cannot be encoded.
ENCODERS = {
    (TRACES, PROTOBUF): ("lambdatrace.wire.otlp_protobuf", "span_encoder"),
    (LOGS, PROTOBUF): ("lambdatrace.wire.otlp_logs", "log_encoder"),
    (METRICS, PROTOBUF): ("lambdatrace.wire.otlp_metrics", "metric_encoder"),
    (TRACES, JSON): ("lambdatrace.wire.otlp_json", "span_encoder"),
    (LOGS, JSON): ("lambdatrace.wire.otlp_json", "log_encoder"),
    (METRICS, JSON): ("lambdatrace.wire.otlp_metrics_json", "metric_encoder"),
}
RECORDS = {TRACES: "spans", METRICS: "metrics", LOGS: "log records"}
METRIC_BATCH_SIZE_MAX = 1000  # OpenTelemetry has no setting for it; some 200 kB

# A flush outside of any invocation takes at most this, whatever number of requests it needs.
FLUSH_NS_MAX = 10_000_000_000


class UnmadeSink:
    """Stands for a sink that could not be made, so that what it is given is counted as lost."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def send(
        self, _records: list[Any], _timeout_s: float, _meanwhile: Callable[[], None]
    ) -> Outcome:
        """Raise why there is none."""
        raise self._error


class Pipelines:
    """The senders of this process, one for each signal that goes anywhere.

    `buffers` has the buffer of each signal that has been recorded. `given_sink` gives the
    sink of a signal that stands for the configured one, None where none does. `on_settled` is
    told of the signal and its records that will not be sent again.
    """

    def __init__(
        self,
        buffers: Mapping[str, Buffer],
        settings: Settings,
        function: Function,
        exporters: ExporterSettings,
        environ: Mapping[str, str],
        clock: Clock,
        guard: Guard,
        redaction: Redaction | None,
        given_sink: Callable[[str], Sink | None],
        on_settled: Callable[[str, list[Any]], None],
    ) -> None:
        self._buffers = buffers
        self._settings = settings
        self._function = function
        self._clock = clock
        self._guard = guard
        self._redaction = redaction
        self._given_sink = given_sink
        self._on_settled = on_settled
        self._exporters = exporters
        self._environ = environ
        self._senders: dict[str, Sender | None] = {}
        self._making = _thread.RLock()  # one sender for a signal, whoever sends first

    def sender(self, signal: str) -> Sender | None:
        """The sender of a signal, made at its first use; None if its records go nowhere."""
        if signal not in self._senders:
            with self._making:
                if signal not in self._senders:
                    self._senders[signal] = self._make_sender(signal)
        return self._senders[signal]

    def send(self, deadline_ns: int, meanwhile: Callable[[], None]) -> bool:
        """Send what waits of every signal, traces first; False if something had to be kept.

        All of it is over before `deadline_ns`, the end of the invocation in Unix time; 0 if there
        is none. `meanwhile` is called while the first answer is awaited.
        """
        if not deadline_ns:
            deadline_ns = self._clock.time_ns() + FLUSH_NS_MAX
        is_all_sent = True
        for signal in SIGNALS:
            buffer = self._buffers.get(signal)
            if not buffer:
                continue
            sender = self.sender(signal)
            if sender is None:
                buffer.clear()
            elif not sender.send_pending(deadline_ns, meanwhile):
                is_all_sent = False
            if buffer.dropped:
                place = f"the buffer of {RECORDS[signal]} was full"
                self._guard.report(place, f"{buffer.dropped} dropped")
        return is_all_sent

    def is_sending(self) -> bool:
        """Whether records are with a thread that sends them."""
        senders = list(self._senders.values())
        return any(sender.is_sending() for sender in senders if sender is not None)

    def losses(self) -> str:
        """What was dropped, refused or is still waiting, in one line; empty when nothing was."""
        parts = []
        for signal in SIGNALS:
            facts = self._signal_statistics(signal)
            dropped = facts.pop("dropped")
            counts = {
                "dropped": sum(dropped.values()) if isinstance(dropped, dict) else 0,
                "refused": facts["rejected"],
                "not sent": facts["waiting"],
            }
            said = [f"{count} {what}" for what, count in counts.items() if count]
            if said:
                parts.append(f"{RECORDS[signal]}: {', '.join(said)}")
        return "; ".join(parts)

    def close(self) -> None:
        """Close the connections; the next send opens them again."""
        for sender in self._senders.values():
            if sender is not None:
                sender.close()

    def statistics(self) -> dict[str, dict[str, int | dict[str, int]]]:
        """What became of each signal's records so far."""
        return {signal: self._signal_statistics(signal) for signal in SIGNALS}

    def _signal_statistics(self, signal: str) -> dict[str, int | dict[str, int]]:
        buffer, sender = self._buffers.get(signal), self._senders.get(signal)
        return {
            "sent": sender.sent if sender else 0,
            "retried": sender.retried if sender else 0,
            "rejected": sender.rejected if sender else 0,
            "dropped": {
                "buffer_full": buffer.dropped if buffer is not None else 0,
                "not_encodable": sender.unencodable if sender else 0,
                "not_writable": sender.unwritable if sender else 0,
            },
            "waiting": len(buffer) if buffer is not None else 0,
        }

    def _make_sender(self, signal: str) -> Sender | None:
        try:
            sink = self._given_sink(signal) or self._make_sink(signal)
        except Exception as error:  # noqa: BLE001 - said and counted with the first batch
            sink = UnmadeSink(error)
        if sink is None:
            return None
        if signal != METRICS:
            from lambdatrace.span_limits import LimitingSink, Limits

            limits = Limits(self._environ)
            for wrong in limits.errors:
                self._guard.report(wrong.fact, wrong.remedy)
            sink = LimitingSink(sink, limits)
        if self._redaction is not None:
            from lambdatrace.sinks.redacting import RedactingSink

            sink = RedactingSink(sink, self._redaction, self._guard.report)
        return Sender(
            self._buffers[signal],
            sink,
            self._clock,
            batch_size_max=self._batch_size_max(signal),
            timeout_ms_max=self._exporters.of(signal).timeout_ms,
            on_error=self._guard.report,
            records=RECORDS[signal],
            on_settled=partial(self._on_settled, signal),
        )

    def _batch_size_max(self, signal: str) -> int:
        return {
            TRACES: self._settings.batch_size_max,
            LOGS: self._exporters.log_batch_size_max,
        }.get(signal, METRIC_BATCH_SIZE_MAX)

    def _make_sink(self, signal: str) -> Sink | None:
        exporter = {
            TRACES: self._settings.traces_exporter,
            METRICS: self._settings.metrics_exporter,
            LOGS: self._settings.logs_exporter,
        }[signal]
        if exporter == "console":
            from lambdatrace.sinks.console import ConsoleSink

            return ConsoleSink()
        if exporter == "xray":
            from lambdatrace.sinks.x_ray_udp import XRayUdpSink

            return XRayUdpSink(*self._exporters.daemon, self._guard.report)
        if exporter != "otlp":
            return None
        from lambdatrace.sinks.otlp_endpoint import otlp_sink

        settings = self._exporters.of(signal)
        return otlp_sink(
            signal,
            settings,
            self._encoder(signal, settings.protocol),
            self._function,
            self._environ,
            sigv4=self._exporters.sigv4,
            redaction=self._redaction,
            on_error=self._guard.report,
        )

    def _encoder(self, signal: str, protocol: str) -> Encoder:
        module, function = ENCODERS[signal, protocol]
        settings = self._settings
        attributes = resource_attributes(
            self._function, settings.service_name, settings.resource_attributes
        )
        encoder: Encoder = getattr(import_module(module), function)(attributes, self._guard.report)
        return encoder

"""Everything one execution environment records with, put together in one place.

What a cold start can do without is made at its first use: the sink and the encoders after the
first response, the metric recorder at the first metric.
"""

from __future__ import annotations

import _thread
import atexit
import os
from collections import deque
from itertools import count
from sys import modules

from lambdatrace import __path__ as lambdatrace_path
from lambdatrace import __version__, _imported_ns, post_import
from lambdatrace.buffer import Buffer
from lambdatrace.clock import SPAN_IDS_STOCK, Clock, Ids
from lambdatrace.errors import SettingError
from lambdatrace.guard import Guard, write_warning
from lambdatrace.initialization import Initialization
from lambdatrace.invocation import SNAP_START, Function
from lambdatrace.settings import DEFAULT_SAMPLER, Settings
from lambdatrace.tracing import Tracer, follow_parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.background import BackgroundSender
    from lambdatrace.delivery import Delivery
    from lambdatrace.exporter_settings import ExporterSettings
    from lambdatrace.extension import InternalExtension
    from lambdatrace.handler import RunningInvocation
    from lambdatrace.import_times import ImportTimes
    from lambdatrace.instruments import Instruments
    from lambdatrace.journal import Journal
    from lambdatrace.log_watch import LogWatch
    from lambdatrace.metering import Metering
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.otel.providers import Providers
    from lambdatrace.outcome import InvocationOutcome
    from lambdatrace.redaction import Redaction
    from lambdatrace.sinks import Sink
    from lambdatrace.snapshot import SnapshotHooks
    from lambdatrace.tracing import Sampler
    from lambdatrace.watchdog import Watchdog

# Without an extension the send stands before the response; it may cost at most this. So may a send
# for an invocation of which nothing is known but that it is over.
SEND_BEFORE_RESPONSE_NS_MAX = 1_000_000_000

# Invocations whose records the background has still to make; beyond, the next one makes them.
ENDED_COUNT_MAX = 1_000

# Where Lambda keeps files as long as the environment lasts; a TMPDIR goes before.
TMP = "/tmp"  # noqa: S108 - it is the function's alone

# What bounds how many a record takes in; `span_limits.py` is loaded early where one is set.
COUNT_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
)

METRIC_BUFFER_SIZE_MAX = 2048  # OpenTelemetry has no setting for it; as many as spans


class Telemetry:
    """The recorders, the buffer and the sender of this process.

    `is_active` is false outside Lambda and when switched off; then nothing is recorded. `sink`,
    `clock`, `ids` and `guard` are for tests; the defaults are the real ones.
    """

    has_no_room = False  # for a journal, which there should be

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        guard: Guard | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.environ = environ
        self.clock = clock or Clock()
        self.initialization = Initialization(self.clock)
        self.guard = guard or Guard()
        self.settings = settings = Settings.from_env(environ)
        self.function = Function(environ)
        self.is_active = bool(
            self.function.name and settings.is_enabled and not settings.is_disabled
        )
        self.buffer = Buffer(settings.buffer_size_max)
        is_cloned = self.function.initialization_type == SNAP_START
        self.ids = ids or Ids(stock=1 if is_cloned else SPAN_IDS_STOCK)
        self.buffers = {"traces": self.buffer}
        self.tracer = Tracer(
            self.clock,
            self.ids,
            self._sampler(),
            self.buffer,
            propagators=settings.propagators,
            is_holding=bool(settings.keep_unsampled),
        )
        self.is_init_failed = False  # and that has been reported
        self.is_told_of_next = False  # by the runtime client, which then has posted the answer
        self.watchdog: Watchdog | None = None
        self.extension: InternalExtension | None = None
        self.background: BackgroundSender | None = None
        self._is_extension_started = self._is_journal_due = False
        self._snapshot_hooks: SnapshotHooks | None = None
        self.invocation_count = 0
        # Those whose handler has ended and whose records are still to be made, and, where there may
        # be several at a time, those whose handler runs.
        self.ended: deque[RunningInvocation] = deque()
        self.running_now: dict[int, RunningInvocation] = {}
        # Called with how each invocation ended, before its span ends and its metrics are written.
        self.on_completed: list[Callable[[InvocationOutcome], object]] = []
        self._numbers = count()
        self.handler_module = environ.get("_HANDLER", "").rpartition(".")[0].replace("/", ".")
        self._sink = sink
        self._delivery: Delivery | None = None
        self._metering: Metering | None = None
        self.early_metrics: deque[tuple[Any, ...]] = deque()
        self._exporters: ExporterSettings | None = None
        self._redaction: Redaction | None = None
        self._making = _thread.RLock()  # one of these, at the first use in any thread
        self.log_watch: LogWatch | None = None
        self.providers: Providers | None = None  # the user's own, of OpenTelemetry's SDK
        if settings.invocation_metrics and settings.metrics_exporter != "none":
            self.on_completed.append(self.record_outcome)
        self.journal: Journal | None = None
        self.has_children = False  # which may leave a journal
        self.import_times: ImportTimes | None = None
        if self.is_active and settings.import_spans_min_ms:
            from lambdatrace.import_times import ImportTimes

            self.import_times = ImportTimes(self.clock, settings.import_spans_min_ms * 1_000_000)
            self.import_times.start()
        if self.is_active:
            # Once loaded it may have set what another telemetry of this process asked for.
            is_set = "lambdatrace.span_limits" in modules
            if is_set or any(name in environ for name in COUNT_LIMITS):
                from lambdatrace.span_limits import Limits

                Limits(environ).hold()
            self._watch_logging()
            for error in settings.errors:
                self.guard.report(error.fact, error.remedy)

    def _watch_logging(self) -> None:
        is_capturing = self.settings.logs_exporter != "none"
        if is_capturing or self.settings.injects_ids:
            from lambdatrace.log_watch import LogWatch, watch_logging

            self.log_watch = LogWatch(
                self, is_identifying=self.settings.injects_ids, is_capturing=is_capturing
            )
            watch_logging()

    def _sampler(self) -> Sampler:
        settings = self.settings
        if self.is_active and settings.sampler == DEFAULT_SAMPLER:
            return follow_parent
        from lambdatrace.sampling import SHARE_DEFAULT, ratio_sampler

        if not self.is_active:
            return ratio_sampler("always_off")
        try:
            return ratio_sampler(settings.sampler, settings.sampler_argument)
        except SettingError as error:
            error.taken = SHARE_DEFAULT
            settings.errors.append(error)
            return ratio_sampler(settings.sampler)

    # -- when the environment starts ------------------------------------------------------------

    def start_extension(self) -> None:
        """Begin to register the internal extension, where there is an API for it; once."""
        self.guard.run(self._start_extension)
        if self.is_active:
            self.guard.run(self._watch_imports)

    def _watch_imports(self) -> None:
        settings, index_path = self.settings, f"{lambdatrace_path[0]}/instrumentations"
        if not post_import.arm_doors(self.guard):
            return
        if settings.instrumentations or os.path.exists(index_path):  # noqa: PTH110 - not pathlib
            from lambdatrace.otel import instrumentors

            wanted, disabled = settings.instrumentations, settings.disabled_instrumentations
            instrumentors.arm(index_path, wanted, disabled, self.guard)

    def _start_extension(self) -> None:
        if self.journal is None and self.function.initialization_type != SNAP_START:
            self.guard.run(self.open_journal)
        settings = self.settings
        is_sending = (
            settings.traces_exporter != "none"
            or settings.metrics_exporter == "otlp"
            or settings.logs_exporter != "none"
        )
        is_wanted = self.is_active and is_sending
        if not is_wanted or self._is_extension_started:
            return
        self._is_extension_started = True
        if not self.function.runtime_api:
            if self._sink is None:
                write_warning("there is no Runtime API: spans are sent before the response")
        elif self.function.is_multi_concurrent:
            write_warning("several invocations at a time: spans are sent in the background")
            self._start_background()
        elif _is_told_of_next():
            self.is_told_of_next = True
        else:
            from lambdatrace.extension import InternalExtension

            self.extension = InternalExtension(
                self.function.runtime_api, self, self.clock, self.guard.report
            )
            self.extension.start()

        self.guard.run(self._prepare_for_snapshot)

    def _prepare_for_snapshot(self) -> None:
        if not self.is_active or self._snapshot_hooks is not None:
            return
        if self.function.initialization_type == SNAP_START:
            from lambdatrace.snapshot import SnapshotHooks

            self._snapshot_hooks = SnapshotHooks(self)
            self._snapshot_hooks.register()

    def _start_background(self) -> None:
        from lambdatrace.background import BackgroundSender

        self.background = BackgroundSender(
            self._send_in_background, self.settings.schedule_delay_ms / 1000, self.guard
        )

    def finish_start(self) -> None:
        """Called when a handler is there: the import is over, and the registration must be."""
        self.initialization.end_import(self.clock.time_ns())
        if self.extension is not None and not self.extension.is_registered():
            self.extension = None
        if self._snapshot_hooks is not None:
            self._snapshot_hooks.register_last()
        if self.journal is not None:
            ended_ns = self.initialization.import_ended_ns
            self.journal.write(("ready", ended_ns, self.handler_module))

    @property
    def folder(self) -> str:
        """Where journals are."""
        return self.environ.get("TMPDIR") or TMP

    def open_journal(self) -> None:
        """Have what is recorded from now on noted in a file that outlives this process."""
        if not (self.is_active and self.settings.keeps_journal and self.function.runtime_api):
            return
        from lambdatrace.journal import Journal

        try:
            journal = Journal(self.folder)
        except OSError as error:
            self.guard.report("there is no journal: what a crash leaves is lost", error)
            from errno import EDQUOT, ENOSPC

            self.has_no_room = error.errno in (None, EDQUOT, ENOSPC)
            return
        initialization, function = self.initialization, self.function
        journal.write(
            (
                *("process", function.name, function.version),
                initialization.started_ns(journal.ticks),
                *(initialization.import_started_ns, function.initialization_type),
                self.handler_module,
            )
        )
        self.has_no_room = False
        self.journal = self.tracer.journal = journal
        if self._metering is not None:
            self._metering.keep_journal(journal)

    def is_cold_start(self, start_ns: int) -> bool:
        """Whether the caller of the first invocation, which began at `start_ns`, waited for us."""
        is_ahead = self.initialization.is_long_before(start_ns)
        return self.function.is_cold_on_first_invocation and not is_ahead

    def begin_again(self, function: Function) -> None:
        """Be another environment from now on, made from a snapshot of this one."""
        self.ids.forget()
        function.instance = function.instance or self.ids.trace_id()
        self.function = function
        self._numbers = count()
        self.invocation_count = 0
        if self._delivery is not None:
            self._delivery.forget_connections()
        self._reopen_journal()
        if self._metering is not None:
            self._metering.forget_counts()
        if self.extension is not None:
            self.extension.may_reconnect = True

    # -- invocations ----------------------------------------------------------------------------

    @property
    def running(self) -> RunningInvocation | None:
        """The invocation under way in this thread or task, until its records are made.

        In a thread that knows of none, the last one that began, where there is one at a time.
        """
        running: RunningInvocation | None = self.tracer.spans().invocation
        return running

    @property
    def request_id(self) -> str:
        """The request id of the invocation under way, or of the last one; empty before."""
        return self.tracer.spans().request_id

    def next_number(self) -> int:
        """How many invocations have begun before the one that begins now."""
        number = next(self._numbers)  # one step, whatever other threads do
        self.invocation_count = number + 1
        return number

    def _reopen_journal(self) -> None:
        """In another process than before, or another environment: keep a journal of its own."""
        journal, self.journal, self.tracer.journal = self.journal, None, None
        if journal is not None:
            self.guard.run(journal.close)
        self.guard.run(self.open_journal)

    def note_begin(self, running: RunningInvocation) -> None:
        """An invocation begins where several may run at a time."""
        self.running_now[id(running)] = running
        if self._is_journal_due:  # in a worker, from its first invocation on
            self._is_journal_due = False
            self.guard.run(self.open_journal)
        if self.background is not None and not self.background.start():
            self.background = None
        if len(self.running_now) > 1:
            self.tracer.is_concurrent = True

    def note_end(self, running: RunningInvocation) -> None:
        """The handler of an invocation has ended: `complete_ended` makes its records."""
        self.running_now.pop(id(running), None)
        self.ended.append(running)

    def watch(self) -> None:
        """The first invocation begins: see to it that none is cut off by its deadline."""
        if self.is_told_of_next and self.watchdog is None:
            from lambdatrace.watchdog import Watchdog

            self.watchdog = Watchdog(self)
            self.watchdog.start()

    def runtime_asks_for_next(self) -> None:
        """The runtime client has posted its answer to the last event, if it had one."""
        if not self.is_told_of_next:
            return
        if self.invocation_count:
            self.invocation_ended()
        else:
            self.registered()

    def invocation_completed(self, outcome: InvocationOutcome) -> None:
        """Pass on how an invocation ended; called once for each."""
        for listener in self.on_completed:
            self.guard.run(listener, outcome)

    def complete_ended(self) -> None:
        """Make the records of the invocations whose handler has ended."""
        while self.ended:
            try:
                running = self.ended.popleft()
            except IndexError:  # another thread was quicker
                return
            self.guard.run(running.complete)

    def complete_ended_before(self, request_id: str) -> None:
        """An invocation begins: make the records of earlier ones that nobody has come to.

        The extension lost its API, or never had these invocations; or the background is behind; or
        somebody has put back what the runtime client asks for the next event with.
        """
        first = self.ended[0]
        is_another = request_id and first.request_id not in ("", request_id)
        if self.is_told_of_next and is_another and not first.is_abandoned:
            self.is_told_of_next = False
            self.guard.report(
                "spans are sent before the response",
                "the runtime client does not tell any more when it asks for the next event",
            )
        if self.background is None or len(self.ended) > ENDED_COUNT_MAX:
            self.complete_ended()

    def wake_background(self) -> None:
        """A handler has ended: have its records made and sent, if not at once, soon."""
        waiting = len(self.ended) + len(self.buffer)
        if self.background is not None:
            self.background.wake(is_urgent=waiting >= self.settings.batch_size_max)

    def _send_in_background(self, seconds_max: float) -> None:
        now_ns = self.clock.time_ns()
        for running in list(self.running_now.values()):
            if 0 < running.facts.deadline_ns < now_ns and not running.is_told_overdue:
                running.is_told_overdue = True
                send = self.delivery.send_open_spans
                self.guard.run(send, running.spans, "the invocation timed out", 0)
        self.flush(now_ns + int(seconds_max * 1e9) if seconds_max else 0)

    # -- what is made at its first use ----------------------------------------------------------

    @property
    def metering(self) -> Metering:
        """Where metrics are recorded."""
        metering = self._metering
        if metering is None:
            from lambdatrace.metering import Metering

            with self._making:
                made = Metering(self)
                metering = self._metering = self._metering or made
        return metering

    @property
    def delivery(self) -> Delivery:
        """What flushes."""
        delivery = self._delivery
        if delivery is None:
            from lambdatrace.delivery import Delivery

            with self._making:
                made = Delivery(self, self._sink)
                delivery = self._delivery = self._delivery or made
        return delivery

    @property
    def metrics(self) -> MetricRecorder:
        """The recorder of the metrics of the invocation under way."""
        return self.metering.recorder_of(self.tracer.spans())

    @property
    def instruments(self) -> Instruments:
        """OpenTelemetry's metric instruments."""
        return self.metering.instruments

    @property
    def log_buffer(self) -> Buffer:
        """The log records that wait to be sent by OTLP."""
        return self._buffer("logs", self.settings.log_buffer_size_max)

    @property
    def metric_buffer(self) -> Buffer:
        """The metrics that wait to be sent by OTLP."""
        return self._buffer("metrics", METRIC_BUFFER_SIZE_MAX)

    def _buffer(self, signal: str, size_max: int) -> Buffer:
        buffer = self.buffers.get(signal)
        if buffer is None:
            # One step, should another thread record its first at the same time.
            buffer = self.buffers.setdefault(signal, Buffer(size_max))
        return buffer

    def losses(self) -> str:
        """What was lost so far, in one line; empty when nothing was."""
        return self._delivery.losses() if self._delivery is not None else ""

    def forget_parent(self) -> None:
        """In a forked child: what waits, the connection and the extension are the parent's."""
        self.ids.forget()
        post_import.forget_parent()
        journal, self.journal = self.journal, None
        if journal is not None:
            self._is_journal_due = self.function.is_multi_concurrent  # it is a worker
            if self._is_journal_due:
                self.guard.run(journal.close, is_parents=True)
            else:
                self.journal = self.guard.run(journal.of_child, ("child", self.function.name))
        self.tracer.journal = self.journal
        for buffer in self.buffers.values():
            buffer.clear()
        self.tracer.forget_parent()
        self.ended.clear()
        self.running_now.clear()
        self._making = _thread.RLock()
        if self._delivery is not None:
            self._delivery.forget_parent()
        if self._metering is not None:
            self._metering.forget_parent()
        self.extension = self.watchdog = None
        if self.background is not None:
            self._start_background()

    @property
    def exporters(self) -> ExporterSettings:
        """The settings of what sends, read at their first use."""
        exporters = self._exporters
        if exporters is None:
            from lambdatrace.exporter_settings import ExporterSettings

            with self._making:
                exporters = self._exporters = self._exporters or ExporterSettings(self.environ)
            for error in exporters.errors:
                self.guard.report(error.fact, error.remedy)
        return exporters

    @property
    def redaction(self) -> Redaction | None:
        """What must not leave, made at its first use; None if it is switched off."""
        redaction, settings = self._redaction, self.settings
        if redaction is None and settings.redacts:
            from lambdatrace.redaction import Redaction

            keys, values = settings.redacted_keys, settings.redacted_values
            with self._making:
                redaction = self._redaction = self._redaction or Redaction(keys, values)
        return redaction

    def flush(self, deadline_ns: int = 0) -> bool:
        """Write the metrics and send what waits of every signal; False if some had to be kept."""
        return self.delivery.flush(deadline_ns)

    def record_outcome(self, outcome: InvocationOutcome) -> None:
        """Record the metrics of an invocation that is over, if they are asked for."""
        from lambdatrace.invocation_metrics import record_outcome

        record_outcome(self, outcome)

    # -- InvocationListener: called by the extension's thread, or the runtime's -----------------

    def registered(self) -> None:
        """Before the first invocation: send what a process that died at once has left."""
        self.guard.run(self._look_back)

    def _look_back(self) -> None:
        # Else nothing is loaded for it.
        if self.has_no_room or (self.journal is not None and self.journal.others()):
            self.delivery.look_back()

    def invocation_ended(self) -> None:
        """The response is out: write and send what waits, within the invocation's time."""
        running = self.running
        if running is not None:
            deadline_ns = running.facts.deadline_ns
        else:
            deadline_ns = self.clock.time_ns() + SEND_BEFORE_RESPONSE_NS_MAX
        self.guard.run(self.flush, deadline_ns)

    def extension_lost(self) -> None:
        """The Extensions API is gone for good: from now on the handler sends."""
        self.extension = None

    def invocation_times_out(self, deadline_ns: int) -> None:
        """The deadline is near: send the open spans as they are, with the status of a timeout."""
        spans = self.tracer.spans()
        message = "the invocation was about to time out"
        if self.providers is not None:
            self.guard.run(self.providers.cut_short, spans, message)
        self.guard.run(self.delivery.send_open_spans, spans, message, deadline_ns)
        if self.providers is not None:
            self.guard.run(self.providers.flush, deadline_ns)

    def __repr__(self) -> str:
        return f"<Telemetry {__version__} of {self.function.name or 'no function'}>"


def _is_told_of_next() -> bool:
    from lambdatrace.runtime_client import watch_next  # which asks for what is installed here

    return watch_next()


_telemetry: Telemetry | None = None


def current() -> Telemetry:
    """The telemetry of this process, made from `os.environ` at the first call."""
    if _telemetry is None:
        try:
            telemetry = Telemetry(os.environ)
        except Exception as error:  # noqa: BLE001 - the guard's work, before there is a guard
            telemetry = Telemetry({})
            telemetry.guard.report("lambdatrace is switched off", error)
        telemetry.initialization.import_started_ns = _imported_ns
        install(telemetry)
        os.register_at_fork(after_in_parent=_note_child, after_in_child=_forget_parent)
        atexit.register(_say_losses)
        return telemetry
    return _telemetry


def _say_losses() -> None:
    """At exit, one line if something was lost; nothing when all is well."""
    losses = _telemetry.guard.run(_telemetry.losses) if _telemetry is not None else ""
    if losses:
        write_warning(f"lost: {losses}")


def _note_child() -> None:
    if _telemetry is not None:
        _telemetry.has_children = True


def _forget_parent() -> None:
    if _telemetry is not None:
        _telemetry.forget_parent()


def installed() -> Telemetry | None:
    """The telemetry of this process, if there is one yet."""
    return _telemetry


def install(telemetry: Telemetry | None) -> None:
    """Use `telemetry` from now on; with None, one is made from `os.environ` at the next use."""
    global _telemetry  # noqa: PLW0603 - one per process is what it is
    _telemetry = telemetry

"""The user's own `opentelemetry-sdk` providers: kept, used, and flushed before each freeze.

A user's TracerProvider stays what it is. The spans of ours go to its processors too, since a trace
belongs into one backend, whole; if it has none but ours, its spans go where ours go. After each
response, and when the watchdog finds that time runs out, each provider's `force_flush` is called in
a thread that is waited for no longer than `flushing.py` allows: what it waits for may hang.
"""

from __future__ import annotations

import _thread
import os
import time

from opentelemetry.sdk.trace import SpanProcessor

from lambdatrace.flushing import EndpointHealth, send_timeout_ms
from lambdatrace.invocation_spans import OPEN_SPANS_MAX
from lambdatrace.otel.readable import cut_short, joined_resource, to_readable, to_record
from lambdatrace.records import TIMED_OUT
from lambdatrace.resource import resource_attributes
from lambdatrace.sinks import Outcome
from lambdatrace.tracing import entered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace import Span as SdkSpan
    from opentelemetry.trace import SpanContext

    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

WAIT_MS_MAX = 10_000  # for one flush, as long as the exporter itself waits by default


class Providers:
    """The user's providers, of any signal; `Telemetry.providers`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._flushers: list[Flusher] = []
        self._traces: AdoptedTraces | None = None

    def adopt(self, provider: Any) -> None:
        """Use a provider of the SDK from now on; a second time does nothing."""
        if any(flusher.provider is provider for flusher in self._flushers):
            return
        if not callable(getattr(provider, "force_flush", None)):
            return
        self._telemetry.guard.run(self._hint, provider)
        before: Callable[[], None] | None = None
        if callable(getattr(provider, "add_span_processor", None)) and self._traces is None:
            self._traces = AdoptedTraces(provider, self._telemetry)
            before = self._traces.feed
            self._telemetry.delivery.forget_connections()  # the spans' way out is chosen anew
        self._flushers.append(Flusher(provider, before, self._telemetry))

    def _hint(self, provider: Any) -> None:
        """Say that `provider` was made without a name for the service, if it was."""
        attributes = getattr(getattr(provider, "resource", None), "attributes", None) or {}
        if str(attributes.get("service.name", "")).startswith("unknown_service"):
            self._telemetry.guard.report(
                f"your {type(provider).__name__} has no service.name",
                "set OTEL_SERVICE_NAME, or give it Resource.create({'service.name': …})",
            )

    def span_sink(self) -> AdoptedTraces | None:
        """Where our spans go; None if that is where they go without these."""
        if self._traces is None or not self._traces.is_exporting:
            return None
        return self._traces

    def flush(self, deadline_ns: int) -> bool:
        """Have all of them export what they have; False if not all did in time."""
        for flusher in self._flushers:
            flusher.begin(deadline_ns)
        is_done = True
        for flusher in self._flushers:  # each is waited for, also after one that was not done
            is_done = flusher.wait() and is_done
        return is_done

    def cut_short(self, spans: InvocationSpans, message: str) -> None:
        """Have the open spans of an invocation wait as they are, ended now, with an error."""
        if self._traces is not None:
            self._traces.cut_short(spans, message)


class AdoptedTraces:
    """A TracerProvider of the user's, as the sink of our spans."""

    def __init__(self, provider: Any, telemetry: Telemetry) -> None:
        self._provider = provider
        self._telemetry = telemetry
        self._resource: Resource | None = None
        # By span id, so that a span takes the place of what was sent of it before it had ended.
        # Each step is one operation of `dict`, which CPython makes atomic.
        self._waiting: dict[int, ReadableSpan] = {}
        self._waiting_max = telemetry.settings.buffer_size_max
        self._cut_short: dict[int, Span] = {}  # of those, what went into our own buffer
        self._open = OpenSpans(self)
        provider.add_span_processor(self._open)

    @property
    def is_exporting(self) -> bool:
        """Whether the provider has a processor besides ours."""
        return bool(self._processors())

    def send(
        self,
        spans: list[Span],
        timeout_s: float,  # noqa: ARG002 - a sink's; nothing is waited for here
        meanwhile: Callable[[], None],
    ) -> Outcome:
        """Keep `spans` for the provider's processors, which get them when it is flushed.

        As many may wait as in our own buffer; beyond, they stay there, where drops are counted.
        """
        meanwhile()
        if self._waiting and len(self._waiting) + len(spans) > self._waiting_max:
            reason = "the provider has not been flushed"
            return Outcome(is_accepted=False, retry_after_s=0.0, message=reason)
        if self._resource is None:
            telemetry = self._telemetry
            settings = telemetry.settings
            own = resource_attributes(
                telemetry.function, settings.service_name, settings.resource_attributes
            )
            self._resource = joined_resource(own, self._provider.resource)
        for span in spans:
            self._waiting[int(span.span_id, 16)] = to_readable(span, self._resource)
        return Outcome(is_accepted=True)

    def feed(self) -> None:
        """Give what waits to the processors, some of which export at once."""
        while self._waiting:
            for span_id in list(self._waiting):
                span = self._waiting.pop(span_id, None)
                for processor in self._processors() if span is not None else ():
                    self._telemetry.guard.run(processor.on_end, span)

    def cut_short(self, spans: InvocationSpans, message: str) -> None:
        """Have the open spans of an invocation wait as they are, ended now, with an error."""
        now_ns = self._telemetry.clock.time_ns()
        self._cut_short.clear()
        for span in self._open.of(spans):
            span_id = span.get_span_context().span_id
            record = self._telemetry.guard.run(cut_short, span, now_ns, TIMED_OUT, message)
            if record is None:
                continue
            if not self.is_exporting:
                self._cut_short[span_id] = own = to_record(record)
                self._telemetry.buffer.append(own)
            elif len(self._waiting) < self._waiting_max:
                self._waiting[span_id] = record
            else:
                self._telemetry.buffer.dropped += 1
                self._telemetry.guard.report("the buffer of spans was full", "1 dropped")

    def ended(self, span: ReadableSpan, context: SpanContext) -> None:
        """A span of the provider has ended: it is ours to send if nobody else does.

        What still waits of it since it was cut short is not sent any more.
        """
        self._waiting.pop(context.span_id, None)
        earlier = self._cut_short.pop(context.span_id, None)
        if earlier is not None:
            self._telemetry.buffer.discard(earlier)
        if context.trace_flags.sampled and not self.is_exporting:
            self._telemetry.guard.run(self._keep, span)

    def _keep(self, span: ReadableSpan) -> None:
        self._telemetry.buffer.append(to_record(span))

    def _processors(self) -> list[Any]:
        active = getattr(self._provider, "_active_span_processor", None)
        processors = getattr(active, "_span_processors", ())
        return [processor for processor in processors if processor is not self._open]


class OpenSpans(SpanProcessor):
    """Notes which spans of the user's provider are open, and in which invocation."""

    def __init__(self, adopted: AdoptedTraces) -> None:
        self._adopted = adopted
        self._by_id: dict[int, tuple[SdkSpan, InvocationSpans | None]] = {}

    def on_start(
        self,
        span: SdkSpan,
        parent_context: Context | None = None,  # noqa: ARG002 - the SDK's own name, given by it
    ) -> None:
        """A span has started."""
        if len(self._by_id) < OPEN_SPANS_MAX:
            self._by_id[span.get_span_context().span_id] = (span, entered())

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended."""
        context = span.get_span_context()
        if context is not None:
            self._by_id.pop(context.span_id, None)
            self._adopted.ended(span, context)

    def of(self, spans: InvocationSpans) -> list[SdkSpan]:
        """The open spans of one invocation, and those of threads that know of none."""
        found = list(self._by_id.values())
        return [span for span, within in found if within in (spans, None) and span.is_recording()]


class Flusher:
    """Calls one provider's `force_flush` in a thread, and waits for it in bounded time.

    `before` is called in that thread first. One call runs at a time: one that hangs is waited for
    again the next time, and a provider that lets us wait in vain is left alone for a while.
    """

    def __init__(
        self, provider: Any, before: Callable[[], None] | None, telemetry: Telemetry
    ) -> None:
        self.provider = provider
        self._before = before
        self._telemetry = telemetry
        self._health = EndpointHealth()
        self._idle = _thread.allocate_lock()
        self._pid = os.getpid()
        self._until_s = 0.0  # of the monotonic clock
        self._timeout_ms = 0
        self._is_begun = False
        self._is_flushed = False  # by the last call

    def begin(self, deadline_ns: int) -> None:
        """Start to flush, to be done by `deadline_ns`, Unix time, 0 if there is none."""
        if self._pid != os.getpid():  # a forked child does not have the thread
            self._pid, self._idle = os.getpid(), _thread.allocate_lock()
        now_ns = self._telemetry.clock.time_ns()
        self._timeout_ms = send_timeout_ms(now_ns, deadline_ns, self._health, WAIT_MS_MAX)
        self._until_s = time.monotonic() + self._timeout_ms / 1000
        self._is_begun = bool(self._timeout_ms) and self._idle.acquire(blocking=False)
        if self._is_begun:
            self._start()

    def wait(self) -> bool:
        """Wait until it is done; False if that takes too long, or failed."""
        if not self._timeout_ms:
            return False
        if not self._is_begun and self._acquire():
            # An earlier one went on until now: what came since is still to be flushed.
            self._is_begun = True
            self._start()
        if not self._acquire():
            return self._note_failure("took too long: it goes on later", self._timeout_ms)
        is_flushed = self._is_flushed
        self._idle.release()
        if not is_flushed:
            spent_ms = self._timeout_ms - int((self._until_s - time.monotonic()) * 1000)
            return self._note_failure("it failed: it is tried again later", spent_ms)
        self._health = EndpointHealth()
        return True

    def _note_failure(self, reason: str, spent_ms: int) -> bool:
        now_ns = self._telemetry.clock.time_ns()
        self._health = self._health.after_failure(now_ns, spent_ms * 1_000_000)
        name = type(self.provider).__name__
        self._telemetry.guard.report(f"{name}.force_flush", reason)
        return False

    def _acquire(self) -> bool:
        return self._idle.acquire(timeout=max(0.0, self._until_s - time.monotonic()))

    def _start(self) -> None:
        try:
            _thread.start_new_thread(self._run, (self._timeout_ms, self._idle))
        except RuntimeError:  # no more threads
            self._idle.release()
            raise

    def _run(self, timeout_ms: int, idle: Any) -> None:
        self._is_flushed = False
        try:
            if self._before is not None:
                self._telemetry.guard.run(self._before)
            self._is_flushed = bool(self._telemetry.guard.run(self._force_flush, timeout_ms))
        finally:
            idle.release()

    def _force_flush(self, timeout_ms: int) -> bool:
        # The SDK's own give True or False; what gives neither does not tell.
        return self.provider.force_flush(timeout_ms) is not False

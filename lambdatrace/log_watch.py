"""The watch over `logging`: its records get the trace's ids, and go out by OTLP if that is set."""

from __future__ import annotations

import _thread
import logging  # the runtime client has loaded it
from functools import wraps

from lambdatrace import telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.logs.capture import LogCapture
    from lambdatrace.telemetry import Telemetry

_MARK = "__lambdatrace_watched__"


class LogWatch:
    """What is done with each record of `logging`, for one telemetry."""

    __slots__ = ("_capture", "_telemetry", "is_capturing", "is_identifying", "threads_that_emitted")

    def __init__(self, telemetry: Telemetry, *, is_identifying: bool, is_capturing: bool) -> None:
        self._telemetry = telemetry
        self.is_identifying = is_identifying
        self.is_capturing = is_capturing
        self._capture: LogCapture | None = None
        # Where a handler of `logging` has given its record to OpenTelemetry's API: it is ours then.
        self.threads_that_emitted: set[int] = set()

    def note_emitted(self) -> None:
        """A log record came by OpenTelemetry's API, in this thread."""
        self.threads_that_emitted.add(_thread.get_ident())

    @property
    def capture(self) -> LogCapture | None:
        """What takes records of `logging` for OTLP, made at the first; None if nothing does."""
        if self._capture is None and self.is_capturing:
            from lambdatrace.logs.capture import LogCapture

            self._capture = LogCapture(self._telemetry)
        return self._capture

    def take(
        self, logger: logging.Logger, record: logging.LogRecord, level: int, level_name: str
    ) -> None:
        """Keep for OTLP what `logger` has handled, whose level was `level` before."""
        if self.capture is not None:
            self.capture.take(logger, record, level, level_name)

    def identify(self, fields: dict[str, Any]) -> None:
        """Put the ids of the current span into a log record's `fields`, None outside of any.

        Source: OpenTelemetry, "Trace Context in non-OTLP Log Formats"; what is there stays.
        """
        span = self._telemetry.tracer.current_span()
        trace_id = span_id = trace_flags = None
        if span is not None:
            context = span.context
            trace_id, span_id = context.trace_id, context.span_id
            trace_flags = "01" if context.is_sampled else "00"
        fields.setdefault("trace_id", trace_id)
        fields.setdefault("span_id", span_id)
        fields.setdefault("trace_flags", trace_flags)


def watch_logging() -> None:
    """From now on, each record of `logging` has the trace's ids before the handlers get it.

    Not by a record factory: with `trace_id` in the new record, a call with `extra={"trace_id": …}`
    would raise. The factory that is set, and those set later, stay as they are.
    """
    call_handlers = logging.Logger.callHandlers
    if getattr(call_handlers, _MARK, False):
        return

    @wraps(call_handlers)
    def watched(logger: logging.Logger, record: logging.LogRecord) -> None:
        current = telemetry.installed()
        watch = current.log_watch if current is not None else None
        if current is None or watch is None:
            call_handlers(logger, record)
            return
        if watch.is_identifying:
            current.guard.run(watch.identify, record.__dict__)
        if not watch.is_capturing:
            call_handlers(logger, record)
            return
        # Of the runtime's formatters one writes the message, the other changes the level.
        level, level_name = record.levelno, record.levelname
        thread = _thread.get_ident()
        watch.threads_that_emitted.discard(thread)
        try:
            call_handlers(logger, record)
        finally:
            if thread not in watch.threads_that_emitted:
                current.guard.run(watch.take, logger, record, level, level_name)

    setattr(watched, _MARK, True)
    logging.Logger.callHandlers = watched  # type: ignore[method-assign,assignment]

"""The door before `opentelemetry._logs`: our log records behind the API's own proxy loggers.

As with tracers, a proxy logger resolves to ours as long as no provider is set. What the SDK's
`LoggingHandler` emits through it is what `logging` has handed it: our own capture of `logging` then
leaves that record out.
"""

from __future__ import annotations

from opentelemetry import _logs
from opentelemetry._logs import _internal as internal
from opentelemetry.trace.propagation import get_current_span

from lambdatrace import records, telemetry
from lambdatrace.exceptions import message_of, qualified_name
from lambdatrace.journal_logs import keep
from lambdatrace.log_record import LogRecord
from lambdatrace.otel.global_providers import watch
from lambdatrace.otel.proxies import stand_behind
from lambdatrace.otel.spans import from_otel
from lambdatrace.otel.traces import read_scope
from lambdatrace.otel.values import clean_attributes, clean_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from lambdatrace.records import Scope, SpanContext
    from lambdatrace.telemetry import Telemetry


def attach(_module: ModuleType) -> None:
    """Stand behind the proxy loggers, those that are and those to come; once."""
    if stand_behind(internal.ProxyLogger, "_logger", _logs.NoOpLogger, _own_logger):
        watch(internal, "_set_logger_provider", "_LOGGER_PROVIDER")


def _own_logger(proxy: Any) -> OwnLogger:
    return OwnLogger(proxy._name, proxy._version, proxy._schema_url, proxy._attributes)


class OwnLogger(_logs.Logger):
    """Puts what is emitted among the log records that wait to be sent, if they go anywhere."""

    def __init__(self, name: str, version: Any, schema_url: Any, attributes: Any) -> None:
        super().__init__(name, version, schema_url, attributes)
        self._scope = read_scope(name, version, schema_url, attributes)

    def enabled(self, **_: Any) -> bool:
        """Whether what is emitted goes anywhere."""
        current = telemetry.installed()
        return current is not None and current.is_active and _is_sent(current)

    def emit(self, record: Any = None, **fields: Any) -> None:
        """Take in a record of the API's, or one of these fields."""
        current = telemetry.installed()
        if current is not None and current.is_active and _is_sent(current):
            current.guard.run(self._emit, current, record, fields)

    def _emit(self, current: Telemetry, record: Any, fields: dict[str, Any]) -> None:
        if record is not None:
            given = vars(getattr(record, "log_record", record))  # the SDK wraps the API's
        else:
            given = {**fields, **_ids_of(fields.get("context"))}
        keep(current, read_record(given, current, self._scope))
        if current.log_watch is not None:
            current.log_watch.note_emitted()


def _is_sent(current: Telemetry) -> bool:
    return current.settings.logs_exporter != "none"


def _ids_of(context: Any) -> dict[str, Any]:
    span_context = get_current_span(context).get_span_context()
    names = ("trace_id", "span_id", "trace_flags")
    return {name: getattr(span_context, name) for name in names}


def read_record(given: dict[str, Any], current: Telemetry, scope: Scope) -> LogRecord:
    """A log record of the API's, by its fields, as ours."""
    attributes, dropped = clean_attributes(given.get("attributes"))
    error = given.get("exception")
    if isinstance(error, BaseException):
        attributes = {
            "exception.type": qualified_name(type(error)),
            "exception.message": message_of(error),
            "exception.stacktrace": current.tracer.spans().stack_trace(error),
            **attributes,
        }
    too_many = list(attributes)[records.LOG_ATTRIBUTE_COUNT_MAX :]
    for key in too_many:
        del attributes[key]
    number = given.get("severity_number")
    record = LogRecord(
        clean_value(given.get("body")),
        given.get("observed_timestamp") or current.clock.time_ns(),
        time_ns=given.get("timestamp") or 0,
        severity_number=int(getattr(number, "value", number) or 0),
        severity_text=str(given.get("severity_text") or ""),
        attributes=attributes,
        context=_span_context(given),
        event_name=str(given.get("event_name") or ""),
        scope=scope,
    )
    record.dropped_attributes = dropped + len(too_many)
    return record


def _span_context(given: dict[str, Any]) -> SpanContext | None:
    trace_id, span_id = given.get("trace_id"), given.get("span_id")
    if not (trace_id and span_id):
        return None
    from opentelemetry.trace import SpanContext as ApiContext
    from opentelemetry.trace import TraceFlags

    flags = TraceFlags(given.get("trace_flags") or 0)
    return from_otel(ApiContext(trace_id, span_id, is_remote=False, trace_flags=flags))

"""Log records in the journal, so that what a function logged for OTLP outlives its process."""

from __future__ import annotations

from itertools import count

from lambdatrace.journal import SCALARS, SIZE_MAX
from lambdatrace.journal_values import ENTRY_DEPTH, plain
from lambdatrace.log_record import LogRecord
from lambdatrace.records import OWN_SCOPE, Scope, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.journal import Entry
    from lambdatrace.telemetry import Telemetry

SHARE = 0.5  # of the journal that log records may fill: spans come first
_full: set[str] = set()  # journals of which that was said
_numbers = count(1)  # of this process; one step, whatever thread


def keep(current: Telemetry, record: LogRecord) -> None:
    """Have `record` sent, by this process or, if it dies first, by the next."""
    journal = current.journal
    if journal is not None:
        if journal.position < SHARE * SIZE_MAX:
            journal.write(numbered_entry(record))
        elif journal.name not in _full:
            _full.add(journal.name)
            current.guard.report(
                "log records fill half of the journal", "a crash loses more of them"
            )
    current.log_buffer.append(record)


def numbered_entry(record: LogRecord) -> Entry:
    """The entry of `record`, which has a number of this process's from now on."""
    record.number = next(_numbers)
    context, scope, body = record.context, record.scope, record.body
    return (
        "log",
        record.number,
        body if type(body) in SCALARS else plain(body, ENTRY_DEPTH),
        record.observed_ns,
        record.time_ns,
        record.severity_number,
        record.severity_text,
        plain(record.attributes, ENTRY_DEPTH - 1),
        None
        if context is None
        else (context.trace_id, context.span_id, context.is_sampled, context.trace_state),
        record.event_name,
        None
        if scope is OWN_SCOPE
        else (scope.name, scope.version, scope.schema_url, dict(scope.attributes)),
        record.dropped_attributes,
    )


def record_of(entry: Entry) -> LogRecord:
    """The log record in an entry. Raises ValueError or TypeError if it is none."""
    body, observed_ns, time_ns, severity, text, attributes, ids, *rest = entry[2:]
    event_name, scope, dropped = rest
    context = None
    if ids is not None:
        trace_id, span_id, is_sampled, trace_state = ids
        context = SpanContext(trace_id, span_id, is_sampled=is_sampled, trace_state=trace_state)
    record = LogRecord(
        body,
        int(observed_ns),
        time_ns=int(time_ns),
        severity_number=int(severity),
        severity_text=text,
        attributes=attributes,
        context=context,
        event_name=event_name,
        scope=scope_of(scope),
    )
    record.dropped_attributes = int(dropped)
    return record


def scope_of(entry: tuple[str, str, str, dict[str, object]] | None) -> Scope:
    """The scope in an entry of a span or a log record; None stands for our own."""
    if entry is None:
        return OWN_SCOPE
    name, version, schema_url, attributes = entry
    return Scope(name, version, schema_url=schema_url, attributes=attributes)

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import _logs as api
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

import lambdatrace
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.log_record import LogRecord as OwnRecord
    from lambdatrace.telemetry import Telemetry
    from lambdatrace.testing import Recorded

OTLP = {"OTEL_LOGS_EXPORTER": "otlp"}
CONTEXT = trace.set_span_in_context(
    trace.NonRecordingSpan(trace.SpanContext(0xA1, 0xB2, True, trace.TraceFlags(1)))
)


def program(logger: api.Logger) -> None:
    logger.emit(
        timestamp=1_000,
        observed_timestamp=2_000,
        context=CONTEXT,
        severity_number=SeverityNumber.WARN2,
        severity_text="WARN",
        body={"a": (1, None, {"b": b"\x00"})},
        attributes={"k": "v", "n": (1, 2), "": "dropped"},
        event_name="order.placed",
    )
    logger.emit(
        LogRecord(
            timestamp=3_000,
            observed_timestamp=4_000,
            severity_number=SeverityNumber.INFO,
            body="text",
            attributes={"k": "v"},
        )
    )
    with trace.use_span(trace.get_current_span(CONTEXT)):
        logger.emit(LogRecord(observed_timestamp=5_000, body=7))
    attributes = {"exception.message": "mine"}
    logger.emit(observed_timestamp=6_000, exception=ValueError("no"), attributes=attributes)


def made_exporter() -> Any:
    make: Any = InMemoryLogRecordExporter  # its constructor has no types
    return make()


def expected_from_the_sdk() -> list[tuple[Any, ...]]:
    exporter: Any = made_exporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it drops
        program(provider.get_logger("scope", "1.2", "https://schema", {"k": "v"}))
    found: list[tuple[Any, ...]] = []
    for data in exporter.get_finished_logs():
        record: Any = data.log_record
        scope: Any = data.instrumentation_scope
        found.append(
            (
                (record.timestamp or 0, record.observed_timestamp),
                (f"{record.trace_id:032x}", f"{record.span_id:016x}") if record.trace_id else None,
                record.severity_number.value if record.severity_number else 0,
                record.severity_text or "",
                record.body,
                dict(record.attributes),
                record.event_name or "",
                (scope.name, scope.version, scope.schema_url, dict(scope.attributes)),
            )
        )
    return found


def taken(telemetry: Telemetry) -> list[OwnRecord]:
    records: list[OwnRecord] = telemetry.log_buffer.take(100)
    return records


def ours(record: OwnRecord) -> tuple[Any, ...]:
    context, scope = record.context, record.scope
    if "exception.stacktrace" in record.attributes:
        text = str(record.attributes["exception.stacktrace"])
        record.attributes["exception.stacktrace"] = text
    return (
        (record.time_ns, record.observed_ns),
        (context.trace_id, context.span_id) if context is not None else None,
        record.severity_number,
        record.severity_text,
        record.body,
        record.attributes,
        record.event_name,
        (scope.name, scope.version, scope.schema_url, scope.attributes),
    )


def test_a_program_gives_the_records_that_the_sdk_would_give() -> None:
    with recording(OTLP) as recorded:
        program(api.get_logger("scope", "1.2", schema_url="https://schema", attributes={"k": "v"}))
        records = taken(recorded.telemetry)
    assert [ours(record) for record in records] == expected_from_the_sdk()
    assert [record.dropped_attributes for record in records] == [1, 0, 0, 0]


def test_a_record_belongs_to_the_current_span_of_either_api() -> None:
    with recording(OTLP) as recorded:
        records: list[OwnRecord] = []

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> None:
            with lambdatrace.span("own"):
                api.get_logger("scope").emit(body="text")
            records.extend(taken(recorded.telemetry))

        handler({}, LambdaContext())
    (record,) = records
    assert record.context is not None
    assert record.context.span_id == recorded.span("own").span_id


@pytest.fixture
def std_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("lambdatrace.tests.otel")
    logger.setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the SDK's own, for its handler
        handler = LoggingHandler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_record_of_logging_is_sent_once_with_the_sdks_handler(
    std_logger: logging.Logger,
) -> None:
    with recording(OTLP) as recorded:
        lambdatrace.instrument(lambda _event, _context: None)
        std_logger.warning("low %s", "stock", extra={"sku": 7})
        logging.getLogger("lambdatrace.tests.other").warning("captured")
        records = taken(recorded.telemetry)
    assert [str(record.body) for record in records] == ["low stock", "captured"]
    assert (records[0].severity_number, records[0].severity_text) == (13, "WARN")
    assert records[0].attributes["sku"] == 7
    assert records[0].scope.name == "lambdatrace.tests.otel"


def test_a_provider_that_is_set_later_takes_our_place_and_is_flushed() -> None:
    flushed: list[int] = []

    class Provider(LoggerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            flushed.append(timeout_millis)
            return super().force_flush(timeout_millis)

    exporter: Any = made_exporter()
    with recording(OTLP) as recorded:
        logger = api.get_logger("scope")
        logger.emit(body="ours")
        provider = Provider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        api.set_logger_provider(provider)
        logger.emit(body="theirs")
        assert [record.body for record in taken(recorded.telemetry)] == ["ours"]
        recorded.telemetry.flush()
    assert [data.log_record.body for data in exporter.get_finished_logs()] == ["theirs"]
    assert len(flushed) == 1


def test_where_logs_go_nowhere_nothing_is_kept(recorded: Recorded) -> None:
    logger = api.get_logger("scope")
    assert not logger.enabled()
    logger.emit(body="text")
    assert taken(recorded.telemetry) == []

"""Records of `logging` as OTLP log records."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from opentelemetry._logs import SeverityNumber

import lambdatrace
from lambdatrace.logs.capture import SCOPES_MAX, TEXT_LENGTH_MAX, severity_number
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambdatrace.log_record import LogRecord

OTLP = {"OTEL_LOGS_EXPORTER": "otlp"}
TRACE, ROOT, CHILD = "0" * 31 + "1", "0" * 15 + "1", "0" * 15 + "2"


class Silent(logging.Handler):
    """So that `logging` does not write to standard error for want of a handler."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    logger = logging.getLogger(request.node.name)
    logger.setLevel(1)
    handler = Silent()
    logger.addHandler(handler)
    yield logger
    logger.handlers.clear()
    logger.propagate = True


def captured(
    write: Callable[[], object], environment: dict[str, str] | None = None
) -> list[LogRecord]:
    """The log records that arrive of what `write` logs in an invocation."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []  # pytest's own put the message together
    try:
        with recording({**OTLP, **(environment or {})}) as recorded:
            lambdatrace.instrument(lambda _event, _context: write())({}, LambdaContext())
            lambdatrace.flush()
    finally:
        root.handlers = handlers
    return recorded.log_records


def texts(records: list[LogRecord]) -> list[str]:
    return [str(record.body) for record in records]


def test_a_record_is_sent_with_its_place_its_keys_and_its_span(log: logging.Logger) -> None:
    def write() -> None:
        with lambdatrace.span("work"):
            log.warning("paid %s", 5, extra={"order_id": 7, "items": [{"n": 1}]})

    (record,) = captured(write)
    assert str(record.body) == "paid 5"
    assert (record.severity_number, record.severity_text) == (13, "WARNING")
    assert record.scope.name == log.name
    assert record.context is not None
    assert (record.context.trace_id, record.context.span_id) == (TRACE, CHILD)
    assert record.attributes == {
        "code.file.path": __file__,
        "code.function.name": "write",
        "code.line.number": write.__code__.co_firstlineno + 2,
        "faas.invocation_id": "11111111-2222-3333-4444-555555555555",
        "order_id": 7,
        "items": [{"n": 1}],
    }
    assert record.time_ns > 0
    assert record.observed_ns == 1_700_000_000_000_000_000


def test_an_exception_is_sent_by_opentelemetrys_names(log: logging.Logger) -> None:
    def write() -> None:
        try:
            int("no stock")
        except ValueError:
            log.exception("failed")

    (record,) = captured(write)
    assert record.attributes["exception.type"] == "ValueError"
    assert record.attributes["exception.message"].startswith("invalid literal for int()")
    trace = str(record.attributes["exception.stacktrace"])
    assert trace.startswith("Traceback (most recent call last):\n")
    assert 'int("no stock")' in trace


def test_by_default_nothing_is_captured(log: logging.Logger) -> None:
    assert captured(lambda: log.warning("x"), {"OTEL_LOGS_EXPORTER": ""}) == []


def test_what_is_logged_is_sent_as_it_was_at_that_moment(log: logging.Logger) -> None:
    def write() -> None:
        cart = [1]
        log.warning("cart %s", cart, extra={"cart": cart})
        log.warning({"cart": cart})
        log.warning("%(a)s", {"a": cart})
        cart.append(2)

    first, second, third = captured(write)
    assert (str(first.body), first.attributes["cart"]) == ("cart [1]", [1])
    assert second.body == {"cart": [1]}
    assert str(third.body) == "[1]"


def test_a_message_whose_arguments_cannot_change_is_put_together_after_the_response(
    log: logging.Logger,
) -> None:
    records = captured(lambda: log.warning("%s %d %r %5.1f", "a", 1, None, 2.25))
    assert type(records[0].body).__name__ == "LateMessage"
    assert texts(records) == ["a 1 None   2.2"]


def test_arguments_that_do_not_fit_are_sent_beside_the_message(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "%d of %d"
    assert texts(captured(lambda: log.warning(message, "x"))) == ["%d of %d ('x',)"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.DEBUG, SeverityNumber.DEBUG),
        (logging.INFO, SeverityNumber.INFO),
        (logging.INFO + 2, SeverityNumber.INFO3),
        (logging.INFO + 9, SeverityNumber.INFO4),
        (logging.WARNING, SeverityNumber.WARN),
        (logging.ERROR, SeverityNumber.ERROR),
        (logging.CRITICAL, SeverityNumber.FATAL),
        (logging.CRITICAL + 1, SeverityNumber.FATAL2),
        (1000, SeverityNumber.FATAL4),
        (5, SeverityNumber.TRACE),
        (0, SeverityNumber.UNSPECIFIED),
        (-1, SeverityNumber.UNSPECIFIED),
    ],
)
def test_levels_are_opentelemetrys_severities(level: int, expected: SeverityNumber) -> None:
    assert severity_number(level) == expected.value


def test_the_level_counts_that_the_caller_gave_and_no_handler_changes(log: logging.Logger) -> None:
    class Rounding(Silent):
        def emit(self, record: logging.LogRecord) -> None:
            record.levelno = 20  # as the runtime's JSON formatter does

    log.addHandler(Rounding())
    (record,) = captured(lambda: log.log(25, "x"))
    assert (record.severity_number, record.severity_text) == (12, "Level 25")


def test_only_what_reaches_the_root_is_taken_from_the_level_set_on(log: logging.Logger) -> None:
    def write() -> None:
        log.info("low")
        log.error("high")
        log.propagate = False
        log.error("kept to itself")
        lambdatrace.logger("test_only_what").error("structured")

    assert texts(captured(write, {"LAMBDATRACE_OTLP_LOG_LEVEL": "ERROR"})) == ["high", "structured"]


def test_a_handler_that_fails_fails_as_before_and_the_record_is_taken(log: logging.Logger) -> None:
    class Broken(Silent):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    log.addHandler(Broken())

    def write() -> None:
        with pytest.raises(OSError, match="disk full"):
            log.warning("x")

    assert texts(captured(write)) == ["x"]


def test_secrets_do_not_leave(log: logging.Logger) -> None:
    (record,) = captured(
        lambda: log.warning("card %s", "4111111111111111", extra={"password": "hunter2"})
    )
    assert str(record.body) == "card REDACTED"
    assert record.attributes["password"] == "REDACTED"


def test_values_and_texts_are_bounded(log: logging.Logger) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    def write() -> None:
        log.warning("x" * (TEXT_LENGTH_MAX + 1), extra={f"k{n}": n for n in range(200)})
        log.warning("odd", extra={"odd": Unprintable(), "deep": [[[[[[[[[[[[1]]]]]]]]]]]]})

    long, odd = captured(write)
    assert len(str(long.body)) == TEXT_LENGTH_MAX + 1
    assert (len(long.attributes), long.dropped_attributes) == (128, 76)
    assert odd.attributes["odd"].startswith("<tests.sdk.logs.test_capture.")
    assert odd.attributes["deep"] == [[[[[[[[[["…"]]]]]]]]]]


def test_more_records_than_fit_are_dropped_and_counted(log: logging.Logger) -> None:
    def write() -> None:
        for number in range(5):
            log.warning("%d", number)

    assert texts(captured(write, {"OTEL_BLRP_MAX_QUEUE_SIZE": "3"})) == ["2", "3", "4"]


def test_loggers_without_end_are_not_remembered_without_end(log: logging.Logger) -> None:
    with recording(OTLP) as recorded:
        for number in range(SCOPES_MAX + 5):
            other = logging.Logger(f"{log.name}.{number}")  # noqa: LOG001 - none of the process's
            other.addHandler(Silent())
            other.warning("x")
        lambdatrace.flush()
    names = {record.scope.name for record in recorded.log_records}
    assert len(names) == SCOPES_MAX + 5

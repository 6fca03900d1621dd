"""Records of `logging` know the trace, whatever formatter, factory or handler is in use."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools import Logger
from awslambdaric.lambda_runtime_log_utils import JsonFormatter

import lambdatrace
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE, ROOT, CHILD = "0" * 31 + "1", "0" * 15 + "1", "0" * 15 + "2"
NONE = (None, None, None)


class Kept(logging.Handler):
    """Keeps the lines, formatted as they come."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))

    def ids(self) -> list[tuple[Any, ...]]:
        return [
            tuple(vars(record).get(key, 0) for key in ("trace_id", "span_id", "trace_flags"))
            for record in self.records
        ]


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("app", logging.DEBUG)  # noqa: LOG001 - the test's own, not the process's
    yield logger
    logger.handlers.clear()


def keep(log: logging.Logger, formatter: logging.Formatter | None = None) -> Kept:
    handler = Kept(formatter or logging.Formatter("%(message)s"))
    log.addHandler(handler)
    return handler


def test_a_record_has_the_ids_of_the_span_it_is_written_in(log: logging.Logger) -> None:
    kept = keep(log)
    with recording():

        @lambdatrace.instrument
        def handler(_event: Any, _context: Any) -> None:
            log.info("in the invocation")
            with lambdatrace.span("work"):
                log.info("in a span")

        log.info("before")
        handler({}, LambdaContext())
        lambdatrace.flush()
        log.info("after")
    log.info("without lambdatrace")
    assert kept.ids() == [NONE, (TRACE, ROOT, "01"), (TRACE, CHILD, "01"), NONE, NONE]


def test_a_trace_that_is_not_sampled_has_ids_too(log: logging.Logger) -> None:
    kept = keep(log)
    with recording({"OTEL_TRACES_SAMPLER": "always_off"}):
        lambdatrace.instrument(lambda _event, _context: log.info("x"))({}, LambdaContext())
    assert kept.ids() == [(TRACE, ROOT, "00")]


def test_the_runtimes_own_json_lines_have_the_ids_and_none_outside_of_a_span(
    log: logging.Logger,
) -> None:
    kept = keep(log, JsonFormatter())
    with recording():
        log.info("before")
        lambdatrace.instrument(lambda _event, _context: log.info("in"))({}, LambdaContext())
    before, inside = (json.loads(line) for line in kept.lines)
    assert set(before) == {"timestamp", "level", "message", "logger"}
    assert set(inside) - set(before) == {"trace_id", "span_id", "trace_flags"}
    assert inside["trace_id"] == TRACE


def test_a_text_line_has_the_ids_only_where_the_format_asks_for_them(log: logging.Logger) -> None:
    plain = keep(log, logging.Formatter("[%(levelname)s]\t%(message)s"))
    asking = keep(log, logging.Formatter("%(trace_id)s %(span_id)s %(message)s"))
    with recording():
        log.info("before")
        lambdatrace.instrument(lambda _event, _context: log.info("in"))({}, LambdaContext())
    assert plain.lines == ["[INFO]\tbefore", "[INFO]\tin"]
    assert asking.lines == ["None None before", f"{TRACE} {ROOT} in"]


def test_the_lines_of_powertools_logger_have_them_too() -> None:
    stream = io.StringIO()
    powertools = Logger(service="test_log_ids", stream=stream)
    with recording():
        lambdatrace.instrument(lambda _event, _context: powertools.info("x"))({}, LambdaContext())
    line = json.loads(stream.getvalue())
    assert (line["trace_id"], line["span_id"], line["trace_flags"]) == (TRACE, ROOT, "01")


def test_a_users_own_trace_id_stays_and_is_no_error(log: logging.Logger) -> None:
    kept = keep(log)
    with recording():

        @lambdatrace.instrument
        def handler(_event: Any, _context: Any) -> None:
            log.info("x", extra={"trace_id": "mine"})

        handler({}, LambdaContext())
    assert kept.ids() == [("mine", ROOT, "01")]


def test_record_factories_set_before_and_after_stay(log: logging.Logger) -> None:
    kept = keep(log)
    before = logging.getLogRecordFactory()

    def factory(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = before(*arguments, **keywords)
        record.tenant = "gold"
        return record

    try:
        with recording():
            logging.setLogRecordFactory(factory)
            lambdatrace.instrument(lambda _event, _context: log.info("x"))({}, LambdaContext())
            assert logging.getLogRecordFactory() is factory
    finally:
        logging.setLogRecordFactory(before)
    assert vars(kept.records[0])["tenant"] == "gold"
    assert kept.ids() == [(TRACE, ROOT, "01")]


@pytest.mark.parametrize(
    "environment", [{"LAMBDATRACE_LOGS_INJECTION": "false"}, {"LAMBDATRACE_ENABLED": "false"}]
)
def test_switched_off_records_have_the_fields_and_no_ids(
    log: logging.Logger, environment: dict[str, str]
) -> None:
    kept = keep(log)
    with recording(environment):
        lambdatrace.instrument(lambda _event, _context: log.info("x"))({}, LambdaContext())
    assert kept.ids() == [NONE]


FORMATTED = """
import logging, sys
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("%(trace_id)s %(span_id)s %(trace_flags)s %(message)s"))
logging.getLogger().addHandler(handler)
import lambdatrace
logging.error("before the first use")
lambdatrace.instrument(lambda event, context: logging.error("in"))({}, None)
logging.error("mine", extra={"trace_id": "a"})
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"LAMBDATRACE_ENABLED": "false"},
        {"OTEL_SDK_DISABLED": "true"},
        {"LAMBDATRACE_LOGS_INJECTION": "false"},
    ],
)
def test_a_format_with_the_ids_fails_in_no_state(environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORMATTED],
        env={"AWS_LAMBDA_FUNCTION_NAME": "orders", "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = ran.stdout.splitlines()
    assert lines == [
        "None None None before the first use",
        "None None None in",
        "a None None mine",
    ], ran.stderr


def test_where_the_call_stands_is_told_as_before(log: logging.Logger) -> None:
    kept = keep(log, logging.Formatter("%(funcName)s"))
    with recording():
        log.info("x")
    assert kept.lines == ["test_where_the_call_stands_is_told_as_before"]

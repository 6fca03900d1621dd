from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import lambdatrace
from lambdatrace.records import Span, SpanContext
from lambdatrace.sinks import Outcome
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT, LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    import pytest

SCRIPT = """
import logging

import lambdatrace
from lambdatrace.testing import LambdaContext

@lambdatrace.instrument
def handler(event, context):
    logging.getLogger().warning("low stock")

handler({}, LambdaContext())
"""


def run(**environment: str) -> list[str]:
    """The lines a process with one invocation writes on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**ENVIRONMENT, "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stderr.splitlines()


def test_what_was_lost_is_said_in_one_line_when_the_process_ends() -> None:
    lines = run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert lines[-1] == "[lambdatrace] lost: spans: 3 not sent"


def test_each_log_record_that_was_lost_is_counted_once() -> None:
    lines = run(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_LOGS_EXPORTER="otlp")
    assert lines[-1] == "[lambdatrace] lost: spans: 3 not sent; log records: 1 not sent"


def test_nothing_is_said_when_all_is_well() -> None:
    lines = run(OTEL_TRACES_EXPORTER="console")
    assert [line for line in lines if "lost" in line] == []


def test_the_counters_can_be_read_in_code() -> None:
    sink = MemorySink([Outcome(is_accepted=True, rejected=1, message="too old")])
    with recording(sink=sink):
        lambdatrace.instrument(lambda _event, _context: None)({}, LambdaContext())
        assert lambdatrace.statistics()["traces"] == {
            "sent": 2,
            "retried": 0,
            "rejected": 1,
            "dropped": {"buffer_full": 0, "not_encodable": 0, "not_writable": 0},
            "waiting": 0,
        }


def test_records_for_a_sink_that_cannot_be_made_are_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lambdatrace.sinks.console", None)
    telemetry = Telemetry({**ENVIRONMENT, "OTEL_TRACES_EXPORTER": "console"})
    telemetry.buffer.append(Span("lost", SpanContext("1" * 32, "2" * 16), None, 1))
    telemetry.flush()
    statistics = telemetry.delivery.statistics()["traces"]
    assert (statistics["dropped"]["not_writable"], statistics["waiting"]) == (1, 0)
    assert telemetry.losses() == "spans: 1 dropped"
    assert capsys.readouterr().err.splitlines() == [
        (
            "[lambdatrace] spans could not be written: ModuleNotFoundError: import of "
            "lambdatrace.sinks.console halted; None in sys.modules (said once)"
        ),
    ]

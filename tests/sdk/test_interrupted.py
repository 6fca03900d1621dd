"""What a signal handler of the user's raises while an odd value is being caught goes on."""

from __future__ import annotations

import io
import logging
import os
import signal
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace import tracing
from lambdatrace.guard import Guard
from lambdatrace.handler import begin
from lambdatrace.invocation import attribute, called
from lambdatrace.journal import Journal
from lambdatrace.logs.json_lines import JsonLines, StandardOutput
from lambdatrace.patches.aws_context import add_context
from lambdatrace.span_limits import LimitingSink
from lambdatrace.testing import LambdaContext, MemorySink, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class OutOfTime(io.UnsupportedOperation):
    """An OSError, as TimeoutError is, and a ValueError, which code of ours expects both."""


def out_of_time(_number: int, _frame: Any) -> None:
    raise OutOfTime


def ring(*_: Any) -> Any:
    """Have the signal arrive here, as in any line that has come this far."""
    os.kill(os.getpid(), signal.SIGUSR1)


class Rings:
    """A value of which anything takes so long that the alarm goes off."""

    __str__ = __getattr__ = ring


class RingsInTheMiddle(LambdaContext):
    invoked_function_arn = property(ring, ring)


class RingsAtReset:
    reset = ring


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, out_of_time)
    yield
    signal.signal(signal.SIGUSR1, before)


def report_a_failure(_journal: Journal) -> None:
    Guard(write=ring).run(int, "no number")


def begin_an_invocation(journal: Journal) -> None:
    with recording() as recorded:
        recorded.telemetry.journal = journal
        context = RingsInTheMiddle.__new__(RingsInTheMiddle)
        context.__dict__.update(vars(LambdaContext()))
        begin(recorded.telemetry, {}, context)


def log_a_line(_journal: Journal) -> None:
    handler = StandardOutput()
    handler.setFormatter(JsonLines("shop", dict, dict, lambda: None))
    handler.emit(logging.LogRecord("shop", logging.INFO, "app.py", 1, "%s", (Rings(),), None))


class RingingLimits:
    record = ring


PLACES: dict[str, Callable[[Journal], object]] = {
    "a failure is reported": report_a_failure,
    "a field of the context is read": lambda _: attribute(Rings(), "aws_request_id"),
    "a method of the context is called": lambda _: called(ring),
    "the fields of the context are read": begin_an_invocation,
    "a line of a log is written": log_a_line,
    "a record is cut": lambda _: LimitingSink(MemorySink(), RingingLimits()).send(  # type: ignore[arg-type]
        [1], 1.0, lambda: None
    ),
    "an odd value goes into the journal": lambda journal: journal.write(("end", Rings())),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_alarm_goes_on_while(place: str, tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    with pytest.raises(OutOfTime):
        copy_context().run(PLACES[place], journal)
    journal.close()


@pytest.mark.parametrize("call", ["pwrite", "fstat"])
def test_an_alarm_goes_on_while_an_entry_is_written_and_the_next_one_is_read(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path))
    monkeypatch.setattr(os, call, ring)
    with pytest.raises(OutOfTime):
        journal.write(("timeout", "a"))
    monkeypatch.undo()
    journal.write(("timeout", "b"))
    assert b"timeout" in (tmp_path / journal.name).read_bytes()
    assert journal.dropped == 0
    journal.close()


def test_an_alarm_goes_on_while_entries_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", ring)
    with pytest.raises(OutOfTime):
        journal.settle(lambda: False, list)
    journal.close()


def test_an_alarm_goes_on_while_a_context_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording() as recorded:
        span = recorded.telemetry.tracer.start_span("work")
        token = tracing.activate(span)
        tracing.deactivate(token)
        monkeypatch.setattr(tracing, "CURRENT_SPAN", RingsAtReset())
        with pytest.raises(OutOfTime):
            tracing.deactivate(token)
        monkeypatch.setattr("lambdatrace.span_scope.CURRENT_SPAN", tracing.CURRENT_SPAN)
        scope = lambdatrace.span("left")
        scope._tracer, scope._guard = recorded.telemetry.tracer, recorded.telemetry.guard
        scope._token = token
        with pytest.raises(OutOfTime):
            scope.__exit__(None, None, None)


def test_an_alarm_goes_on_while_a_payload_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdatrace.patches.aws_context.json.loads", ring)
    with pytest.raises(OutOfTime):
        add_context(
            *("EventBridge", "PutEvents", {"Entries": [{"Detail": "{}"}]}),
            *({"traceparent": "00-1-2-01"}, "Root=1", ["eventbridge"]),
        )

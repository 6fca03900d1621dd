"""A value of the user's may raise what ends a process; it which nobody else sees."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace.guard import Guard
from lambdatrace.plain import bounded, text_of
from lambdatrace.redaction import Redaction
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exits:
    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise SystemExit(4)

    def __len__(self) -> int:
        raise SystemExit(4)


class ExitsList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise SystemExit(5)

    def __len__(self) -> int:
        raise SystemExit(10)


class ExitsTuple(tuple[Any, ...]):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        raise SystemExit(6)


class ExitsDict(dict[str, Any]):
    def __iter__(self) -> Iterator[Any]:
        raise SystemExit(7)

    def items(self) -> Any:
        raise SystemExit(10)

    def get(self, *_: Any) -> Any:
        raise SystemExit(8)


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


VALUES = {
    "object": Exits(),
    "list": ExitsList([1, 2]),
    "tuple": ExitsTuple((1, 2)),
    "dict": ExitsDict({"a": 1}),
    "nested": [{"deep": (Exits(), ExitsList([1]), ExitsDict({"b": 2}))}],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("exporter", ["otlp", "console"])
def test_a_value_that_exits_costs_itself_only(kind: str, exporter: str) -> None:
    value = VALUES[kind]  # no parameter: a failing test would write it out

    def handler(*_: Any) -> str:
        with lambdatrace.span("odd", attributes={"odd": value}) as span:
            span.set_attribute("later", value)
            span.add_event("event", {"odd": value})
            lambdatrace.metric("others", 1)
            lambdatrace.metric("orders", 1, properties={"odd": value})
            lambdatrace.logger("orders").info("an order", odd=value)
        return "done"

    variables = {"OTEL_TRACES_EXPORTER": exporter, "LAMBDATRACE_JOURNAL": "true"}
    with recording(variables) as recorded:
        recorded.telemetry.guard = Guard(write=lambda _: None)
        assert lambdatrace.instrument(handler)({"odd": value}, LambdaContext()) == "done"
        recorded.telemetry.flush()
        assert any("others" in document for document in recorded.metric_documents)
        assert Redaction().record(recorded.span("odd")).attributes.keys() == {"odd", "later"}


def test_an_exception_that_exits_when_it_is_written_reaches_the_caller_as_it_was() -> None:
    error = ExitingError()

    def handler(*_: Any) -> None:
        raise error

    with recording() as recorded:
        recorded.telemetry.guard = Guard(write=lambda _: None)
        with pytest.raises(ExitingError) as raised:
            lambdatrace.instrument(handler)({}, LambdaContext())
        recorded.telemetry.flush()
        assert raised.value is error
        (event,) = recorded.span("orders").events
        assert event.attributes["exception.message"] == "<unprintable>"
        assert "ExitingError" in str(event.attributes["exception.stacktrace"])


def test_what_fails_after_the_response_does_not_end_the_process() -> None:
    def fail() -> None:
        raise SystemExit(1)

    lines: list[str] = []
    assert Guard(write=lines.append).run(_call, fail) is None
    assert lines == ["_call: SystemExit: 1 (said once)"]


def _call(function: Any) -> None:
    function()


def _exit(_number: int, _frame: Any) -> None:
    raise SystemExit(7)


class Asks:
    def __str__(self) -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        return "text"


@pytest.mark.parametrize("read", [text_of, bounded, Redaction().value])
def test_the_exit_of_a_users_signal_handler_goes_on(read: Any) -> None:
    before = signal.signal(signal.SIGUSR1, _exit)
    try:
        with pytest.raises(SystemExit, match="7"):
            Guard().run(read, Asks())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_interruption_by_pythons_own_handler_goes_on() -> None:
    # Its frame is the one that it interrupts, as it is of a function that is not of Python.
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            Guard().run(os.kill, os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

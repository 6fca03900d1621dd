"""What is recorded of the exceptions that are hard to write down."""

from __future__ import annotations

import builtins
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from awslambdaric.lambda_runtime_exception import FaultException

import lambdatrace
from lambdatrace.exceptions import STACK_TEXT_MAX, StackTrace
from lambdatrace.guard import Guard
from lambdatrace.records import ERROR
from lambdatrace.testing import LambdaContext, recording
from lambdatrace.wire.otlp_protobuf import encode_span

if TYPE_CHECKING:
    from collections.abc import Callable


def recorded_exception(error: BaseException) -> dict[str, str]:
    """The attributes of the event of a handler that raises `error`, which comes out unchanged."""

    def handler(event: Any, context: Any) -> None:
        raise error

    with recording() as recorded:
        with pytest.raises(type(error)) as raised:
            lambdatrace.instrument(handler)({}, LambdaContext())
        span = recorded.span("orders")
    assert raised.value is error
    assert (span.status_code, [event.name for event in span.events]) == (ERROR, ["exception"])
    assert encode_span(span)
    return {key: str(value) for key, value in span.events[0].attributes.items()}


class SilentError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class OddError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307 - as it must not be


@pytest.mark.parametrize("kind", [SilentError, OddError])
def test_an_exception_whose_text_fails_is_recorded_without_it(kind: type[Exception]) -> None:
    found = recorded_exception(kind("x"))
    assert found["exception.message"] == "<unprintable>"
    assert found["exception.type"] == f"tests.sdk.test_exceptions.{kind.__name__}"
    assert f"{kind.__name__}: <exception str() failed>" in found["exception.stacktrace"]


def test_an_error_of_the_runtimes_has_its_message_as_text() -> None:
    error = FaultException(FaultException.MARSHAL_ERROR, "Unable to marshal response")
    assert recorded_exception(error)["exception.message"] == "Unable to marshal response"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ExceptionGroup is of Python 3.11")
def test_an_exception_group_is_recorded_with_its_exceptions_and_a_note_with_its_exception() -> None:
    make: Any = vars(builtins)["ExceptionGroup"]
    first: Any = ValueError("one")
    first.add_note("seen in the second batch")
    group = make("two failed", [first, make("inner", [KeyError("two")])])
    found = recorded_exception(group)
    assert found["exception.type"] == "ExceptionGroup"
    assert found["exception.message"] == "two failed (2 sub-exceptions)"
    for line in ("ValueError: one", "seen in the second batch", "inner (1 sub-", "KeyError: 'two'"):
        assert line in found["exception.stacktrace"]


@lambdatrace.span("between")
def between(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error", [KeyError("no row"), SyntaxError("odd", ("app.py", 1, 1, "x y", 1, 3))]
)
def test_a_stack_trace_has_the_functions_frames_and_none_of_ours(error: Exception) -> None:
    def handler(event: Any, context: Any) -> None:
        between(error)

    error.__cause__ = ValueError("before")
    with recording() as recorded:
        with pytest.raises(type(error)):
            lambdatrace.instrument(handler)({}, LambdaContext())
        (event,) = recorded.span("orders").events
    lines = str(event.attributes["exception.stacktrace"]).splitlines()
    assert lines[0] == "ValueError: before", "of the cause there are no frames: it was never raised"
    frames = [line.rpartition(" in ")[2] for line in lines if " in " in line]
    assert frames == ["handler", "between"]


def test_what_we_raise_on_the_functions_behalf_has_no_frames() -> None:
    handler: Any = lambda: None  # noqa: E731 - takes nothing, and is called with two arguments

    with recording() as recorded:
        with pytest.raises(TypeError):
            lambdatrace.instrument(handler)({}, LambdaContext())
        (event,) = recorded.span("orders").events
    assert str(event.attributes["exception.stacktrace"]).startswith("TypeError: ")


def test_a_recursion_error_is_recorded_with_its_innermost_frames() -> None:
    def dig(depth: int) -> int:
        with lambdatrace.span("dig"):
            return dig(depth + 1)

    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        recorded.telemetry.guard._write = lambda _: None
        with pytest.raises(RecursionError):
            lambdatrace.instrument(lambda *_: dig(0))({}, LambdaContext())
        root = recorded.span("orders")
    assert root.attributes["error.type"] == "RecursionError"
    trace = str(root.events[0].attributes["exception.stacktrace"])
    assert trace.count("\n") < 4 * 64
    assert len([s for s in recorded.spans if s.name == "dig"]) > 50


def test_a_chain_of_causes_is_recorded_up_to_a_bound() -> None:
    error: Exception = ValueError("first")
    for number in range(3000):
        following = ValueError(f"number {number} " + "x" * 100)
        following.__cause__ = error
        error = following
    found = recorded_exception(error)
    assert len(found["exception.stacktrace"]) <= STACK_TEXT_MAX
    assert found["exception.stacktrace"].endswith("x" * 100 + "\n"), "the last is what was raised"
    assert found["exception.stacktrace"].startswith("…\n")


def test_a_message_as_long_as_memory_is_recorded_up_to_a_bound() -> None:
    found = recorded_exception(ValueError("x" * 1_000_000))
    assert found["exception.message"] == "x" * (STACK_TEXT_MAX - 1) + "…"
    assert len(found["exception.stacktrace"]) <= STACK_TEXT_MAX


def test_an_exception_that_cannot_be_written_out_at_all_leaves_its_type() -> None:
    class BrokenError(Exception):
        @property
        def __notes__(self) -> Any:
            raise SystemError("no notes")

    assert "BrokenError" in str(StackTrace(BrokenError("x")))


def test_a_guard_without_stack_left_to_report_lets_nothing_through() -> None:
    class Exhausted(Guard):
        def report(self, place: str, error: Any, once_per: str = "") -> None:
            raise RecursionError

    assert Exhausted().run(int, "none") is None


class Watched:
    """Something that says when it is let go of."""

    alive = 0

    def __init__(self) -> None:
        Watched.alive += 1

    def __del__(self) -> None:
        Watched.alive -= 1


def query() -> None:
    connection = Watched()
    assert connection is not None
    raise KeyError("no row")


def test_a_caught_exception_lets_go_of_its_frames_while_the_handler_runs() -> None:
    def handler(event: Any, context: Any) -> list[int]:
        alive = []
        for _ in range(3):
            try:
                with lambdatrace.span("query"):
                    query()
            except KeyError:
                pass
            alive.append(Watched.alive)
        return alive

    with recording() as recorded:
        assert lambdatrace.instrument(handler)({}, LambdaContext()) == [0, 0, 0]
        texts = [
            str(span.events[0].attributes["exception.stacktrace"])
            for span in recorded.spans
            if span.name == "query"
        ]
    assert len(texts) == 3
    for text in texts:
        assert text.startswith("Traceback (most recent call last):\n")
        assert 'in query\n    raise KeyError("no row")\n' in text
        assert text.endswith("KeyError: 'no row'\n")


def fail_plainly() -> None:
    query()


def fail_in_a_chain() -> None:
    try:
        query()
    except KeyError as error:
        raise ValueError("no order") from error


def fail_while_handling() -> None:
    try:
        fail_in_a_chain()
    except ValueError:
        int("x")


def fail_without_context() -> None:
    try:
        query()
    except KeyError:
        raise SilentError from None


def fail_in_a_group() -> None:
    make: Any = vars(builtins).get("ExceptionGroup", lambda *_: ValueError("no groups"))
    try:
        query()
    except KeyError as error:
        raise make("some", [error]) from error


def fail_to_compile() -> None:
    compile("a b", "orders.py", "exec")


@pytest.mark.parametrize(
    "fail",
    [
        fail_plainly,
        fail_in_a_chain,
        fail_while_handling,
        fail_without_context,
        fail_in_a_group,
        fail_to_compile,
    ],
)
def test_a_stack_trace_reads_as_python_writes_it(fail: Callable[[], None]) -> None:
    try:
        fail()
    except Exception as error:  # noqa: BLE001 - any
        expected = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        trace = StackTrace(error)
    assert str(trace) == expected


def test_the_spans_that_an_exception_passes_share_what_it_reached() -> None:
    def inner() -> None:
        with lambdatrace.span("inner"):
            query()

    def handler(event: Any, context: Any) -> None:
        inner()

    with recording() as recorded:
        with pytest.raises(KeyError):
            lambdatrace.instrument(handler)({}, LambdaContext())
        inner_text, outer_text = (
            str(recorded.span(name).events[0].attributes["exception.stacktrace"])
            for name in ("inner", "orders")
        )
    assert inner_text == outer_text
    assert "in handler\n" in inner_text

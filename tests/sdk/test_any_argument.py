"""Whatever is given for any parameter: no exception of ours reaches the function, and it is said.

LAMBDATRACE_TEST_EXAMPLES says how many are tried of each property.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.guard import Guard
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = int(os.environ.get("LAMBDATRACE_TEST_EXAMPLES", "200"))
tried = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def _refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("not that")


def odd(*names: str) -> Any:
    """An object whose methods of these names raise."""
    return type("Odd", (), dict.fromkeys(names, _refuse))()


class OddMapping(dict[Any, Any]):
    get = items = keys = __iter__ = __getitem__ = _refuse


class OddText(str):
    __slots__ = ()
    __str__ = __hash__ = __eq__ = __len__ = _refuse


METHODS = (
    *("__str__", "__repr__", "__eq__", "__hash__", "__bool__", "__iter__", "__len__"),
    *("__getattr__", "__call__", "__format__", "__float__", "__int__", "__lt__", "__getitem__"),
)
ODD: list[Any] = [
    *(odd(name) for name in METHODS),
    *(odd("__str__", "__repr__"), odd("__hash__", "__eq__"), odd("__bool__", "__str__")),
    odd(*METHODS),
    *(OddMapping(a=1), OddText("late"), [1], {"a": [1]}, {1: 2}, {(1, 2): None}, (1,), {1}),
    *(None, True, 0, -1, 10**5000, float("nan"), float("inf"), b"x", "", "x", "\ud800"),
    *(object, ValueError("x"), lambda: None, _refuse, range(3), ..., Exception),
]
# By their places: Hypothesis would ask the objects themselves.
ARGUMENTS = st.tuples(*[st.integers(0, len(ODD) - 1)] * 4)


def use_span(name: Any, kind: Any, attributes: Any, links: Any) -> None:
    with lambdatrace.span(name if not callable(name) else "x", kind=kind, attributes=attributes):
        pass
    with lambdatrace.span("x", links=links):
        pass
    if callable(name):
        lambdatrace.span(name, kind=kind)
    lambdatrace.span("x")(name)


def use_handle(span: Any, first: Any, second: Any, third: Any, fourth: Any) -> None:
    span.set_attribute(first, second)
    span.set_attribute("list", third)
    span.set_attributes(fourth)
    span.set_attributes({"nested": second})
    span.add_event(first, second)
    span.add_event("x", third)
    span.record_exception(first)
    span.set_error(second)
    span.inject(third)
    span.update_name(fourth)


def use_metric(first: Any, second: Any, third: Any, fourth: Any) -> None:
    lambdatrace.metric(first, second, unit=third, dimensions=fourth)
    lambdatrace.metric("m", 1, resolution=first, timestamp=second, properties=third)
    lambdatrace.metric("m", fourth, namespace=first, dimensions={"d": second})
    lambdatrace.metric("m", 1, dimensions=[first, second], properties={"p": third})


def use_messages(first: Any, second: Any, third: Any, fourth: Any) -> None:
    list(lambdatrace.messages(first))
    sqs = {"eventSource": "aws:sqs", "messageId": third, "messageAttributes": fourth}
    list(lambdatrace.messages({"Records": second}))
    list(lambdatrace.messages({"Records": [first, sqs]}))


def use_logger(first: Any, second: Any, third: Any, fourth: Any) -> None:
    log = lambdatrace.logger(first, second, sample_rate=third, key=fourth)
    log.setLevel(first)
    for method in (log.debug, log.info, log.warning, log.error, log.critical, log.exception):
        method(first, second, key=third)
        method("x", level=first, msg=second, args=third, self=fourth)
        method("x", exc_info=first, stack_info=second, stacklevel=third, extra=fourth)
    log.log(first, second, key=third)
    log.append_keys(key=first, level=second)
    log.remove_keys(third)
    log.set_correlation_id(fourth)
    log.info("x")
    with log.append_context_keys(key=first, self=second):
        log.child(first).info(second)
    log.inject_lambda_context(correlation_id_path=first, log_event=second, clear_state=third)(
        lambda *_: None
    )(fourth, None)
    log.clear_state()


def use_instrument(first: Any, second: Any, third: Any, fourth: Any) -> None:
    lambdatrace.instrument(first)
    lambdatrace.instrument(capture_payload=second)(lambda *_: third)(fourth, LambdaContext())


USES: list[Callable[..., None]] = [
    use_span,
    lambda *given: use_handle(lambdatrace.current_span(), *given),
    use_metric,
    use_messages,
    use_logger,
    use_instrument,
]
NAMES = ["span", "handle", "metric", "messages", "logger", "instrument"]


@pytest.mark.parametrize("use", USES, ids=NAMES)
@tried
@given(places=ARGUMENTS)
def test_no_argument_makes_the_function_fail(use: Callable[..., None], places: Any) -> None:
    done = []
    arguments = [ODD[place] for place in places]

    def handler(*_: Any) -> str:
        use(*arguments)
        lambdatrace.metric("good", 1)
        with lambdatrace.span("good"):
            done.append(1)
        return "done"

    with recording({"OTEL_SERVICE_NAME": "s"}) as recorded:
        recorded.telemetry.guard = Guard(write=lambda _: None)
        with redirect_stderr(io.StringIO()):
            assert lambdatrace.instrument(handler)({}, LambdaContext()) == "done"
            recorded.telemetry.flush()
        assert done == [1]
        assert recorded.span("good").end_ns
        assert any("good" in document for document in recorded.metric_documents)


def said(use: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard error of a handler that does `use` twice."""
    with recording() as recorded:
        recorded.telemetry.guard = Guard()

        def handler(*_: Any) -> None:
            use()
            use()

        lambdatrace.instrument(handler)({}, LambdaContext())
    return capsys.readouterr().err.splitlines()


def test_an_attribute_whose_key_cannot_be_one_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key: Any = [1]
    (line,) = said(lambda: lambdatrace.current_span().set_attribute(key, 2), capsys)
    assert line == (
        "[lambdatrace] SpanHandle._set_attribute: TypeError: unhashable type: 'list' (said once)"
    )


def test_keys_of_a_log_line_may_be_called_like_the_loggers_own_parameters() -> None:
    with recording() as recorded:
        log = lambdatrace.logger("clashing")
        log.info("x", level="gold", msg="y", self="me")
        here = sys._getframe().f_lineno - 1  # the line above
    line = recorded.stdout.strip()
    assert '"msg":"y"' in line
    assert '"self":"me"' in line
    assert f'"location":"{sys._getframe().f_code.co_name}:{here}"' in line
    assert '"level":"INFO"' in line  # as with Powertools: Lambda tells the level by it

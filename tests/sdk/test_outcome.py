from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace.testing import START_NS, LambdaContext, recording

if TYPE_CHECKING:
    from lambdatrace.outcome import InvocationOutcome
    from lambdatrace.testing import Recorded

REQUEST_ID = "11111111-2222-3333-4444-555555555555"
HTTP_EVENT = {"requestContext": {"http": {"method": "GET"}}, "routeKey": "GET /pets"}


def outcomes(recorded: Recorded) -> list[InvocationOutcome]:
    """What a listener is told from now on."""
    told: list[InvocationOutcome] = []
    recorded.telemetry.on_completed.append(told.append)
    return told


def test_how_an_invocation_ended_is_told_once() -> None:
    with recording() as recorded:
        told = outcomes(recorded)

        def handler(event: Any, context: Any) -> Any:
            recorded.clock.advance(7)
            return event

        instrumented = lambdatrace.instrument(handler)
        for _ in range(2):
            recorded.clock.advance(100)
            instrumented({}, LambdaContext())
        recorded.telemetry.flush()
    assert [
        (o.request_id, o.is_cold_start, o.start_ns - START_NS, o.duration_ns, o.error_type)
        for o in told
    ] == [
        (REQUEST_ID, True, 100_000_000, 7_000_000, ""),
        (REQUEST_ID, False, 207_000_000, 7_000_000, ""),
    ]
    assert [o.init_ns > 0 for o in told] == [True, False]
    assert [(o.is_timed_out, o.batch_item_failures) for o in told] == [(False, 0), (False, 0)]


@pytest.mark.parametrize(
    ("error", "error_type"), [(ValueError("no"), "ValueError"), (SystemExit(3), "SystemExit")]
)
def test_what_the_handler_raises_is_the_error_type_of_the_outcome(
    error: BaseException, error_type: str
) -> None:
    def fail(event: Any, context: Any) -> None:
        raise error

    with recording() as recorded:
        told = outcomes(recorded)
        with pytest.raises(type(error)):
            lambdatrace.instrument(fail)({}, LambdaContext())
    assert [o.error_type for o in told] == [error_type]


@pytest.mark.parametrize(("status", "error_type"), [(200, ""), ("502", "502"), (503, "503")])
def test_a_5xx_answer_is_the_error_type_of_the_outcome(status: Any, error_type: str) -> None:
    with recording() as recorded:
        told = outcomes(recorded)
        lambdatrace.instrument(lambda *_: {"statusCode": status})(HTTP_EVENT, LambdaContext())
    assert [o.error_type for o in told] == [error_type]


def test_a_timeout_is_told_by_the_watchdog_and_not_again_by_the_end() -> None:
    def handler(event: Any, context: Any) -> None:
        recorded.clock.advance(2900)
        recorded.telemetry.invocation_times_out(recorded.clock.now_ns + 100_000_000)
        assert [(o.is_timed_out, o.error_type) for o in told] == [(True, "Sandbox.Timedout")]

    with recording() as recorded:
        told = outcomes(recorded)
        lambdatrace.instrument(handler)({}, LambdaContext())
    assert [o.duration_ns for o in told] == [2_900_000_000]


def test_a_listener_that_fails_harms_neither_the_others_nor_the_spans() -> None:
    def fail(outcome: InvocationOutcome) -> None:
        raise ValueError(outcome.request_id)

    with recording() as recorded:
        recorded.telemetry.guard.is_strict = False
        recorded.telemetry.on_completed.append(fail)
        told = outcomes(recorded)
        lambdatrace.instrument(lambda *_: None)({}, LambdaContext())
        assert recorded.span("orders").end_ns
    assert len(told) == 1

"""What the guard keeps from the user's code, and what it must not."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

import lambdatrace
from lambdatrace import telemetry
from lambdatrace.guard import Guard
from lambdatrace.telemetry import Telemetry
from lambdatrace.testing import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TooLate(Exception):  # noqa: N818 - as users name theirs
    pass


class Alarm:
    """A handler of another kind than a function."""

    def __call__(self, *about: Any) -> None:
        raise TooLate(about[0])


def too_late(number: int, frame: Any) -> None:
    raise TooLate(number)


def too_late_by_another(*about: Any) -> None:
    too_late(*about)


@pytest.fixture(params=[too_late, too_late_by_another, Alarm()])
def alarm(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """What has the signal arrive; the handler raises TooLate."""
    before = signal.signal(signal.SIGUSR1, request.param)
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def time_out(_number: int, _frame: Any) -> None:
    raise TimeoutError("the user's")  # an OSError, as a socket's own


def test_a_users_alarm_during_a_send_reaches_the_function_and_nothing_is_lost() -> None:
    before, handler = telemetry.installed(), signal.signal(signal.SIGALRM, time_out)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # which never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        current = Telemetry({**ENVIRONMENT, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, guard=Guard())
        telemetry.install(current)
        try:
            with lambdatrace.span("work"):
                pass
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeoutError, match="the user's"):
                lambdatrace.flush()
            assert [span.name for span in current.buffer.take(10)] == ["work"]
            assert current.guard.failures == 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            telemetry.install(before)
            current.delivery.forget_connections()


def test_what_a_signal_handler_raised_in_our_code_goes_on(alarm: Callable[[], None]) -> None:
    with pytest.raises(TooLate):
        Guard().run(alarm)


def test_what_a_value_raises_in_our_code_does_not_go_on(
    capsys: pytest.CaptureFixture[str], alarm: Callable[[], None]
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise TooLate("no text")

    def fail_beside_an_older_one() -> None:
        str(Odd())

    try:
        alarm()
    except TooLate:  # the user's, which is handled already
        assert Guard().run(fail_beside_an_older_one) is None
    assert "fail_beside_an_older_one: TooLate: no text (said once)" in capsys.readouterr().err

"""The watchdog's looks at the invocation under way."""

from __future__ import annotations

import lambdatrace
from lambdatrace.records import ERROR
from lambdatrace.testing import LambdaContext, recording
from lambdatrace.watchdog import UNKNOWN_S, Watchdog


def test_it_sleeps_until_a_warning_is_due_and_then_cuts_the_open_spans_short_once() -> None:
    with recording() as recorded:
        watchdog = Watchdog(recorded.telemetry)
        assert watchdog.look() == UNKNOWN_S, "no invocation has told what time they have"

        @lambdatrace.instrument
        def handler(event: object, context: object) -> None:
            with lambdatrace.span("work"):
                # Of three seconds a tenth is too much to keep: 0.2 s.
                assert watchdog.look() == 2.8
                recorded.clock.advance(2_799)
                assert 0 < watchdog.look() <= 0.001
                assert recorded.spans == []
                recorded.clock.advance(2)
                assert watchdog.look() == 2.8 * 0.9
                assert recorded.span("orders").status_code == ERROR
                assert recorded.span("work").status_code == ERROR
                sent = len(recorded.spans)
                assert watchdog.look() == 2.8 * 0.9
                assert len(recorded.spans) == sent

        handler({}, LambdaContext())
        assert watchdog.look() == 2.8 * 0.9, "as an invocation may begin in this moment"

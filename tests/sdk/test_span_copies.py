"""What a copy of a span's handle is, in this process and in another."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import lambdatrace
from lambdatrace.testing import LambdaContext, recording


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_handle_in_this_process_is_of_the_same_span(copied: Any) -> None:
    with recording() as recorded:
        with lambdatrace.span("work") as scope:
            state = copied({"span": lambdatrace.current_span(), "scope": scope})
            if copied is copy.copy:
                state = {key: copied(value) for key, value in state.items()}
            state["span"].set_attribute("a", 1)
            state["scope"].set_attribute("b", 2)
        assert copied(lambdatrace.current_span()).trace_id == "0" * 32
        recorded.telemetry.flush()
        assert recorded.span("work").attributes == {"a": 1, "b": 2}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_handle_has_the_ids_and_records_nothing(protocol: int) -> None:
    with recording() as recorded:
        with lambdatrace.span("work") as span:
            there = pickle.loads(pickle.dumps(span, protocol))
            there.set_attribute("a", 1)
            there.update_name("other")
            there.set_error("no")
            there.record_exception(ValueError("no"))
            assert (there.trace_id, there.span_id) == (span.trace_id, span.span_id)
            assert there.inject() == span.inject()
            assert there.inject()["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
            assert (there.is_recording, span.is_recording) == (False, True)
        recorded.telemetry.flush()
        assert [(one.name, one.attributes, one.events) for one in recorded.spans] == [
            ("work", {}, [])
        ]


def test_baggage_and_lineage_go_along_with_a_pickled_handle() -> None:
    @lambdatrace.instrument
    def handler(_event: Any, _context: Any) -> Any:
        span = lambdatrace.current_span()
        there = pickle.loads(pickle.dumps(span))
        return span.inject(), there.inject()

    with recording({"OTEL_PROPAGATORS": "tracecontext,baggage,xray"}):
        event = {
            "headers": {
                "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
                "tracestate": "a=1",
                "baggage": "user=7",
            },
            "requestContext": {"http": {"method": "GET", "path": "/"}},
            "version": "2.0",
        }
        here, there = lambdatrace.instrument(handler)(event, LambdaContext())
    assert there == here
    assert (here["baggage"], here["tracestate"]) == ("user=7", "a=1")


def test_the_handle_of_no_span_is_one_in_another_process() -> None:
    with recording():
        there = pickle.loads(pickle.dumps(lambdatrace.current_span()))
        there.set_attribute("a", 1)
        assert (repr(there), there.span_id, there.inject()) == ("<no span>", "0" * 16, {})

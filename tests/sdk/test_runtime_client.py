"""The runtime client's own marshaller, with ours around it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient, LambdaRuntimeClient
from awslambdaric.lambda_runtime_exception import FaultException

import lambdatrace
from lambdatrace import event_loop
from lambdatrace.records import ERROR
from lambdatrace.runtime_client import WatchedMarshaller, watch_responses, without_ours
from lambdatrace.testing import LambdaContext, recording

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def marshaller() -> Iterator[Any]:
    """As a client of the runtime finds it once a handler is decorated."""
    before = BaseLambdaRuntimeClient.marshaller
    BaseLambdaRuntimeClient.marshaller = getattr(before, "_marshaller", before)
    watch_responses()
    yield LambdaRuntimeClient("127.0.0.1:9").marshaller
    BaseLambdaRuntimeClient.marshaller = before
    loop, event_loop._own.loop = event_loop._own.loop, None
    if loop is not None:
        loop.close()


def test_what_is_json_and_what_is_bytes_goes_out_as_without_us(marshaller: Any) -> None:
    assert isinstance(marshaller, WatchedMarshaller)
    plain = marshaller._marshaller
    for response in ({"a": [1, None]}, b"bytes", "text", None):
        assert marshaller.marshal_response(response) == plain.marshal_response(response)
    assert marshaller.unmarshal_request(b'{"a": 1}', "application/json") == {"a": 1}
    assert marshaller.jsonEncoder is plain.jsonEncoder


def test_it_is_put_there_once(marshaller: Any) -> None:
    watch_responses()
    assert BaseLambdaRuntimeClient.marshaller is marshaller


def test_a_coroutine_is_run_and_what_it_gives_is_the_answer(marshaller: Any) -> None:
    async def handler(event: Any, context: Any) -> Any:
        return event

    with recording() as recorded:
        coroutine = lambdatrace.instrument(handler)({"a": 1}, LambdaContext())
        assert marshaller.marshal_response(coroutine) == ('{"a": 1}', "application/json")
        assert recorded.span("orders").end_ns


def test_an_answer_that_is_no_json_is_an_error_of_the_invocation(marshaller: Any) -> None:
    with recording() as recorded:
        # As with an extension: the records are made after the response.
        recorded.telemetry.flush = lambda *_: True  # type: ignore[method-assign]
        answer = lambdatrace.instrument(lambda *_: {1, 2})({}, LambdaContext())
        with pytest.raises(FaultException):
            marshaller.marshal_response(answer)
        recorded.telemetry.complete_ended()
        (span,) = [s for s in recorded.telemetry.buffer.take(9) if s.name == "orders"]
    assert (span.status_code, span.attributes["error.type"]) == (ERROR, "Runtime.MarshalError")


def test_an_unstarted_generator_is_an_invocation_that_failed(marshaller: Any) -> None:
    def handler(event: Any, context: Any) -> Any:
        yield event

    with recording() as recorded:
        generator = lambdatrace.instrument(handler)({}, LambdaContext(aws_request_id="g"))
        with pytest.raises(FaultException):
            marshaller.marshal_response(generator)
        span = recorded.span("orders")
    assert (span.status_code, span.attributes["error.type"]) == (ERROR, "Runtime.MarshalError")
    assert span.attributes["faas.invocation_id"] == "g"


def test_a_stack_trace_is_without_our_frames_and_pythons_event_loop_but_has_all_the_users() -> None:
    loop = Path(asyncio.__file__).parent / "base_events.py"
    ours = Path(lambdatrace.__file__).parent / "event_loop.py"
    begin, run = (str(ours), 1, "run", ""), (str(loop), 2, "run_until_complete", "")
    own = [
        ("/var/task/src/asyncio/orders.py", 3, "handler", ""),
        ("/var/task/app.py", 4, "load", ""),
        (str(loop), 5, "run_until_complete", ""),
    ]
    assert without_ours([begin, run, *own]) == own

from __future__ import annotations

import json

import pytest

from lambdatrace.harness.runtime_api import (
    ACCEPTED,
    Answer,
    Event,
    Meaning,
    RuntimeApi,
    RuntimeState,
    Step,
    event_answer,
    function_error_type,
    kept_error_cause,
)

EVENT = Event("id-1", b'{"a":1}', 1700000000123, "Root=1-2-3", "arn:aws:lambda:x")


def in_state(state: RuntimeState) -> RuntimeApi:
    """A runtime API brought to `state` by the calls that lead there."""
    api = RuntimeApi()
    if state is RuntimeState.INIT_ERROR:
        api.init_error("Runtime.ImportModuleError")
    elif state is not RuntimeState.STARTED:
        api.next()
        if state is not RuntimeState.READY:
            api.deliver(EVENT)
        if state is RuntimeState.RESPONDED:
            api.response("id-1", 2)
    assert api.state is state
    return api


def refused(wanted: str, state: str) -> Step:
    body = {
        "errorMessage": f"State transition from {state} to {wanted} failed for runtime. "
        "Error: State transition is not allowed",
        "errorType": "InvalidStateTransition",
    }
    return Step(Answer(403, json.dumps(body).encode()), Meaning.NOTHING)


def test_an_invoke_is_delivered_answered_and_followed_by_the_next() -> None:
    api = RuntimeApi()
    waiting = [api.is_waiting]
    assert api.next() == Step(None, Meaning.NEXT)
    waiting.append(api.is_waiting)
    assert api.deliver(EVENT).body == EVENT.body
    waiting.append(api.is_waiting)
    assert waiting == [False, True, False]
    assert api.response("id-1", 10) == Step(ACCEPTED, Meaning.RESPONSE)
    assert api.next() == Step(None, Meaning.NEXT)


def test_the_event_carries_its_headers_and_leaves_empty_ones_out() -> None:
    bare = (
        b"Lambda-Runtime-Aws-Request-Id: id-1\r\n"
        b"Lambda-Runtime-Deadline-Ms: 1700000000123\r\n"
        b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:x\r\n"
        b"Lambda-Runtime-Trace-Id: Root=1-2-3\r\n"
    )
    assert event_answer(EVENT) == Answer(200, b'{"a":1}', bare)
    with_context = Event("id-1", b'{"a":1}', 1700000000123, "Root=1-2-3", "arn:aws:lambda:x", "{}")
    assert event_answer(with_context) == Answer(
        200, b'{"a":1}', bare + b"Lambda-Runtime-Client-Context: {}\r\n"
    )


def test_asking_again_while_an_invoke_runs_gives_the_same_event() -> None:
    api = in_state(RuntimeState.RUNNING)
    assert api.next() == Step(None, Meaning.REPEAT)
    assert api.state is RuntimeState.RUNNING


def test_a_wrong_request_id_is_refused_and_the_right_one_still_taken() -> None:
    api = in_state(RuntimeState.RUNNING)
    assert api.response("id-2", 1) == Step(
        Answer(400, b'{"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}'),
        Meaning.NOTHING,
    )
    assert api.error("id-1", "Runtime.MarshalError") == Step(
        ACCEPTED, Meaning.ERROR, "Runtime.MarshalError"
    )


@pytest.mark.parametrize(
    "state", [RuntimeState.STARTED, RuntimeState.READY, RuntimeState.RESPONDED]
)
def test_a_result_without_an_event_is_an_invalid_transition(state: RuntimeState) -> None:
    expected = refused("ResponseSent", state.value)
    assert in_state(state).response("id-1", 1) == expected
    assert in_state(state).error("id-1", "Runtime.X") == expected


@pytest.mark.parametrize(
    "state",
    [
        RuntimeState.INIT_ERROR,
        RuntimeState.READY,
        RuntimeState.RUNNING,
        RuntimeState.RESPONDED,
    ],
)
def test_an_init_error_is_taken_once_and_before_the_first_next_only(state: RuntimeState) -> None:
    assert RuntimeApi().init_error("Runtime.ImportModuleError") == Step(
        ACCEPTED, Meaning.INIT_ERROR, "Runtime.ImportModuleError"
    )
    assert in_state(state).init_error("Runtime.X") == refused("InitError", state.value)


def test_after_an_init_error_there_is_no_next() -> None:
    assert in_state(RuntimeState.INIT_ERROR).next() == refused("Ready", "InitError")


@pytest.mark.parametrize(("size", "is_taken"), [(6291556, True), (6291557, False)])
def test_a_response_may_have_6_mib_and_100_bytes(size: int, is_taken: bool) -> None:
    step = in_state(RuntimeState.RUNNING).response("id-1", size)
    too_large = Step(
        Answer(
            413,
            b'{"errorMessage": "Exceeded maximum allowed payload size (6291556 bytes).", '
            b'"errorType": "RequestEntityTooLarge"}',
        ),
        Meaning.TOO_LARGE,
        "Function.ResponseSizeTooLarge",
    )
    assert step == (Step(ACCEPTED, Meaning.RESPONSE) if is_taken else too_large)


def test_a_response_mode_other_than_streaming_is_refused() -> None:
    api = in_state(RuntimeState.RUNNING)
    message = "Invalid response mode 'buffered': 'streaming' is the only value"
    document = {"errorMessage": message, "errorType": "InvalidFunctionResponseMode"}
    assert api.response("id-1", 1, "buffered") == Step(
        Answer(400, json.dumps(document).encode()), Meaning.NOTHING
    )
    assert api.response("id-1", 1, "streaming") == Step(ACCEPTED, Meaning.RESPONSE)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
        ("Function.MyError", "Function.MyError"),
        ("Function.my error", "Function.Unknown"),
        ("ValueError", "Runtime.Unknown"),
        ("", "Runtime.Unknown"),
    ],
)
def test_error_types_outside_lambdas_pattern_become_unknown(header: str, kept: str) -> None:
    assert function_error_type(header) == kept


def test_an_error_cause_of_more_than_64_kib_is_not_kept() -> None:
    assert kept_error_cause("x" * 65536) == "x" * 65536
    assert not kept_error_cause("x" * 65537)

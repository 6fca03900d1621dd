"""InvokeWithResponseStream with boto3: the response of a function in a stream of events."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.harness import event_stream
from tests.harness.lambda_api.conftest import lambda_client, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

SOURCE = """
    def handler(event, context):
        print("working")
        if event == "raise":
            raise ValueError("no")
        if event == "long":
            return "x" * 5_000_000
        return {"got": event}
"""


def streamed(api: Any, payload: Any, **parameters: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The answer, and the events of its stream."""
    body = json.dumps(payload).encode()
    answer = api.invoke_with_response_stream(FunctionName="app", Payload=body, **parameters)
    return answer, list(answer["EventStream"])


def test_a_response_comes_in_chunks_and_a_last_event(run: Run) -> None:
    with run(SOURCE, timeout_s=20) as harness:
        api = lambda_client(harness.endpoint_url)
        answer, events = streamed(api, {"id": 7})
        assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
        assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
        assert events == [
            {"PayloadChunk": {"Payload": b'{"got": {"id": 7}}'}},
            {"InvokeComplete": {}},
        ]
        _, events = streamed(api, "long")
        chunks = [event["PayloadChunk"]["Payload"] for event in events[:-1]]
        assert b"".join(chunks) == b'"' + b"x" * 5_000_000 + b'"'
        assert events[-1] == {"InvokeComplete": {}}


def test_an_error_of_the_function_and_the_logs_tail_are_in_the_last_event(run: Run) -> None:
    with run(SOURCE, timeout_s=20) as harness:
        api = lambda_client(harness.endpoint_url)
        answer, [last] = streamed(api, "raise", LogType="Tail")
        tail = base64.b64decode(last["InvokeComplete"].pop("LogResult")).decode()
    assert answer["StatusCode"] == 200
    assert last["InvokeComplete"].pop("ErrorCode") == "Unhandled"
    details = json.loads(last["InvokeComplete"].pop("ErrorDetails"))
    assert (details["errorType"], details["errorMessage"]) == ("ValueError", "no")
    assert last == {"InvokeComplete": {}}
    lines = tail.splitlines()
    assert (lines[0].split()[0], lines[1], lines[-1].split()[0]) == ("START", "working", "REPORT")


def test_requests_are_checked_as_those_of_invoke(run: Run) -> None:
    with run(SOURCE) as harness:
        api = lambda_client(harness.endpoint_url)
        dry, events = streamed(api, 1, InvocationType="DryRun")
        assert (dry["StatusCode"], events) == (204, [])
        invoke = api.invoke_with_response_stream
        assert refused(invoke, FunctionName="nowhere")[:2] == (404, "ResourceNotFoundException")
        assert refused(invoke, FunctionName="app", Payload=b"{")[:2] == (
            400,
            "InvalidRequestContentException",
        )
        assert refused(invoke, FunctionName="app", InvocationType="Event")[:2] == (
            400,
            "ValidationException",
        )


@given(st.text(min_size=1, max_size=60), st.binary(max_size=300))
def test_botocore_reads_every_event(event_type: str, payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.event(event_type, "text/plain", payload))
    [message] = list(buffer)
    assert message.payload == payload
    assert message.headers == {
        ":event-type": event_type,
        ":content-type": "text/plain",
        ":message-type": "event",
    }


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_another_method_is_no_operation(run: Run, method: str) -> None:
    from http.client import HTTPConnection

    with run(SOURCE) as harness:
        connection = HTTPConnection(harness.endpoint_url.removeprefix("http://"), timeout=10)
        path = "/2021-11-15/functions/app/response-streaming-invocations"
        connection.request(method, path)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (
            404,
            "UnknownOperationException",
        )
        answer.read()
        connection.close()

"""The Runtime and Extensions APIs over HTTP, by a runtime that behaves badly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

# Sends raw bytes to the environment's own API from inside the function, and answers with what came.
RAW = """
import os, socket

def handler(event, context):
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    request = event.replace("REQUEST_ID", context.aws_request_id)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request.encode())
        received = b""
        while b"\\r\\n\\r\\n" not in received or not received.rstrip().endswith(b"}"):
            data = connection.recv(65536)
            if not data:
                break
            received += data
    head, _, body = received.decode().partition("\\r\\n\\r\\n")
    return [int(head.split()[1]), body]
"""
NOT_ALLOWED = (
    "State transition from Running to InitError failed for runtime. "
    "Error: State transition is not allowed"
)
INVOCATION = "/2018-06-01/runtime/invocation"


def ask(harness: Harness, request: str) -> tuple[int, str, str]:
    """Status, error type and message of the API's answer to these bytes."""
    status, body = harness.invoke("app", request).json()
    document = json.loads(body)
    return status, document["errorType"], document["errorMessage"]


def test_malformed_and_unknown_requests_get_an_error_in_the_apis_shape(run: Run) -> None:
    unknown = "is not a call of the Runtime, Extensions or Telemetry API"
    with run(RAW) as harness:
        assert ask(harness, "NONSENSE\r\n\r\n")[:2] == (400, "InvalidRequestFormat")
        assert ask(harness, "GET /elsewhere HTTP/1.1\r\n\r\n") == (
            404,
            "NotFound",
            f"GET /elsewhere {unknown}",
        )
        assert ask(harness, f"PUT {INVOCATION}/next HTTP/1.1\r\nContent-Length: 0\r\n\r\n") == (
            404,
            "NotFound",
            f"PUT {INVOCATION}/next {unknown}",
        )
        assert ask(harness, "GET /2020-01-01/extension/event/next HTTP/1.1\r\n\r\n") == (
            403,
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header",
        )
        assert len(harness.environments("app")) == 1


def test_a_response_to_another_request_is_refused_and_the_real_one_taken(run: Run) -> None:
    request = f"POST {INVOCATION}/other/response HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}"
    with run(RAW) as harness:
        assert ask(harness, request) == (400, "InvalidRequestID", "Invalid request ID")


def test_asking_for_the_next_event_during_an_invoke_gives_the_same_event(run: Run) -> None:
    request = f"GET {INVOCATION}/next HTTP/1.1\r\n\r\n"
    with run(RAW.replace('b"}"', "b'\"'")) as harness:
        status, body = harness.invoke("app", request).json()
    assert (status, json.loads(body)) == (200, request)


def test_the_runtimes_own_response_after_an_early_one_changes_nothing(run: Run) -> None:
    early = f'POST {INVOCATION}/REQUEST_ID/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n"early"  '
    with run(RAW) as harness:
        assert harness.invoke("app", early).json() == "early"
        harness.wait_frozen("app")
        reports = [e.message for e in harness.logs("app") if e.message.startswith("REPORT")]
    # The runtime client takes the 403 for its second response as fatal, as it does on AWS.
    assert reports[0].endswith("Status: error\tError Type: Runtime.ExitError\n")


def test_an_init_error_after_the_first_next_is_an_invalid_transition(run: Run) -> None:
    request = "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with run(RAW) as harness:
        assert ask(harness, request) == (
            403,
            "InvalidStateTransition",
            NOT_ALLOWED,
        )

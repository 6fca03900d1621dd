"""The Lambda API as unmodified clients use it, and as clients that get it wrong use it."""

from __future__ import annotations

import base64
import concurrent.futures
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

ECHO = """
    import logging, os, pathlib

    def handler(event, context):
        if event == "fail":
            raise ValueError("no")
        if isinstance(event, dict) and "touch" in event:
            with open(event["touch"], "a") as file:
                file.write("x")
        print("echo", event)
        custom = context.client_context.custom if context.client_context else None
        return {"event": event, "custom": custom, "trace": os.environ["_X_AMZN_TRACE_ID"]}
"""
NOT_JSON = (
    "Could not parse request body into json: Could not parse payload into json: Expecting "
    "property name enclosed in double quotes: line 1 column 2 (char 1)"
)
TOO_LARGE = (
    "6291457 byte payload is too large for the RequestResponse invocation type "
    "(limit 6291456 bytes)"
)
NO_SUCH_TYPE = (
    "1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy "
    "constraint: Member must satisfy enum value set: [RequestResponse, Event, DryRun]"
)
ARN = "arn:aws:lambda:us-east-1:123456789012:function:app"


def client(harness: Harness) -> Any:
    """boto3's Lambda client, as it is, without its own retries."""
    return boto3.client(
        "lambda",
        endpoint_url=harness.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def headers(response: Any) -> dict[str, str]:
    found: dict[str, str] = response["ResponseMetadata"]["HTTPHeaders"]
    return found


@pytest.mark.parametrize("name", ["app", ARN, "123456789012:function:app", "app:$LATEST"])
def test_boto3_invokes_by_name_and_arn(run: Run, name: str) -> None:
    with run(ECHO) as harness:
        response = client(harness).invoke(FunctionName=name, Payload=json.dumps({"a": "ü"}))
        answer = json.loads(response["Payload"].read())
    assert answer["event"] == {"a": "ü"}
    assert (response["StatusCode"], response["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in response
    assert re.fullmatch(r"[0-9a-f-]{36}", headers(response)["x-amzn-requestid"])
    trace = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0;Lineage=1:[0-9a-f]{8}:0"
    assert re.fullmatch(trace, answer["trace"])
    assert headers(response)["x-amzn-trace-id"] == answer["trace"]


def test_boto3_gets_the_functions_error_and_the_tail_of_its_log(run: Run) -> None:
    with run(ECHO) as harness:
        lambda_ = client(harness)
        fine = lambda_.invoke(FunctionName="app", Payload=b"1", LogType="Tail")
        failed = lambda_.invoke(FunctionName="app", Payload=b'"fail"', LogType="Tail")
        error = json.loads(failed["Payload"].read())
    tail = base64.b64decode(fine["LogResult"]).decode()
    assert [line.split(" ")[0] for line in tail.splitlines()] == ["START", "echo", "END", "REPORT"]
    assert (failed["StatusCode"], failed["FunctionError"]) == (200, "Unhandled")
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no")
    assert "[ERROR] ValueError: no" in base64.b64decode(failed["LogResult"]).decode()


def test_the_tail_is_the_last_four_kibibytes(run: Run) -> None:
    with run("def handler(event, context): print('x' * 9999)") as harness:
        response = client(harness).invoke(FunctionName="app", LogType="Tail")
    tail = base64.b64decode(response["LogResult"])
    assert len(tail) == 4096
    assert tail.startswith(b"xxx")
    assert tail.endswith(b"ms\t\n")


def test_an_event_is_accepted_at_once_and_executed_once(run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "marker"  # no place below /tmp that a function could write to for us
    with run(ECHO, private_tmp=False) as harness:
        payload = json.dumps({"touch": str(marker)})
        response = client(harness).invoke(
            FunctionName="app", InvocationType="Event", Payload=payload
        )
        deadline = time.monotonic() + 10
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        harness.wait_frozen("app")
        ids = {
            m[1]
            for e in harness.logs("app")
            if (m := re.match("START RequestId: (.{36})", e.message))
        }
    assert response["StatusCode"] == 202
    assert response["Payload"].read() == b""
    assert marker.read_text() == "x"
    assert ids == {headers(response)["x-amzn-requestid"]}


def test_a_dry_run_runs_nothing(run: Run) -> None:
    with run(ECHO) as harness:
        response = client(harness).invoke(FunctionName="app", InvocationType="DryRun")
        assert harness.environments("app") == []
    assert response["StatusCode"] == 204


def test_client_context_and_trace_header_reach_the_function(run: Run) -> None:
    context = base64.b64encode(b'{"custom": {"k": 1}}').decode()
    with run(ECHO) as harness:
        lambda_ = client(harness)
        trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        lambda_.meta.events.register(
            "before-sign.lambda.Invoke",
            lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", trace),
        )
        response = lambda_.invoke(FunctionName="app", ClientContext=context)
        answer = json.loads(response["Payload"].read())
    assert answer == {"event": {}, "custom": {"k": 1}, "trace": f"{trace};Lineage=1:68417ee6:0"}


def test_with_active_tracing_the_first_invoke_is_sampled_unless_its_caller_said_no(
    run: Run,
) -> None:
    unsampled = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
    with run(ECHO, tracing="Active") as harness:
        given = harness.invoke("app", 1, trace_header=unsampled).json()["trace"]
        assert given == f"{unsampled};Lineage=1:68417ee6:0"
        result = harness.invoke("app", 1)
    assert ";Sampled=1;" in result.json()["trace"]
    assert result.trace_header == result.json()["trace"]


def test_a_function_can_invoke_another_one(run: Run) -> None:
    source = """
        import json, boto3

        def handler(event, context):
            if event == "inner":
                return "from inside"
            answer = boto3.client("lambda").invoke(FunctionName="app", Payload=b'"inner"')
            return json.load(answer["Payload"])
    """
    with run(source, timeout_s=20) as harness:
        assert harness.invoke("app").json() == "from inside"
        assert len(harness.environments("app")) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message", "status"),
    [
        (
            {"FunctionName": "nope"},
            "ResourceNotFoundException",
            "Function not found: arn:aws:lambda:us-east-1:123456789012:function:nope",
            404,
        ),
        (
            {"FunctionName": "app", "Qualifier": "7"},
            "ResourceNotFoundException",
            f"Function not found: {ARN}:7",
            404,
        ),
        (
            {"FunctionName": "app", "Payload": b"{"},
            "InvalidRequestContentException",
            NOT_JSON,
            400,
        ),
        (
            {"FunctionName": "app", "Payload": b"1" * (6 * 1024 * 1024 + 1)},
            "RequestTooLargeException",
            TOO_LARGE,
            413,
        ),
        (
            {"FunctionName": "app", "InvocationType": "Event", "Payload": b"1" * 1048577},
            "RequestTooLargeException",
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
            413,
        ),
        (
            {"FunctionName": "app", "ClientContext": "e30=" * 900},
            "InvalidRequestContentException",
            "Client context is 3600 bytes: it must be no more than 3583 bytes of base64",
            400,
        ),
        (
            {"FunctionName": "app:1", "Qualifier": "2"},
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
            400,
        ),
        (
            {"FunctionName": "app", "InvocationType": "Later"},
            "ValidationException",
            NO_SUCH_TYPE,
            400,
        ),
    ],
)
def test_a_request_lambda_would_refuse_is_refused_in_its_words(
    run: Run, arguments: dict[str, Any], code: str, message: str, status: int
) -> None:
    with run(ECHO) as harness:
        with pytest.raises(ClientError) as caught:
            client(harness).invoke(**arguments)
        assert harness.environments("app") == []
    response = caught.value.response
    assert (response["Error"]["Code"], response["Error"]["Message"]) == (code, message)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_invokes_over_the_limit_are_throttled(run: Run, tmp_path: Path) -> None:
    source = """
        import os, time

        def handler(event, context):
            while not os.path.exists(os.path.dirname(__file__) + "/go"):
                time.sleep(0.01)
    """
    with (
        run(source, concurrency_max=2, timeout_s=60) as harness,
        concurrent.futures.ThreadPoolExecutor(2) as threads,
    ):
        lambda_ = client(harness)
        busy = [threads.submit(harness.invoke, "app") for _ in range(2)]
        deadline = time.monotonic() + 30
        while sum(e.message.startswith("START") for e in harness.logs("app")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(ClientError) as caught:
            lambda_.invoke(FunctionName="app")
        (tmp_path / "code" / "go").touch()
        assert [f.result().function_error for f in busy] == ["", ""]
        harness.wait_frozen("app")
        assert harness.invoke("app").function_error == ""
    response = caught.value.response
    assert response["Error"]["Code"] == "TooManyRequestsException"
    assert response["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_another_operation_is_named_as_unknown(run: Run) -> None:
    with run(ECHO) as harness, pytest.raises(ClientError) as caught:
        client(harness).list_layers()
    assert caught.value.response["Error"] == {
        "Code": "UnknownOperationException",
        "Message": "ListLayers is no operation of this local Lambda",
    }


def test_the_aws_cli_invokes(run: Run, tmp_path: Path) -> None:
    with run(ECHO) as harness:
        command = [str(Path(sys.executable).with_name("aws")), "lambda", "invoke"]
        command += ["--function-name", "app", "--payload", '{"a": 1}', "--log-type", "Tail"]
        command += ["--endpoint-url", harness.endpoint_url, str(tmp_path / "out.json")]
        completed = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
    assert completed.returncode == 0, completed.stderr
    answer = json.loads(completed.stdout)
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert json.loads((tmp_path / "out.json").read_text())["event"] == {"a": 1}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /" + b"x" * (1024 * 1024 + 10) + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_malformed_http_gets_one_answer_and_the_service_lives_on(
    run: Run, data: bytes, status: int
) -> None:
    with run(ECHO) as harness:
        host, port = harness.endpoint_url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(data)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            body = json.loads(answer.read())
            assert connection.recv(1) == b""
        assert harness.invoke("app").function_error == ""
    assert (answer.status, body["Type"]) == (status, "User")
    assert answer.getheader("x-amzn-ErrorType") == "InvalidRequestContentException"


def test_requests_sent_ahead_are_answered_in_order(run: Run) -> None:
    with run("def handler(event, context): return event") as harness:
        host, port = harness.endpoint_url.removeprefix("http://").split(":")
        request = (
            b"POST /2015-03-31/functions/app/invocations HTTP/1.1\r\nContent-Length: 2\r\n\r\n%d"
        )
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"".join(request % n for n in range(10, 50)))
            received = b""
            while received.count(b"HTTP/1.1 200 OK") < 40 or not received.endswith(b"49"):
                received += connection.recv(65536)
    assert re.findall(rb"\r\n\r\n(\d\d)", received) == [b"%d" % n for n in range(10, 50)]

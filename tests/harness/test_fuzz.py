"""Requests damaged at random, to each of the three APIs: no other environment notices."""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import textwrap
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUESTS = 160
ANSWER_S = 0.01  # most answers come at once; what is parked is not waited for
SOURCE = """
    import os

    def handler(event, context):
        return [os.getpid(), os.environ["AWS_LAMBDA_RUNTIME_API"]]
"""
IDENTIFIER = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"


def request(line: str, *headers: str, body: str = "{}") -> bytes:
    length = f"Content-Length: {len(body)}" if line.startswith("P") else "Accept: */*"
    return "\r\n".join([f"{line} HTTP/1.1", "Host: a", *headers, length, "", body]).encode()


INVOKE = [
    request("POST /2015-03-31/functions/app/invocations", body='{"a":1}'),
    request(
        "POST /2015-03-31/functions/app:$LATEST/invocations?Qualifier=$LATEST",
        "X-Amz-Invocation-Type: DryRun",
        "X-Amz-Log-Type: Tail",
        "X-Amz-Client-Context: e30=",
        "X-Amzn-Trace-Id: Root=1-2-3",
    ),
    request("POST /2015-03-31/functions/app/invocations", "Transfer-Encoding: chunked").replace(
        b"Content-Length: 2\r\n\r\n{}", b"\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    request("GET /2015-03-31/functions/app", body=""),
]
INVOCATION = f"/2018-06-01/runtime/invocation/{IDENTIFIER}"
RUNTIME = [
    request("GET /2018-06-01/runtime/invocation/next", body=""),
    request(f"POST {INVOCATION}/response", "Lambda-Runtime-Function-Response-Mode: streaming"),
    request(f"POST {INVOCATION}/error", "Lambda-Runtime-Function-Error-Type: A.B"),
    request("POST /2018-06-01/runtime/init/error"),
    request("GET /2018-06-01/runtime/restore/next", body=""),
    request("POST /2018-06-01/runtime/restore/error"),
]
EXTENSION = f"Lambda-Extension-Identifier: {IDENTIFIER}"
SUBSCRIPTION = (
    '{"schemaVersion":"2022-12-13","types":["platform"],"buffering":{"maxItems":1000},'
    '"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}}'
)
EXTENSIONS = [
    request(
        "POST /2020-01-01/extension/register",
        "Lambda-Extension-Name: x",
        body='{"events":["INVOKE"]}',
    ),
    request("GET /2020-01-01/extension/event/next", EXTENSION, body=""),
    request(
        "POST /2020-01-01/extension/exit/error",
        EXTENSION,
        "Lambda-Extension-Function-Error-Type: A.B",
    ),
    request("PUT /2022-07-01/telemetry", EXTENSION, body=SUBSCRIPTION),
    request("PUT /2020-08-15/logs", EXTENSION, body=SUBSCRIPTION),
]


def damaged(requests: list[bytes], choice: random.Random) -> bytes:
    """One of `requests` with a few random changes; sometimes none, or two in one."""
    data = bytearray(choice.choice(requests))
    for _ in range(choice.randrange(4)):
        at = choice.randrange(len(data) + 1)
        kind = choice.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([choice.randrange(256)])
        elif kind == 1:
            del data[at : at + choice.randrange(1, 20)]
        elif kind == 2:
            data[at:at] = choice.randbytes(choice.randrange(1, 50))
        elif kind == 3:
            data[at:at] = data[at : at + choice.randrange(1, 60)] * choice.choice((1, 3, 2000))
        elif kind == 4:
            data += choice.choice(requests)
        else:
            lines = bytes(data).split(b"\r\n")
            choice.shuffle(lines)
            data[:] = b"\r\n".join(lines)
        if not data:
            data += b"\0"
    return bytes(data)


def send(address: tuple[str, int], data: bytes) -> None:
    """Sends bytes, waits for a moment for an answer, and goes."""
    with (
        contextlib.suppress(OSError),  # a server may close on what it does not understand
        socket.create_connection(address, timeout=5) as connection,
    ):
        connection.sendall(data)
        connection.settimeout(ANSWER_S)
        connection.recv(65536)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))
    functions = [
        Function(name, "app.handler", code_dir=tmp_path, timeout_s=1) for name in ("app", "other")
    ]
    with Harness(functions) as running:
        yield running


@pytest.mark.parametrize("api", ["invoke", "runtime", "extensions"])
def test_damaged_requests_stop_no_environment_but_their_own(
    harness: Harness, caplog: pytest.LogCaptureFixture, api: str
) -> None:
    choice = random.Random(f"2026 {api}")
    requests = {"invoke": INVOKE, "runtime": RUNTIME, "extensions": EXTENSIONS}[api]
    other = harness.invoke("other").json()
    own = harness.invoke("app").json()[1]
    with caplog.at_level(logging.WARNING):
        for n in range(REQUESTS):
            url = harness.endpoint_url.removeprefix("http://") if api == "invoke" else own
            host, _, port = url.partition(":")
            send((host, int(port)), damaged(requests, choice))
            if n % 40 == 0:
                assert harness.invoke("other").json() == other  # the same process
                answer = harness.invoke("app").json()  # which may be a failure, but comes
                own = answer[1] if isinstance(answer, list) else own
    assert harness.invoke("other").json() == other
    assert caplog.messages == []
    answers = [harness.invoke("app").json() for _ in range(3)]
    assert isinstance(answers[-1], list)  # what was damaged has been reset by now


def test_damaged_requests_during_an_invoke_stop_no_other_environment(
    harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, time\n"
        "def handler(event, context):\n"
        "    print(os.environ['AWS_LAMBDA_RUNTIME_API'], flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    slow = Function("slow", "slow.handler", code_dir=tmp_path, timeout_s=1)
    harness.add_function(slow)
    other = harness.invoke("other").json()
    choice = random.Random("2026 during")
    for _ in range(3):
        queued = harness.invoke("slow", invocation_type="Event")
        assert queued.status_code == 202
        addresses: list[str] = []
        while not addresses:
            addresses = [e.message for e in harness.logs("slow") if e.message[:4] == "127."]
        host, _, port = addresses[-1].strip().partition(":")
        for _ in range(30):
            send((host, int(port)), damaged(RUNTIME + EXTENSIONS, choice))
        assert harness.invoke("other").json() == other
        harness.wait_frozen("slow")

"""The harness opens as many files as it may, and says in a line when that is not enough."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from lambdatrace.harness.descriptors import AcceptFailures

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import pytest

    from lambdatrace.harness import Harness

LIMITS = """
import json, resource
from lambdatrace.harness import Harness

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
with Harness():
    print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), hard]))
"""
NO_SOCKET = """
import asyncio, os, resource
from lambdatrace.harness.http_server import Server

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1,) * 2)
    try:
        await Server.listen("127.0.0.1", 0, print, refuse=print, body_bytes_max=1)
    except OSError as error:
        print(error.strerror)

asyncio.run(main())
"""


def printed(script: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert completed.stderr == ""
    return completed.stdout.strip()


def test_the_limit_of_a_shell_is_raised_as_far_as_the_machine_lets_it() -> None:
    (soft, hard), before = json.loads(printed(LIMITS))
    assert (soft, hard) == (65_536 if before < 0 else min(before, 65_536), before)


def test_a_server_for_which_there_is_no_socket_says_why() -> None:
    assert printed(NO_SOCKET) == "Too many open files"


def test_that_no_connection_can_be_taken_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(AcceptFailures())
        lack = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        for _ in range(1024):
            loop.call_exception_handler({"message": "out of resource", "exception": lack})
        late = ValueError("Invalid file descriptor: -1")
        loop.call_exception_handler({"message": "in a callback", "exception": late})
        loop.call_exception_handler({"message": "another", "exception": ValueError("x")})

    asyncio.run(tell())
    first, other = [record.getMessage() for record in caplog.records]
    assert first.startswith(
        "no connection can be taken: [Errno 24] Too many open files. This process may open "
    )
    assert other.startswith("another")


def test_a_function_that_fills_its_apis_with_connections_takes_none_from_the_others(
    run: Callable[..., AbstractContextManager[Harness]],
) -> None:
    source = """
        import os, socket

        kept = []

        def handler(event, context):
            host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
            for _ in range(400):
                kept.append(socket.create_connection((host, int(port))))
            is_open = 0
            for connection in kept:
                connection.settimeout(0.001)
                try:
                    is_open += connection.recv(1) != b""
                except TimeoutError:
                    is_open += 1
                except ConnectionError:
                    pass
            return is_open
    """
    with run(source, timeout_s=20) as harness:
        taken = harness.invoke("app").json()
    assert 100 <= taken <= 200

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from lambdatrace_collector.bounded_head import HEAD_BYTES_MAX

if TYPE_CHECKING:
    from tests.collector.conftest import Collector

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


def exchange(collector: Collector, *pieces: bytes) -> bytes:
    """What comes back until the collector closes the connection, or has answered twice."""
    address = urlsplit(collector.url)
    received = b""
    with socket.create_connection((str(address.hostname), address.port or 0), 30) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        while received.count(b"HTTP/1.1 ") < 2:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            received += part
    return received


@pytest.mark.parametrize(
    "pieces",
    [
        [HEALTH + b"A: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n"],
        [HEALTH + b"A: b\r\n" * 20_000 + b"\r\n"],
        [HEALTH + b"A: ", *[b"x" * 10_000] * 50],  # it never ends
        [HEALTH, *[b"A: b\r\n" * 1000] * 50],
        [b"G" * HEAD_BYTES_MAX, b"G" * 10_000],
    ],
)
def test_a_head_that_is_too_long_is_refused_while_it_is_sent(
    collector: Collector, pieces: list[bytes]
) -> None:
    answer = exchange(collector, *pieces)
    assert answer == b"" or answer.startswith((TOO_LARGE, b"HTTP/1.1 400 "))
    assert collector.get("/healthz").status == 200


def test_a_body_is_not_counted_with_the_heads_around_it(collector: Collector) -> None:
    form = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (4 * HEAD_BYTES_MAX)
    body = b"x" * (4 * HEAD_BYTES_MAX)
    answer = exchange(collector, form + body + HEALTH[:30], HEALTH[30:] + b"\r\n")
    assert [answer.count(b"HTTP/1.1 400 "), answer.count(b"HTTP/1.1 200 OK")] == [1, 1]

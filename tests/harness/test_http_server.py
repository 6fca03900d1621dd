from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import http_server
from lambdatrace.harness.http_server import Exchange, Server

if TYPE_CHECKING:
    from collections.abc import Callable


def talk(data: list[bytes], serve: Callable[[Exchange], None], body_bytes_max: int = 100) -> bytes:
    """What a server answers to these bytes until it closes, or half a second passes."""

    def refuse(exchange: Exchange, status: int, reason: str) -> None:
        exchange.respond(status, reason.encode())

    async def main() -> bytes:
        server = await Server.listen(
            "127.0.0.1", 0, serve, refuse=refuse, body_bytes_max=body_bytes_max
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        received = b""
        for part in data:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        try:
            while piece := await asyncio.wait_for(reader.read(65536), 0.5):
                received += piece
        except asyncio.TimeoutError:
            pass
        writer.close()
        await server.close()
        assert server.connections == set()
        return received

    return asyncio.run(main())


def echo(exchange: Exchange) -> None:
    """Answers with what was understood of the request."""
    r = exchange.request
    exchange.respond(200, f"{r.method} {r.path}?{r.query} {r.body_bytes} {r.body!r}".encode())


def answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def test_a_body_may_come_in_pieces_and_in_chunks() -> None:
    pieces = [b"POST /a?b=1 HTTP/1.1\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"]
    assert talk(pieces, echo) == answer(b"POST /a?b=1 4 b'abcd'")
    chunked = b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert talk([chunked], echo) == answer(b"PUT /c? 3 b'abc'")


def test_a_body_over_the_limit_is_counted_and_not_kept() -> None:
    request = b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n" + b"x" * 101
    assert talk([request], echo) == answer(b"POST /? 101 b''")


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    request = [b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", b"x"]
    assert talk(request, echo) == b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"POST /? 1 b'x'")


def test_answers_given_late_and_out_of_turn_keep_the_order_of_the_requests() -> None:
    kept: list[Exchange] = []

    def late(exchange: Exchange) -> None:
        kept.append(exchange)
        asyncio.get_running_loop().call_later(0.05, echo, exchange)

    requests = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % n for n in range(3))
    assert talk([requests], late) == b"".join(answer(b"GET /%d? 0 b''" % n) for n in range(3))
    kept[0].respond(500)  # a second answer changes nothing


def test_a_connection_is_closed_when_asked() -> None:
    request = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    received = talk([request], echo)
    assert b"\r\nConnection: close\r\n" in received
    assert received.endswith(b"GET /? 0 b''")


def test_whoever_owes_an_answer_is_told_when_the_client_has_gone() -> None:
    lost: list[str] = []

    def park(exchange: Exchange) -> None:
        exchange.on_lost = lambda: lost.append(exchange.request.path)

    talk([b"GET /parked HTTP/1.1\r\n\r\nGET /waiting HTTP/1.1\r\n\r\n"], park)
    assert lost == ["/parked"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x02\x00", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400 Bad Request"),
        (b"GET /" + b"x" * 1_048_577 + b" HTTP/1.1\r\n\r\n", b"431 Request Header Fields"),
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(data: bytes, expected: bytes) -> None:
    received = talk([data], echo)
    assert received.startswith(b"HTTP/1.1 " + expected)
    assert b"Connection: close" in received


def test_a_request_that_never_arrives_in_full_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_SWEEP_S", 0.05)
    monkeypatch.setattr(http_server, "REQUEST_READ_S", 0.1)
    received = talk([b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"], echo)
    assert received.startswith(b"HTTP/1.1 408 Request Timeout")


@pytest.mark.parametrize("cut", [0, 40, 200])
def test_an_offer_to_upgrade_is_not_taken(cut: int) -> None:
    """What follows its head is its body and the next request, and no other protocol."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAAB\r\n"
    requests = (
        (b"GET /h HTTP/1.1\r\n" + offer + b"\r\n")
        + (b"POST /i HTTP/1.1\r\n" + offer + b"Content-Length: 4\r\n\r\nabcd")
        + (b"POST /j HTTP/1.1\r\n" + offer + b"Transfer-Encoding: chunked\r\n\r\n")
        + b"2\r\nef\r\n0\r\n\r\nGET /k HTTP/1.1\r\n\r\n"
    )
    bodies = [b"GET /h? 0 b''", b"POST /i? 4 b'abcd'", b"POST /j? 2 b'ef'", b"GET /k? 0 b''"]
    parts = [part for part in (requests[:cut], requests[cut:]) if part]
    assert talk(parts, echo) == b"".join(answer(body) for body in bodies)


def test_a_request_to_be_a_proxy_is_refused() -> None:
    received = talk([b"CONNECT example.com:443 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"], echo)
    assert received.startswith(b"HTTP/1.1 405 Method Not Allowed")
    assert received.count(b"HTTP/1.1") == 1


def test_requests_sent_ahead_are_served_one_by_one_however_many() -> None:
    """The first is answered late, the others as soon as their turn comes."""
    served: list[Exchange] = []

    def first_late(exchange: Exchange) -> None:
        served.append(exchange)
        if len(served) == 1:
            asyncio.get_running_loop().call_later(0.1, echo, exchange)
        else:
            echo(exchange)

    requests = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % n for n in range(2000))
    expected = b"".join(answer(b"GET /%d? 0 b''" % n) for n in range(2000))
    assert talk([requests], first_late) == expected


def test_no_more_is_parsed_than_the_requests_a_connection_may_send_ahead() -> None:
    """What comes after them is not looked at before they are served, wrong as it is."""
    requests = b"GET / HTTP/1.1\r\n\r\n" * (http_server.PIPELINED_MAX + 2) + b"nonsense\r\n\r\n"
    assert talk([requests], lambda _: None) == b""
    assert talk([requests], echo).count(b"HTTP/1.1 200") == http_server.PIPELINED_MAX + 2
    assert talk([requests], echo).count(b"HTTP/1.1 400") == 1


def test_a_request_that_cannot_be_served_has_an_answer_and_harms_no_other() -> None:
    def fail(exchange: Exchange) -> None:
        if exchange.request.path == "/fail":
            raise RuntimeError("of ours")
        echo(exchange)

    received = talk([b"GET /fail HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n"], fail)
    assert received.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert received.endswith(answer(b"GET /a? 0 b''"))


def test_what_is_no_http_takes_no_answer_from_the_requests_before_it() -> None:
    received = talk([b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nnonsense\r\n\r\n"], echo)
    expected = answer(b"GET /a? 0 b''") + answer(b"GET /b? 0 b''") + b"HTTP/1.1 400 Bad Request"
    assert received.startswith(expected)

"""Against a real socket that answers exactly the bytes each test gives it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from lambdatrace.errors import SendError
from lambdatrace.http1 import Address, Connection, get_message, post_head

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Gives each connection its list of answers in turn, then closes it; keeps what it was sent."""

    def __init__(self, connections: list[list[bytes]]) -> None:
        self.requests: list[bytes] = []
        self.late, self.is_read = b"", threading.Event()  # what the first connection sends later
        self._connections = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/path?q=1"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answers in self._connections:
            peer, _ = self._listener.accept()
            with peer:
                peer.settimeout(5)
                for answer in answers:
                    self.requests.append(_request(peer))
                    peer.sendall(answer)
                if self.late and self.is_read.wait(5):
                    peer.sendall(self.late)
                    self.late = b""

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


def _request(peer: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += peer.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(*connections: list[bytes]) -> Iterator[tuple[Server, Connection]]:
    server = Server(list(connections))
    connection = Connection(Address(server.url))
    try:
        yield server, connection
    finally:
        connection.close()
        server.close()


def post(connection: Connection, body: bytes = b"body") -> tuple[int, bytes]:
    address = connection._address
    response = connection.post(post_head(address, address.path, {"X-A": "1"}), body, timeout_s=5)
    return response.status, response.body


def test_a_request_is_one_message_and_its_response_is_read_whole() -> None:
    with serving([OK]) as (server, connection):
        assert post(connection) == (200, b"ok")
    host = server.url.split("/")[2].encode()
    assert server.requests == [
        b"POST /path?q=1 HTTP/1.1\r\nHost: " + host + b"\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbody"
    ]


def test_the_connection_is_kept_for_the_next_request() -> None:
    with serving([OK, OK, OK]) as (server, connection):
        assert [post(connection)[0] for _ in range(3)] == [200, 200, 200]
    assert len(server.requests) == 3


def test_a_long_poll_is_told_when_its_answer_begins_and_reads_it_later() -> None:
    with serving([OK, OK]) as (server, connection):
        message = get_message(connection._address, "/next", {"X-A": "1"})
        for _ in range(2):
            connection.begin(message)
            response = connection.finish()
            assert (response.status, response.body) == (200, b"ok")
    assert server.requests == [message, message]


def test_a_long_poll_whose_peer_goes_away_is_a_send_error() -> None:
    with serving([OK], []) as (_, connection):
        message = get_message(connection._address, "/next", {})
        connection.begin(message)
        connection.finish()
        with pytest.raises(SendError):
            connection.begin(message)


def test_a_connection_the_peer_dropped_meanwhile_is_opened_again() -> None:
    with serving([OK], [OK]) as (server, connection):
        assert post(connection) == (200, b"ok")
        assert post(connection, b"again") == (200, b"ok")
    assert [request[-5:] for request in server.requests] == [b"\nbody", b"again"]


def test_a_connection_whose_descriptor_the_function_closed_is_opened_again() -> None:
    with serving([OK], [OK], [OK]) as (_, connection):
        for _ in range(3):
            assert post(connection) == (200, b"ok")
            assert connection._socket is not None
            os.close(connection._socket.fileno())


def test_a_peer_that_asks_to_close_is_obeyed() -> None:
    close = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    with serving([close], [OK]) as (_, connection):
        assert post(connection) == (204, b"")
        assert post(connection) == (200, b"ok")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
            ),
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal"
            ),
            b"final",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
    ],
)
def test_bodies_of_every_framing_are_read(answer: bytes, body: bytes) -> None:
    with serving([answer]) as (_, connection):
        assert post(connection) == (200, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_an_answer_that_is_none_is_a_send_error(answer: bytes) -> None:
    with serving([answer]) as (_, connection), pytest.raises(SendError):
        post(connection)


def test_a_peer_that_does_not_answer_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(Address(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        with pytest.raises(SendError, match=r"did not answer within 0\.05 s"):
            connection.post(b"POST / HTTP/1.1\r\nContent-Length: ", b"", 0.05)


def test_a_body_in_very_small_chunks_is_read_whole() -> None:
    count = 60_000
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count
    with serving([answer + b"0\r\n\r\n"]) as (_, connection):
        assert post(connection) == (200, b"x" * count)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        CHUNKED + b"1\r\nx\r\n" * 100_000,
    ],
)
def test_of_a_body_without_end_the_beginning_is_read_and_the_connection_closed(
    answer: bytes,
) -> None:
    with serving([answer], [OK]) as (server, connection):
        assert post(connection) == (200, b"x" * 65_536)
        assert post(connection) == (200, b"ok")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", CHUNKED + b"10001\r\n"],
)
def test_a_body_that_is_announced_as_too_large_is_not_waited_for(answer: bytes) -> None:
    with serving([answer], [OK]) as (server, connection):
        server.late = b"x"  # the connection stays open until this client has closed it
        assert post(connection) == (200, b"")
        server.is_read.set()
        assert post(connection) == (200, b"ok")


def test_chunks_that_have_come_are_not_read_on_when_there_is_no_time_left() -> None:
    connection = Connection(Address("http://127.0.0.1:9"))
    with pytest.raises(TimeoutError):
        connection._receive_chunks(b"1\r\nx\r\n0\r\n\r\n", time.monotonic())


def test_nobody_listening_is_a_send_error_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    connection = Connection(Address(f"http://127.0.0.1:{port}"))
    with pytest.raises(SendError, match=f"127.0.0.1:{port}: .*refused"):
        connection.post(b"POST / HTTP/1.1\r\nContent-Length: ", b"", 1)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:4318/v1/traces", (False, "localhost", 4318, "/v1/traces")),
        ("https://otlp.example", (True, "otlp.example", 443, "/")),
        ("HTTP://h/p?q=1", (False, "h", 80, "/p?q=1")),
        ("http://h?q=1/2", (False, "h", 80, "/?q=1/2")),
        ("http://[::1]:4318/x", (False, "::1", 4318, "/x")),
        ("http://[::1]/x", (False, "::1", 80, "/x")),
        ("http://bücher.example.:1", (False, "xn--bcher-kva.example.", 1, "/")),
    ],
)
def test_an_address_is_what_the_url_says(url: str, expected: tuple[bool, str, int, str]) -> None:
    address = Address(url)
    assert (address.is_tls, address.host, address.port, address.path) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:4318", "ftp://h", "http://", "http://h:port", "http://u:p@h"),
        *("http://h:0", "http://h:65536", "http://h:", "http://h:" + "9" * 5000, "http://:80"),
        *("http://a..b", "http://" + "a" * 64, "http://ö..b", "http://a b", "http://[::1"),
        *("http://h/a b", "http://h/\r\nx: y", "http://h/€", "http://h#x", "http://h/#x"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Address(url)


def test_a_tls_peer_that_never_shakes_hands_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(f"https://localhost:{listener.getsockname()[1]}")
        connection = Connection(address)
        for _ in range(2):
            with pytest.raises(SendError, match=r"did not answer within 0\.2 s|timed out"):
                connection.post(post_head(address, "/", {}), b"", 0.2)


def test_a_name_that_nobody_has_is_a_send_error() -> None:
    address = Address("http://nobody.invalid:4318")
    with pytest.raises(SendError, match=r"nobody\.invalid:4318: "):
        Connection(address).post(post_head(address, "/", {}), b"", 10)


def test_a_name_that_no_thread_can_look_up_is_a_send_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    address = Address("http://nobody.invalid:4318")
    with pytest.raises(SendError, match="no thread to look the name up in: can't start new"):
        Connection(address).post(post_head(address, "/", {}), b"", 10)


@pytest.mark.parametrize("ending", ["reset", "half-closed", "closed"])
def test_a_connection_that_died_in_the_freeze_is_opened_again(ending: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    address = Address(f"http://127.0.0.1:{listener.getsockname()[1]}")
    is_read, has_ended, received = threading.Event(), threading.Event(), []

    def serve() -> None:
        first, _ = listener.accept()
        received.append(_request(first))
        first.sendall(OK)
        assert is_read.wait(5), "a reset would take the answer back"
        if ending == "half-closed":
            first.shutdown(socket.SHUT_WR)
        elif ending == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if ending != "half-closed":
            first.close()
        has_ended.set()
        second, _ = listener.accept()
        with second:
            received.append(_request(second))
            second.sendall(OK)
        first.close()

    thread = threading.Thread(target=serve)
    thread.start()
    connection = Connection(address)
    try:
        assert post(connection) == (200, b"ok")
        is_read.set()
        assert has_ended.wait(5)
        assert post(connection, b"again") == (200, b"ok")
    finally:
        connection.close()
        thread.join(10)
        listener.close()
    assert [request[-5:] for request in received] == [b"\nbody", b"again"]


REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def test_what_came_on_a_connection_nobody_used_is_no_answer_to_the_next_request() -> None:
    with serving([OK], [OK]) as (server, connection):
        server.late = REQUEST_TIMEOUT
        assert post(connection) == (200, b"ok")
        server.is_read.set()
        assert select.select([connection._socket], [], [], 5)[0], "the peer has sent more"
        assert post(connection, b"again") == (200, b"ok")
    assert [request[-5:] for request in server.requests] == [b"\nbody", b"again"]


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_what_came_right_behind_an_answer_is_none_to_the_next_request(answer: bytes) -> None:
    first = (204, b"") if answer != OK else (200, b"ok")
    with serving([answer + REQUEST_TIMEOUT], [OK]) as (server, connection):
        assert post(connection) == first
        assert post(connection, b"again") == (200, b"ok")
    assert [request[-5:] for request in server.requests] == [b"\nbody", b"again"]


def test_a_request_that_crossed_the_peers_408_is_sent_again() -> None:
    with serving([OK, REQUEST_TIMEOUT], [OK]) as (server, connection):
        assert post(connection) == (200, b"ok")
        assert post(connection, b"again") == (200, b"ok")
    assert [request[-5:] for request in server.requests] == [b"\nbody", b"again", b"again"]


def test_a_408_on_a_new_connection_is_the_answer() -> None:
    with serving([REQUEST_TIMEOUT]) as (_, connection):
        assert post(connection) == (408, b"")


def test_a_connection_nobody_used_for_long_is_not_trusted() -> None:
    with serving([OK], [OK]) as (server, connection):
        assert post(connection) == (200, b"ok")
        kept = connection._socket
        connection._used_s -= 301
        assert post(connection) == (200, b"ok")
        assert kept.fileno() == -1
    assert len(server.requests) == 2


def test_the_host_header_has_no_port_that_goes_without_saying() -> None:
    urls = ("http://h/", "https://h:443/", "https://h:80/", "http://[::1]/", "http://[::1]:1/")
    assert [Address(url).authority for url in urls] == ["h", "h", "h:80", "[::1]", "[::1]:1"]

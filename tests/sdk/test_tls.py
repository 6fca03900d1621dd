"""Against a real TLS peer."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from lambdatrace.errors import SendError
from lambdatrace.http1 import Address, Connection, post_head
from lambdatrace.tls import Tls
from tests.sdk.certificates import write_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def peer(context: ssl.SSLContext, endings: list[str]) -> Iterator[tuple[int, list[bytes]]]:
    """Answers one request on each connection and then does what `endings` says."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    received: list[bytes] = []

    def serve() -> None:
        for ending in endings:
            with suppress(OSError):
                plain, _ = listener.accept()
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as connection:
                    received.append(connection.recv(65536))
                    connection.sendall(OK)
                    if ending == "close":
                        connection.unwrap()
                    elif ending == "answer":
                        received.append(connection.recv(65536))
                        connection.sendall(OK)
                    elif ending == "408":  # as a record of its own, which `recv` gives alone
                        connection.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                        connection.recv(65536)
                    elif ending == "reset":
                        connection.recv(1)  # a reset would take the answer back, if it was not read
                        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    else:
                        connection.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], received
    finally:
        thread.join(10)
        listener.close()


def post(connection: Connection, port: int) -> int:
    address = Address(f"https://127.0.0.1:{port}/v1/traces")
    return connection.post(post_head(address, "/v1/traces", {}), b"body", 5).status


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("ending", ["close", "reset", "drop"])
def test_a_session_that_ended_in_the_freeze_is_begun_again(tmp_path: Path, ending: str) -> None:
    server = write_certificate(tmp_path, "server")
    with peer(server_context(server), [ending, "close"]) as (port, received):
        connection = Connection(Address(f"https://127.0.0.1:{port}"), Tls(str(server)).dial)
        assert post(connection, port) == 200
        if ending == "drop":
            connection._socket.shutdown(socket.SHUT_WR)  # the peer sees the end, and goes
        elif ending == "reset":
            connection._socket.send(b"x")
            with suppress(OSError):
                assert connection._socket.recv(1) == b"", "the peer is gone"
        assert post(connection, port) == 200
        connection.close()
    assert len(received) == 2


def test_a_session_whose_tickets_nobody_has_read_yet_is_kept(tmp_path: Path) -> None:
    server = write_certificate(tmp_path, "server")
    with peer(server_context(server), ["answer"]) as (port, received):
        dial = Tls(str(server)).dial
        connection = Connection(Address(f"https://127.0.0.1:{port}"), dial)
        connection._socket = dial(connection._address, None)
        connection._used_s = time.time()
        assert connection._socket.version() == "TLSv1.3"
        assert select.select([connection._socket], [], [], 5)[0], "the tickets"
        assert [post(connection, port), post(connection, port)] == [200, 200]
        connection.close()
    assert len(received) == 2


def test_what_came_in_a_session_nobody_used_is_no_answer_to_the_next_request(
    tmp_path: Path,
) -> None:
    server = write_certificate(tmp_path, "server")
    with peer(server_context(server), ["408", "close"]) as (port, received):
        connection = Connection(Address(f"https://127.0.0.1:{port}"), Tls(str(server)).dial)
        assert post(connection, port) == 200
        assert select.select([connection._socket], [], [], 5)[0], "the peer has sent more"
        assert post(connection, port) == 200
        connection.close()
    assert len(received) == 2


def test_a_peer_whose_certificate_nobody_vouches_for_is_not_sent_anything(tmp_path: Path) -> None:
    server, other = (write_certificate(tmp_path, name) for name in ("server", "other"))
    with peer(server_context(server), ["close"]) as (port, received):
        connection = Connection(Address(f"https://127.0.0.1:{port}"), Tls(str(other)).dial)
        with pytest.raises(SendError, match="certificate verify failed"):
            post(connection, port)
    assert received == []


def test_a_peer_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    server, client = (write_certificate(tmp_path, name) for name in ("server", "client"))
    context = server_context(server)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(client)
    with peer(context, ["close", "close"]) as (port, received):
        address = Address(f"https://127.0.0.1:{port}")
        connection = Connection(address, Tls(str(server), str(client)).dial)
        assert post(connection, port) == 200
        connection.close()
        without = Connection(address, Tls(str(server)).dial)
        with pytest.raises(SendError):
            post(without, port)
    assert len([request for request in received if request]) == 1


def test_a_file_that_is_no_certificate_is_a_send_error(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("not PEM")
    address = Address("https://127.0.0.1:9")
    connection = Connection(address, Tls(str(tmp_path / "bad.pem")).dial)
    with pytest.raises(SendError):
        connection.post(post_head(address, "/", {}), b"", 1)

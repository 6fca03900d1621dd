"""An OTLP/HTTP endpoint that accepts everything at once, in a process of its own.

It stands for a backend nearby, so that a benchmark measures the sender and not the backend: one
thread per connection and blocking sockets, the quickest answer that Python gives.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def _answer(peer: socket.socket, delay_s: float) -> None:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with peer:
        while data := peer.recv(1 << 20):
            received += data
            head, separator, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if separator and len(body) >= length:
                received = body[length:]
                if delay_s:
                    time.sleep(delay_s)
                peer.sendall(ACCEPTED)


def _serve(port: Connection, delay_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.send(listener.getsockname()[1])
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=_answer, args=(peer, delay_s), daemon=True).start()


@contextmanager
def otlp_endpoint(delay_s: float = 0.0) -> Iterator[str]:
    """The base URL of an endpoint that answers after `delay_s`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, delay_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join(5)

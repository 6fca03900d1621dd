"""A small HTTP/1.1 server for the harness: one request in, one answer out, cheaply.

A request is handed to a plain function as an `Exchange`; the function answers at once or keeps the
exchange and answers later (a parked `next`). Requests of one connection are served in order.
Bytes are received into one buffer per connection (`asyncio.BufferedProtocol`): a plain protocol
allocates 256 KiB for every read.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_BYTES_MAX = 1024 * 1024  # the request line and headers together, as on AWS
PIPELINED_MAX = 16  # requests one connection may send ahead of its answers
DISCARD_BYTES_MAX = 80 * 1024 * 1024  # of a body that is too large: read, counted, not kept
RECEIVE_BYTES = 65536  # per connection, for its whole life
REQUEST_READ_S = 30.0  # from a request's first byte to its last
_SWEEP_S = 5.0

_log = logging.getLogger("lambdatrace.harness")

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_HEAD_END = b"\r\n\r\n"
_JSON = b"Content-Type: application/json\r\n"


class Request:
    """A request as it came: header names in lower case, the query string apart from the path.

    `began_s` is the time of its first bytes, by the loop's (monotonic) clock.
    `body_bytes` is what was received; over the limit `body` is empty and `is_too_large` set.
    """

    __slots__ = (
        *("began_s", "body", "body_bytes", "headers", "is_too_large"),
        *("method", "path", "query"),
    )

    def __init__(self) -> None:
        self.began_s = 0.0
        self.method = ""
        self.path = ""
        self.query = ""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.body_bytes = 0
        self.is_too_large = False

    def header(self, name: bytes) -> str:
        """A header's value, or an empty string."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value else ""


class Exchange:
    """One request and the one answer it will get."""

    __slots__ = ("_connection", "_keep_alive", "is_open", "on_lost", "request")

    def __init__(self, connection: Connection, request: Request, *, keep_alive: bool) -> None:
        self.request = request
        self.is_open = True
        self.on_lost: Callable[[], None] | None = None
        self._connection = connection
        self._keep_alive = keep_alive

    def respond(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        """Sends the answer; nothing happens if the client has gone or was answered.

        `headers` are whole lines, each ending in CRLF; the content type is JSON by default.
        """
        if not self.is_open:
            return
        self.is_open = False
        parts = [_STATUS_LINES[status]]
        if b"Content-Type:" not in headers:
            parts.append(_JSON)
        parts.append(headers)
        if not self._keep_alive:
            parts.append(b"Connection: close\r\n")
        if status == HTTPStatus.NO_CONTENT:
            parts.append(b"\r\n")
        else:
            parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
            parts.append(body)
        self._connection.answered(b"".join(parts), keep_alive=self._keep_alive)


class Server:
    """A listening socket whose requests go to `serve`. Make it with `await Server.listen(...)`."""

    def __init__(
        self,
        serve: Callable[[Exchange], None],
        refuse: Callable[[Exchange, int, str], None],
        body_bytes_max: int,
    ) -> None:
        self.serve = serve
        self.refuse = refuse
        self.body_bytes_max = body_bytes_max
        self.larger_body: Callable[[Request], int] | None = None
        self.connections_max: int | None = None
        self.connections: set[Connection] = set()
        self.host = ""
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        serve: Callable[[Exchange], None],
        *,
        refuse: Callable[[Exchange, int, str], None],
        body_bytes_max: int,
    ) -> Server:
        """Listens on `host:port` (0: any free port). Raises OSError when it cannot.

        `serve` gets every well-formed request; `refuse` is called with status and reason for the
        others, and answers in the shape of its API.
        """
        server = cls(serve, refuse, body_bytes_max)
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: Connection(server), host, port, backlog=1024)
        if not listener.sockets:  # asyncio tells nobody why it was given none
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET):
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        server._listener = listener
        server.host, server.port = listener.sockets[0].getsockname()[:2]
        server._sweep = loop.call_later(_SWEEP_S, server._close_slow_readers)
        return server

    def stop_listening(self) -> None:
        """Takes no new connection; those that are open go on."""
        if self._listener:
            self._listener.close()

    async def close(self) -> None:
        """Stops listening and drops every connection."""
        if self._sweep:
            self._sweep.cancel()
        self.stop_listening()
        self.drop_connections()
        await asyncio.sleep(0)  # the transports tell of their end in the loop's next round
        if self._listener:
            await self._listener.wait_closed()

    def drop_connections(self) -> None:
        """Aborts the open connections; the port stays open for new ones."""
        for connection in list(self.connections):
            connection.abort()

    def _close_slow_readers(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self.connections):
            connection.close_if_slow(loop.time() - REQUEST_READ_S)
        self._sweep = loop.call_later(_SWEEP_S, self._close_slow_readers)


class Connection(asyncio.BufferedProtocol):
    """One client connection: parses, queues what is sent ahead, writes answers in order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray(RECEIVE_BYTES)
        self._buffer = memoryview(self._received)
        self._unparsed = self._buffer[:0]  # no more is received before it is parsed
        self._pieces: deque[int] = deque()  # the lengths it is parsed in, if not as one
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._request = Request()
        self._chunks: list[bytes] = []
        self._header_bytes = 0
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._reading_since = 0.0
        self._is_broken = False  # nothing more is read
        self._refusal: tuple[int, str] | None = None  # the last answer, after those before it
        self._is_advancing = False
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        if server.connections_max is not None and len(server.connections) >= server.connections_max:
            self._is_broken = True
            self.abort()
        else:
            server.connections.add(self)

    def connection_lost(
        self,
        exc: Exception | None,  # noqa: ARG002 - asyncio's signature; how it was lost is all one
    ) -> None:
        """Tells whoever still owes an answer that nobody waits for it."""
        self._server.connections.discard(self)
        for exchange in (self._current, *self._waiting):
            if exchange is not None and exchange.is_open:
                exchange.is_open = False
                if exchange.on_lost:
                    exchange.on_lost()
        self._current = None
        self._waiting.clear()

    def get_buffer(
        self,
        sizehint: int,  # noqa: ARG002 - asyncio's signature; the buffer has one size
    ) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parses and serves what was received."""
        if self._is_broken:
            return
        self._unparsed = self._buffer[:nbytes]
        # Every request ends a head, so that no piece up to the end of one has two requests. Most of
        # a large body has no CR, which is known at once: counting alone took 0.8 ms for a megabyte.
        first = self._received.find(b"\r", 0, nbytes)
        if first >= 0 and self._received.count(_HEAD_END, first, nbytes) > PIPELINED_MAX:
            self._pieces = deque(_head_lengths(self._received, nbytes))
        self._advance()

    def _advance(self) -> None:
        """Serves what waits, one after the other, and parses on where there is room for more.

        A request that is answered at once comes back to here: the loop goes on with the next.
        """
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            while True:
                if self._current is None and self._waiting:
                    self._serve(self._waiting.popleft())
                elif self._current is None and self._refusal:
                    (status, reason), self._refusal = self._refusal, None
                    exchange = Exchange(self, self._request, keep_alive=False)
                    self._server.refuse(exchange, status, reason)
                elif not self._is_broken and self._unparsed and len(self._waiting) < PIPELINED_MAX:
                    self._parse()
                else:
                    break
        finally:
            self._is_advancing = False
        self._receive_or_pause()

    def _receive_or_pause(self) -> None:
        is_full = bool(self._unparsed) or len(self._waiting) >= PIPELINED_MAX
        if is_full == self._is_paused or self._is_broken:
            return
        self._is_paused = is_full
        if is_full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _parse(self) -> None:
        """Feeds the parser, whose callbacks do the rest."""
        length = self._pieces.popleft() if self._pieces else len(self._unparsed)
        piece, self._unparsed = self._unparsed[:length], self._unparsed[length:]
        while piece:
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as offer:
                piece = self._decline(piece[offer.args[0] :])
            except httptools.HttpParserCallbackError:
                self._refuse(400, "Malformed request target")
            except httptools.HttpParserError as error:
                self._refuse(400, f"Malformed HTTP request: {error}")
            else:
                return
            if self._is_broken:
                return

    def _decline(self, rest: memoryview) -> memoryview:
        """The request whose head offers an upgrade (h2c, websocket) as it is without the offer.

        The parser takes what comes after such a head for the other protocol; it is the body.
        Source: RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field".
        """
        request = self._request
        version = self._parser.get_http_version().encode()
        self._parser = httptools.HttpRequestParser(self)
        if request.method == "CONNECT":
            self._refuse(405, "This server is no proxy")
            return rest
        lines = [b"%s %s HTTP/%s" % (request.method.encode(), self._url, version)]
        lines += [b"%s: %s" % h for h in request.headers.items() if h[0] != b"upgrade"]
        return memoryview(b"\r\n".join(lines) + _HEAD_END + rest)

    def abort(self) -> None:
        """Closes at once, without an answer."""
        self._transport.abort()

    def close_if_slow(self, started_before: float) -> None:
        """Closes when a request began before this loop time and has not arrived in full."""
        if self._reading_since and self._reading_since < started_before:
            self._refuse(408, f"The request did not arrive within {REQUEST_READ_S:.0f} s")

    def answered(self, data: bytes, *, keep_alive: bool) -> None:
        """Writes an answer; the next request that waits is served."""
        self._transport.write(data)
        self._current = None
        if not keep_alive:
            self._is_broken = True
            self._waiting.clear()
            self._transport.close()
        elif self._waiting or self._unparsed or self._refusal:
            self._advance()

    # httptools callbacks, in the order of a request

    def on_message_begin(self) -> None:
        """A new request begins."""
        self._url = b""
        self._request = Request()
        self._header_bytes = 0
        self._reading_since = self._request.began_s = asyncio.get_running_loop().time()

    def on_url(self, url: bytes) -> None:
        """The request target, in one or more pieces."""
        self._url += url
        self._count_header_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of repeated ones the last counts."""
        self._request.headers[name.lower()] = value
        self._count_header_bytes(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """All but the body is known."""
        request = self._request
        request.method = self._parser.get_method().decode("ascii")
        path, _, query = self._url.partition(b"?")
        request.path = path.decode("latin-1")
        request.query = query.decode("latin-1")
        if b"expect" in request.headers and not (self._is_broken or self._parser.should_upgrade()):
            # libcurl waits a second for this line before it sends a body of more than 1 MiB.
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body, kept up to the limit."""
        request = self._request
        request.body_bytes += len(body)
        if request.body_bytes <= self._server.body_bytes_max or self._may_be_larger(request):
            self._chunks.append(body)
            return
        request.is_too_large = True
        self._chunks.clear()
        if request.body_bytes > DISCARD_BYTES_MAX:
            self._refuse(413, f"The body is over {DISCARD_BYTES_MAX} bytes")

    def _may_be_larger(self, request: Request) -> bool:
        """Asked only about a body over the server's limit."""
        larger = self._server.larger_body
        return larger is not None and request.body_bytes <= larger(request)

    def on_message_complete(self) -> None:
        """The request is complete: it is served after those before it."""
        if self._parser.should_upgrade():
            return  # its body has not come: see _decline
        request = self._request
        self._reading_since = 0.0
        if self._chunks:
            request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
        if self._is_broken:
            return
        self._waiting.append(Exchange(self, request, keep_alive=self._parser.should_keep_alive()))

    def _serve(self, exchange: Exchange) -> None:
        self._current = exchange
        try:
            self._server.serve(exchange)
        except Exception:  # noqa: BLE001 - it would rise into whoever answers the request before
            request = exchange.request
            _log.exception("%s %s could not be served", request.method, request.path)
            self._server.refuse(exchange, 500, "The request could not be served")

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(431, f"Request line and headers are over {HEADER_BYTES_MAX} bytes")

    def _refuse(self, status: int, reason: str) -> None:
        if self._is_broken:
            return
        self._is_broken = True
        self._reading_since = 0.0
        self._refusal = status, reason
        self._advance()


def _head_lengths(received: bytearray, nbytes: int) -> list[int]:
    """The lengths of pieces that each end with a head, but for the last."""
    lengths, start = [], 0
    while (found := received.find(_HEAD_END, start, nbytes)) >= 0:
        lengths.append(found + len(_HEAD_END) - start)
        start = found + len(_HEAD_END)
    return [*lengths, nbytes - start] if start < nbytes else lengths

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024  # request line and headers; SDKs send 1 to 2 kB, AWS takes 10 to 20
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with a bound on what comes before the body: httptools gathers without one."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._head_bytes = 0  # of a head that is not complete
        self._heads = 0  # that were complete
        self._is_in_body = False

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the head it belongs to is too long already."""
        heads, was_in_head = self._heads, not self._is_in_body
        super().data_received(data)
        if was_in_head and self._heads == heads and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse()

    def on_headers_complete(self) -> None:
        """Pass the request on, if its head is not too long."""
        self._is_in_body, self._head_bytes = True, 0
        self._heads += 1
        head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head_bytes > HEAD_BYTES_MAX:
            self._refuse()
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are those of another request's head."""
        self._is_in_body = False
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, unless its request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def _refuse(self) -> None:
        self.transport.write(_REFUSAL)
        self.transport.close()

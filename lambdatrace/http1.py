"""One keep-alive HTTP/1.1 connection: enough for the Extensions API and for OTLP.

Our own, since `http.client` costs 17 ms of import and `socket` 2.4 ms, while `_socket`, which both
stand on, is in the interpreter. Plain HTTP to an address of numbers needs nothing more: TLS,
proxies and the resolver are modules of their own, loaded at their first use, which is after a
response. Source: RFC 9112.
"""

from __future__ import annotations

import _socket
import time

from lambdatrace.errors import SendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_HEAD_BYTES_MAX = 64 * 1024
# What a body has beyond is not read: answers of OTLP and of the Extensions API are far below, and a
# function with 128 MB has few to spare for an endpoint that says more.
BODY_BYTES_MAX = 64 * 1024
_RECEIVE_BYTES = 64 * 1024
_TCP_NODELAY = 1
_STATUS_NO_CONTENT = (204, 304)
_LABEL_LENGTH_MAX, _PORT_MAX = 63, 65_535
_INTERIM_FIRST, _INTERIM_LAST = 100, 199
_REQUEST_TIMEOUT = 408  # what waited for a request in vain (RFC 9110, 15.5.9)

# A request on a socket that was not used for so long goes to a new one: AWS's NAT gateways and load
# balancers forget a connection after 350 s without a word to us, and the answer never comes.
IDLE_S_MAX = 300.0


class Response:
    """Status, headers, and the body, of which nothing is kept beyond BODY_BYTES_MAX."""

    __slots__ = ("_head", "_names", "body", "status")

    def __init__(self, head: bytes) -> None:
        """From the bytes before the empty line. Raises ValueError if they are not HTTP/1.1."""
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            raise ValueError(f"not an HTTP/1.1 answer: {head[:60]!r}")
        self.status = int(head[9:12])
        self.body = b""
        # Headers are looked up when asked for: an answer has ten, and two are wanted.
        self._head = head
        self._names = head.lower()

    def header(self, name: bytes) -> str:
        """The value of the header `name`, in lower case; the empty string if there is none."""
        start = self._names.find(b"\r\n" + name + b":")
        if start < 0:
            return ""
        start += len(name) + 3
        end = self._head.find(b"\r\n", start)
        return self._head[start : end if end >= 0 else None].strip().decode("latin-1")


class Address:
    """Where a URL points: scheme, host, port and path with query; a host's name in ASCII letters.

    Raises ValueError if the URL is not http or https with a host and a port that there can be, or
    has a user and password, or what may not stand in a request.
    """

    __slots__ = ("host", "is_tls", "path", "port")

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        if scheme.lower() not in ("http", "https") or not separator:
            raise ValueError("expected http://HOST:PORT or https://HOST:PORT")
        self.is_tls = scheme.lower() == "https"
        authority = host_and_port(rest)
        if "@" in authority:
            raise ValueError("expected no user and password in the URL, but in the headers")
        host, colon, port = authority.rpartition(":")
        if not colon or authority.endswith("]"):
            host, port = authority, "443" if self.is_tls else "80"
        self.host = host_name(host)
        self.port = port_number(port)
        path = rest[len(authority) :]
        if not path.isascii() or " " in path or "#" in path or not path.isprintable():
            raise ValueError(
                "expected a path of ASCII letters without spaces, percent-encoded, and no fragment"
            )
        self.path = path if path.startswith("/") else "/" + path

    @property
    def authority(self) -> str:
        """Host and port for the Host header; without the port if it is the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def host_and_port(rest: str) -> str:
    """What of a URL stands between its scheme and path, query or fragment (RFC 3986, 3.2)."""
    for sign in "/?#":
        rest = rest.partition(sign)[0]
    return rest


def host_name(text: str) -> str:
    """A host's name as it is looked up, or its number without brackets. Raises ValueError."""
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1]
    if not text.isascii():
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            raise ValueError("expected a host's name that IDNA has") from None
    if not text or not text.isprintable() or any(letter in text for letter in " []"):
        raise ValueError("expected a host, without spaces")
    # RFC 1035, 2.3.4; one dot may end it.
    for label in text.removesuffix(".").split("."):
        if not 0 < len(label) <= _LABEL_LENGTH_MAX:
            raise ValueError(f"expected 1 to {_LABEL_LENGTH_MAX} letters between a host's dots")
    return text


def port_number(text: str) -> int:
    """A port's number. Raises ValueError."""
    port = int(text) if text.isdecimal() and len(text) <= len(str(_PORT_MAX)) else 0
    if not 0 < port <= _PORT_MAX:
        raise ValueError(f"expected a port from 1 to {_PORT_MAX}")
    return port


def get_message(address: Address, path: str, headers: Mapping[str, str]) -> bytes:
    """A GET request, whole."""
    return _lines("GET", address, path, headers) + b"\r\n"


def post_head(address: Address, path: str, headers: Mapping[str, str]) -> bytes:
    """A POST request up to the value of Content-Length: what stays the same for every body."""
    return _lines("POST", address, path, headers) + b"Content-Length: "


def _lines(method: str, address: Address, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


class Connection:
    """A connection to one address, opened at first use and again after the peer has closed it.

    A kept-alive socket may have died while the environment was frozen. A `post` on such a socket
    that the peer drops, or answers with 408, is sent once more on a new one: whoever gets it twice
    sees the same ids. `dial` connects; without it, TCP does, or TLS by the system's certificates.
    Not for several threads at once.
    """

    __slots__ = ("_address", "_dial", "_received", "_socket", "_used_s")

    def __init__(
        self, address: Address, dial: Callable[[Address, float | None], Any] | None = None
    ) -> None:
        self._address = address
        self._dial = dial or _dial
        self._socket: Any = None
        self._received = b""
        self._used_s = 0.0

    def post(
        self,
        head: bytes,
        body: bytes,
        timeout_s: float,
        meanwhile: Callable[[], None] | None = None,
    ) -> Response:
        """The response to `body` after `head`, from `post_head`, when it is whole.

        `timeout_s` bounds all of it. `meanwhile` is called when the request is out, to do something
        useful while the peer works on it. Raises SendError if the peer cannot be reached in time,
        breaks off, or answers what is not HTTP.
        """
        message = b"%s%d\r\n\r\n%s" % (head, len(body), body)
        deadline_s = time.monotonic() + timeout_s
        if time.time() - self._used_s > IDLE_S_MAX or not self._is_silent():
            self.close()
        is_reused = self._socket is not None
        try:
            try:
                response = self._exchange(message, deadline_s, meanwhile)
                if not is_reused or response.status != _REQUEST_TIMEOUT:
                    return response
            except OSError as error:  # closed, reset, or the TLS session is gone
                if not is_reused or isinstance(error, TimeoutError):
                    raise
            self.close()
            return self._exchange(message, deadline_s, meanwhile)
        except TimeoutError:
            self.close()
            raise SendError(
                f"{self._address.authority} did not answer within {timeout_s:.3g} s"
            ) from None
        except (OSError, ValueError, SendError) as error:
            raise self._failed(error) from error

    def begin(self, message: bytes) -> None:
        """Send a whole request and return when the response begins, without reading it.

        What comes back is left to `finish`, so that the caller can see to more urgent things
        first. There is no deadline: this is for long polls. As with `post`, a connection that the
        peer has dropped is opened once more. Raises SendError.
        """
        is_reused = self._socket is not None
        try:
            try:
                self._begin(message)
            except (_ClosedError, ConnectionError):
                if not is_reused:
                    raise
                self.close()
                self._begin(message)
        except (OSError, SendError) as error:
            raise self._failed(error) from error

    def _begin(self, message: bytes) -> None:
        if self._socket is None:
            self._socket = self._dial(self._address, None)
        self._socket.settimeout(None)
        self._socket.sendall(message)
        self._received = self._more(None, has_begun=False)

    def finish(self) -> Response:
        """The response that `begin` has seen begin. Raises SendError."""
        try:
            return self._receive(None)
        except (OSError, ValueError, SendError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the socket, if there is one."""
        self._received = b""
        closing, self._socket = self._socket, None
        if closing is not None:
            try:
                closing.close()
            except OSError:
                return  # the function has closed our descriptor

    def _is_silent(self) -> bool:
        """Whether the peer has sent nothing since its last answer, as it must to be asked again.

        What else it has sent may be the end of the connection, or an answer to nobody, as the 408
        of load balancers to a connection that is idle for long.
        """
        if self._socket is None:
            return True
        try:
            self._socket.settimeout(0)
            # TLS takes its own messages by this, such as the tickets that may come at any time.
            self._socket.recv(1)
        except BlockingIOError:
            return True
        except OSError as error:
            # By its name, since only `ssl` has it, and plain HTTP does not load that.
            return type(error).__name__ == "SSLWantReadError"
        return False

    def _failed(self, error: Exception) -> SendError:
        self.close()
        if isinstance(error, SendError):
            return error
        # Without "[Errno 111]" and the like.
        return SendError(f"{self._address.authority}: {getattr(error, 'strerror', None) or error}")

    def _exchange(
        self, message: bytes, deadline_s: float, meanwhile: Callable[[], None] | None
    ) -> Response:
        if self._socket is None:
            self._socket = self._dial(self._address, deadline_s)
        set_timeout(self._socket, deadline_s)
        self._socket.sendall(message)
        if meanwhile is not None:
            meanwhile()
        response = self._receive(deadline_s)
        self._used_s = time.time()
        return response

    def _receive(self, deadline_s: float | None) -> Response:
        body, self._received = self._received, b""
        status = _INTERIM_FIRST
        # An interim answer stands before the one that counts (RFC 9110, 15.2).
        while _INTERIM_FIRST <= status <= _INTERIM_LAST:
            head, body = self._receive_head(body, deadline_s)
            response = Response(head)
            status = response.status
        length = response.header(b"content-length")
        is_last = response.header(b"connection").lower() == "close"
        if response.status in _STATUS_NO_CONTENT:
            body = self._cut(body, 0)
        elif length:
            body = self._receive_length(body, int(length), deadline_s)
        elif "chunked" in response.header(b"transfer-encoding").lower():
            body = self._receive_chunks(body, deadline_s)
        else:
            is_last = True  # without a length, the body ends with the connection
            body = self._receive_to_end(body, deadline_s)
        if is_last:
            self.close()
        response.body = body
        return response

    def _receive_head(self, received: bytes, deadline_s: float | None) -> tuple[bytes, bytes]:
        """A head, and what has come of what follows it."""
        while (end := received.find(b"\r\n\r\n")) < 0:
            if len(received) > _HEAD_BYTES_MAX:
                raise SendError(f"{self._address.authority} sent headers without end")
            received += self._more(deadline_s, has_begun=bool(received))
        return received[:end], received[end + 4 :]

    def _receive_length(self, body: bytes, length: int, deadline_s: float | None) -> bytes:
        if length < 0:
            raise SendError(f"{self._address.authority} announced a body of {length} bytes")
        if length > BODY_BYTES_MAX:  # what has come of it is enough, and the rest may never come
            self.close()
            return body[:BODY_BYTES_MAX]
        parts, missing = [body], length - len(body)
        while missing > 0:
            parts.append(self._more(deadline_s, has_begun=True))
            missing -= len(parts[-1])
        return self._cut(b"".join(parts), length)

    def _cut(self, body: bytes, length: int) -> bytes:
        """A body of `length`; what has come behind it is an answer to nobody."""
        if len(body) > length:
            self.close()
        return body[:length]

    def _receive_chunks(self, received: bytes, deadline_s: float | None) -> bytes:
        # Chunks may be as small as a byte: nothing of what has come is copied for each.
        body, coming, position = bytearray(), bytearray(received), 0
        while True:
            # What has come already is read without waiting, and may be much.
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise TimeoutError
            while (end := coming.find(b"\r\n", position)) < 0:
                if len(coming) - position > _HEAD_BYTES_MAX:
                    raise SendError(f"{self._address.authority} sent a chunk's size without end")
                del coming[:position]
                position = 0
                coming += self._more(deadline_s, has_begun=True)
            size = int(coming[position:end].partition(b";")[0], 16)
            if size < 0:
                raise SendError(f"{self._address.authority} sent a chunk of {size} bytes")
            start = end + 2
            if size > BODY_BYTES_MAX - len(body):
                self.close()
                return bytes(body + coming[start:])[:BODY_BYTES_MAX]
            position = start + size + 2
            while len(coming) < position:
                coming += self._more(deadline_s, has_begun=True)
            body += coming[start : start + size]
            if not size:
                if len(coming) > position:  # trailers, which nobody here reads
                    self.close()
                return bytes(body)

    def _receive_to_end(self, body: bytes, deadline_s: float | None) -> bytes:
        while len(body) < BODY_BYTES_MAX:
            try:
                body += self._more(deadline_s, has_begun=True)
            except SendError:
                break
        return self._cut(body, BODY_BYTES_MAX)

    def _more(self, deadline_s: float | None, *, has_begun: bool) -> bytes:
        set_timeout(self._socket, deadline_s)
        part: bytes = self._socket.recv(_RECEIVE_BYTES)
        if not part:
            if has_begun:
                raise SendError(f"{self._address.authority} broke off its answer")
            raise _ClosedError("connection closed")
        return part


def _dial(address: Address, deadline_s: float | None) -> Any:
    if address.is_tls:
        from lambdatrace.tls import Tls

        return Tls().dial(address, deadline_s)
    return open_socket(address, deadline_s, _socket.socket, lambda plain: plain)


class _ClosedError(OSError):
    """The peer closed the connection before the first byte of an answer."""


def set_timeout(connection: Any, deadline_s: float | None) -> None:
    """Bound the next step of `connection`. Raises TimeoutError if no time is left."""
    if deadline_s is None:
        connection.settimeout(None)
        return
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)


def open_socket(
    address: Address,
    deadline_s: float | None,
    new_socket: Callable[[int, int, int], Any],
    finish: Callable[[Any], Any],
) -> Any:
    """What `finish` makes of a connection to the first address of the host that takes one."""
    error: OSError = OSError("no address found")
    for family, kind, protocol, _, target in _addresses(address, deadline_s):
        connection = new_socket(family, kind, protocol)
        try:
            set_timeout(connection, deadline_s)
            connection.connect(target)
            connection.setsockopt(_socket.IPPROTO_TCP, _TCP_NODELAY, 1)
            return finish(connection)
        except OSError as failure:
            connection.close()
            error = failure
        except SendError:  # a proxy's refusal: another address is the same proxy
            connection.close()
            raise
    raise error


def _addresses(address: Address, deadline_s: float | None) -> list[Any]:
    """What `getaddrinfo` gives. Raises OSError, of which TimeoutError is one."""
    if deadline_s is not None and address.host.strip("0123456789.:"):
        from lambdatrace.name_lookup import look_up

        return look_up(address.host, address.port, deadline_s)
    return _socket.getaddrinfo(address.host.encode(), address.port, 0, _socket.SOCK_STREAM)

"""HTTP proxies, by the variables every HTTP client reads: which one, and how to go through it.

Source: curl's manual, "Environment"; RFC 9110, section 9.3.6 (CONNECT) and 11.7 (Proxy-
Authorization).
"""

from __future__ import annotations

import _socket
from binascii import b2a_base64

from lambdatrace.errors import SendError, SettingError
from lambdatrace.http1 import Address, Response, open_socket, set_timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_OK_FIRST, _OK_LAST = 200, 299
_HEAD_BYTES_MAX = 16 * 1024


class Proxy:
    """A proxy at `address`, which `variable` names; as text, it says both.

    `authorization` is the value of its header, empty without a user.
    """

    __slots__ = ("address", "authorization", "variable")

    def __init__(self, address: Address, variable: str, authorization: str = "") -> None:
        self.address = address
        self.variable = variable
        self.authorization = authorization

    def __str__(self) -> str:
        return f"the proxy {self.address.authority} ({self.variable})"

    def headers(self) -> dict[str, str]:
        """What a request to the proxy itself carries besides."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def dial(
        self,
        deadline_s: float | None,
        new_socket: Callable[[int, int, int], Any],
        finish: Callable[[Any], Any],
    ) -> Any:
        """What `finish` makes of a connection to the proxy. Raises SendError if there is none.

        Raises what `finish` raises.
        """
        reached: list[Any] = []

        def finish_reached(plain: Any) -> Any:
            reached.append(plain)
            return finish(plain)

        try:
            return open_socket(self.address, deadline_s, new_socket, finish_reached)
        except OSError as error:
            if reached:
                raise
            raise SendError(f"{self} {_unreachable(error)}") from error

    def dial_plain(self, _address: Address, deadline_s: float | None) -> Any:
        """A connection to the proxy itself. Raises SendError."""
        return self.dial(deadline_s, _socket.socket, lambda plain: plain)

    def open_tunnel(self, plain: Any, address: Address, deadline_s: float | None) -> None:
        """Have the proxy connect `plain` to `address`. Raises SendError."""
        try:
            status = self._ask_for_tunnel(plain, address, deadline_s)
        except TimeoutError:
            raise SendError(f"{self} did not open a way to it in time") from None
        except (OSError, ValueError) as error:
            raise SendError(f"{self}: {getattr(error, 'strerror', None) or error}") from error
        if not _OK_FIRST <= status <= _OK_LAST:
            raise SendError(f"{self} answered HTTP {status}")

    def _ask_for_tunnel(self, plain: Any, address: Address, deadline_s: float | None) -> int:
        host = f"[{address.host}]" if ":" in address.host else address.host
        lines = [f"CONNECT {host}:{address.port} HTTP/1.1", f"Host: {host}:{address.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers().items()]
        set_timeout(plain, deadline_s)
        plain.sendall("".join(line + "\r\n" for line in (*lines, "")).encode("latin-1"))
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            set_timeout(plain, deadline_s)
            # Byte by byte, since what follows is no longer the proxy's: a few dozen bytes, once.
            byte = plain.recv(1)
            if not byte or len(received) > _HEAD_BYTES_MAX:
                raise SendError(f"{self} broke off its answer")
            received += byte
        return Response(received[:-4]).status


def _unreachable(error: OSError) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "gaierror" in kinds:
        return "has a name that cannot be resolved"
    if "TimeoutError" in kinds:
        return "does not take connections in time"
    if "ConnectionRefusedError" in kinds:
        return "is not there: nothing listens"
    return f"cannot be reached: {error.strerror or error}"


def proxy_for(address: Address, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy to reach `address` by; None to go straight. Raises SettingError.

    Straight to this machine itself, whatever the variables say: the default endpoint is there.
    """
    name = "HTTPS_PROXY" if address.is_tls else "HTTP_PROXY"
    found = name.lower() if environ.get(name.lower()) else name
    url = environ.get(found, "")
    bypass = environ.get("no_proxy") or environ.get("NO_PROXY", "")
    if not url or is_local(address.host) or is_bypassed(address, bypass):
        return None
    return read_proxy(found, url)


def read_proxy(name: str, url: str) -> Proxy:
    """The proxy at `url`, the value of the variable `name`. Raises SettingError."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    user, at, host = rest.partition("/")[0].rpartition("@")
    try:
        address = Address(f"http://{host}") if scheme.lower() == "http" else None
    except ValueError:
        address = None
    if address is None:
        # The value may hold a password.
        raise SettingError(name, "…", "http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
    return Proxy(address, name, _basic(user) if at else "")


def _basic(user: str) -> str:
    from urllib.parse import unquote

    return "Basic " + b2a_base64(unquote(user).encode(), newline=False).decode()


def is_local(host: str) -> bool:
    """Whether `host` is this machine."""
    return host.lower() == "localhost" or host == "::1" or host.startswith("127.")


def is_bypassed(address: Address, bypass: str) -> bool:
    """Whether NO_PROXY's list, `bypass`, has `address`: `*`, a host, a domain, a network."""
    host = address.host.lower()
    for item in bypass.lower().replace(",", " ").split():
        entry, colon, port = item.rpartition(":")
        if not colon or (":" in entry and not entry.endswith("]")):
            entry, port = item, ""  # no port, or an IPv6 address by itself
        if port and port != str(address.port):
            continue
        entry = entry.strip("[]")
        if entry == "*" or ("/" in entry and _is_in_network(host, entry)):
            return True
        domain = entry.lstrip("*").lstrip(".")
        if domain and (host == domain or host.endswith("." + domain)):
            return True
    return False


def _is_in_network(host: str, network: str) -> bool:
    if host.strip("0123456789.abcdef:"):
        return False  # a name
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False

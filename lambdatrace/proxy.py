"""HTTP proxies, by the variables every HTTP client reads: which one, and how to go through it.

Source: curl's manual, "Environment"; RFC 9110, section 9.3.6 (CONNECT) and 11.7 (Proxy-
Authorization).
"""

from __future__ import annotations

from binascii import b2a_base64

from lambdatrace.errors import SendError, SettingError
from lambdatrace.http1 import Address, Response, set_timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_OK_FIRST, _OK_LAST = 200, 299
_HEAD_BYTES_MAX = 16 * 1024


class Proxy:
    """A proxy at `address`; `authorization` is the value of its header, empty without a user."""

    __slots__ = ("address", "authorization")

    def __init__(self, address: Address, authorization: str = "") -> None:
        self.address = address
        self.authorization = authorization

    def headers(self) -> dict[str, str]:
        """What a request to the proxy itself carries besides."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def open_tunnel(self, plain: Any, address: Address, deadline_s: float | None) -> None:
        """Have the proxy connect `plain` to `address`. Raises SendError, OSError."""
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
                raise SendError(f"the proxy {self.address.authority} broke off its answer")
            received += byte
        status = Response(received[:-4]).status
        if not _OK_FIRST <= status <= _OK_LAST:
            raise SendError(f"the proxy {self.address.authority} answered HTTP {status}")


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
    return Proxy(address, _basic(user) if at else "")


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

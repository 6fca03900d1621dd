"""TLS to an endpoint, straight or through a proxy, with certificates of the user's choice."""

from __future__ import annotations

import socket
import ssl

from lambdatrace.http1 import open_socket, set_timeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.http1 import Address
    from lambdatrace.proxy import Proxy


class Tls:
    """Connects by TLS; `certificate` is a PEM file to trust instead of the system's certificates.

    `client_certificate` and `client_key` are PEM files to show to the peer. The key may be in the
    first of them.
    """

    __slots__ = ("_certificate", "_client_certificate", "_client_key", "_context", "_proxy")

    def __init__(
        self,
        certificate: str = "",
        client_certificate: str = "",
        client_key: str = "",
        proxy: Proxy | None = None,
    ) -> None:
        self._certificate = certificate
        self._client_certificate = client_certificate
        self._client_key = client_key
        self._proxy = proxy
        self._context: ssl.SSLContext | None = None

    def dial(self, address: Address, deadline_s: float | None) -> Any:
        """A connection to `address`, hands shaken. Raises OSError, SendError from the proxy."""
        context = self._context
        if context is None:  # reading the certificates takes tens of ms: once
            context = self._context = self._new_context()

        def shake_hands(plain: socket.socket) -> ssl.SSLSocket:
            if self._proxy is not None:
                self._proxy.open_tunnel(plain, address, deadline_s)
            set_timeout(plain, deadline_s)  # the handshake takes it as a whole
            return context.wrap_socket(plain, server_hostname=address.host)

        if self._proxy is not None:
            return self._proxy.dial(deadline_s, socket.socket, shake_hands)
        return open_socket(address, deadline_s, socket.socket, shake_hands)

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._certificate or None)
        if self._client_certificate:
            # A key with a pass phrase would have it asked for on a terminal: it fails instead.
            context.load_cert_chain(
                self._client_certificate, self._client_key or None, password=lambda: ""
            )
        return context

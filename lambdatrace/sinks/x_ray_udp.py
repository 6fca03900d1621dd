"""Spans to the X-Ray daemon, which Lambda runs beside a function whose tracing is active.

One datagram has one document; a span too long for that has several. Nobody answers, so nothing is
waited for but room in the socket, and what the daemon drops is not known here.
Source: X-Ray Developer Guide, "Sending segment documents to the X-Ray daemon".
"""

from __future__ import annotations

import _socket
import time

from lambdatrace.errors import SendError
from lambdatrace.sinks import Outcome
from lambdatrace.wire.x_ray import segment_document
from lambdatrace.wire.x_ray_parts import encode_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.records import Span

HEADER = b'{"format": "json", "version": 1}\n'
DATAGRAM_BYTES_MAX = 65_507  # of UDP over IPv4
DOCUMENT_BYTES_MAX = DATAGRAM_BYTES_MAX - len(HEADER)

# A receiver's socket has room for about 200 kB: the daemon gets a moment to read, now and then.
_BURST_BYTES = 100_000
_PAUSE_S = 0.001


class XRayUdpSink:
    """Sends each span as one datagram; those of traces that are not sampled never come here."""

    def __init__(
        self, host: str, port: int, on_error: Callable[[str, BaseException | str], None]
    ) -> None:
        self._target = self._address = (host, port)
        self._on_error = on_error
        self._socket: _socket.socket | None = None
        self.shortened = 0

    def send(self, spans: list[Span], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """Send `spans`; those not sent whole within `timeout_s` are to be sent again.

        A part of a span may be sent twice, which X-Ray takes for the same. Raises SendError if the
        daemon's name cannot be resolved.
        """
        unencodable = sent = burst_bytes = 0
        until_s = time.monotonic() + timeout_s
        for number, span in enumerate(spans):
            if time.monotonic() > until_s:
                return _unsent(len(spans) - number, len(spans) - unencodable - sent, unencodable)
            try:
                documents, cut = encode_documents(segment_document(span), DOCUMENT_BYTES_MAX)
            except Exception as error:  # noqa: BLE001 - one span's odd values, not the batch's
                self._on_error("a record cannot be encoded", error)
                unencodable += 1
                continue
            if cut:
                self.shortened += 1
                self._on_error("a span was shortened to fit a datagram", f"{cut} texts cut")
            is_sent = True
            for document in documents:
                if burst_bytes > _BURST_BYTES:
                    burst_bytes = 0
                    time.sleep(_PAUSE_S)
                burst_bytes += len(document)
                try:
                    is_sent = self._send_datagram(HEADER + document, until_s) and is_sent
                except (TimeoutError, BlockingIOError):
                    left = len(spans) - unencodable - sent
                    return _unsent(len(spans) - number, left, unencodable)
            sent += is_sent
        meanwhile()
        failed = len(spans) - unencodable - sent
        return Outcome(is_accepted=True, rejected=failed, unencodable=unencodable)

    def close(self) -> None:
        """Close the socket; a later `send` opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_datagram(self, datagram: bytes, until_s: float) -> bool:
        """Whether it could be sent. Raises TimeoutError if there was no room for it in time."""
        if self._socket is None:
            self._address = self._resolved()
            self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        self._socket.settimeout(max(until_s - time.monotonic(), 0))
        try:
            self._socket.sendto(datagram, self._address)
        except (TimeoutError, BlockingIOError):
            raise
        except OSError as error:
            host, port = self._target
            reason = f"{host}:{port}: {error.strerror or error}; AWS_XRAY_DAEMON_ADDRESS says where"
            self._on_error("a span could not be sent to the X-Ray daemon", reason)
            return False
        return True

    def _resolved(self) -> tuple[str, int]:
        host, port = self._target
        try:
            # As bytes: a `str` loads the IDNA codec, 2 ms.
            found = _socket.getaddrinfo(host.encode(), port, _socket.AF_INET, _socket.SOCK_DGRAM)
        except OSError as error:
            raise SendError(
                f"the X-Ray daemon's name {host} cannot be resolved: {error.strerror or error}; "
                "check AWS_XRAY_DAEMON_ADDRESS"
            ) from error
        return str(found[0][4][0]), port


def _unsent(rest: int, left: int, unencodable: int) -> Outcome:
    """`left` are all that are not sent, of which the last `rest` still may be."""
    return Outcome(
        is_accepted=False,
        rejected=left - rest,
        unencodable=unencodable,
        unsent=rest,
        message=f"{rest} not sent in time",
    )

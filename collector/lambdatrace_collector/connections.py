"""HTTP connections, bounded: how many there are, and how long a request's head may take.

uvicorn bounds neither: a client that sends a byte of a header now and then would keep a connection
for ever.
"""

from __future__ import annotations

import logging
import resource
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.bounded_head import BoundedHeadProtocol

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)

# A kept connection costs some 10 kB; Lambda environments keep one each.
CONNECTIONS_MAX = 10_000
FILES_RESERVED = 200  # of the process's open files: the engine's, the listener's, those of reads
HEAD_DEADLINE_S = 10  # a client sends a request's head in one packet


def connections_max() -> int:
    """How many connections the process may have, by its limit of open files."""
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_max == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, files_max - FILES_RESERVED))


class BoundedHttpProtocol(BoundedHeadProtocol):
    """One connection. What breaks a bound is closed; what is too much is not taken."""

    connections_max = connections_max()

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection, unless there are as many as we allow."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            logger.warning("over %d connections: one more is refused", self.connections_max)
            transport.abort()
        else:
            self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin a request's head."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Pass the request on."""
        self._end_head()
        super().on_headers_complete()

    def _begin_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(HEAD_DEADLINE_S, self.transport.abort)

    def _end_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

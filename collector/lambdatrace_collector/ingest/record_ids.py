from __future__ import annotations

import secrets
import time

IDS_PER_REQUEST = 2**32  # the low half of an id's low 64 bits counts the records of one request


class RecordIds:
    """Ids for records that bring none: log events and metric samples. 128 bits, rising.

    The upper 64 bits are Unix nanoseconds, never the same twice in this process; then 32 bits that
    are this process's own, so that two collectors on one cluster never give the same id; the last
    32 count the records of a request.
    """

    def __init__(self) -> None:
        self._process = secrets.randbits(32)
        self._last_ns = 0

    def take(self) -> int:
        """The first id for one request's records; the others follow by adding one."""
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        return self._last_ns << 64 | self._process << 32

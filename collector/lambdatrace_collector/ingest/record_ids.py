from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdatrace_collector.aws.call import Call

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

    def take_for(self, call: Call) -> int:
        """As `take`, but the same for each try of one call, so that its records settle to one copy.

        A client whose answer was lost sends its call again under the same `amz-sdk-invocation-id`.
        Such an id does not rise. The body goes into it: where a client uses an id for several
        calls, none may take the place of another.
        """
        if not call.invocation_id:
            return self.take()
        identity = hashlib.blake2b(digest_size=12)
        for part in (call.account, call.region, call.operation, call.invocation_id):
            identity.update(f"{len(part)}:{part}".encode("latin-1", "replace"))
        identity.update(call.body)
        return int.from_bytes(identity.digest(), "big") << 32

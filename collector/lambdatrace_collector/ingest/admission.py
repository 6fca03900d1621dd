from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.errors import OverloadedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# Bodies that arrive, wait or are being written, over all connections. 64 MB hold about 400 requests
# of 500 spans, a second of work at the rate we promise, and leave the engine its share of 1.2 GB.
ADMITTED_BYTES_MAX = 64 * 1024 * 1024
# On top of these, for small bodies alone: a few clients whose large bodies arrive slowly must not
# keep out all others.
SMALL_BODY_BYTES_MAX = 1024 * 1024
RESERVED_BYTES = 16 * 1024 * 1024


class Admission:
    """The bytes of all requests that were taken in and not answered yet, bounded."""

    def __init__(self, bytes_max: int = ADMITTED_BYTES_MAX, reserved_bytes: int = 0) -> None:
        self.bytes_max = bytes_max
        self.reserved_bytes = reserved_bytes  # what small bodies may be on top
        self.bytes_admitted = 0

    def lease(self) -> Lease:
        """A lease of no bytes yet; as a context manager it gives back what it took."""
        return Lease(self)


class Lease:
    """The bytes that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.body_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Take `size_bytes` more. Raises OverloadedError when all requests would hold too much."""
        admission = self._admission
        is_small = self.body_bytes + size_bytes <= SMALL_BODY_BYTES_MAX
        bytes_max = admission.bytes_max + (admission.reserved_bytes if is_small else 0)
        if admission.bytes_admitted + size_bytes > bytes_max:
            raise OverloadedError(
                f"{admission.bytes_admitted} bytes of requests are waiting and"
                f" {admission.bytes_max} are allowed: send this again later"
            )
        admission.bytes_admitted += size_bytes
        self.body_bytes += size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give `size_bytes` back."""
        self._admission.bytes_admitted -= size_bytes
        self.body_bytes -= size_bytes

    def release(self) -> None:
        """Give everything back."""
        self.shrink(self.body_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

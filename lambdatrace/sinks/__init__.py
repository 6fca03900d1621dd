"""Where finished records go. A sink has `send`; it does I/O and nothing else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Sink(Protocol):
        """Takes finished records of one signal."""

        def send(
            self, records: list[Any], timeout_s: float, meanwhile: Callable[[], None]
        ) -> Outcome:
            """Send `records` within `timeout_s`; what became of them. Raises SendError.

            A sink that waits for an answer calls `meanwhile` before it does.
            """
            ...

    class Encoder(Protocol):
        """Makes one request's body of records of one signal."""

        content_type: str

        def encode(self, records: Sequence[Any]) -> tuple[bytes, int]:
            """The body, and how many of `records` could not be encoded and are not in it."""
            ...


class Outcome:
    """What became of the records of one send.

    `is_accepted` is false when they should be sent again, after `retry_after_s` if that is not
    None, or at once in two halves if `is_too_large`; only the last `unsent` of them if that is not
    0, and those before count as accepted. Of what is accepted, `rejected` were refused for good,
    for the reason in `message`, and `unencodable` left out; the others are stored.
    """

    __slots__ = (
        "is_accepted",
        "is_too_large",
        "message",
        "rejected",
        "retry_after_s",
        "unencodable",
        "unsent",
    )

    def __init__(
        self,
        *,
        is_accepted: bool,
        rejected: int = 0,
        unencodable: int = 0,
        retry_after_s: float | None = None,
        message: str = "",
        is_too_large: bool = False,
        unsent: int = 0,
    ) -> None:
        self.unsent = unsent
        self.is_too_large = is_too_large
        self.is_accepted = is_accepted
        self.rejected = rejected
        self.unencodable = unencodable
        self.retry_after_s = retry_after_s
        self.message = message

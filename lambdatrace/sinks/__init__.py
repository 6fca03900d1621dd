"""Where finished spans go. A sink has `send`; it does I/O and nothing else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from lambdatrace.records import Span

    class Sink(Protocol):
        """Takes finished spans."""

        def send(
            self, spans: list[Span], timeout_s: float, meanwhile: Callable[[], None]
        ) -> Outcome:
            """Send `spans` within `timeout_s`; what became of them. Raises SendError.

            A sink that waits for an answer calls `meanwhile` before it does.
            """
            ...


class Outcome:
    """What became of the spans of one send.

    `is_accepted` is false when they should be sent again, after `retry_after_s` if that is not
    None, or at once in two halves if `is_too_large`. `rejected` of an accepted batch will never be
    stored, for the reason in `message`.
    """

    __slots__ = ("is_accepted", "is_too_large", "message", "rejected", "retry_after_s")

    def __init__(
        self,
        *,
        is_accepted: bool,
        rejected: int = 0,
        retry_after_s: float | None = None,
        message: str = "",
        is_too_large: bool = False,
    ) -> None:
        self.is_too_large = is_too_large
        self.is_accepted = is_accepted
        self.rejected = rejected
        self.retry_after_s = retry_after_s
        self.message = message

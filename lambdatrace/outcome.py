"""How an invocation ended, for whoever counts: made once for each, after the response."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.invocation_spans import InvocationSpans


class InvocationOutcome:
    """What is known of an invocation when it is over. Times are Unix nanoseconds.

    `error_type` is what made it fail: the exception's type, the status code of a 5xx answer, or
    `Sandbox.Timedout`; empty if it did not. `init_ns` is how long the init, or restore, took that
    its caller waited for; 0 if it waited for none. `is_timed_out` is told shortly before the
    deadline, since nothing runs after it. `spans` is where what else it records belongs to.
    """

    __slots__ = (
        "batch_item_failures",
        "end_ns",
        "error_type",
        "init_ns",
        "is_cold_start",
        "is_timed_out",
        "request_id",
        "spans",
        "start_ns",
    )

    def __init__(
        self,
        request_id: str,
        start_ns: int,
        end_ns: int,
        *,
        spans: InvocationSpans,
        is_cold_start: bool = False,
        init_ns: int = 0,
        error_type: str = "",
        batch_item_failures: int = 0,
        is_timed_out: bool = False,
    ) -> None:
        self.request_id = request_id
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.spans = spans
        self.is_cold_start = is_cold_start
        self.init_ns = init_ns
        self.error_type = error_type
        self.batch_item_failures = batch_item_failures
        self.is_timed_out = is_timed_out

    @property
    def duration_ns(self) -> int:
        """How long the handler ran."""
        return self.end_ns - self.start_ns

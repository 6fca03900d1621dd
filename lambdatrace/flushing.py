"""Flush now or keep? Decisions on values alone; `sender.py` acts on them."""

from __future__ import annotations

# What is left of an invocation when a send must be over: the runtime still has to ask for the next
# event, and a send that ends at the deadline itself would be killed with the environment.
MARGIN_MS = 20

# Below this, no request gets through; the records wait for the next invocation instead.
SEND_MS_MIN = 5

# The watchdog sends open spans when this share of the timeout is left, within these bounds: enough
# for one request to an endpoint in the same region, and never much of a short timeout.
WATCHDOG_SHARE = 0.1
WATCHDOG_MS_MIN = 30
WATCHDOG_MS_MAX = 200

# After a failure the endpoint is left alone, longer each time, so that a function does not pay for
# a backend that is down with the full send timeout at every invocation.
BACKOFF_MS_FIRST = 1_000
BACKOFF_MS_MAX = 60_000

# An endpoint that does not answer costs the time it is waited for, which is billed: it is left
# alone this many times longer, so that it takes at most a tenth of the function's time.
BACKOFF_PER_SPENT = 10

_NS_PER_MS = 1_000_000


# Environments that failed at the same moment must not all try again at the same moment: each waits
# up to this share less than the others.
BACKOFF_JITTER_SHARE = 0.2

# The states of the circuit to an endpoint.
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class EndpointHealth:
    """What earlier sends tell of the endpoint: failures in a row, and its next try.

    A circuit breaker. *Closed*: the last send went well, all may go. *Open*: one failed, and until
    `retry_at_ns` nothing is sent. *Half-open*: that time has come, and the next send decides: a
    success closes the circuit, a failure opens it for longer.
    """

    __slots__ = ("failures", "retry_at_ns")

    def __init__(self, failures: int = 0, retry_at_ns: int = 0) -> None:
        self.failures = failures
        self.retry_at_ns = retry_at_ns

    def state(self, now_ns: int) -> str:
        """CLOSED, OPEN or HALF_OPEN."""
        if not self.failures:
            return CLOSED
        return OPEN if now_ns < self.retry_at_ns else HALF_OPEN

    def after_failure(
        self,
        now_ns: int,
        spent_ns: int = 0,
        retry_after_s: float | None = None,
        random: float = 0.0,
    ) -> EndpointHealth:
        """Health after one more failure, which took `spent_ns`.

        The endpoint's own Retry-After counts instead of ours, within bounds. `random`, from 0 to 1,
        spreads the next tries of several environments.
        """
        backoff_ms: float = BACKOFF_MS_FIRST << min(self.failures, 10)
        backoff_ms = max(backoff_ms, BACKOFF_PER_SPENT * spent_ns / _NS_PER_MS)
        backoff_ms = min(backoff_ms, BACKOFF_MS_MAX) * (1 - BACKOFF_JITTER_SHARE * random)
        if retry_after_s is not None:
            backoff_ms = min(retry_after_s * 1000, BACKOFF_MS_MAX)
        return EndpointHealth(self.failures + 1, now_ns + int(backoff_ms * _NS_PER_MS))


def send_timeout_ms(
    now_ns: int, deadline_ns: int, health: EndpointHealth, timeout_ms_max: int
) -> int:
    """How long a send may take that starts now; 0 to keep the records for later.

    `deadline_ns` is the invocation's, in Unix time; 0 when there is none.
    """
    if health.state(now_ns) == OPEN:
        return 0
    if not deadline_ns:
        return timeout_ms_max
    left_ms = (deadline_ns - now_ns) // _NS_PER_MS - MARGIN_MS
    return min(left_ms, timeout_ms_max) if left_ms >= SEND_MS_MIN else 0


def watchdog_ns(start_ns: int, deadline_ns: int) -> int:
    """When, in Unix time, the open spans of an invocation that still runs are sent as they are."""
    share_ms = (deadline_ns - start_ns) / _NS_PER_MS * WATCHDOG_SHARE
    before_ms = min(max(share_ms, WATCHDOG_MS_MIN), WATCHDOG_MS_MAX)
    return deadline_ns - int(before_ms * _NS_PER_MS)

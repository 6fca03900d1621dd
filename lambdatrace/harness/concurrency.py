"""How many invokes may run at once: the account's pool, and what functions have reserved of it.

Source: AWS Lambda developer guide, "Understanding Lambda function scaling" and "Configuring
reserved concurrency"; the Reasons are those of `TooManyRequestsException`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace.harness.errors import InvokeError

if TYPE_CHECKING:
    from collections.abc import Callable

# An environment is a process of 15 to 100 MB: this many fit the memory of a developer's machine.
CONCURRENCY_MAX = 64
ACCOUNT_CONCURRENCY_MAX = 1000  # an account's quota, in each region
UNRESERVED_MIN = 100  # of it, what cannot be reserved
SCALING_MAX = 1000  # new environments of a function
SCALING_S = 10.0  # in this time
RATE_PER_EXECUTION = 10  # requests a second for each concurrent execution that is reserved


class Allowance:
    """A number of things that may happen at once, refilled at an even rate."""

    def __init__(self, size: float, per_s: float, clock_s: Callable[[], float]) -> None:
        self._size = size
        self._per_s = per_s
        self._clock_s = clock_s
        self._left = size
        self._at_s = clock_s()

    def take(self) -> bool:
        """One more, if there is any left."""
        now_s = self._clock_s()
        self._left = min(self._size, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Claims(NamedTuple):
    """What ran and what was set aside in the account when an invoke began, that one included."""

    unreserved_running: int
    claimed: int


class Concurrency:
    """Counts running invokes, in all and per function, and refuses those over a limit.

    `limit` is what this machine runs at once; the account's pool and what is reserved of it is as
    on AWS. `reserved` and `provisioned` have a function's reserved concurrency, and its provisioned
    one by version.
    """

    def __init__(
        self, limit: int = CONCURRENCY_MAX, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self.running = 0
        self.reserved: dict[str, int] = {}
        self.provisioned: dict[str, dict[str, int]] = {}
        self._clock_s = clock_s
        self._of_function: Counter[str] = Counter()
        self._on_provisioned: Counter[str] = Counter()
        self._rates: dict[str, Allowance] = {}
        self._scaling: dict[str, Allowance] = {}

    def enter(
        self, function_name: str, *, is_provisioned: bool = False, needs_environment: bool = False
    ) -> tuple[int, int]:
        """Counts one more; gives the numbers of the function and in all. Raises InvokeError."""
        if self.reserved and function_name in self.reserved:
            self._check_reserved(function_name)
        elif self._has_claims and not is_provisioned and self.unreserved_running >= self.unreserved:
            raise throttled("ConcurrentInvocationLimitExceeded")
        if self.running >= min(self.limit, ACCOUNT_CONCURRENCY_MAX):
            raise throttled("ConcurrentInvocationLimitExceeded")
        if needs_environment:
            self._scale(function_name)
        self.running += 1
        self._of_function[function_name] += 1
        if is_provisioned:
            self._on_provisioned[function_name] += 1
        return self._of_function[function_name], self.running

    def leave(self, function_name: str, *, is_provisioned: bool = False) -> None:
        """One less."""
        self.running -= 1
        self._of_function[function_name] -= 1
        if is_provisioned:
            self._on_provisioned[function_name] -= 1

    def _scale(self, function_name: str) -> None:
        """Counts a new environment of a function. Raises InvokeError when it grows too fast."""
        allowance = self._scaling.get(function_name)
        if allowance is None:
            allowance = Allowance(SCALING_MAX, SCALING_MAX / SCALING_S, self._clock_s)
            self._scaling[function_name] = allowance
        if not allowance.take():
            raise throttled("ConcurrentInvocationLimitExceeded")

    # What is set aside

    def claims(self) -> Claims | None:
        """Now; None where nothing is set aside, which is where all that runs is unreserved."""
        return Claims(self.unreserved_running, self.claimed) if self._has_claims else None

    @property
    def _has_claims(self) -> bool:
        return bool(self.reserved or self.provisioned)

    @property
    def claimed(self) -> int:
        """What functions have reserved or provisioned; of one that has both, what it reserved."""
        return sum(self.claim(name) for name in self.reserved.keys() | self.provisioned.keys())

    @property
    def unreserved(self) -> int:
        """What is left of the account's pool for all functions together."""
        return ACCOUNT_CONCURRENCY_MAX - self.claimed

    @property
    def unreserved_running(self) -> int:
        """Invokes that run in what is left."""
        aside = sum(self._of_function[name] for name in self.reserved)
        aside += sum(n for name, n in self._on_provisioned.items() if name not in self.reserved)
        return self.running - aside

    def claim(self, function_name: str) -> int:
        """What one function has set aside."""
        reserved = self.reserved.get(function_name)
        return self.total_provisioned(function_name) if reserved is None else reserved

    def total_provisioned(self, function_name: str) -> int:
        """A function's provisioned concurrency, all its versions together."""
        return sum(self.provisioned.get(function_name, {}).values())

    def reserve(self, function_name: str, executions: int) -> None:
        """Sets a function's reserved concurrency: its limit, and taken from the pool."""
        self.reserved[function_name] = executions
        rate = executions * RATE_PER_EXECUTION
        self._rates[function_name] = Allowance(rate, rate, self._clock_s)

    def release(self, function_name: str) -> None:
        """The function shares the pool again."""
        self.reserved.pop(function_name, None)
        self._rates.pop(function_name, None)

    def forget(self, function_name: str) -> None:
        """The function was deleted."""
        self.release(function_name)
        self.provisioned.pop(function_name, None)
        self._scaling.pop(function_name, None)

    def _check_reserved(self, function_name: str) -> None:
        if self._of_function[function_name] >= self.reserved[function_name]:
            raise throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        if not self._rates[function_name].take():
            raise throttled("ReservedFunctionInvocationRateLimitExceeded")


def throttled(reason: str) -> InvokeError:
    """The error for lack of concurrency."""
    return InvokeError(429, "TooManyRequestsException", "Rate Exceeded.", reason)

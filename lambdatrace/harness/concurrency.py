"""How many invokes may run at once.

`reserved` is what PutFunctionConcurrency takes for one function alone out of the account's number.
"""

from __future__ import annotations

from collections import Counter

from lambdatrace.harness.errors import InvokeError

# An environment is a process of 15 to 100 MB: this many fit the memory of a developer's machine.
CONCURRENCY_MAX = 64


class Concurrency:
    """Counts running invokes, in all and per function, and refuses those over the limit."""

    def __init__(self, limit: int = CONCURRENCY_MAX) -> None:
        self.limit = limit
        self.running = 0
        self.reserved: dict[str, int] = {}
        self._of_function: Counter[str] = Counter()

    def enter(self, function_name: str) -> tuple[int, int]:
        """Counts one more; gives the numbers of the function and in all. Raises InvokeError."""
        reserved = self.reserved.get(function_name)
        if reserved is not None and self._of_function[function_name] >= reserved:
            raise _rate_exceeded("ReservedFunctionConcurrentInvocationLimitExceeded")
        if self.running >= self.limit:
            raise _rate_exceeded("ConcurrentInvocationLimitExceeded")
        self.running += 1
        self._of_function[function_name] += 1
        return self._of_function[function_name], self.running

    def leave(self, function_name: str) -> None:
        """One less."""
        self.running -= 1
        self._of_function[function_name] -= 1


def _rate_exceeded(reason: str) -> InvokeError:
    return InvokeError(429, "TooManyRequestsException", "Rate Exceeded.", reason)

"""What a function of the language is: how it is made of values, and how many it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lambdatrace_collector.logs.insights.values import Kind, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.selection import Selection
    from lambdatrace_collector.logs.insights.syntax import Call, Node
    from lambdatrace_collector.store.compiled_query import Expression


class Function(NamedTuple):
    """A function of `at_least` to `at_most` values; None when there is no most."""

    make: Callable[..., Value]
    at_least: int
    at_most: int | None

    @property
    def counts(self) -> str:
        """How many values it takes, in words."""
        if self.at_most is None:
            return f"{self.at_least} or more values"
        if self.at_least == self.at_most:
            return f"{self.at_least} value{'s' if self.at_least != 1 else ''}"
        return f"{self.at_least} to {self.at_most} values"


class Context(NamedTuple):
    """What a function may ask for besides its arguments."""

    compile: Callable[[Node], Value]
    timestamp: Callable[[Call], Value]
    selection: Selection


def condition(make: Callable[..., Expression]) -> Callable[..., Value]:
    """A function that is true or false, of what makes its expression of values."""
    return lambda *values: Value(make(*values), Kind.BOOLEAN)

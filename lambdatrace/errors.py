"""What can go wrong in the SDK, and whose fault it is.

LambdatraceError
├── SettingError         a setting has a value we cannot use; names it, the value and the remedy
├── UnknownSettingError  a variable is named like a setting of ours and is none; names the nearest
├── MetricError          a metric CloudWatch would refuse; names the rule
└── SendError            the endpoint could not be reached or did not answer in time

None of these reaches a handler: the guard at each entry point counts and reports them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LambdatraceError(Exception):
    """Any error of the SDK's own."""


class SettingError(LambdatraceError):
    """An environment variable has a value, or a part of one, that cannot be used.

    `fact` and `remedy` are the two halves of its line. `instead` is what of the value can be used,
    None where all of it is left out; `taken` is what holds, as it would be written.
    """

    def __init__(self, name: str, value: str, expected: str, instead: Any = None) -> None:
        super().__init__(name, value, expected)
        self.name = name
        self.fact = f"{name} is {value!r}"
        self.expected = expected
        self.instead = instead
        self.taken: str | None = None

    @property
    def remedy(self) -> str:
        """What was expected, and what is taken."""
        taken = "" if self.taken is None else f"; taken: {self.taken or 'nothing'}"
        return f"expected {self.expected}{taken}"

    def __str__(self) -> str:
        return f"{self.fact}: {self.remedy}"


class UnknownSettingError(LambdatraceError):
    """An environment variable begins with LAMBDATRACE_ and is no setting; `nearest` may be meant.

    Its value is not told: it may be a key.
    """

    def __init__(self, name: str, nearest: str) -> None:
        super().__init__(name, nearest)
        self.fact = f"{name} is no setting"
        self.remedy = (
            f"did you mean {nearest}?" if nearest else "see the README's table of settings"
        )

    def __str__(self) -> str:
        return f"{self.fact}: {self.remedy}"


class MetricError(LambdatraceError):
    """A metric that CloudWatch would refuse or mangle."""


class SendError(LambdatraceError):
    """The endpoint could not be reached, or did not answer within the time allowed."""

"""What can go wrong in the SDK, and whose fault it is.

LambdatraceError
├── SettingError      a setting has a value we cannot use; names it, the value and the remedy
├── MetricError       a metric CloudWatch would refuse; names the rule
└── SendError         the endpoint could not be reached or did not answer in time

None of these reaches a handler: the guard at each entry point counts and reports them.
"""

from __future__ import annotations


class LambdatraceError(Exception):
    """Any error of the SDK's own."""


class SettingError(LambdatraceError):
    """An environment variable has a value that cannot be used."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"{name} is {value!r}: expected {expected}")
        self.name = name
        self.value = value


class MetricError(LambdatraceError):
    """A metric that CloudWatch would refuse or mangle."""


class SendError(LambdatraceError):
    """The endpoint could not be reached, or did not answer within the time allowed."""

"""Everything that can go wrong in the harness, and whose fault it is.

HarnessError
├── FunctionConfigurationError   the function's description cannot work: the user's
├── HarnessStateError            used before start or after stop: the caller's
├── HarnessSettingsError         an address, URL or bound of the harness cannot work: the user's
│   └── PortInUseError           the Lambda API's port is taken: the user's
├── DeliveryError                a destination or dead-letter queue takes nothing: its owner's
├── LaunchError                  a process could not be started: the machine's
├── SnapshotError                a function failed before its snapshot was taken: the function's
├── PhaseError                   an event that its phase does not know: ours
└── InvokeError                  an invoke the Lambda API refuses, with its AWS error code
"""

from __future__ import annotations


class HarnessError(Exception):
    """Any error of the harness."""


class FunctionConfigurationError(HarnessError, ValueError):
    """A function's name, handler, limits, variables or folders cannot work; says which one."""


class HarnessStateError(HarnessError, RuntimeError):
    """The harness was used before it was started or after it was stopped."""


class HarnessSettingsError(HarnessError, ValueError):
    """An address, URL or bound given to the harness cannot work; says which one."""


class PortInUseError(HarnessSettingsError):
    """The address for the Lambda API is taken by another process."""


class LaunchError(HarnessError):
    """A process of an execution environment could not be started."""


class SnapshotError(HarnessError):
    """The function of which a snapshot was to be taken could not be initialized; says why."""


class DeliveryError(HarnessError):
    """A record or dead letter could not be given to an AWS service; `reason` is what it said."""

    def __init__(self, service: str, operation: str, reason: str) -> None:
        super().__init__(f"{service} {operation} failed: {reason}")
        self.service = service
        self.operation = operation
        self.reason = reason


class PhaseError(HarnessError):
    """An event arrived in a phase that has no transition for it."""


class InvokeError(HarnessError):
    """An invoke the Lambda API refuses before any function runs.

    `code` is the AWS error code (`ResourceNotFoundException`), `status` its HTTP status, `reason`
    the throttle reason of `TooManyRequestsException`.
    """

    def __init__(self, status: int, code: str, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason

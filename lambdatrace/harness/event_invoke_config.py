"""What becomes of a function's asynchronous invokes: PutFunctionEventInvokeConfig's settings.

Source: AWS Lambda developer guide, "Configuring error handling settings for asynchronous
invocation" and "Capturing records of Lambda asynchronous invocations".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import FunctionConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

RETRY_ATTEMPTS_MAX = 2
EVENT_AGE_S_MIN, EVENT_AGE_S_MAX = 60, 21_600
ON_SUCCESS_SERVICES = ("sqs", "sns", "lambda", "events")
ON_FAILURE_SERVICES = (*ON_SUCCESS_SERVICES, "s3")
DEAD_LETTER_SERVICES = ("sqs", "sns")

_ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9]+):([a-z0-9-]*):(\d{12})?:(\S+)")


@dataclass(frozen=True)
class EventInvokeConfig:
    """How often a failed event is tried again, how old it may get, where the result is told.

    `on_success` and `on_failure` are ARNs of a queue, topic, function or event bus, `on_failure`
    also of a bucket; empty for none. Raises FunctionConfigurationError for what AWS refuses.
    """

    maximum_retry_attempts: int = RETRY_ATTEMPTS_MAX
    maximum_event_age_in_seconds: int = EVENT_AGE_S_MAX
    on_success: str = ""
    on_failure: str = ""

    def __post_init__(self) -> None:
        if self.maximum_retry_attempts not in range(RETRY_ATTEMPTS_MAX + 1):
            raise FunctionConfigurationError(
                f"maximum retry attempts {self.maximum_retry_attempts}: "
                f"expected 0 to {RETRY_ATTEMPTS_MAX}"
            )
        if not EVENT_AGE_S_MIN <= self.maximum_event_age_in_seconds <= EVENT_AGE_S_MAX:
            raise FunctionConfigurationError(
                f"maximum event age {self.maximum_event_age_in_seconds} s: "
                f"expected {EVENT_AGE_S_MIN} to {EVENT_AGE_S_MAX} s"
            )
        check_destination(self.on_success, ON_SUCCESS_SERVICES, "success destination")
        check_destination(self.on_failure, ON_FAILURE_SERVICES, "failure destination")


def check_destination(arn: str, services: Collection[str], what: str) -> None:
    """Raises FunctionConfigurationError for an ARN that Lambda cannot send to as `what`."""
    if not arn:
        return
    match = _ARN.fullmatch(arn)
    if not match or match[1] not in services:
        raise FunctionConfigurationError(
            f"{what} '{arn}': expected an ARN of one of {', '.join(services)}"
        )
    if match[1] in ("sqs", "sns") and match[4].endswith(".fifo"):
        raise FunctionConfigurationError(f"{what} '{arn}': Lambda does not send to FIFO ones")

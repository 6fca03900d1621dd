"""One asynchronous invoke between its acceptance and its end: when it is tried again, when not.

Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous
invocation", and captures of real functions: an event whose next attempt would come after its
maximum age is given up at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.function import LATEST

if TYPE_CHECKING:
    from lambdatrace.harness.event_invoke_config import EventInvokeConfig
    from lambdatrace.harness.invocation import Invocation

RETRY_DELAY_S = 60.0  # before the first retry after a function error; twice that before the second
THROTTLE_FIRST_S, THROTTLE_LAST_S = 1.0, 300.0  # backoff after throttles and service errors

# Values of a record's `condition`.
SUCCESS = "Success"
RETRIES_EXHAUSTED = "RetriesExhausted"
EVENT_AGE_EXCEEDED = "EventAgeExceeded"
ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"
RECURSIVE_INVOCATION = "RecursiveInvocation"


@dataclass(frozen=True)
class Response:
    """What the last attempt gave: of a function, or the service's refusal, which has no payload.

    `message` is the error's text, empty for a success.
    """

    status_code: int
    message: str = ""
    payload: bytes | None = None
    function_error: str = ""
    executed_version: str = ""

    def context(self) -> dict[str, Any]:
        """The `responseContext` of a record."""
        found: dict[str, Any] = {"statusCode": self.status_code}
        if self.executed_version:
            found["executedVersion"] = self.executed_version
        if self.function_error:
            found["functionError"] = self.function_error
        return found


@dataclass
class AsyncEvent:
    """An accepted event. `accepted_s` is Unix time; `attempts` counts executions."""

    invocation: Invocation
    accepted_s: float
    attempts: int = 0
    refusals: int = 0
    response: Response | None = None
    condition: str = ""
    deliveries: int = field(default=0)  # of records and dead letters, under way

    @property
    def function_arn(self) -> str:
        """The ARN as records have it: with a qualifier always."""
        arn = self.invocation.invoked_function_arn
        return arn if arn.count(":") > 6 else f"{arn}:{LATEST}"  # noqa: PLR2004 - parts of an ARN


def after_function_error(
    event: AsyncEvent, config: EventInvokeConfig, now_s: float
) -> tuple[float, str]:
    """(seconds to the next attempt, ""), or (0.0, condition) when there is none."""
    if event.attempts > config.maximum_retry_attempts:
        return 0.0, RETRIES_EXHAUSTED
    return _unless_too_old(event, config, now_s, RETRY_DELAY_S * event.attempts)


def after_refusal(event: AsyncEvent, config: EventInvokeConfig, now_s: float) -> tuple[float, str]:
    """The same after a throttle or a service error, which is no attempt: only its age ends it."""
    return _unless_too_old(event, config, now_s, throttle_delay_s(event.refusals))


def throttle_delay_s(refusals: int) -> float:
    """How long a refused event waits for its next attempt: 1 s, doubled up to 5 minutes."""
    return min(THROTTLE_LAST_S, THROTTLE_FIRST_S * 2.0 ** min(refusals - 1, 30))


def is_too_old(event: AsyncEvent, config: EventInvokeConfig, at_s: float) -> bool:
    """Whether the event is not to be tried at Unix time `at_s` any more."""
    return at_s - event.accepted_s > config.maximum_event_age_in_seconds


def invocation_record(event: AsyncEvent, timestamp: str) -> bytes:
    """The JSON document a destination gets; `timestamp` is as 2019-11-14T18:16:05.568Z.

    A success counts as one attempt, however many there were, and an event that was never tried has
    no response: both as captured from Lambda.
    """
    document: dict[str, Any] = {
        "version": "1.0",
        "timestamp": timestamp,
        "requestContext": {
            "requestId": event.invocation.request_id,
            "functionArn": event.function_arn,
            "condition": event.condition,
            "approximateInvokeCount": 1 if event.condition == SUCCESS else event.attempts,
        },
        "requestPayload": _value(event.invocation.payload),
    }
    if event.response:
        document["responseContext"] = event.response.context()
        if event.response.payload is not None:
            document["responsePayload"] = _value(event.response.payload)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def error_message(payload: bytes) -> str:
    """The `errorMessage` of a function's error, empty when there is none."""
    document = _value(payload)
    message = document.get("errorMessage") if isinstance(document, dict) else None
    return message if isinstance(message, str) else ""


def _unless_too_old(
    event: AsyncEvent, config: EventInvokeConfig, now_s: float, delay_s: float
) -> tuple[float, str]:
    if is_too_old(event, config, now_s + delay_s):
        return 0.0, EVENT_AGE_EXCEEDED
    return delay_s, ""


def _value(payload: bytes) -> Any:
    """A payload as JSON has it; one that is no JSON as text."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "replace")

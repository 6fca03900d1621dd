"""The facts of the function and of one invocation, read from the environment and the context.

The context may be anything: a test's stand-in, None, an object of another runtime. What is not
there in the expected type is left out.
"""

from __future__ import annotations

from lambdatrace.guard import let_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_ARN_PARTS_UNQUALIFIED = 7  # arn:aws:lambda:REGION:ACCOUNT:function:NAME, then an alias or version
SNAP_START = "snap-start"
INITIALIZED_AHEAD = ("provisioned-concurrency", "lambda-managed-instances")
_BYTES_PER_MB = 1024 * 1024
_REMAINING_MS_MAX = 86_400_000  # a day: beyond, or if it is no number, it is no remaining time


class Function:
    """What one execution environment knows of its function, from the reserved variables.

    Source: Lambda Developer Guide, "Defined runtime environment variables".
    """

    __slots__ = (
        "initialization_type",
        "instance",
        "is_multi_concurrent",
        "log_group",
        "log_level",
        "log_stream",
        "memory_bytes",
        "name",
        "region",
        "runtime_api",
        "version",
    )

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.version = environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.region = environ.get("AWS_REGION", "")
        self.log_group = environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        # The name of this environment among those of the function. A snapshot has no log stream:
        # what is restored from it gets a name then.
        self.instance = self.log_stream
        self.log_level = environ.get("AWS_LAMBDA_LOG_LEVEL", "")
        self.runtime_api = environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self.initialization_type = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        # Managed Instances: the runtime client forks so many workers, or starts as many threads.
        self.is_multi_concurrent = "AWS_LAMBDA_MAX_CONCURRENCY" in environ
        memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.memory_bytes = int(memory_mb) * _BYTES_PER_MB if memory_mb.isdecimal() else 0

    @property
    def is_cold_on_first_invocation(self) -> bool:
        """Whether the caller of the first invocation waited for the init.

        Provisioned concurrency and Managed Instances initialize ahead of any request.
        """
        return self.initialization_type not in INITIALIZED_AHEAD


class Invocation:
    """The facts of one invocation; `deadline_ns` is Unix time, 0 when it is not known."""

    __slots__ = ("arn", "deadline_ns", "is_cold_start", "request_id", "start_ns", "tenant_id")

    def __init__(self, context: Any, start_ns: int, *, is_cold_start: bool) -> None:
        self.start_ns = start_ns
        self.is_cold_start = is_cold_start
        self.request_id = _string(context, "aws_request_id")
        self.arn = _string(context, "invoked_function_arn")
        self.tenant_id = _string(context, "tenant_id")
        deadline_ms = attribute(context, "_epoch_deadline_time_in_ms")
        if isinstance(deadline_ms, int) and not isinstance(deadline_ms, bool):
            self.deadline_ns = deadline_ms * 1_000_000
        else:
            self.deadline_ns = _deadline_from_remaining(context, start_ns)

    def attributes(self) -> dict[str, Any]:
        """The attributes of the invocation's span.

        Source: OpenTelemetry semantic conventions, "Instrumenting AWS Lambda": `cloud.resource_id`
        is the ARN without alias or version.
        """
        attributes: dict[str, Any] = {"faas.coldstart": self.is_cold_start}
        if self.request_id:
            attributes["faas.invocation_id"] = self.request_id
        if self.arn:
            attributes["aws.lambda.invoked_arn"] = self.arn
            parts = self.arn.split(":")
            if len(parts) >= _ARN_PARTS_UNQUALIFIED:
                attributes["cloud.account.id"] = parts[4]
                attributes["cloud.resource_id"] = ":".join(parts[:_ARN_PARTS_UNQUALIFIED])
        if self.tenant_id:
            attributes["aws.lambda.tenant_id"] = self.tenant_id
        return attributes


def attribute(context: Any, name: str) -> Any:
    """What the context has by this name; None if it has not, or fails to give it."""
    try:
        return getattr(context, name, None)
    except Exception as error:  # noqa: BLE001 - an object of the user's may do anything
        let_through(error)
        return None


def called(function: Any) -> Any:
    """What a method of the context gives; None if it is none, or fails."""
    try:
        return function() if callable(function) else None
    except Exception as error:  # noqa: BLE001 - as above
        let_through(error)
        return None


def _string(context: Any, name: str) -> str:
    value = attribute(context, name)
    return value if isinstance(value, str) else ""


def _deadline_from_remaining(context: Any, now_ns: int) -> int:
    milliseconds = called(attribute(context, "get_remaining_time_in_millis"))
    if isinstance(milliseconds, (int, float)) and abs(milliseconds) <= _REMAINING_MS_MAX:
        return now_ns + int(milliseconds * 1_000_000)
    return 0

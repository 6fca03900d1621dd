"""A durable execution: one trace for all its invocations, of which most are replays.

Lambda invokes a durable function again after each wait, with the operations done so far, and the
function runs from its beginning past what they give. Ids are derived from the execution's ARN, as
AWS's own OpenTelemetry plugin derives them, so that both tell of the same trace.
Source: `aws-durable-execution-sdk-python` 3.0 (`execution.py`), and its `-otel` plugin 2.0.
"""

from __future__ import annotations

from lambdatrace.records import ERROR, INTERNAL, Span, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A span that the end of an invocation cut short: the next invocation goes on with it.
TRUNCATED = "durable.span.truncated_at_invocation_boundary"
_SDK = "aws_durable_execution_sdk_python"
_ID_DIGITS = 16
_TRACE_HASH_DIGITS = 24
_NS_PER_MS = 1_000_000


class DurableExecution:
    """What an event tells of the execution it belongs to.

    `started_ms` is Unix time, 0 when it is not known. `is_first` means that no operation was done
    before: this invocation is no replay.
    """

    __slots__ = ("arn", "is_first", "started_ms")

    def __init__(self, arn: str, started_ms: int, *, is_first: bool) -> None:
        self.arn = arn
        self.started_ms = started_ms
        self.is_first = is_first

    def attributes(self) -> dict[str, Any]:
        """The attributes of the invocation's span, named as AWS's plugin names them."""
        return {"durable.execution.arn": self.arn, "durable.invocation.first": self.is_first}

    def trace_id(self) -> str:
        """The trace of all invocations of the execution, where no other comes in."""
        digest = _hash(self.arn)
        if not self.started_ms:
            return digest[:32]
        return f"{self.started_ms // 1000:08x}"[-8:] + digest[:_TRACE_HASH_DIGITS]

    def context(self, *, is_sampled: bool) -> SpanContext:
        """The span of the execution, above those of its invocations."""
        span_id = _hash("execution-root:" + self.arn)[:_ID_DIGITS]
        return SpanContext(self.trace_id(), span_id, is_sampled=is_sampled)

    def root_span(self, context: SpanContext, name: str) -> Span:
        """The execution's span: an anchor of no duration, for when it ends nobody can tell."""
        start_ns = self.started_ms * _NS_PER_MS
        attributes = {"durable.execution.arn": self.arn, "durable.execution.synthetic_root": True}
        span = Span(name, context, None, start_ns, kind=INTERNAL, attributes=attributes)
        span.end(start_ns)
        return span


def operation_span_id(arn: str, operation_id: str) -> str:
    """The span of one operation of an execution, the same in whatever invocation it is told of."""
    return _hash(f"{arn}:{operation_id}")[:_ID_DIGITS]


def read_output(output: Any, span: Span) -> str:
    """Add to the invocation's span what became of the execution in it; the error's type if any."""
    status = output.get("Status") if isinstance(output, dict) else None
    if not isinstance(status, str):
        return ""
    span.set_attribute("durable.invocation.status", status)
    if status != "FAILED":
        return ""
    error = output.get("Error")
    error = error if isinstance(error, dict) else {}
    error_type = str(error.get("ErrorType") or status)
    span.set_attribute("error.type", error_type)
    span.set_status(ERROR, str(error.get("ErrorMessage") or ""))
    return error_type


def is_suspension(error: BaseException) -> bool:
    """Whether `error` is how the durable SDK ends an invocation that will be continued."""
    return any(
        kind.__name__ == "SuspendExecution" and kind.__module__.partition(".")[0] == _SDK
        for kind in type(error).__mro__
    )


def _hash(text: str) -> str:
    from hashlib import blake2b

    # JSON may hold what UTF-8 cannot: half of a surrogate pair.
    return blake2b(text.encode("utf-8", "surrogatepass")).hexdigest()

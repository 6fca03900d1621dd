"""The report of an init that failed: the function's module could not be imported.

Sent before the error goes on to the runtime client, which ends the process.
"""

from __future__ import annotations

from lambdatrace.records import ERROR, INTERNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

SEND_NS_MAX = 1_000_000_000


def report_failed_init(current: Telemetry, error: BaseException) -> None:
    """Record the init, from the start of the process, with `error`, and send it within a second."""
    # The runtime client's own errors, as Runtime.ImportModuleError, say what they are.
    error_type = getattr(error, "exception_type", "")
    error_type = error_type if isinstance(error_type, str) else ""
    _report(current, lambda span: current.tracer.record_exception(span, error, error_type))


def report_answer(current: Telemetry, answer: Mapping[str, Any]) -> None:
    """As `report_failed_init`, of what the runtime client is about to answer Lambda; once."""
    error_type, message = answer.get("errorType", ""), answer.get("errorMessage", "")
    exception = {
        "exception.type": error_type,
        "exception.message": message,
        "exception.stacktrace": "".join(answer.get("stackTrace", ())),
    }

    def record(span: Span) -> None:
        current.tracer.add_event(span, "exception", exception)
        span.set_attribute("error.type", error_type)
        span.set_status(ERROR, message)

    _report(current, record)


def _report(current: Telemetry, record: Callable[[Span], None]) -> None:
    if current.is_init_failed:
        return
    current.is_init_failed = True
    initialization, tracer = current.initialization, current.tracer
    now_ns = current.clock.time_ns()
    init = tracer.start_root(
        f"init {current.function.name}",
        None,
        None,
        initialization.process_started_ns(),
        kind=INTERNAL,
    )
    init.set_attribute("aws.lambda.initialization_type", current.function.initialization_type)
    imported = tracer.start_span(
        f"import {current.handler_module}",
        parent=init,
        start_ns=initialization.import_started_ns,
    )
    for span in (imported, init):
        record(span)
        tracer.end_span(span, now_ns)
    current.flush(now_ns + SEND_NS_MAX)

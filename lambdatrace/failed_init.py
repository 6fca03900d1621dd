"""The report of an init that failed: the function's module could not be imported.

Sent before the error goes on to the runtime client, which ends the process.
"""

from __future__ import annotations

from lambdatrace.records import INTERNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.telemetry import Telemetry

SEND_NS_MAX = 1_000_000_000


def report_failed_init(current: Telemetry, error: BaseException) -> None:
    """Record the init, from the start of the process, with `error`, and send it within a second."""
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
    # The runtime client's own errors, as Runtime.ImportModuleError, say what they are.
    error_type = getattr(error, "exception_type", "")
    for span in (imported, init):
        tracer.record_exception(span, error, error_type if isinstance(error_type, str) else "")
        tracer.end_span(span, now_ns)
    current.flush(now_ns + SEND_NS_MAX)

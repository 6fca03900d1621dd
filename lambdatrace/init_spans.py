"""The spans of what an environment did before its first invocation: its init, or its restore.

Where the caller of that invocation waited for it, they are below the invocation's span and lie
before it, as X-Ray's Init subsegment does. An init that nobody waited for, which may be hours old,
is a trace of its own with a link to the invocation.
"""

from __future__ import annotations

from lambdatrace.records import INTERNAL, Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry


def record_init(current: Telemetry, root: Span, spans: InvocationSpans) -> None:
    """Record what this environment did before `root`, the first invocation's span."""
    initialization, tracer = current.initialization, current.tracer
    is_cold = current.is_cold_start(root.start_ns)
    attributes = {
        "faas.coldstart": is_cold,
        "aws.lambda.initialization_type": current.function.initialization_type,
    }
    name = current.function.name
    if initialization.restore_ended_ns:
        restore = tracer.start_span(
            f"restore {name}",
            parent=root,
            attributes=attributes,
            start_ns=initialization.restore_started_ns,
        )
        tracer.end_span(restore, initialization.restore_ended_ns)
        return
    started_ns = initialization.process_started_ns()
    if is_cold:
        init = tracer.start_span(
            f"init {name}", parent=root, attributes=attributes, start_ns=started_ns
        )
    else:
        init = tracer.start_root(f"init {name}", None, None, started_ns, kind=INTERNAL, spans=spans)
        init.set_attributes(attributes)
        init.add_link(Link(root.context))
    module = tracer.start_span(
        f"import {current.handler_module}",
        parent=init,
        start_ns=initialization.import_started_ns,
    )
    if current.import_times is not None:
        from lambdatrace.import_times import record_imports

        imported = current.import_times
        record_imports(imported, tracer, module, root, initialization.import_ended_ns)
    tracer.end_span(module, initialization.import_ended_ns)
    tracer.end_span(init, initialization.import_ended_ns)

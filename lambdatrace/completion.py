"""The records of an invocation, made after the response: what it was, and how it ended."""

from __future__ import annotations

from lambdatrace.records import ERROR, INCOMPLETE, TIMED_OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.handler import RunningInvocation
    from lambdatrace.records import Span
    from lambdatrace.triggers import Trigger

# An event of a handler that gives its answer item by item. Lambda calls the time until then
# `responseLatency` (Telemetry API, platform.runtimeDone); OpenTelemetry has no name for it.
FIRST_ITEM = "aws.lambda.response.first_item"


def describe(running: RunningInvocation) -> None:
    """Give the invocation's span its facts, and the first of an environment its init."""
    current, root = running.current, running.spans.root()
    if running.is_described or root is None:
        return
    running.is_described = True
    facts = running.facts.attributes()
    if running.trigger is not None:
        facts["faas.trigger"] = running.trigger.faas_trigger
        facts.update(running.trigger.attributes)
    for key, value in facts.items():
        # One by one and in place: the handler may be setting attributes in this moment, and what
        # it has set goes before.
        root.attributes.setdefault(key, value)
    if running.payload is not None:
        current.guard.run(running.payload.describe_event, root, current.redaction)
    if running.number == 0:
        from lambdatrace.init_spans import record_init

        current.guard.run(record_init, current, root, running.spans)


def complete(running: RunningInvocation) -> None:
    """Make the records of an invocation whose handler has ended; a second time does nothing."""
    current, spans = running.current, running.spans
    if spans.invocation is None or not running.end_ns:
        return
    spans.replay_ns = 0
    current.guard.run(describe, running)
    current.guard.run(spans.format_stack_traces, current.clock.time_ns, running.facts.deadline_ns)
    root = spans.root()
    spans.invocation = None
    if root is not None and running.trigger is not None and running.trigger.item_ids:
        current.guard.run(_note_batch_failures, running, running.trigger, root)
    if running.batch is not None:
        current.tracer.end_span(running.batch, running.end_ns)
    current.tracer.end_all(spans, INCOMPLETE, running.end_ns)
    if root is not None:
        _complete_root(running, root)
    spans.messages.clear()
    if spans.unwatched:
        current.buffer.dropped += spans.unwatched
        spans.unwatched = 0
    if current.function.is_multi_concurrent:
        current.guard.run(current.metering.write, spans)


def _note_batch_failures(running: RunningInvocation, trigger: Trigger, root: Span) -> None:
    from lambdatrace.triggers.batch_failures import failed_items, note_failures

    failed = failed_items(running.result, trigger.item_ids)
    if failed is not None:
        running.batch_item_failures = len(failed)
        note_failures(failed, trigger.item_ids, root, running.batch, running.spans.messages)


def _complete_root(running: RunningInvocation, root: Span) -> None:
    current = running.current
    guard, tracer = current.guard, current.tracer
    if running.trigger is not None:
        answer = guard.run(running.trigger.read_response, running.result, root)
        running.error_type = running.error_type or answer or ""
    if running.payload is not None:
        guard.run(running.payload.describe_response, root, running.result, current.redaction)
    if running.first_item_ns:
        root.add_event(FIRST_ITEM, running.first_item_ns, {})
    if running.is_abandoned:
        root.set_attribute(INCOMPLETE, value=True)
    guard.run(_note_overdue, running, root)
    guard.run(tell, running)
    tracer.end_span(root, running.end_ns)
    if tracer.is_holding and not root.context.is_sampled:
        guard.run(_keep, running, root)


def tell(running: RunningInvocation, *, is_timed_out: bool = False) -> None:
    """Tell whoever counts how the invocation ended, or that it is about to time out; once."""
    if running.outcome is not None:
        return
    from lambdatrace.outcome import InvocationOutcome

    current, is_cold = running.current, running.facts.is_cold_start
    running.outcome = InvocationOutcome(
        running.request_id,
        running.start_ns,
        running.end_ns or current.clock.time_ns(),
        spans=running.spans,
        is_cold_start=is_cold,
        init_ns=current.initialization.duration_ns() if is_cold else 0,
        error_type=TIMED_OUT if is_timed_out else running.error_type,
        batch_item_failures=running.batch_item_failures,
        is_timed_out=is_timed_out or running.error_type == TIMED_OUT,
    )
    current.invocation_completed(running.outcome)


def _note_overdue(running: RunningInvocation, root: Span) -> None:
    """Give `root` the status of a timeout if the handler ended after the deadline.

    Where several run at a time Lambda answers the caller then, and lets the handler go on.
    """
    deadline_ns = running.facts.deadline_ns
    if running.current.function.is_multi_concurrent and 0 < deadline_ns < running.end_ns:
        running.error_type = TIMED_OUT
        root.set_attribute("error.type", TIMED_OUT)
        root.set_status(ERROR, "the invocation ended after its deadline")


def _keep(running: RunningInvocation, root: Span) -> None:
    """Send the trace that the sampler left out, if it is one that is asked for all the same."""
    from lambdatrace.sampling import is_kept

    wanted = running.current.settings.keep_unsampled
    is_error = root.status_code == ERROR
    if is_kept(wanted, is_error=is_error, is_cold_start=running.facts.is_cold_start):
        held, dropped = running.spans.take_held()
        for span in held:
            running.current.buffer.append(span)
        running.current.buffer.dropped += dropped

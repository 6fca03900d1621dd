"""What a function's code calls to record: `span`, `metric`, `messages`, `current_span`, `flush`.

None of these raises because of lambdatrace, and none does anything outside Lambda.
"""

from __future__ import annotations

from lambdatrace import telemetry
from lambdatrace.records import CONSUMER, INTERNAL, KINDS
from lambdatrace.span_scope import SpanHandle, SpanScope
from lambdatrace.tracing import activate, deactivate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any, TypeVar, overload

    from lambdatrace.records import Link

    F = TypeVar("F", bound=Callable[..., Any])

_LOADED_LATE = ("lambdatrace.metering", "lambdatrace.metrics")
_EARLY_MAX = 1_000  # loading takes milliseconds

if TYPE_CHECKING:

    @overload
    def span(name: F) -> F: ...

    @overload
    def span(
        name: str,
        *,
        kind: str = ...,
        attributes: Mapping[str, Any] | None = ...,
        links: Sequence[Link] = ...,
    ) -> SpanScope: ...


def span(
    name: Any,
    *,
    kind: str = "internal",
    attributes: Mapping[str, Any] | None = None,
    links: Sequence[Link] = (),
) -> Any:
    """A span around a `with` block, or around each call of a decorated function.

    `with lambdatrace.span("charge card") as span:` gives the span, to set attributes on.
    `@lambdatrace.span("load cart")` decorates def, async def and generators; `@lambdatrace.span`
    alone takes the function's name. An exception is recorded and goes on unchanged. `kind` is one
    of OpenTelemetry's SpanKinds: internal, server, client, producer, consumer; any other counts as
    internal.
    """
    try:
        number = KINDS.get(kind, INTERNAL)
    except BaseException as error:  # noqa: BLE001 - the guard's own
        number = INTERNAL
        telemetry.current().guard.take("span", error)
    if callable(name):
        current = telemetry.current()
        title = current.guard.run(_title, name) or "?"
        return SpanScope(telemetry.current, title, number, attributes, links)(name)
    return SpanScope(telemetry.current, name, number, attributes, links)


def _title(function: Any) -> Any:
    return getattr(function, "__qualname__", type(function).__qualname__)


def current_span() -> SpanHandle:
    """The innermost open span; outside of any, one whose methods do nothing."""
    current = telemetry.current()
    tracer, guard = current.tracer, current.guard
    return SpanHandle(tracer, guard, guard.run(tracer.current_span))


def metric(
    name: str,
    value: float | Iterable[float],
    *,
    unit: str = "None",
    dimensions: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
    resolution: int = 60,
    timestamp: datetime | int | None = None,
    properties: Mapping[str, Any] | None = None,
    namespace: str | None = None,
) -> None:
    """Record a value of a custom CloudWatch metric, or each value of a sequence.

    It is written with the others when the invocation ends. `unit` is a CloudWatch StandardUnit,
    `resolution` 1 or 60 seconds. `dimensions` is one mapping, or several: each is then a dimension
    set, so a metric of its own. Every set has the default dimensions too, `service` among them.
    `timestamp`, a datetime or Unix milliseconds, is by default now. `properties` are found in the
    log beside the values, and are no dimensions: ids and the like, any values JSON can carry; read
    when the metrics are written. What CloudWatch would refuse is dropped, and a property named like
    a metric or dimension beside it left out; both are said in the log, the first time.
    """
    current = telemetry.current()
    if not current.is_active:
        return
    try:  # the guard's work without its call: a loop may record thousands
        spans = current.tracer.spans()
        if not spans.replay_ns:  # or the invocation that did it first has written it
            current.metering.recorder_of(spans).record(
                name, value, unit, dimensions, resolution, timestamp, properties, namespace
            )
    except BaseException as error:  # noqa: BLE001 - the guard's own
        early = current.early_metrics
        if type(error) is ImportError and error.name in _LOADED_LATE and len(early) < _EARLY_MAX:
            # A signal handler's, which interrupts that import and finds half a module.
            early.append(
                (name, value, unit, dimensions, resolution, timestamp, properties, namespace)
            )
        else:
            current.guard.take("metric", error)


def messages(event: Any) -> Iterator[Any]:
    """The records of a batch, each with a CONSUMER span open while the loop's body runs.

    The span is linked to the span that sent the message, where that can be told. Of an event that
    is no batch, nothing. Sources: SQS.
    """
    current = telemetry.current()
    records = current.guard.run(_records, event)
    if not isinstance(records, list):
        return
    for record in records:
        opened = current.guard.run(_start_message_span, record)
        if opened is None:
            yield record
            continue
        token = activate(opened)
        try:
            yield record
        except GeneratorExit:
            # The loop was left: by `break`, or by an exception that only the handler's end shows.
            deactivate(token)
            current.guard.run(current.tracer.leave_span, opened)
            raise
        deactivate(token)
        current.guard.run(current.tracer.end_span, opened)


def _records(event: Any) -> Any:
    return event.get("Records") if isinstance(event, dict) else None


def _start_message_span(record: Any) -> Any:
    if not isinstance(record, dict) or record.get("eventSource") != "aws:sqs":
        return None
    from lambdatrace.triggers.sqs import message_span

    name, attributes, links = message_span(record)
    span = telemetry.current().tracer.start_span(
        name, kind=CONSUMER, attributes=attributes, links=links
    )
    if span.opened_in is not None:
        span.opened_in.note_message(attributes.get("messaging.message.id", ""), span)
    return span


def flush() -> bool:
    """Write metrics and send finished spans now, within the remaining time.

    Not needed at the end of an invocation. True if nothing is left waiting.
    """
    current = telemetry.current()
    if not current.is_active:
        return True
    running = current.running
    deadline_ns = running.facts.deadline_ns if running is not None else 0
    return bool(current.guard.run(current.flush, deadline_ns))


def statistics() -> dict[str, Any]:
    """What became of the records so far.

    For `traces`, `metrics` and `logs`: how many were `sent`, put back to be sent again (`retried`),
    refused by the endpoint (`rejected`), `dropped`, by reason, and how many are `waiting`. And the
    `failures` inside lambdatrace.
    """
    current = telemetry.current()
    return current.guard.run(current.delivery.statistics) or {}

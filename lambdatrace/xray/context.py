"""Which subsegment is the current one: the X-Ray SDK's question, answered from our spans.

As in the SDK's own Lambda mode the segment is Lambda's, a facade that cannot be changed: here it
stands for the invocation's span, with its ids. Subsegments are kept per task and thread, in context
variables; what an earlier invocation left open is not seen by later ones.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

from aws_xray_sdk.core.lambda_launcher import LambdaContext
from aws_xray_sdk.core.models.dummy_entities import DummySegment
from aws_xray_sdk.core.models.facade_segment import FacadeSegment
from aws_xray_sdk.core.models.subsegment import Subsegment
from aws_xray_sdk.core.models.trace_header import TraceHeader
from aws_xray_sdk.sdk_config import SDKConfig

from lambdatrace import telemetry
from lambdatrace.tracing import enter
from lambdatrace.xray.subsegments import TracedSubsegment, open_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.invocation_spans import InvocationSpans
    from lambdatrace.records import Span
    from lambdatrace.telemetry import Telemetry

log = logging.getLogger("aws_xray_sdk.core.lambda_launcher")  # whose messages these are


class InvocationSegment(FacadeSegment):  # type: ignore[misc] # the SDK is not typed
    """The invocation's span as the X-Ray SDK sees it."""

    def __init__(self, root: Span, spans: InvocationSpans) -> None:
        context = root.context
        super().__init__(
            name="facade",
            entityid=context.span_id,
            traceid=f"1-{context.trace_id[:8]}-{context.trace_id[8:]}",
            sampled=context.is_sampled,
        )
        self.spans = spans
        lineage = context.carried.lineage if context.carried is not None else ""
        data = {"Lineage": lineage} if lineage else None
        self.save_origin_trace_header(TraceHeader(data=data))


class Entry:
    """An open subsegment of this task or thread, and what was current before it."""

    __slots__ = ("before", "entity")

    def __init__(self, entity: Any, before: Entry | None) -> None:
        self.entity = entity
        self.before = before


_segment: ContextVar[InvocationSegment | None] = ContextVar("lambdatrace_segment", default=None)
_entry: ContextVar[Entry | None] = ContextVar("lambdatrace_subsegment", default=None)


class SpanContext(LambdaContext):  # type: ignore[misc] # the SDK is not typed
    """The recorder's context; `theirs` is the one it had, for where lambdatrace is off."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.theirs = theirs

    def get_trace_entity(self) -> Any:
        """The innermost open subsegment, else the segment; a dummy outside of an invocation."""
        current = _active()
        if current is None:
            return self.theirs.get_trace_entity()
        segment = self._segment(current)
        if segment is None:
            return DummySegment()
        entry = _entry.get()
        while entry is not None:
            entity = entry.entity
            if entity.in_progress and _spans(entity) is segment.spans:
                return entity
            entry = entry.before
        return segment

    def _segment(self, current: Telemetry) -> InvocationSegment | None:
        spans = current.tracer.spans()
        root = spans.root()
        if root is None or root.end_ns or spans.invocation is None:
            return None
        segment = _segment.get()
        if segment is None or segment.spans is not spans:
            segment = InvocationSegment(root, spans)
            _segment.set(segment)
        if not SDKConfig.sdk_enabled():
            segment.sampled = False
        return segment

    def put_subsegment(self, subsegment: Any) -> None:
        """Open a span for `subsegment`, below our current one, and make both current."""
        current = _active()
        if current is None:
            self.theirs.put_subsegment(subsegment)
            return
        above = self.get_trace_entity()
        if isinstance(above, DummySegment):
            log.warning(
                "Subsegment %s discarded due to Lambda worker still initializing", subsegment.name
            )
            return
        above.add_subsegment(subsegment)
        # Not for one that the user wants unsampled; but an unsampled trace may still be sent.
        is_held = current.tracer.is_holding and not subsegment.parent_segment.sampled
        if type(subsegment) is Subsegment or is_held:
            current.guard.run(open_span, current, subsegment)
        _entry.set(Entry(subsegment, _entry.get()))

    def end_subsegment(self, end_time: float | None = None) -> bool:
        """End the innermost open subsegment, at `end_time` in Unix seconds; False without one."""
        if _active() is None:
            return bool(self.theirs.end_subsegment(end_time))
        entity = self.get_trace_entity()
        if self._is_subsegment(entity):
            entity.close(end_time)
            entry = _entry.get()
            while entry is not None and not entry.entity.in_progress:
                entry = entry.before
            _entry.set(entry)
            return True
        if not isinstance(entity, DummySegment):
            log.warning("No subsegment to end.")
        return False

    def set_trace_entity(self, trace_entity: Any) -> None:
        """Go on from `trace_entity` in this thread or task: so users carry it into threads."""
        current = _active()
        if current is None:
            self.theirs.set_trace_entity(trace_entity)
            return
        segment = getattr(trace_entity, "parent_segment", trace_entity)
        if isinstance(segment, InvocationSegment):
            enter(segment.spans)
            _segment.set(segment)
        _entry.set(None)
        if self._is_subsegment(trace_entity):
            _entry.set(Entry(trace_entity, None))
            if isinstance(trace_entity, TracedSubsegment):
                trace_entity.make_current()

    def clear_trace_entities(self) -> None:
        """Forget what is open in this thread or task."""
        if _active() is None:
            self.theirs.clear_trace_entities()
        _entry.set(None)
        _segment.set(None)

    def put_segment(self, segment: Any) -> None:
        """As in Lambda: nothing but a line in the log."""
        if _active() is None:
            self.theirs.put_segment(segment)
        else:
            super().put_segment(segment)

    def end_segment(self, end_time: float | None = None) -> None:
        """As in Lambda: nothing but a line in the log."""
        if _active() is None:
            self.theirs.end_segment(end_time)
        else:
            super().end_segment(end_time)


def _active() -> Telemetry | None:
    current = telemetry.installed()
    return current if current is not None and current.is_active else None


def _spans(entity: Any) -> Any:
    """The spans of the invocation that `entity` is of."""
    return getattr(getattr(entity, "parent_segment", entity), "spans", None)

"""Spans to standard output, one JSON object a line, for reading in the function's log."""

from __future__ import annotations

import json
import sys

from lambdatrace.plain import bounded, text_of
from lambdatrace.sinks import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.records import Span


class ConsoleSink:
    """Writes each span as one line."""

    def send(
        self,
        spans: list[Span],
        timeout_s: float,  # noqa: ARG002 - never waits
        meanwhile: Callable[[], None],  # noqa: ARG002 - same
    ) -> Outcome:
        """Write `spans`; values JSON has no type for are written as their `str`."""
        lines = [json.dumps(_document(span), default=str) + "\n" for span in spans]
        sys.stdout.write("".join(lines))
        return Outcome(is_accepted=True)


def _document(span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "traceId": span.context.trace_id,
        "spanId": span.context.span_id,
        "parentSpanId": span.parent.span_id if span.parent else "",
        "kind": span.kind,
        "startTimeUnixNano": span.start_ns,
        "endTimeUnixNano": span.end_ns,
        "status": {"code": span.status_code, "message": span.status_message},
        "attributes": _plain(span.attributes),
        "events": [
            {
                "name": event.name,
                "timeUnixNano": event.time_ns,
                "attributes": _plain(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "traceId": link.context.trace_id,
                "spanId": link.context.span_id,
                "attributes": _plain(link.attributes),
            }
            for link in span.links
        ],
    }


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {text_of(key): bounded(value) for key, value in attributes.items()}

"""What of a log waits to be sent by OTLP."""

from __future__ import annotations

from lambdatrace.records import OWN_SCOPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambdatrace.records import Scope, SpanContext


class LogRecord:
    """One line of a log. Times are Unix nanoseconds; `time_ns` is 0 when it is not known.

    `severity_number` is OpenTelemetry's, 1 (TRACE) to 24 (FATAL4), 0 when not known. `context` is
    the span it was written in, None outside of any. `body` is any value OTLP can carry. Source:
    OpenTelemetry, "Logs Data Model".
    """

    __slots__ = (
        "attributes",
        "body",
        "context",
        "dropped_attributes",
        "event_name",
        "number",
        "observed_ns",
        "scope",
        "severity_number",
        "severity_text",
        "time_ns",
    )

    def __init__(
        self,
        body: Any,
        observed_ns: int,
        *,
        time_ns: int = 0,
        severity_number: int = 0,
        severity_text: str = "",
        attributes: Mapping[str, Any] | None = None,
        context: SpanContext | None = None,
        event_name: str = "",
        scope: Scope = OWN_SCOPE,
    ) -> None:
        self.body = body
        self.time_ns = time_ns
        self.observed_ns = observed_ns
        self.severity_number = severity_number
        self.severity_text = severity_text
        self.attributes: dict[str, Any] = dict(attributes or {})
        self.context = context
        self.event_name = event_name
        self.scope = scope
        self.dropped_attributes = 0
        self.number = 0  # in the journal; 0 is none

    def with_attributes(self, attributes: Mapping[str, Any], dropped: int) -> LogRecord:
        """This record with other attributes, beside which `dropped` more were left out."""
        copy = LogRecord(
            self.body,
            self.observed_ns,
            time_ns=self.time_ns,
            severity_number=self.severity_number,
            severity_text=self.severity_text,
            attributes=attributes,
            context=self.context,
            event_name=self.event_name,
            scope=self.scope,
        )
        copy.dropped_attributes = self.dropped_attributes + dropped
        return copy

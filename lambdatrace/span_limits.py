"""OTEL_*_LIMIT: how many attributes, events and links a record has, and how long its texts are.

How many a span takes in is bounded as it is recorded, in `records.py`, by numbers that are set from
here where a variable asks for others. All else is cut after the response, in what is sent, behind
the redaction, so that no half of a secret is left that is not known for one.
Sources: OpenTelemetry specification, "Attribute Limits", "Span Limits", "LogRecord Limits" and
"Environment variables". What a variable says of spans holds for their events and links too.
"""

from __future__ import annotations

from operator import is_

from lambdatrace import records
from lambdatrace.errors import SettingError
from lambdatrace.guard import let_through
from lambdatrace.log_record import LogRecord
from lambdatrace.records import Event, Link, Span
from lambdatrace.span_copies import ended_copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.sinks import Outcome, Sink

_NUMBER_MAX = 1_000_000
_DEPTH_MAX = 16  # of lists and mappings in a value
COUNT_DEFAULT = 128

# name, default as written in the environment, one sentence
LIMIT_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "",
        "The longest text of an attribute, in characters; empty: as long as it is, up to 64 Ki.",
    ),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "128", "How many attributes a span or log record has at most."),
    (
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "",
        "The same as `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, for spans.",
    ),
    (
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "",
        "The same as `OTEL_ATTRIBUTE_COUNT_LIMIT`, for spans.",
    ),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "128", "How many events a span has at most."),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "128", "How many links a span has at most."),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "128", "How many attributes an event has at most."),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "128", "How many attributes a link has at most."),
    (
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "",
        "The same as `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`, for log records.",
    ),
    (
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
        "",
        "The same as `OTEL_ATTRIBUTE_COUNT_LIMIT`, for log records.",
    ),
)


class Limits:
    """What holds in this process, and the `errors` met while reading it."""

    __slots__ = (
        "errors",
        "event_attributes",
        "link_attributes",
        "log_attributes",
        "log_value_length",
        "span_attributes",
        "span_events",
        "span_links",
        "span_value_length",
    )

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.errors: list[SettingError] = []

        def read(name: str, default: int | None = None) -> int | None:
            value = environ.get(name)
            if not value:
                return default
            number = int(value) if value.isdecimal() and len(value) <= len("1000000") else -1
            if 0 <= number <= _NUMBER_MAX:
                return number
            error = SettingError(name, value, f"a whole number from 0 to {_NUMBER_MAX}")
            error.taken = "no limit" if default is None else str(default)
            self.errors.append(error)
            return default

        def count(name: str, default: int = COUNT_DEFAULT) -> int:
            found = read(name, default)
            return default if found is None else found

        length = read("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
        attributes = count("OTEL_ATTRIBUTE_COUNT_LIMIT")
        self.span_value_length = read("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", length)
        self.span_attributes = count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", attributes)
        self.span_events = count("OTEL_SPAN_EVENT_COUNT_LIMIT")
        self.span_links = count("OTEL_SPAN_LINK_COUNT_LIMIT")
        self.event_attributes = count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT")
        self.link_attributes = count("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")
        self.log_value_length = read("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", length)
        self.log_attributes = count("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", attributes)

    def hold(self) -> None:
        """Bound by these what is recorded from now on, in all of this process."""
        records.ATTRIBUTE_COUNT_MAX = self.span_attributes
        records.EVENT_COUNT_MAX = self.span_events
        records.LINK_COUNT_MAX = self.span_links
        records.PART_ATTRIBUTE_COUNT_MAX = max(self.event_attributes, self.link_attributes)
        records.LOG_ATTRIBUTE_COUNT_MAX = self.log_attributes

    def record(self, record: Any) -> Any:
        """`record` within the limits; the same object if it is. Metrics have none."""
        if isinstance(record, Span):
            return self._span(record)
        if isinstance(record, LogRecord):
            attributes, dropped = _cut(
                record.attributes, self.log_attributes, self.log_value_length
            )
            return (
                record
                if attributes is record.attributes
                else record.with_attributes(attributes, dropped)
            )
        return record

    def _span(self, span: Span) -> Span:
        attributes, dropped = _cut(span.attributes, self.span_attributes, self.span_value_length)
        length = self.span_value_length
        events = [self._part(event, self.event_attributes, length) for event in span.events]
        links = [self._part(link, self.link_attributes, length) for link in span.links]
        if (
            attributes is span.attributes
            and all(map(is_, events, span.events))
            and all(map(is_, links, span.links))
        ):
            return span
        copy = ended_copy(span, span.end_ns)
        copy.attributes, copy.events, copy.links = dict(attributes), events, links
        copy.dropped_attributes += dropped
        return copy

    def _part(self, part: Any, count_max: int, length_max: int | None) -> Any:
        attributes, dropped = _cut(part.attributes, count_max, length_max)
        if attributes is part.attributes:
            return part
        if isinstance(part, Event):
            copy: Event | Link = Event(part.name, part.time_ns, attributes)
        else:
            copy = Link(part.context, attributes)
        copy.dropped_attributes = part.dropped_attributes + dropped
        return copy


def _cut(
    attributes: Mapping[str, Any], count_max: int, length_max: int | None
) -> tuple[Mapping[str, Any], int]:
    """The first `count_max` attributes with no longer texts, and how many were left out."""
    dropped = max(len(attributes) - count_max, 0)
    if not dropped and length_max is None:
        return attributes, 0
    kept = list(attributes.items())[:count_max]
    if length_max is None:
        return dict(kept), dropped
    return {key: _shortened(value, length_max, 0) for key, value in kept}, dropped


def _shortened(value: Any, length_max: int, depth: int) -> Any:
    if isinstance(value, (str, bytes)):
        return value if len(value) <= length_max else value[:length_max]
    if depth < _DEPTH_MAX:
        if isinstance(value, (list, tuple)):
            return [_shortened(item, length_max, depth + 1) for item in value]
        if isinstance(value, dict):
            return {key: _shortened(item, length_max, depth + 1) for key, item in value.items()}
    return value


class LimitingSink:
    """Gives `sink` the records within `limits`."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self._sink = sink
        self._limits = limits

    def send(self, records: list[Any], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """As `sink` sends. Raises what that raises."""
        return self._sink.send([self._limited(record) for record in records], timeout_s, meanwhile)

    def _limited(self, record: Any) -> Any:
        try:
            return self._limits.record(record)
        except Exception as error:  # noqa: BLE001 - what encodes the record says and counts it
            let_through(error)
            return record

    def close(self) -> None:
        """Close the connection of `sink`, if it has one."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()

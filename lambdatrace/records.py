"""What the SDK records: spans, their events and links, metrics, log records.

Plain classes with `__slots__`: defining one costs 0.008 ms where a dataclass costs 0.43 ms and a
3.7 ms import, and this module is on every cold start.
"""

from __future__ import annotations

from lambdatrace import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace.invocation_spans import InvocationSpans

# SpanKind and StatusCode as OTLP numbers them (opentelemetry/proto/trace/v1/trace.proto).
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
UNSET, OK, ERROR = 0, 1, 2

# The `error.type` of what Lambda ended, or answered itself, for lack of time; its own name for it.
TIMED_OUT = "Sandbox.Timedout"
# An attribute of what was still open when the invocation was over, and of one that did not end.
INCOMPLETE = "lambdatrace.incomplete"

# The OpenTelemetry specification's defaults; `span_limits.py` sets others where a variable asks.
ATTRIBUTE_COUNT_MAX = 128
EVENT_COUNT_MAX = 128
LINK_COUNT_MAX = 128
PART_ATTRIBUTE_COUNT_MAX = 128  # of an event or a link
LOG_ATTRIBUTE_COUNT_MAX = 128


_new = object.__new__


class Carried:
    """What came with the caller's context and goes on to those we call, as it stood.

    `baggage` is W3C's header, `lineage` the field of X-Ray's that Lambda detects loops with.
    """

    __slots__ = ("baggage", "lineage")

    def __init__(self, baggage: str = "", lineage: str = "") -> None:
        self.baggage = baggage
        self.lineage = lineage


class SpanContext:
    """What identifies a span across processes; ids are lower-case hex of 32 and 16 digits."""

    __slots__ = ("carried", "is_remote", "is_sampled", "span_id", "trace_id", "trace_state")

    def __init__(
        self,
        trace_id: str,
        span_id: str,
        *,
        is_sampled: bool = True,
        trace_state: str = "",
        is_remote: bool = False,
        carried: Carried | None = None,
    ) -> None:
        self.carried = carried
        self.trace_id = trace_id
        self.span_id = span_id
        self.is_sampled = is_sampled
        self.trace_state = trace_state
        self.is_remote = is_remote

    def child(self, span_id: str) -> SpanContext:
        """The context of a span below this one, in this process."""
        child = _new(SpanContext)  # without the keyword arguments of __init__: done for each span
        child.trace_id = self.trace_id
        child.span_id = span_id
        child.is_sampled = self.is_sampled
        child.trace_state = self.trace_state
        child.is_remote = False
        child.carried = self.carried
        return child

    def __repr__(self) -> str:
        return f"SpanContext({self.trace_id}, {self.span_id}, is_sampled={self.is_sampled})"


class Scope:
    """Who recorded: the instrumentation scope, by name and version."""

    __slots__ = ("attributes", "name", "schema_url", "version")

    def __init__(
        self,
        name: str,
        version: str = "",
        *,
        schema_url: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.schema_url = schema_url
        self.attributes = attributes or {}


OWN_SCOPE = Scope("lambdatrace", __version__)


class Event:
    """Something that happened at one moment of a span."""

    __slots__ = ("attributes", "dropped_attributes", "name", "time_ns")

    def __init__(self, name: str, time_ns: int, attributes: Mapping[str, Any]) -> None:
        self.name = name
        self.time_ns = time_ns
        self.attributes = attributes
        self.dropped_attributes = 0
        if len(attributes) > PART_ATTRIBUTE_COUNT_MAX:
            _bound(self)


class Link:
    """Another span that this one has to do with, without being its parent."""

    __slots__ = ("attributes", "context", "dropped_attributes")

    def __init__(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        self.context = context
        self.attributes = attributes or {}
        self.dropped_attributes = 0
        if len(self.attributes) > PART_ATTRIBUTE_COUNT_MAX:
            _bound(self)


def _bound(part: Event | Link) -> None:
    """Leave `part` the first PART_ATTRIBUTE_COUNT_MAX of its attributes; the rest is counted."""
    given = part.attributes
    part.attributes = {key: given[key] for key in list(given)[:PART_ATTRIBUTE_COUNT_MAX]}
    part.dropped_attributes = len(given) - len(part.attributes)


class Span:
    """One operation of a trace. Times are Unix nanoseconds; `end_ns` is 0 while it is open.

    `noted` says how many of its attributes, from the first on, the journal has as they are; -1 if
    it has not the span, or by another name. `place` is the journal's: where the end is to be noted.

    Every `set_` and `add_` is silently ignored once the span has ended, as in OpenTelemetry.
    """

    __slots__ = (
        "attributes",
        "context",
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "end_ns",
        "events",
        "kind",
        "links",
        "name",
        "noted",
        "opened_in",
        "parent",
        "place",
        "scope",
        "start_ns",
        "status_code",
        "status_message",
    )

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        start_ns: int,
        # By position, as `Tracer.start_span` gives them: by name they take a fifth longer.
        kind: int = INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        scope: Scope = OWN_SCOPE,
    ) -> None:
        self.scope = scope
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.start_ns = start_ns
        self.end_ns = 0
        self.noted = -1
        self.place: tuple[object, int] | None = None
        self.opened_in: InvocationSpans | None = None  # while it is open
        self.attributes: dict[str, Any] = {}
        self.events: list[Event] = []
        self.links: list[Link] = []
        self.status_code = UNSET
        self.status_message = ""
        self.dropped_attributes = 0
        self.dropped_events = 0
        self.dropped_links = 0
        if links:
            self.links += links[:LINK_COUNT_MAX]
            self.dropped_links = len(links) - len(self.links)
        if attributes:
            self.set_attributes(attributes)

    def __repr__(self) -> str:
        ms = (self.end_ns - self.start_ns) / 1_000_000
        state = f"{ms:.3f} ms" if self.end_ns else "open"
        state += ", ERROR" if self.status_code == ERROR else ""
        return f"<Span {self.name!r} {self.trace_id}:{self.span_id}, {state}>"

    @property
    def trace_id(self) -> str:
        """32 lower-case hex digits."""
        return self.context.trace_id

    @property
    def span_id(self) -> str:
        """16 lower-case hex digits."""
        return self.context.span_id

    @property
    def is_recording(self) -> bool:
        """Whether what is set on this span now is kept: it is sent, or held in case it will be."""
        if self.end_ns:
            return False
        spans = self.opened_in
        return self.context.is_sampled or (spans is not None and spans.is_holding)

    def update_name(self, name: str, kind: int | None = None) -> None:
        """Give the span another name, and another kind."""
        if self.end_ns:
            return
        self.name = name
        if kind is not None:
            self.kind = kind
        self.noted = -1

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute; beyond ATTRIBUTE_COUNT_MAX, new keys are dropped and counted."""
        if self.end_ns:
            return
        attributes = self.attributes
        if key in attributes:
            attributes[key] = value
            self._note_none()
        elif len(attributes) < ATTRIBUTE_COUNT_MAX:
            attributes[key] = value
        else:
            self.dropped_attributes += 1

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        own = self.attributes
        if len(own) + len(attributes) > ATTRIBUTE_COUNT_MAX:
            for key, value in attributes.items():
                self.set_attribute(key, value)
        elif not self.end_ns:
            if own and not own.keys().isdisjoint(attributes):
                self._note_none()
            own.update(attributes)

    def _note_none(self) -> None:
        """What the journal has of the attributes is no longer so."""
        self.noted = min(self.noted, 0)

    def add_event(self, name: str, time_ns: int, attributes: Mapping[str, Any]) -> None:
        """Add an event; beyond EVENT_COUNT_MAX they are dropped and counted."""
        if self.end_ns:
            return
        if len(self.events) >= EVENT_COUNT_MAX:
            self.dropped_events += 1
        else:
            self.events.append(Event(name, time_ns, dict(attributes)))

    def add_link(self, link: Link) -> None:
        """Add a link; beyond LINK_COUNT_MAX they are dropped and counted."""
        if self.end_ns:
            return
        if len(self.links) >= LINK_COUNT_MAX:
            self.dropped_links += 1
        else:
            self.links.append(link)

    def set_status(self, code: int, message: str = "") -> None:
        """UNSET, OK or ERROR; OK is final, and only ERROR has a message, as in OpenTelemetry."""
        if self.end_ns or self.status_code == OK or code == UNSET:
            return
        self.status_code = code
        self.status_message = message if code == ERROR else ""

    def end(self, end_ns: int) -> bool:
        """Close the span; False if it was closed before."""
        if self.end_ns:
            return False
        self.end_ns = max(end_ns, self.start_ns)
        return True


class Metric:
    """Values of one custom metric, in the units and with the dimensions CloudWatch gives it.

    `dimension_sets` are tuples of (name, value) pairs in order of name; each set is a metric of its
    own, with the same values. A name has the same value in all of them. `resolution_s` is 1 or 60.
    `time_ns` is when it was recorded, or what the user says (`has_own_time`); `context` the span it
    was recorded in. `properties` are facts that are no dimensions: any values.
    """

    __slots__ = (
        "context",
        "dimension_sets",
        "has_own_time",
        "name",
        "namespace",
        "properties",
        "resolution_s",
        "time_ns",
        "unit",
        "values",
    )

    def __init__(
        self,
        name: str,
        values: Sequence[float],
        unit: str,
        dimension_sets: tuple[tuple[tuple[str, str], ...], ...],
        *,
        namespace: str,
        time_ns: int,
        resolution_s: int = 60,
        has_own_time: bool = False,
        properties: Mapping[str, Any] | None = None,
        context: SpanContext | None = None,
    ) -> None:
        self.name = name
        self.values = values
        self.unit = unit
        self.dimension_sets = dimension_sets
        self.namespace = namespace
        self.time_ns = time_ns
        self.resolution_s = resolution_s
        self.has_own_time = has_own_time
        self.properties = properties
        self.context = context

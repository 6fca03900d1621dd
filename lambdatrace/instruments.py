"""OpenTelemetry's metric instruments: measurements in, aggregated metrics out at each collection.

What stands before this (the `opentelemetry` API's door, `lambdatrace.metric` with OTLP) uses

    counter = telemetry.instruments.instrument("counter", "orders", "1", "Orders placed", scope)
    counter.record(1, {"tier": "gold"}, span_context)
    gauge = telemetry.instruments.instrument("observable_gauge", "queue", "1", "", scope)
    gauge.observe(callback)          # callback() → iterable of (value, attributes) pairs

with `kind` a key of KINDS, `scope` a records.Scope, and `advisory` the boundaries that the
instrument's author proposes for an explicit histogram. Asked for again, an instrument is the same
one. `record`'s third argument is the SpanContext of the span that the measurement was made in, for
exemplars. `Telemetry.flush` collects, after the response.

A measurement is queued as it is and aggregated at collection, so that measuring takes no lock and
loses nothing between threads. Source: OpenTelemetry specification, "Metrics SDK".
"""

from __future__ import annotations

import _thread
from collections import deque
from math import isfinite

from lambdatrace.aggregation import (
    DEFAULT_BOUNDS,
    Distribution,
    ExplicitHistogram,
    ExponentialHistogram,
    LastValue,
    Sum,
)
from lambdatrace.metric_points import CUMULATIVE, DELTA, UNSPECIFIED, Exemplar, MetricData
from lambdatrace.plain import INT64_MAX, INT64_MIN
from lambdatrace.records import OWN_SCOPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from lambdatrace.aggregation import Aggregation
    from lambdatrace.clock import Clock
    from lambdatrace.records import Scope, SpanContext

    Observation = tuple[float, Mapping[str, Any] | None]
    Attributes = dict[str, Any]
    # Instrument, value, attributes, the span it was made in, when; and the timestamp of its own.
    Measurement = tuple["Instrument", Any, Any, SpanContext | None, int, int]


class Kind:
    """What the specification says of one kind of instrument."""

    __slots__ = ("is_histogram", "is_monotonic", "is_observed", "is_sum")

    def __init__(
        self,
        *,
        is_sum: bool = False,
        is_monotonic: bool = False,
        is_histogram: bool = False,
        is_observed: bool = False,
    ) -> None:
        self.is_sum = is_sum
        self.is_monotonic = is_monotonic
        self.is_histogram = is_histogram
        self.is_observed = is_observed


KINDS = {
    "counter": Kind(is_sum=True, is_monotonic=True),
    "up_down_counter": Kind(is_sum=True),
    "histogram": Kind(is_histogram=True),
    "gauge": Kind(),
    "observable_counter": Kind(is_sum=True, is_monotonic=True, is_observed=True),
    "observable_up_down_counter": Kind(is_sum=True, is_observed=True),
    "observable_gauge": Kind(is_observed=True),
}

# Which kinds are reported as deltas. Source: "Metrics Exporter — OTLP", temporality preference.
DELTA_KINDS = {
    "delta": frozenset(("counter", "observable_counter", "histogram")),
    "lowmemory": frozenset(("counter", "histogram")),
    "cumulative": frozenset[str](),
}

# Beyond, the thread that measures aggregates: the queue must not fill the memory.
PENDING_COUNT_MAX = 4096

# The specification's cardinality limit; what goes beyond is one series, so that no value is lost.
SERIES_COUNT_MAX = 2000
OVERFLOW: dict[str, Any] = {"otel.metric.overflow": True}
_OVERFLOW_KEY = frozenset((("otel.metric.overflow", True),))

INSTRUMENT_COUNT_MAX = 1000  # an instrument's name may come from the user's data
DISTRIBUTION_COUNT_MAX = 10_000  # values of one collection, where they are kept as they are
OBSERVATION_S_MAX = 1.0  # for all callbacks of one collection together


class Instrument:
    """One instrument; `name`, `unit`, `description` and `scope` are as they were given."""

    __slots__ = (
        "_instruments",
        "_pending",
        "_previous",
        "_series",
        "bounds",
        "callbacks",
        "created_ns",
        "description",
        "kind",
        "kind_name",
        "name",
        "scope",
        "unit",
    )

    def __init__(
        self,
        instruments: Instruments,
        kind: str,
        name: str,
        unit: str,
        description: str,
        scope: Scope,
        advisory: Sequence[float] | None,
    ) -> None:
        self.kind_name = kind
        self.kind = KINDS[kind]
        self.name = name
        self.unit = unit
        self.description = description
        self.scope = scope
        self.bounds = _bounds(advisory)
        self.callbacks: list[Callable[[], Iterable[Observation]]] = []
        self.created_ns = instruments.clock.time_ns()
        self._instruments = instruments
        self._pending = instruments.pending
        # Series by key: its attributes, its own timestamp or 0, and what was measured.
        self._series: dict[Any, tuple[Attributes, int, Aggregation]] = {}
        self._previous: dict[Any, float] = {}  # what an observable counter stood at

    def record(
        self,
        value: float,
        attributes: Mapping[str, Any] | None = None,
        context: SpanContext | None = None,
        *,
        timestamp_ns: int = 0,
    ) -> None:
        """Take in one measurement; what is no finite number is dropped at the collection.

        A measurement with a `timestamp_ns` of its own becomes a point of that moment.
        """
        self._pending.append(
            (
                self,
                value,
                dict(attributes) if attributes else None,
                context,
                self._instruments.clock.time_ns(),
                timestamp_ns,
            )
        )
        if len(self._pending) >= PENDING_COUNT_MAX:
            self._instruments.aggregate()

    def observe(self, callback: Callable[[], Iterable[Observation]]) -> None:
        """Call `callback` at each collection, for (value, attributes) pairs of that moment."""
        self.callbacks.append(callback)

    def aggregate(
        self, value: float, attributes: Attributes, exemplar: Exemplar | None, timestamp_ns: int
    ) -> None:
        """Add `value` to the series of `attributes`, and of that moment if it is not 0."""
        key: Any = _key(attributes)
        if timestamp_ns:
            key = (key, timestamp_ns)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= SERIES_COUNT_MAX - 1:
                key, attributes, timestamp_ns = _OVERFLOW_KEY, OVERFLOW, 0
                series = self._series.get(key)
            if series is None:
                # Of an observable sum's series the overflow has the totals together.
                is_total = self.kind.is_sum and key is _OVERFLOW_KEY
                made = Sum() if is_total else self._instruments.aggregation(self)
                series = self._series[key] = (attributes, timestamp_ns, made)
        series[2].add(value, exemplar)

    def take(self, since_ns: int, now_ns: int) -> MetricData | None:
        """What was measured since the last time, or since ever; None if nothing was."""
        if not self._series:
            return None
        temporality = self._instruments.temporality(self)
        start_ns = self.created_ns if temporality == CUMULATIVE else since_ns
        points = []
        for key, (attributes, timestamp_ns, aggregation) in self._series.items():
            at_ns = timestamp_ns or now_ns
            point: Any = aggregation.point(attributes, min(start_ns, at_ns), at_ns)
            if self.kind.is_observed and temporality == DELTA:
                point.value = self._since_previous(key, point.value)
            points.append(point)
        if self.kind.is_observed or not self._instruments.keeps(temporality):
            self._series = {}
        return MetricData(
            self.name,
            points,
            scope=self.scope,
            unit=self.unit,
            description=self.description,
            temporality=temporality,
            is_monotonic=self.kind.is_monotonic,
        )

    def forget(self) -> None:
        """Forget what was measured, as in a forked child: it is the parent's to report."""
        self._series = {}
        self.created_ns = self._instruments.clock.time_ns()

    def _since_previous(self, key: Any, value: float) -> float:
        previous = self._previous.pop(key, 0)
        self._previous[key] = value
        if len(self._previous) > SERIES_COUNT_MAX:
            # The one that has been observed least recently: those of a collection all have room.
            del self._previous[next(iter(self._previous))]
        # A count that is lower than before has begun anew.
        return value - previous if value >= previous else value


class Instruments:
    """All instruments of this process, and the queue of what they measured.

    `preference` is a key of DELTA_KINDS; `histogram` makes the aggregation of histograms:
    "explicit", "exponential", or "values" to keep what was measured. `exemplars` is OpenTelemetry's
    exemplar filter: "trace_based", "always_on", "always_off". `on_error` gets what was dropped;
    `redact` gives attributes without what must not leave.
    """

    def __init__(
        self,
        clock: Clock,
        on_error: Callable[[str, Any], None],
        *,
        preference: str = "delta",
        histogram: str = "explicit",
        exemplars: str = "trace_based",
        redact: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        self.clock = clock
        self.pending: deque[Measurement] = deque()
        self.dropped = 0
        self._on_error = on_error
        self._delta_kinds = DELTA_KINDS[preference]
        self._histogram = histogram
        self._exemplars = exemplars
        self._redact = redact
        self._by_key: dict[Any, Instrument] = {}
        self._lock = _thread.allocate_lock()
        self._asking = _thread.allocate_lock()  # held while callbacks are at work
        self._collected_ns = clock.time_ns()
        self._began_ns = 0
        self._distribution_count = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def instrument(
        self,
        kind: str,
        name: str,
        unit: str = "",
        description: str = "",
        scope: Scope = OWN_SCOPE,
        advisory: Sequence[float] | None = None,
    ) -> Instrument:
        """The instrument of these names, which is made at the first call.

        As in the specification, one that differs in anything but `advisory` or the case of the
        name is another one, and reported as a metric of its own.
        """
        key = (kind, name.lower(), unit, description, scope.name, scope.version, scope.schema_url)
        found = self._by_key.get(key)
        if found is None:
            found = Instrument(self, kind, name, unit, description, scope, advisory)
            if len(self._by_key) >= INSTRUMENT_COUNT_MAX:
                self._drop(name, f"there are {INSTRUMENT_COUNT_MAX} instruments already")
                return found
            # One step, whatever other threads do.
            found = self._by_key.setdefault(key, found)
        return found

    def note_begin(self, start_ns: int) -> None:
        """An invocation that began at `start_ns` has ended: deltas need not reach back further.

        Without this they would begin at the last collection, and so cover the time in which the
        environment was frozen and nothing could be measured: a rate would come out too low.
        """
        if not self._began_ns or start_ns < self._began_ns:
            self._began_ns = start_ns

    def collect(self) -> list[MetricData]:
        """All that was measured since the last collection, observable instruments included."""
        self._observe()
        with self._lock:
            self._aggregate_pending()
            now_ns = self.clock.time_ns()
            since_ns = min(max(self._collected_ns, self._began_ns), now_ns)
            self._collected_ns, self._began_ns, self._distribution_count = now_ns, 0, 0
            instruments = list(self._by_key.values())
            taken = [instrument.take(since_ns, now_ns) for instrument in instruments]
        return [data for data in taken if data is not None]

    def aggregate(self) -> None:
        """Work off the queue, unless somebody is at it."""
        # Never waits: it may be called from a value's own __float__, by way of `record`.
        if self._lock.acquire(blocking=False):
            try:
                self._aggregate_pending()
            finally:
                self._lock.release()

    def aggregation(self, instrument: Instrument) -> Aggregation:
        """An empty aggregation for a series of `instrument`."""
        kind = instrument.kind
        if kind.is_histogram:
            if self._histogram == "explicit":
                return ExplicitHistogram(instrument.bounds)
            return ExponentialHistogram() if self._histogram == "exponential" else Distribution()
        # An observable sum's callback gives totals: the last counts.
        return Sum() if kind.is_sum and not kind.is_observed else LastValue()

    def temporality(self, instrument: Instrument) -> int:
        """DELTA or CUMULATIVE, as preferred; a gauge has none."""
        if not (instrument.kind.is_sum or instrument.kind.is_histogram):
            return UNSPECIFIED
        return DELTA if instrument.kind_name in self._delta_kinds else CUMULATIVE

    def keeps(self, temporality: int) -> bool:
        """Whether a series goes on after a collection; a gauge does where counters do."""
        return temporality == CUMULATIVE or (temporality == UNSPECIFIED and not self._delta_kinds)

    def forget_parent(self) -> None:
        """In a forked child: what was measured before is the parent's to report."""
        self._lock = _thread.allocate_lock()  # another thread of the parent may have held it
        self._asking = _thread.allocate_lock()
        self.pending.clear()
        self._collected_ns, self._began_ns = self.clock.time_ns(), 0
        for instrument in self._by_key.values():
            instrument.forget()

    def _aggregate_pending(self) -> None:
        while self.pending:
            measurement = self.pending.popleft()
            try:
                self._aggregate(*measurement)
            except Exception as error:  # noqa: BLE001 - an attribute's __hash__ may do anything
                self._drop(measurement[0].name, error)

    def _aggregate(
        self,
        instrument: Instrument,
        given: Any,
        attributes: Attributes | None,
        context: SpanContext | None,
        time_ns: int,
        timestamp_ns: int,
    ) -> None:
        value = _number(given)
        if value is None or (value < 0 and instrument.kind.is_monotonic):
            self._drop(instrument.name, f"value {given!r:.100} dropped: not a number it can take")
            return
        if self._histogram == "values" and instrument.kind.is_histogram:
            self._distribution_count += 1
            if self._distribution_count > DISTRIBUTION_COUNT_MAX:
                self._drop(instrument.name, f"over {DISTRIBUTION_COUNT_MAX} values wait")
                return
        exemplar = None
        if self._exemplars != "always_off":
            is_sampled = context is not None and context.is_sampled
            if is_sampled or self._exemplars == "always_on":
                exemplar = Exemplar(value, time_ns, context)
        if self.temporality(instrument) == CUMULATIVE:
            timestamp_ns = 0  # a running total cannot have been what it is at another time
        kept = dict(self._redact(attributes)) if attributes else {}
        instrument.aggregate(value, kept, exemplar, timestamp_ns)

    def _observe(self) -> None:
        """Ask the callbacks, in a thread that is left behind when they take over a second.

        They are the user's code: one that never returns must not hold the environment, nor keep
        what others measured. While it is at work, none is asked.
        """
        if not any(instrument.callbacks for instrument in list(self._by_key.values())):
            return
        if self._asking.locked():
            self._drop("of callbacks", "not observed: an earlier callback has not returned")
            return
        self._asking.acquire()
        _thread.start_new_thread(self._ask, (self._asking,))
        if self._asking.acquire(timeout=OBSERVATION_S_MAX):
            self._asking.release()
        else:
            self._drop("of callbacks", "not observed: one has not returned after a second")

    def _ask(self, asking: Any) -> None:
        until_ns = self.clock.time_ns() + int(OBSERVATION_S_MAX * 1e9)
        try:
            for instrument in list(self._by_key.values()):
                for callback in list(instrument.callbacks):
                    if self.clock.time_ns() > until_ns:
                        self._drop(instrument.name, "not observed: callbacks took over a second")
                        return
                    try:
                        self._observe_one(instrument, callback())
                    except BaseException as error:  # noqa: BLE001 - SystemExit ends nothing here
                        self._drop(instrument.name, error)
        finally:
            asking.release()

    def _observe_one(self, instrument: Instrument, observations: Iterable[Observation]) -> None:
        for count, (value, attributes) in enumerate(observations):
            if count >= SERIES_COUNT_MAX:  # it may never end
                self._drop(instrument.name, f"over {SERIES_COUNT_MAX} observations")
                return
            instrument.record(value, attributes)

    def _drop(self, name: str, reason: Any) -> None:
        self.dropped += 1
        self._on_error(f"metric {name}", reason)


def _number(value: Any) -> float | None:
    """`value` as a finite int of 64 bits or float; None if it is none."""
    if type(value) is not int and type(value) is not float:
        if isinstance(value, (str, bytes, bytearray)):
            return None
        try:
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if isfinite(value) else None


def _key(attributes: Attributes) -> frozenset[Any]:
    """What tells series apart: keys, values and their types, since 1, 1.0 and True are equal."""
    try:
        return frozenset((key, type(value), value) for key, value in attributes.items())
    except TypeError:  # a list
        return frozenset((key, type(value), repr(value)) for key, value in attributes.items())


def _bounds(advisory: Sequence[float] | None) -> tuple[float, ...]:
    """The proposed boundaries, if they are finite and ascending; else the default ones."""
    if advisory is None:
        return DEFAULT_BOUNDS
    numbers = [_number(bound) for bound in advisory]
    bounds = tuple(float(number) for number in numbers if number is not None)
    is_ascending = list(bounds) == sorted(set(bounds))
    return bounds if is_ascending and len(bounds) == len(numbers) else DEFAULT_BOUNDS

"""Recording custom metrics: kept as they are given, checked against CloudWatch's limits later."""

from __future__ import annotations

from collections import deque
from itertools import islice

from lambdatrace.errors import MetricError
from lambdatrace.guard import let_through
from lambdatrace.records import Metric, Span, SpanContext
from lambdatrace.settings import NAMESPACE_RULE, is_metric_namespace
from lambdatrace.tracing import active_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.clock import Clock
    from lambdatrace.journal import Journal

    # (name, value) pairs in order of name.
    DimensionSet = tuple[tuple[str, str], ...]

# CloudWatch's StandardUnit, and the limits of a metric datum (API reference, MetricDatum; embedded
# metric format specification).
UNITS = frozenset(
    (
        *("Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None"),
        *("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes"),
        *("Bits", "Kilobits", "Megabits", "Gigabits", "Terabits"),
        *("Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second"),
        *("Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second"),
        *("Gigabits/Second", "Terabits/Second"),
    )
)
NAME_LENGTH_MAX = 255
DIMENSION_VALUE_LENGTH_MAX = 1024
DIMENSION_COUNT_MAX = 30
VALUE_MAX = 2.0**360
RESOLUTIONS_S = (1, 60)
AGE_NS_MAX = 14 * 24 * 3600 * 1_000_000_000
AHEAD_NS_MAX = 2 * 3600 * 1_000_000_000

# Of all names and values of one metric's dimensions, so that its document has room for values.
DIMENSIONS_LENGTH_MAX = 100_000

CHECKED_COUNT_MAX = 256  # a dimension with many values must not fill the memory

# A handler that records without end must not fill the memory; a flush halfway is better than that.
PENDING_COUNT_MAX = 10_000
VALUE_COUNT_MAX = 100  # of one entry of those; more values are several

_NS_PER_MS = 1_000_000


class MetricRecorder:
    """What was recorded since the last `take`, in order, as it was given.

    Checking waits until `take`, which comes after the response. `dropped` counts what did not fit
    or CloudWatch would refuse; `on_error` gets the name and the reason. `redact` gives a mapping
    without what must not leave.
    """

    __slots__ = (
        *("_checked", "_clock", "_default_dimensions", "_namespace", "_on_error", "_pending"),
        *("_redact", "dropped", "journal", "request_id", "taken"),
    )

    def __init__(
        self,
        clock: Clock,
        namespace: str,
        default_dimensions: Mapping[str, str],
        *,
        on_error: Callable[[str, BaseException], None],
        redact: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        self.dropped = 0
        self.request_id = ""  # of the one invocation whose metrics these are, if they are
        self.journal: Journal | None = None  # where each is noted, in case the process dies
        self.taken: list[int] = []  # when those were recorded that have been taken and not written
        self._clock = clock
        self._namespace = namespace
        self._on_error = on_error
        self._redact = redact
        # What has been checked before, with its dimensions: a function has few metrics.
        self._checked: dict[Any, list[tuple[DimensionSet, ...]]] = {}
        self._pending: deque[tuple[Any, ...]] = deque()
        self._default_dimensions: dict[str, str] = {}
        for key, text in default_dimensions.items():
            try:
                _check_dimension("", key, text)
            except MetricError as error:
                rule = str(error).rpartition(": ")[2]
                fact = f"the default dimension {key!r:.300}={text!r:.1100} is left out"
                on_error("default dimension", MetricError(f"{fact}: {rule}"))
            else:
                self._default_dimensions[key] = text

    def __len__(self) -> int:
        return len(self._pending)

    def record(
        self,
        name: Any,
        value: Any,
        unit: Any = "None",
        dimensions: Any = None,
        resolution_s: Any = 60,
        timestamp: Any = None,
        properties: Any = None,
        namespace: Any = None,
    ) -> None:
        """Keep one value, or each of a sequence. Raises MetricError if too many wait."""
        kind = type(value)
        if kind is not float and kind is not int and _is_sequence(value):
            values = iter(value)
            while chunk := tuple(islice(values, VALUE_COUNT_MAX)):
                self._keep(
                    name, chunk, unit, dimensions, resolution_s, timestamp, properties, namespace
                )
        else:
            self._keep(
                name, (value,), unit, dimensions, resolution_s, timestamp, properties, namespace
            )

    def _keep(
        self,
        name: Any,
        values: Any,
        unit: Any,
        dimensions: Any,
        resolution_s: Any,
        timestamp: Any,
        properties: Any,
        namespace: Any,
    ) -> None:
        if len(self._pending) >= PENDING_COUNT_MAX:
            self.dropped += len(values)
            raise MetricError(
                f"metric {name!r:.300} dropped: {PENDING_COUNT_MAX} wait; "
                "call flush() in long loops"
            )
        if dimensions:
            # Copies: the caller may use its dict again for the next value.
            dimensions = (
                (dict(dimensions),) if hasattr(dimensions, "keys") else tuple(map(dict, dimensions))
            )
        if timestamp is not None and hasattr(timestamp, "timestamp"):
            timestamp = int(timestamp.timestamp() * 1000)  # a datetime, which no journal can hold
        given = (name, values, unit, dimensions, resolution_s, timestamp, properties, namespace)
        now_ns, span = self._clock.time_ns(), active_span()
        self._pending.append((*given, now_ns, span))
        if self.journal is not None:
            ids = (span.trace_id, span.span_id) if span is not None else None
            self.journal.metric(self.request_id, given, now_ns, ids)

    def restore(self, entry: tuple[Any, ...]) -> None:
        """Take in a metric from the journal of a process that is gone."""
        *given, now_ns, ids = entry[2:]
        span = Span("", SpanContext(*ids), None, now_ns) if ids else None
        self._pending.append((*given, now_ns, span))

    def entries(self, request_id: str) -> list[tuple[Any, ...]]:
        """What waits, as a journal has it: `restore` takes it in again."""
        return [
            ("metric", request_id, *given, span and (span.trace_id, span.span_id))
            for *given, span in self._pending
        ]

    def take(self) -> list[Metric]:
        """The metrics recorded, which are then forgotten."""
        metrics: list[Metric] = []
        now_ns = self._clock.time_ns()
        while True:
            # One at a time: another thread may be recording in this moment, or taking.
            try:
                entry = self._pending.popleft()
            except IndexError:
                return metrics
            if self.journal is not None:
                self.taken.append(entry[-2])
            try:
                metrics += self._metrics(now_ns, *entry)
            except BaseException as error:  # noqa: BLE001 - a value's __str__ may do anything
                let_through(error)
                self.dropped += len(entry[1])
                self._on_error(_shown(entry[0]), error)

    def _metrics(
        self,
        now_ns: int,
        name: Any,
        given_values: tuple[Any, ...],
        unit: Any,
        dimensions: Any,
        resolution_s: Any,
        timestamp: Any,
        properties: Any,
        namespace: Any,
        recorded_ns: int,
        span: Any,
    ) -> list[Metric]:
        """More than one where dimension sets have different values of the same name."""
        values = self._values(name, given_values)
        if not values:
            return []
        unit, resolution_s = _plain(unit), _plain(resolution_s)
        time_ns = recorded_ns if timestamp is None else _own_time_ns(name, timestamp, now_ns)
        namespace = self._namespace if namespace is None else namespace
        # As text: as a key, 1 would be the same as True and 1.0.
        given_sets: tuple[dict[Any, Any], ...] = dimensions or ({},)
        pairs = tuple(
            tuple((key, str(_plain(text))) for key, text in given.items()) for given in given_sets
        )
        key = (name, unit, resolution_s, namespace, pairs)
        try:
            groups = self._checked.get(key)
        except TypeError:  # a list among them: the check tells which
            groups = None
        if groups is None:
            _check(name, unit, resolution_s, namespace)
            groups = _compatible(self._merged(name, pairs))
            if len(self._checked) < CHECKED_COUNT_MAX:
                self._checked[key] = groups
        return [
            Metric(
                name,
                values,
                unit,
                sets,
                namespace=namespace,
                time_ns=time_ns,
                resolution_s=resolution_s,
                has_own_time=timestamp is not None,
                properties=self._redact(dict(properties)) if properties else None,
                context=span.context if span is not None else None,
            )
            for sets in groups
        ]

    def _values(self, name: Any, given: tuple[Any, ...]) -> list[float]:
        """Those CloudWatch takes; each of the others is dropped by itself."""
        values = []
        for value in given:
            try:
                values.append(_number(name, value))
            except MetricError as error:
                self.dropped += 1
                self._on_error(_shown(name), error)
        return values

    def _merged(self, name: str, given: tuple[DimensionSet, ...]) -> list[DimensionSet]:
        """The given sets, each with the default dimensions, in order of name; none twice."""
        sets: dict[DimensionSet, None] = {}
        for pairs in given:
            merged = {**self._default_dimensions, **self._redact(dict(pairs))}
            if len(merged) > DIMENSION_COUNT_MAX:
                raise MetricError(
                    f"metric {name!r} has {len(merged)} dimensions: at most {DIMENSION_COUNT_MAX}"
                )
            for key, text in merged.items():
                _check_dimension(name, key, text)
            sets[tuple(sorted(merged.items()))] = None
        if (
            sum(len(key) + len(text) for pairs in sets for key, text in pairs)
            > DIMENSIONS_LENGTH_MAX
        ):
            raise MetricError(
                f"metric {name!r} has too many dimension sets: at most {DIMENSIONS_LENGTH_MAX} "
                "characters in their names and values"
            )
        return list(sets)


def _compatible(sets: list[DimensionSet]) -> list[tuple[DimensionSet, ...]]:
    """Groups of sets in each of which a name has one value, as one document can say it."""
    groups: list[tuple[dict[str, str], list[DimensionSet]]] = []
    for pairs in sets:
        for known, group in groups:
            if all(known.get(name, text) == text for name, text in pairs):
                known.update(pairs)
                group.append(pairs)
                break
        else:
            groups.append((dict(pairs), [pairs]))
    return [tuple(group) for _, group in groups]


def _is_sequence(value: Any) -> bool:
    """Whether there are values in it; NumPy's scalars and arrays of no dimension are values."""
    if isinstance(value, (str, bytes, bytearray, dict)) or not hasattr(value, "__iter__"):
        return False
    return getattr(value, "shape", None) != ()


def _number(name: Any, value: Any) -> float:
    """`value` as a float. Raises MetricError for what is no number, or none CloudWatch takes."""
    number = value
    if isinstance(value, (bool, str, bytes, bytearray)):
        number = None
    elif type(value) is not int and type(value) is not float:
        try:
            number = float(value)  # Decimal, Fraction, NumPy's
        except (TypeError, ValueError, OverflowError):
            number = None
    # `not <=` refuses NaN too, which JSON cannot carry.
    if number is None or not -VALUE_MAX <= number <= VALUE_MAX:
        raise MetricError(
            f"metric {name!r:.300} has value {_shown(value)}: expected a number within ±2^360"
        )
    return float(number)


def _own_time_ns(name: Any, timestamp: Any, now_ns: int) -> int:
    """`timestamp`, a datetime or Unix milliseconds, in ns. Raises MetricError."""
    as_seconds = getattr(timestamp, "timestamp", None)
    try:
        milliseconds = int(as_seconds() * 1000 if as_seconds is not None else timestamp)
    except (TypeError, ValueError, OverflowError):
        milliseconds = -1
    time_ns = milliseconds * _NS_PER_MS
    if not now_ns - AGE_NS_MAX <= time_ns <= now_ns + AHEAD_NS_MAX:
        raise MetricError(
            f"metric {name!r:.300} has timestamp {_shown(timestamp)}: expected a datetime or Unix "
            "milliseconds, from two weeks ago to two hours ahead"
        )
    return time_ns


def _plain(value: Any) -> Any:
    """The value of an enum's member: other metric libraries have enums of units."""
    return value if isinstance(value, (str, int)) else getattr(value, "value", value)


def _shown(value: Any) -> str:
    """`value` for a message, short; of what cannot be written out, its type."""
    try:
        return f"{value!r:.{NAME_LENGTH_MAX}}"
    except BaseException as failure:  # noqa: BLE001 - a huge integer, or a user's __repr__
        let_through(failure)
        is_huge = isinstance(value, int)
        return "a huge integer" if is_huge else type(value).__qualname__


def _check(name: Any, unit: Any, resolution_s: Any, namespace: Any) -> None:
    if not _is_name(name) or name == "_aws":
        raise MetricError(
            f"metric name {name!r:.300}: expected 1 to {NAME_LENGTH_MAX} printable characters, "
            "and not `_aws`"
        )
    if not isinstance(unit, str) or unit not in UNITS:
        raise MetricError(
            f"metric {name!r} has unit {unit!r:.300}: expected a CloudWatch StandardUnit"
        )
    if resolution_s not in RESOLUTIONS_S:
        raise MetricError(
            f"metric {name!r} has resolution {resolution_s!r:.300}: expected 1 or 60 s"
        )
    if not isinstance(namespace, str) or not is_metric_namespace(namespace):
        raise MetricError(
            f"metric {name!r} has namespace {namespace!r:.300}: expected {NAMESPACE_RULE}"
        )


def _is_name(name: Any) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= NAME_LENGTH_MAX
        and name.isprintable()  # control characters are not, nor lone surrogates
        and not name.isspace()
    )


def is_dimension(name: str, key: Any, text: str) -> bool:
    """Whether the metric `name` may have the dimension `key` with the value `text`."""
    return (
        _is_name(key)
        and key not in {name, "_aws"}
        and not key.startswith(":")
        and bool(text.strip())
        and len(text) <= DIMENSION_VALUE_LENGTH_MAX
        and (key + text).isascii()
        and text.isprintable()
    )


def _check_dimension(name: str, key: Any, text: str) -> None:
    if not is_dimension(name, key, text):
        raise MetricError(
            f"metric {name!r} has dimension {key!r:.300}={text!r:.1100}: expected printable "
            f"ASCII, a name of 1 to {NAME_LENGTH_MAX} characters, not the metric's, no leading "
            f"colon, a value of 1 to {DIMENSION_VALUE_LENGTH_MAX}"
        )

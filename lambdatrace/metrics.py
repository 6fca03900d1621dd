"""Recording custom metrics: checked against CloudWatch's limits, kept until the invocation ends."""

from __future__ import annotations

from collections import deque

from lambdatrace.errors import MetricError
from lambdatrace.records import Metric

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

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

CHECKED_COUNT_MAX = 256  # a dimension with many values must not fill the memory

# A handler that records without end must not fill the memory; a flush halfway is better than that.
PENDING_COUNT_MAX = 10_000


class MetricRecorder:
    """What was recorded since the last `take`, in order, as it was given.

    Checking waits until `take`, which comes after the response. `dropped` counts what did not fit
    or CloudWatch would refuse.
    """

    __slots__ = ("_checked", "_default_dimensions", "_pending", "dropped")

    def __init__(self, default_dimensions: Mapping[str, str]) -> None:
        self._default_dimensions = dict(default_dimensions)
        # What has been checked before, with its dimensions in order: a function has few metrics.
        self._checked: dict[Any, tuple[tuple[str, str], ...]] = {}
        self._pending: deque[tuple[Any, Any, Any, Any, Any]] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pending)

    def record(
        self,
        name: str,
        value: float,
        unit: str,
        dimensions: Mapping[str, str] | None,
        resolution_s: int,
    ) -> None:
        """Keep one value. Raises MetricError if too many wait."""
        if len(self._pending) >= PENDING_COUNT_MAX:
            self.dropped += 1
            raise MetricError(
                f"metric {name!r} dropped: {PENDING_COUNT_MAX} wait; call flush() in long loops"
            )
        # A copy: the caller may use its dict again for the next value.
        self._pending.append((name, value, unit, dimensions and dict(dimensions), resolution_s))

    def take(self, on_error: Callable[[str, Exception], None]) -> list[Metric]:
        """The metrics recorded, which are then forgotten; `on_error` gets the refused."""
        metrics = []
        while self._pending:
            # One at a time: another thread may be recording in this moment.
            values = self._pending.popleft()
            try:
                metrics.append(self._metric(*values))
            except Exception as error:  # noqa: BLE001 - a value's __str__ may do anything
                self.dropped += 1
                on_error(str(values[0])[:NAME_LENGTH_MAX], error)
        return metrics

    def _metric(self, name: Any, value: Any, unit: Any, given: Any, resolution_s: Any) -> Metric:
        _check_value(name, value)
        # As text: as a key, 1 would be the same as True and 1.0.
        pairs = tuple((key, str(text)) for key, text in given.items()) if given else ()
        key = (str(name), str(unit), str(resolution_s), pairs)
        dimensions = self._checked.get(key)
        if dimensions is None:
            _check(name, unit, resolution_s)
            merged = {**self._default_dimensions, **dict(pairs)}
            _check_dimensions(name, merged)
            dimensions = tuple(sorted(merged.items()))
            if len(self._checked) < CHECKED_COUNT_MAX:
                self._checked[key] = dimensions
        return Metric(name, float(value), unit, dimensions, resolution_s)


def _check_value(name: Any, value: Any) -> None:
    # `not <=` refuses NaN too, which JSON cannot carry.
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not -VALUE_MAX <= value <= VALUE_MAX
    ):
        raise MetricError(f"metric {name!r} has value {value!r}: expected a number within ±2^360")


def _check(name: Any, unit: Any, resolution_s: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX or name == "_aws":
        raise MetricError(
            f"metric name {name!r}: expected 1 to {NAME_LENGTH_MAX} characters, and not `_aws`"
        )
    if not isinstance(unit, str) or unit not in UNITS:
        raise MetricError(f"metric {name!r} has unit {unit!r}: expected a CloudWatch StandardUnit")
    if resolution_s not in RESOLUTIONS_S:
        raise MetricError(f"metric {name!r} has resolution {resolution_s!r}: expected 1 or 60 s")


def _check_dimensions(name: str, dimensions: Mapping[Any, str]) -> None:
    if len(dimensions) > DIMENSION_COUNT_MAX:
        raise MetricError(
            f"metric {name!r} has {len(dimensions)} dimensions: at most {DIMENSION_COUNT_MAX}"
        )
    for key, text in dimensions.items():
        if (
            not isinstance(key, str)
            or not 0 < len(key) <= NAME_LENGTH_MAX
            or key == name
            or key.startswith(":")
            or not text.strip()
            or len(text) > DIMENSION_VALUE_LENGTH_MAX
            or not (key.isascii() and text.isascii())
        ):
            raise MetricError(
                f"metric {name!r} has dimension {key!r}={text!r}: expected ASCII, a name of 1 to "
                f"{NAME_LENGTH_MAX} characters, not the metric's, no leading colon, "
                f"a value of 1 to {DIMENSION_VALUE_LENGTH_MAX}"
            )

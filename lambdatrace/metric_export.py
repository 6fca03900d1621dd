"""From one metric API to the other's exporter, since both go where OTEL_METRICS_EXPORTER says.

CloudWatch's metrics as OTLP are histograms: of OTLP's types it alone has count, sum, minimum and
maximum, as CloudWatch keeps of any metric. Dimensions become attributes, the namespace the scope.
Instruments as CloudWatch's metrics: a sum or gauge is its value, a histogram the values that were
measured, since the embedded metric format has no counts. Attributes become dimensions, escaped.
"""

from __future__ import annotations

import sys

from lambdatrace.metrics import DIMENSION_VALUE_LENGTH_MAX, is_dimension
from lambdatrace.records import Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from lambdatrace.instruments import Instruments
    from lambdatrace.metric_points import MetricData
    from lambdatrace.metrics import MetricRecorder
    from lambdatrace.records import Metric, SpanContext
    from lambdatrace.telemetry import Telemetry

# CloudWatch's units in UCUM, which OpenTelemetry uses.
UCUM = {
    "None": "",
    "Percent": "%",
    "Seconds": "s",
    "Milliseconds": "ms",
    "Microseconds": "us",
    "Count": "1",
    "Bytes": "By",
    "Kilobytes": "kBy",
    "Megabytes": "MBy",
    "Gigabytes": "GBy",
    "Terabytes": "TBy",
    "Bits": "bit",
    "Kilobits": "kbit",
    "Megabits": "Mbit",
    "Gigabits": "Gbit",
    "Terabits": "Tbit",
}
UCUM |= {
    f"{unit}/Second": f"{ucum}/s"
    for unit, ucum in UCUM.items()
    if unit == "Count" or unit.lower().endswith(("bytes", "bits"))
}
_UNITS = {ucum: unit for unit, ucum in UCUM.items()}


def export_metrics(
    telemetry: Telemetry, recorder: MetricRecorder, context: SpanContext | None, request_id: str
) -> None:
    """Write what was recorded in one invocation, or give it to the instruments.

    With `emf`, to standard output, which Lambda turns into metrics; with `otlp`, the instruments
    report it at their next collection.
    """
    exporter = telemetry.settings.metrics_exporter
    taken = recorder.take()
    if exporter == "none" or not taken:
        return
    if exporter == "otlp":
        record_as_instruments(taken, telemetry.instruments, context)
        return
    from lambdatrace.wire.emf import encode_metrics

    properties = {}
    if context is not None:
        properties = {"traceId": context.trace_id, "requestId": request_id}
    lines = encode_metrics(taken, properties, telemetry.guard.report)
    sys.stdout.write("\n".join(lines) + "\n")


def ucum_unit(unit: str) -> str:
    """The UCUM unit of one of CloudWatch's."""
    return UCUM[unit]


def cloudwatch_unit(ucum: str) -> str:
    """CloudWatch's unit of the same size as a UCUM one, `None` if it has none.

    Annotations count things: `{request}` is Count.
    """
    if ucum.startswith("{"):
        ucum = "1" + ucum.partition("}")[2]
    return _UNITS.get(ucum.replace("µ", "u"), "None")


def record_as_instruments(
    metrics: Iterable[Metric], instruments: Instruments, context: SpanContext | None
) -> None:
    """Give `metrics` to histograms; `context` is the span of those that were in no other."""
    for metric in metrics:
        attributes = {name: text for pairs in metric.dimension_sets for name, text in pairs}
        histogram = instruments.instrument(
            "histogram", metric.name, ucum_unit(metric.unit), scope=Scope(metric.namespace)
        )
        time_ns = metric.time_ns if metric.has_own_time else 0
        for value in metric.values:
            histogram.record(value, attributes, metric.context or context, timestamp_ns=time_ns)


def record_as_metrics(
    collected: Iterable[MetricData],
    recorder: MetricRecorder,
    on_error: Callable[[str, str], None],
) -> None:
    """Give what the instruments collected to `recorder`, which checks it as any other.

    `on_error` gets the attributes that cannot be dimensions, which are left out.
    """
    from lambdatrace.metric_points import DistributionPoint, NumberPoint

    for data in collected:
        unit = cloudwatch_unit(data.unit)
        for point in data.points:
            dimensions = _dimensions(data.name, point.attributes, on_error)
            if isinstance(point, NumberPoint):
                recorder.record(data.name, point.value, unit, dimensions)
            elif isinstance(point, DistributionPoint):
                recorder.record(data.name, point.values, unit, dimensions)


def _dimensions(
    name: str, attributes: Mapping[str, Any], on_error: Callable[[str, str], None]
) -> dict[str, str]:
    """`attributes` as CloudWatch takes dimensions: in printable ASCII, all else escaped.

    So values that differ remain different ones, which they would not be if they were left out.
    """
    dimensions = {}
    for key, value in attributes.items():
        dimension = _escaped(str(key))
        text = _escaped(str(value))[:DIMENSION_VALUE_LENGTH_MAX]
        if is_dimension(name, dimension, text):
            dimensions[dimension] = text
        else:
            on_error(f"metric {name:.100}, attribute {key!r:.100}", "left out: it is no dimension")
    return dimensions


def _escaped(text: str) -> str:
    """`text` with a backslash escape, as in Python, for what is not printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")

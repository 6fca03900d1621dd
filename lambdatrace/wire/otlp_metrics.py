"""Metrics → OTLP protobuf, by hand, as the spans.

Source: opentelemetry/proto/metrics/v1/metrics.proto and collector/metrics/v1/metrics_service.proto;
the field numbers stand beside each field's name. Tests decode what comes out with
`opentelemetry-proto`.
"""

from __future__ import annotations

from struct import pack

from lambdatrace.metric_points import ExponentialPoint, HistogramPoint, NumberPoint
from lambdatrace.plain import INT64_MAX, INT64_MIN
from lambdatrace.wire.otlp_protobuf import (
    ProtobufEncoder,
    attribute_fields,
    count_field,
    message_field,
    text_field,
    varint,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from lambdatrace.metric_points import Exemplar, MetricData, Point


def metric_encoder(
    resource_attributes: Mapping[str, Any], on_error: Callable[[str, BaseException], None]
) -> ProtobufEncoder:
    """What encodes MetricData."""
    return ProtobufEncoder(encode_metric, resource_attributes, on_error)


def encode_metric(data: MetricData) -> bytes:
    """A Metric. Raises TypeError if its points are of a kind that OTLP does not have."""
    return b"".join(
        (
            text_field(1, data.name),  # name = 1
            text_field(2, data.description),  # description = 2
            text_field(3, data.unit),  # unit = 3
            _data(data),
        )
    )


def _data(data: MetricData) -> bytes:
    points, kind = data.points, type(data.points[0])
    temporality = count_field(2, data.temporality)  # aggregation_temporality = 2
    if kind is HistogramPoint:
        return message_field(9, _points(points, _histogram) + temporality)  # histogram = 9
    if kind is ExponentialPoint:
        # exponential_histogram = 10
        return message_field(10, _points(points, _exponential) + temporality)
    if kind is not NumberPoint:
        raise TypeError(f"OTLP has no {kind.__name__}")
    numbers = _points(points, _number)
    if not data.temporality:
        return message_field(5, numbers)  # gauge = 5
    is_monotonic = count_field(3, data.is_monotonic)  # is_monotonic = 3
    return message_field(7, numbers + temporality + is_monotonic)  # sum = 7


def _points(points: Sequence[Any], encode: Callable[[Any], bytes]) -> bytes:
    return b"".join(message_field(1, encode(point)) for point in points)  # data_points = 1


def _number(point: NumberPoint) -> bytes:
    return b"".join(
        (
            _times(point),
            _value(point.value, as_double=0x21, as_int=0x31),  # as_double = 4, as_int = 6
            *_exemplars(5, point),  # exemplars = 5
            *attribute_fields(7, point.attributes),  # attributes = 7
        )
    )


def _histogram(point: HistogramPoint) -> bytes:
    counts, bounds = point.bucket_counts, point.bounds
    return b"".join(
        (
            _times(point),
            b"\x21" + pack("<Q", point.count),  # count = 4
            b"" if point.total is None else b"\x29" + pack("<d", point.total),  # sum = 5
            message_field(6, pack(f"<{len(counts)}Q", *counts)),  # bucket_counts = 6
            message_field(7, pack(f"<{len(bounds)}d", *bounds)),  # explicit_bounds = 7
            *_exemplars(8, point),  # exemplars = 8
            *attribute_fields(9, point.attributes),  # attributes = 9
            b"\x59" + pack("<d", point.minimum),  # min = 11
            b"\x61" + pack("<d", point.maximum),  # max = 12
        )
    )


def _exponential(point: ExponentialPoint) -> bytes:
    return b"".join(
        (
            *attribute_fields(1, point.attributes),  # attributes = 1
            _times(point),
            b"\x21" + pack("<Q", point.count),  # count = 4
            b"" if point.total is None else b"\x29" + pack("<d", point.total),  # sum = 5
            count_field(6, _zigzag(point.scale)),  # scale = 6
            b"\x39" + pack("<Q", point.zero_count),  # zero_count = 7
            # positive = 8, negative = 9
            message_field(8, _buckets(point.positive_offset, point.positive_counts)),
            message_field(9, _buckets(point.negative_offset, point.negative_counts)),
            *_exemplars(11, point),  # exemplars = 11
            b"\x61" + pack("<d", point.minimum),  # min = 12
            b"\x69" + pack("<d", point.maximum),  # max = 13
        )
    )


def _buckets(offset: int, counts: Sequence[int]) -> bytes:
    # offset = 1, bucket_counts = 2
    return count_field(1, _zigzag(offset)) + message_field(2, b"".join(map(varint, counts)))


def _exemplars(field: int, point: Point) -> list[bytes]:
    return [message_field(field, _exemplar(exemplar)) for exemplar in point.exemplars]


def _exemplar(exemplar: Exemplar) -> bytes:
    context = exemplar.context
    return b"".join(
        (
            b"\x11" + pack("<Q", exemplar.time_ns),  # time_unix_nano = 2
            _value(exemplar.value, as_double=0x19, as_int=0x31),  # as_double = 3, as_int = 6
            message_field(4, bytes.fromhex(context.span_id)) if context else b"",  # span_id = 4
            message_field(5, bytes.fromhex(context.trace_id)) if context else b"",  # trace_id = 5
        )
    )


def _times(point: Point) -> bytes:
    # start_time_unix_nano = 2, time_unix_nano = 3; the same numbers in each kind of point
    return b"\x11" + pack("<Q", point.start_ns) + b"\x19" + pack("<Q", point.time_ns)


def _value(value: float, *, as_double: int, as_int: int) -> bytes:
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        return bytes((as_int,)) + pack("<q", value)
    return bytes((as_double,)) + pack("<d", value)


def _zigzag(number: int) -> int:
    """As protobuf's sint32 has it: 0, -1, 1, -2 … become 0, 1, 2, 3 …."""
    return number << 1 if number >= 0 else (-number << 1) - 1

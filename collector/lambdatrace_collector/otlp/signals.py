"""OTLP's three signals: their messages, and what a receiver must know about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

from lambdatrace_collector.errors import BadRequestError, BodyTooLargeError
from lambdatrace_collector.otlp.message_count import (
    NESTED_MAX,
    holds_more_messages,
    may_hold_too_many_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of one request; AWS's own endpoint takes 10,000. As many spans of 200 bytes fill a whole body, so
# only what holds next to nothing is refused; 100,000 are parsed in 0.1 s.
RECORDS_MAX = 100_000


@dataclass(frozen=True)
class Signal:
    """A kind of telemetry as OTLP sends it."""

    name: str  # as in its path
    records: str  # what its requests hold, in words
    request: type[Any]
    response: type[Any]
    rejected: str  # the member of partial_success that counts what was not stored
    # Field numbers of the messages that hold others, from the outermost.
    levels: tuple[tuple[int, ...], ...]
    service: str  # of gRPC

    @property
    def path(self) -> str:
        """Where OTLP/HTTP sends it."""
        return f"/v1/{self.name}"


TRACES = Signal(
    "traces",
    "spans",
    traces.ExportTraceServiceRequest,
    traces.ExportTraceServiceResponse,
    "rejected_spans",
    ((1,), (2,), (2,)),
    "opentelemetry.proto.collector.trace.v1.TraceService",
)
LOGS = Signal(
    "logs",
    "log records",
    logs.ExportLogsServiceRequest,
    logs.ExportLogsServiceResponse,
    "rejected_log_records",
    ((1,), (2,), (2,)),
    "opentelemetry.proto.collector.logs.v1.LogsService",
)
METRICS = Signal(
    "metrics",
    "data points",
    metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse,
    "rejected_data_points",
    # The metric's own data is one of gauge, sum, histogram, exponential_histogram and summary.
    ((1,), (2,), (2,), (5, 7, 9, 10, 11), (1,)),
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
)


class Origin(NamedTuple):
    """Whose request it is. `headers` are HTTP's, or gRPC's metadata; names are lower case."""

    account: str
    region: str
    headers: Mapping[str, str]
    now_ms: int


class Rejected(NamedTuple):
    """How many records of a request were not stored, and why."""

    records: int
    reason: str


NONE_REJECTED = Rejected(0, "")


def parse_request(signal: Signal, body: bytes) -> Any:
    """The request in `body`, checked to the innermost message.

    Raises BadRequestError when it is not one, BodyTooLargeError when it has over RECORDS_MAX
    records, the entries that hold them counted with them, or may have over NESTED_MAX attributes.
    """
    if holds_more_messages(body, RECORDS_MAX, signal.levels):
        raise BodyTooLargeError(
            f"the request holds over {RECORDS_MAX} {signal.records}: send them in smaller requests"
        )
    if may_hold_too_many_fields(body):
        raise BodyTooLargeError(
            f"the request holds over {NESTED_MAX} attributes and other parts of {signal.records}:"
            " send them in smaller requests"
        )
    try:
        return signal.request.FromString(body)
    except DecodeError as error:
        raise BadRequestError(
            f"the body of {len(body)} bytes is not a protobuf"
            f" {signal.request.DESCRIPTOR.name}: {error}"
        ) from error


def success(signal: Signal, rejected: Rejected) -> Any:
    """The answer to a request that was taken. Source: OTLP specification, "Partial Success"."""
    answer = signal.response()
    if rejected.records:
        setattr(answer.partial_success, signal.rejected, rejected.records)
        answer.partial_success.error_message = rejected.reason
    return answer

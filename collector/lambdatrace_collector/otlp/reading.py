"""OTLP log records and data points as they were sent, in OTLP's JSON.

    GET /_lambdatrace/logs?trace_id=…     the records of a trace; also span_id, log_group
    GET /_lambdatrace/metrics?name=…      the points of a metric; also namespace

The newest first where there are more than `limit` (1,000 unless told, 10,000 at most).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace_collector.errors import BadRequestError
from lambdatrace_collector.exchange import Request, Response, json_response
from lambdatrace_collector.otlp.json import grouped_by_source
from lambdatrace_collector.otlp.log_json import log_record_json
from lambdatrace_collector.otlp.metric_json import metrics_json
from lambdatrace_collector.traces.trace_id import parse_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace_collector.store.engine import Store

LIMIT_DEFAULT = 1000
LIMIT_MAX = 10_000


class OtlpReading:
    """The handlers of `/_lambdatrace/logs` and `/_lambdatrace/metrics`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def logs(self, request: Request) -> Response:
        """The log records of a trace, of a log group, or both, by time."""
        known = _parameters(request, ("trace_id", "span_id", "log_group"))
        trace_id = known["trace_id"]
        rows = await self._store.query(
            "log_records_bytes",
            trace_id=parse_trace_id(trace_id) if trace_id else "",
            span_id=known["span_id"].lower(),
            log_group=known["log_group"],
            records_max=_limit(request),
        )
        sources = await self._sources(rows)
        shape = ("resourceLogs", "scopeLogs", "logRecords")
        return json_response(
            {shape[0]: grouped_by_source(rows, sources, shape, lambda of: map(log_record_json, of))}
        )

    async def metrics(self, request: Request) -> Response:
        """The data points of a metric, of a namespace, or both, by time."""
        known = _parameters(request, ("name", "namespace"))
        rows = await self._store.query(
            "metric_points_bytes",
            metric_name=known["name"],
            namespace=known["namespace"],
            points_max=_limit(request),
        )
        sources = await self._sources(rows)
        shape = ("resourceMetrics", "scopeMetrics", "metrics")
        return json_response({shape[0]: grouped_by_source(rows, sources, shape, metrics_json)})

    async def _sources(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
        ids = sorted({row["source_id"] for row in rows})
        return {
            row["source_id"]: row for row in await self._store.query("otlp_sources_bytes", ids=ids)
        }


def _parameters(request: Request, known: Sequence[str]) -> dict[str, str]:
    """The parameters' values, empty where they are missing; one must be given.

    Raises BadRequestError, also for a parameter that is not known.
    """
    unknown = sorted(set(request.query) - {*known, "limit"})
    found = {name: request.parameter(name) or "" for name in known}
    if unknown or not any(found.values()):
        wrong = f"parameter {unknown[0][:100]!r} is not known here" if unknown else "no parameter"
        raise BadRequestError(f"{wrong}: expected {', '.join(known)}")
    return found


def _limit(request: Request) -> int:
    text = request.parameter("limit") or str(LIMIT_DEFAULT)
    is_short = len(text) <= len(str(LIMIT_MAX))
    if not is_short or not text.isdecimal() or not 1 <= int(text) <= LIMIT_MAX:
        raise BadRequestError(f"limit is {text[:100]!r}: expected a number from 1 to {LIMIT_MAX}")
    return int(text)

"""Reading traces: the HTTP API v3 that Jaeger publishes, answering OTLP JSON.

Source: jaeger-idl, proto/api_v3/query_service.proto and its OpenAPI description.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import (
    BadRequestError,
    NotFoundError,
    RequestError,
    ServiceError,
)
from lambdatrace_collector.exchange import Request, Response, json_response, retry_headers
from lambdatrace_collector.otlp.json import resource_spans_json
from lambdatrace_collector.traces.log_events import traces_of_request
from lambdatrace_collector.traces.trace_id import parse_trace_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace_collector.store.engine import Store

TRACES_DEFAULT = 20
TRACES_MAX = 1000
SPANS_MAX = 50_000  # in one answer: about 50 MB of JSON, more than any viewer draws
SHOWN_CHARACTERS_MAX = 100  # of a wrong value, in the error that refuses it
# What a query without a range looks back on: a scan of all days grows without end. Jaeger goes back
# three days (`max_span_age` of its Elasticsearch storage); this is a week of work.
RECENT_S = 7 * 24 * 3600
UINT64_MAX = 2**64 - 1
REQUEST_ID_BYTES_MAX = 127  # Lambda's have 36
# Jaeger's gateway ignores what it does not know, and a query that is misspelt finds everything.
# `raw_traces` asks for spans as they came, which is what we always give.
TRACE_PARAMETERS = ("start_time", "end_time", "raw_traces")
FIND_PARAMETERS = (
    "query.service_name",
    "query.operation_name",
    "query.request_id",
    "query.start_time_min",
    "query.start_time_max",
    "query.num_traces",
    "query.raw_traces",
)
OPERATIONS_PARAMETERS = ("service", "span_kind")
SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")

_FRACTION = re.compile(r"\.(\d+)")


class TracesApi:
    """The handlers of `/api/v3`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_trace(self, request: Request) -> Response:
        """`GET /api/v3/traces/{trace_id}`: every span of one trace; 404 when there is none.

        With `start_time` and `end_time`, the spans that start between them.
        """
        _require_known(request, TRACE_PARAMETERS)
        text = request.path_parameters["trace_id"]
        start_ns, end_ns = _range_parameters(request, "start_time", "end_time")
        resource_spans = await self._resource_spans([parse_trace_id(text)], start_ns, end_ns)
        if not resource_spans:
            raise NotFoundError(f"trace {text} is not stored here")
        return json_response({"result": {"resourceSpans": resource_spans}})

    async def find_traces(self, request: Request) -> Response:
        """`GET /api/v3/traces`: the newest traces that match the query, with all their spans.

        Without `query.start_time_min`, of what arrived in the last RECENT_S. With
        `query.request_id`, those of an invocation, whatever their names.
        """
        _require_known(request, FIND_PARAMETERS)
        start_ns, end_ns = _range_parameters(
            request, "query.start_time_min", "query.start_time_max"
        )
        is_bounded = request.parameter("query.start_time_min") is not None
        bounds = {
            "start_ns_min": start_ns,
            "start_ns_max": end_ns,
            "received_s_min": 0 if is_bounded else _recent_s(),
            "traces_max": _count_parameter(request, "query.num_traces"),
        }
        request_id = _request_id_parameter(request)
        if request_id is not None:
            trace_ids = await traces_of_request(self._store, request_id, **bounds)
        else:
            rows = await self._store.query(
                "recent_traces",
                service_name=request.parameter("query.service_name") or "",
                operation_name=request.parameter("query.operation_name") or "",
                **bounds,
            )
            trace_ids = [row["trace_id"] for row in rows]
        resource_spans = await self._resource_spans(trace_ids)
        return json_response({"result": {"resourceSpans": resource_spans}})

    async def services(self, request: Request) -> Response:
        """`GET /api/v3/services`: the services whose spans arrived in the last RECENT_S, sorted."""
        _require_known(request, ())
        rows = await self._store.query("services", received_s_min=_recent_s())
        return json_response({"services": [row["service_name"] for row in rows]})

    async def operations(self, request: Request) -> Response:
        """`GET /api/v3/operations?service=`: the span names of a service, with their kinds.

        Of the spans that arrived in the last RECENT_S; with `span_kind`, of that kind.
        """
        _require_known(request, OPERATIONS_PARAMETERS)
        span_kind = request.parameter("span_kind")
        rows = await self._store.query(
            "operations",
            service_name=request.parameter("service") or "",
            received_s_min=_recent_s(),
        )
        operations = [{"name": row["name"], "spanKind": _kind(row["kind"])} for row in rows]
        return json_response(
            {"operations": [each for each in operations if span_kind in (None, each["spanKind"])]}
        )

    async def _resource_spans(
        self, trace_ids: Sequence[str], start_ns_min: int = 0, start_ns_max: int = UINT64_MAX
    ) -> list[dict[str, Any]]:
        """The traces' spans. Raises BadRequestError rather than leave some out."""
        if not trace_ids:
            return []
        spans = await self._store.query(
            "trace_spans_bytes",
            trace_ids=list(trace_ids),
            start_ns_min=start_ns_min,
            start_ns_max=start_ns_max,
            spans_max=SPANS_MAX + 1,
        )
        if len(spans) > SPANS_MAX:
            raise _too_many_spans(trace_ids)
        order = {bytes.fromhex(trace_id): place for place, trace_id in enumerate(trace_ids)}
        spans.sort(key=lambda row: order[row["trace_id"]])  # stable: keeps the order inside a trace
        sources = await self._store.query(
            "otlp_sources_bytes", ids=sorted({row["source_id"] for row in spans})
        )
        return resource_spans_json(spans, {row["source_id"]: row for row in sources})


def api_error(error: RequestError | ServiceError) -> Response:
    """An error in the shape that Jaeger's gateway gives it."""
    body = {"error": {"httpCode": error.status, "message": str(error)}}
    return replace(json_response(body, error.status), headers=retry_headers(error))


def parse_time_ns(text: str) -> int:
    """Unix time in nanoseconds of an RFC 3339 time. Raises ValueError."""
    fraction = _FRACTION.search(text)
    whole = _FRACTION.sub("", text, count=1)
    # A '+' in a query string means a space; nobody writes a space before an offset.
    whole = re.sub(r"[zZ]$", "+00:00", whole.replace(" ", "+"))
    moment = datetime.fromisoformat(whole)
    if moment.tzinfo is None:
        raise ValueError("no offset from UTC")
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds())
    digits = fraction[1][:9].ljust(9, "0") if fraction else "0"
    return seconds * 10**9 + int(digits)


def _require_known(request: Request, known: Sequence[str]) -> None:
    for name in request.query:
        if name not in known:
            expected = f"expected {', '.join(known)}" if known else "none is expected"
            raise BadRequestError(f"parameter {_shown(name)!r} is not known here: {expected}")


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def _range_parameters(request: Request, start: str, end: str) -> tuple[int, int]:
    """The two times in Unix nanoseconds; what is not given bounds nothing."""
    return _time_parameter(request, start, 0), _time_parameter(request, end, UINT64_MAX)


def _time_parameter(request: Request, name: str, default: int) -> int:
    text = request.parameter(name)
    if text is None:
        return default
    try:
        return min(max(parse_time_ns(text), 0), UINT64_MAX)
    except ValueError as error:
        raise BadRequestError(
            f"{name} is {text!r}: expected an RFC 3339 time such as 2026-01-31T12:00:00Z"
        ) from error


def _request_id_parameter(request: Request) -> str | None:
    text = request.parameter("query.request_id")
    if text is None:
        return None
    if not 1 <= len(text.encode()) <= REQUEST_ID_BYTES_MAX:
        raise BadRequestError(
            f"query.request_id is {_shown(text)!r}: expected 1 to {REQUEST_ID_BYTES_MAX} bytes"
        )
    for name in ("query.service_name", "query.operation_name"):
        if request.parameter(name):
            raise BadRequestError(f"query.request_id and {name} exclude each other")
    return text


def _count_parameter(request: Request, name: str) -> int:
    text = request.parameter(name)
    if text is None:
        return TRACES_DEFAULT
    # The length first: Python refuses to read 4,300 digits and more.
    is_short = len(text) <= len(str(TRACES_MAX))
    if not is_short or not text.isdecimal() or not 1 <= int(text) <= TRACES_MAX:
        raise BadRequestError(
            f"{name} is {_shown(text)!r}: expected a number from 1 to {TRACES_MAX}"
        )
    return int(text)


def _too_many_spans(trace_ids: Sequence[str]) -> BadRequestError:
    over = f"over {SPANS_MAX} spans, more than one answer holds"
    if len(trace_ids) > 1:
        return BadRequestError(
            f"the {len(trace_ids)} traces found have {over}: ask for fewer with query.num_traces"
        )
    path = f"/api/v3/traces/{trace_ids[0]}"
    return BadRequestError(
        f"trace {trace_ids[0]} has {over}: read it in parts, GET {path}?start_time=…&end_time=…"
    )


def _recent_s() -> int:
    return int(time.time()) - RECENT_S


def _kind(kind: int) -> str:
    return SPAN_KINDS[kind] if 0 <= kind < len(SPAN_KINDS) else str(kind)

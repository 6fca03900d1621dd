"""Spans: what stores their export requests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.otlp.ingestion import commit_valid, keep_only
from lambdatrace_collector.otlp.signals import (
    NONE_REJECTED,
    TRACES,
    Origin,
    Rejected,
    parse_request,
)

if TYPE_CHECKING:
    from lambdatrace_collector.otlp.ingestion import Commit, Ingest

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
INVALID_IDS = (
    "spans whose trace_id is not 16 bytes or span_id not 8 bytes, or which are all zero,"
    " were not stored"
)


def traces_ingest(commit: Commit) -> Ingest:
    """What stores export requests of spans through `commit`."""

    async def ingest(body: bytes, _origin: Origin) -> Rejected:
        # What was parsed is not kept while the body waits: it takes several times the body.
        count = span_count(parse_request(TRACES, body))
        if count is None:
            return NONE_REJECTED
        return await commit_valid(
            TRACES, body, partial(commit, records=count), remove_invalid_spans
        )

    return ingest


def span_count(message: Any) -> int | None:
    """How many spans `message` has; None when it has not even a resource."""
    if not message.resource_spans:
        return None
    return sum(
        len(scope_spans.spans)
        for resource_spans in message.resource_spans
        for scope_spans in resource_spans.scope_spans
    )


def remove_invalid_spans(message: Any) -> Rejected:
    """Take the spans without a valid trace id and span id out of `message`.

    Valid is 16 and 8 bytes, not all zero. Source: trace.proto, Span.trace_id and Span.span_id.
    """
    removed = sum(
        keep_only(scope_spans.spans, _has_ids)
        for resource_spans in message.resource_spans
        for scope_spans in resource_spans.scope_spans
    )
    return Rejected(removed, INVALID_IDS)


def _has_ids(span: Any) -> bool:
    return _is_id(span.trace_id, TRACE_ID_BYTES) and _is_id(span.span_id, SPAN_ID_BYTES)


def _is_id(value: bytes, length: int) -> bool:
    return len(value) == length and any(value)

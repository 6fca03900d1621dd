"""Segments on their way into the store: as spans, and as the documents they are."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lambdatrace_collector.otlp.ingestion import protobuf_insert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambdatrace_collector.store.engine import Store
    from lambdatrace_collector.xray.segments import Segment

# A segment that is complete replaces one in progress, whichever came last: bit 62 of its version,
# above nanoseconds since 1970.
COMPLETE = 2**62


class SegmentStore:
    """Writes segments, in the order in which they are given."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._insert_spans = protobuf_insert(store, "otlp_traces", "TracesData")
        # One at a time: the span of a complete segment must be written after the one in progress.
        self._writing = asyncio.Lock()

    async def put(self, segments: Sequence[tuple[Segment, str]], account: str, region: str) -> None:
        """Store segments and their documents. Raises what Store.insert raises."""
        if not segments:
            return
        version = time.time_ns()
        request = ExportTraceServiceRequest()
        lines = []
        # Those in progress first: of two spans that are written together, the last one stays.
        for segment, document in sorted(segments, key=lambda pair: not pair[0].is_in_progress):
            request.resource_spans.append(segment.resource_spans)
            row = {
                "account": account,
                "region": region,
                "trace_id": segment.trace_id,
                "segment_id": segment.segment_id,
                "parent_id": segment.parent_id,
                "name": segment.name,
                "is_in_progress": int(segment.is_in_progress),
                "document": document.encode("utf-8", "replace").decode(),
                "version": version if segment.is_in_progress else version | COMPLETE,
            }
            lines.append(json.dumps(row, ensure_ascii=False))
        async with self._writing:
            await self._store.insert("xray_segments", "\n".join(lines).encode(), "JSONEachRow")
            await self._insert_spans(request.SerializeToString())

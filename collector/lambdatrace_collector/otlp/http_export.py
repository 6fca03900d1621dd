"""OTLP/HTTP: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`, in protobuf or JSON.

Source: OTLP specification, "OTLP/HTTP".
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToJson

from lambdatrace_collector.aws.call import ACCOUNT, region_of
from lambdatrace_collector.errors import UnsupportedMediaError
from lambdatrace_collector.exchange import Response
from lambdatrace_collector.otlp.from_json import request_from_json
from lambdatrace_collector.otlp.signals import Origin, success
from lambdatrace_collector.otlp.status import JSON, PROTOBUF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lambdatrace_collector.exchange import Request
    from lambdatrace_collector.otlp.signals import Rejected, Signal

    Handler = Callable[[Request], Awaitable[Response]]
    Ingest = Callable[[bytes, Origin], Awaitable[Rejected]]

# Reading JSON takes some 30 ns a byte: what takes over half a millisecond leaves the event loop.
INLINE_JSON_BYTES_MAX = 16_384


def http_export(signal: Signal, ingest: Ingest) -> Handler:
    """The handler of the signal's path, which answers when `ingest` has stored the records."""
    reading_json = asyncio.Lock()  # one long JSON body at a time: it holds Python's lock

    async def export(request: Request) -> Response:
        if request.content_type not in (PROTOBUF, JSON):
            raise UnsupportedMediaError(
                f"Content-Type is {request.content_type!r}: expected {PROTOBUF} or {JSON}"
            )
        origin = Origin(ACCOUNT, region_of(request), request.headers, time.time_ns() // 1_000_000)
        if request.content_type == PROTOBUF:
            rejected = await ingest(request.body, origin)
            return Response(200, success(signal, rejected).SerializeToString(), PROTOBUF)
        if len(request.body) <= INLINE_JSON_BYTES_MAX:
            body = request_from_json(signal, request.body)
        else:
            async with reading_json:
                body = await asyncio.to_thread(request_from_json, signal, request.body)
        answer = success(signal, await ingest(body, origin))
        return Response(200, MessageToJson(answer, indent=None).encode(), JSON)

    return export
